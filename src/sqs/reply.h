// Writes a reply in either protocol from one sequence of calls: names differ, the structure is the
// same. Pure.
//   JSON   {"Messages":[{"MessageId":"…"}]}
//   Query  <XResponse><XResult><Message><MessageId>…</MessageId></Message></XResult>…</XResponse>
// and in a third form, for a Query request with "Accept: application/json":
//   {"XResponse":{"XResult":{"messages":[{"MessageId":"…"}]},"ResponseMetadata":{…}}}
#pragma once

#include "sqs/sqs_request.h"

struct reply {
    bool json;
    bool wrapped; // with json: the third form
    enum sqs_action action;
    struct buf out; // owned
};

void reply_begin(struct reply *r, bool json, enum sqs_action action);
// Ends it; the text is in r->out. An action without output: empty in JSON.
void reply_end(struct reply *r, const char *request_id);
void reply_error(struct reply *r, const struct fault *f,
                 const char *request_id); // instead of all others
void reply_release(struct reply *r);

void reply_text(struct reply *r, const char *name, struct span value);
void reply_number(struct reply *r, const char *name, int64_t value);
void reply_bool(struct reply *r, const char *name, bool value);

// A list of objects or of strings: JSON names the list, Query each item.
void reply_list_begin(struct reply *r, const char *json_name);
void reply_list_end(struct reply *r);
void reply_item_begin(struct reply *r, const char *query_name);
void reply_item_end(struct reply *r, const char *query_name);
void reply_item_text(struct reply *r, const char *query_name, struct span value);
// A map of strings: query_name and key_name as in "Attribute" and "Name", "Tag" and "Key".
void reply_map_begin(struct reply *r, const char *json_name);
void reply_map_entry(struct reply *r, const char *query_name, const char *key_name,
                     struct span name, struct span value);
void reply_map_end(struct reply *r);
// In a map of message attributes; the value of binary ones is raw.
void reply_message_attribute(struct reply *r, struct span name, struct span type, bool binary,
                             struct span value);
