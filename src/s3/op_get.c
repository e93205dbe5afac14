// GetObject and HeadObject: conditions, then range, then the body, checked against its CRC32C first
// (up to S3_VERIFY_BYTES_MAX) and sent straight from its file.
#include "s3/s3_server.h"

#include "base/clock.h"
#include "base/file.h"
#include "s3/byte_range.h"
#include "s3/preconditions.h"

#include <stdio.h>
#include <string.h>

struct answer { // headers of a reply and what their values stand in
    struct s3_reply reply;
    char etag[ETAG_BYTES], modified[CLOCK_ISO_BYTES], range[80];
    struct buf checksum;
};

// Query parameters that replace headers of the stored object in this one reply.
static const struct {
    const char *parameter, *header;
} overrides[] = {
    {"response-content-type", "content-type"},
    {"response-content-language", "content-language"},
    {"response-expires", "expires"},
    {"response-cache-control", "cache-control"},
    {"response-content-disposition", "content-disposition"},
    {"response-content-encoding", "content-encoding"},
};
enum { OVERRIDES = sizeof overrides / sizeof overrides[0] };

static void add_stored_headers(struct s3_request *r, const struct object_record *record,
                               struct s3_reply *reply)
{
    struct span headers = record->headers, name, value, replaced[OVERRIDES] = {{NULL, 0}};
    for (size_t i = 0; i < OVERRIDES && r->http->query.len > 0; i++)
        if (http_request_query(r->http, overrides[i].parameter, &value) && value.len > 0) {
            replaced[i] = value;
            s3_reply_header(reply, overrides[i].header, value);
        }
    while (record_header_next(&headers, &name, &value)) {
        bool skip = false;
        for (size_t i = 0; i < OVERRIDES; i++)
            skip = skip || (replaced[i].len > 0 && span_is(name, overrides[i].header));
        if (!skip)
            s3_reply_header(reply, arena_copy(&r->http->arena, name),
                            arena_copy_span(&r->http->arena, value));
    }
}

static enum precondition_verdict conditions(const struct s3_request *r, const char *etag,
                                            int64_t modified_ms)
{
    const struct preconditions p = {
        .if_match = s3_header(r, "If-Match"),
        .if_none_match = s3_header(r, "If-None-Match"),
        .if_modified_since = s3_header(r, "If-Modified-Since"),
        .if_unmodified_since = s3_header(r, "If-Unmodified-Since"),
    };
    return preconditions_check(&p, etag, modified_ms);
}

// The Range header; none if If-Range names another version of the object.
static struct span wanted_range(const struct s3_request *r, const struct answer *a)
{
    struct span only_if = s3_header(r, "If-Range");
    if (only_if.len > 0 && !span_is(only_if, a->etag) && !span_is(only_if, a->modified))
        return (struct span){NULL, 0};
    return s3_header(r, "Range");
}

// Sends bytes first … first + length - 1. May take the object's descriptor.
static void send_body(struct s3_request *r, struct answer *a, int status,
                      struct store_object *object, uint64_t first, uint64_t length)
{
    struct error error;
    if (r->operation == S3_OP_HEAD_OBJECT) {
        s3_reply_ids(r, &a->reply);
        s3_count_reply(r, status, 0);
        http_reply_head(r->http, status, a->reply.headers, a->reply.count, length);
        return;
    }
    enum err err = store_object_check(r->server->store, object, &error);
    if (err != OK) {
        s3_send_failure(r, err, false, &error);
        return;
    }
    if (object->body_fd < 0) {
        s3_send(r, status, &a->reply,
                (struct span){object->record.body.data + first, (size_t)length});
        return;
    }
    s3_reply_ids(r, &a->reply);
    s3_count_reply(r, status, length);
    http_reply_fd(r->http, status, a->reply.headers, a->reply.count, object->body_fd, first,
                  length);
    object->body_fd = -1;
}

static void send_object(struct s3_request *r, struct answer *a, struct store_object *object)
{
    const struct object_record *record = &object->record;
    uint64_t first = 0, last = 0, size = record->size_bytes;
    switch (byte_range_parse(wanted_range(r, a), size, &first, &last)) {
    case RANGE_UNSATISFIABLE: {
        struct s3_reply reply = {.count = 0};
        AUTO_BUF struct buf xml = {0};
        snprintf(a->range, sizeof a->range, "bytes */%llu", (unsigned long long)size);
        s3_reply_header(&reply, "Content-Range", span_from(a->range));
        s3_reply_header(&reply, "Content-Type", SPAN("application/xml"));
        if (r->operation == S3_OP_GET_OBJECT)
            s3_error_xml(S3_INVALID_RANGE, NULL, r->http->target_path, r->http->id, &xml);
        s3_send(r, 416, &reply, buf_view(&xml));
        return;
    }
    case RANGE_PART:
        add_stored_headers(r, record, &a->reply);
        snprintf(a->range, sizeof a->range, "bytes %llu-%llu/%llu", (unsigned long long)first,
                 (unsigned long long)last, (unsigned long long)size);
        s3_reply_header(&a->reply, "Content-Range", span_from(a->range));
        send_body(r, a, 206, object, first, last - first + 1);
        return;
    case RANGE_NONE:
        add_stored_headers(r, record, &a->reply);
        if (span_is_nocase(s3_header(r, "x-amz-checksum-mode"), "ENABLED"))
            s3_reply_checksum(&a->reply, record, &a->checksum);
        send_body(r, a, 200, object, 0, size);
    }
}

static void answer_object(struct s3_request *r, struct store_object *object)
{
    struct answer a = {.reply = {.count = 0}};
    record_etag(&object->record, a.etag);
    clock_http_date(object->record.modified_ms / 1000 * 1000, a.modified);
    s3_reply_header(&a.reply, "ETag", span_from(a.etag));
    s3_reply_header(&a.reply, "Last-Modified", span_from(a.modified));
    s3_reply_header(&a.reply, "Accept-Ranges", SPAN("bytes"));
    switch (conditions(r, a.etag, object->record.modified_ms)) {
    case CONDITION_FAILED:
        s3_send_error(r, S3_PRECONDITION_FAILED, NULL);
        break;
    case CONDITION_NOT_MODIFIED:
        s3_send(r, 304, &a.reply, SPAN(""));
        break;
    case CONDITION_HOLDS:
        send_object(r, &a, object);
    }
    buf_release(&a.checksum);
}

void op_get(struct s3_request *r)
{
    struct store_object object = {.body_fd = -1};
    struct error error;
    bool no_bucket = false, want_body = r->operation == S3_OP_GET_OBJECT;
    enum err err = store_read_begin(r->server->store, NULL, &error);
    if (err == OK)
        err = store_object_open(r->server->store, r->bucket, r->key, want_body, &object, &no_bucket,
                                &error);
    if (err == OK)
        answer_object(r, &object);
    else
        s3_send_failure(r, err, no_bucket, &error);
    fd_close(&object.body_fd);
    store_read_end(r->server->store);
}
