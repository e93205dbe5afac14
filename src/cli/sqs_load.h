// SQS requests for a load generator: whole HTTP requests, signed (Signature Version 4 has no nonce,
// so one that stays the same is signed once and sent for the 15 minutes that it is valid), and the
// few things that it has to find in replies. JSON protocol.
#pragma once

#include "aws/credentials.h"
#include "cli/load.h"

enum {
    SQS_LOAD_BODY_BYTES = 512, // of a message
    SQS_LOAD_BATCH = 10,
    SQS_LOAD_HANDLE_BYTES = 256, // more than the server's receipt handles have
};

struct sqs_load {
    struct credentials credentials;
    char host[32]; // "127.0.0.1:PORT"
};

// Appends the request of an action with this JSON.
void sqs_load_request(const struct sqs_load *s, const char *action, struct span json,
                      struct buf *out);
void sqs_load_livez(const struct sqs_load *s, struct buf *out);

// JSON of one message or of ten. first: number of the first message, which is in its body when
// group is given (FIFO: a body that was there would be dropped as a duplicate).
void sqs_load_send_json(const char *queue, const char *group, uint64_t first, int count,
                        struct buf *out);
void sqs_load_receive_json(const char *queue, int wait_s, struct buf *out);

struct sqs_load_handles {
    char text[SQS_LOAD_BATCH][SQS_LOAD_HANDLE_BYTES];
    int count;
};
// Receipt handles of a reply to ReceiveMessage.
void sqs_load_read_handles(struct span reply, struct sqs_load_handles *out);
void sqs_load_delete_json(const char *queue, const struct sqs_load_handles *handles,
                          struct buf *out);

bool sqs_load_is_ok(struct span reply); // status 200, and no entry of a batch failed
