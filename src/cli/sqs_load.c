#include "cli/sqs_load.h"

#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

static void add_header(struct buf *out, struct http_header h)
{
    buf_add_span(out, h.name);
    buf_add_text(out, ": ");
    buf_add_span(out, h.value);
    buf_add_text(out, "\r\n");
}

void sqs_load_request(const struct sqs_load *s, const char *action, struct span json,
                      struct buf *out)
{
    struct arena arena = {0};
    struct sigv4_signed made;
    uint8_t hash[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    const struct sigv4_key key = {s->credentials.access_key, s->credentials.secret_key, NULL};
    const struct sigv4_scope scope = {"us-east-1", "sqs"};
    const char *target = arena_printf(&arena, "AmazonSQS.%s", action);
    // what botocore and the JavaScript SDK send, without their descriptions of themselves
    const struct http_header headers[] = {
        {SPAN("Host"), span_from(s->host)},
        {SPAN("Content-Type"), SPAN("application/x-amz-json-1.0")},
        {SPAN("X-Amz-Target"), span_from(target)},
    };
    const size_t count = sizeof headers / sizeof headers[0];
    digest_sha256(json, hash);
    hex_encode(hash, sizeof hash, hex);
    const struct sigv4_request request = {.method = SPAN("POST"),
                                          .path = SPAN("/"),
                                          .headers = headers,
                                          .header_count = count,
                                          .payload_hash = span_from(hex)};
    sigv4_sign(&key, &scope, &request, clock_wall_ms(), &arena, &made);
    buf_add_text(out, "POST / HTTP/1.1\r\n");
    for (size_t i = 0; i < count; i++)
        add_header(out, headers[i]);
    add_header(out, (struct http_header){SPAN("X-Amz-Date"), span_from(made.amz_date)});
    add_header(out, (struct http_header){SPAN("Authorization"), span_from(made.authorization)});
    buf_printf(out, "Content-Length: %zu\r\n\r\n", json.len);
    buf_add_span(out, json);
    arena_release(&arena);
}

void sqs_load_livez(const struct sqs_load *s, struct buf *out)
{
    buf_printf(out, "GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n", s->host);
}

// --- JSON ---

// A body of text as clients send it: JSON in JSON, so that some of it is escaped.
static void add_body(struct buf *out, uint64_t number)
{
    static const char start[] = "{\\\"v\\\":1,\\\"id\\\":\\\"%020llu\\\",\\\"text\\\":\\\"";
    enum { START_BYTES = 43, END_BYTES = 2 }; // as the receiver sees them
    char fill[SQS_LOAD_BODY_BYTES - START_BYTES - END_BYTES];
    for (size_t i = 0; i < sizeof fill; i++)
        fill[i] = (char)('a' + (i * 7 + i / 26) % 26);
    buf_printf(out, start, (unsigned long long)number);
    buf_add(out, fill, sizeof fill);
    buf_add_text(out, "\\\"}");
}

static void add_entry(struct buf *out, const char *group, uint64_t number)
{
    buf_add_text(out, "\"MessageBody\":\"");
    add_body(out, group != NULL ? number : 0);
    buf_add_char(out, '"');
    if (group != NULL)
        buf_printf(out, ",\"MessageGroupId\":\"%s\",\"MessageDeduplicationId\":\"%llu\"", group,
                   (unsigned long long)number);
}

void sqs_load_send_json(const char *queue, const char *group, uint64_t first, int count,
                        struct buf *out)
{
    buf_printf(out, "{\"QueueUrl\":\"%s\",", queue);
    if (count == 1) {
        add_entry(out, group, first);
    } else {
        buf_add_text(out, "\"Entries\":[");
        for (int i = 0; i < count; i++) {
            buf_printf(out, "%s{\"Id\":\"%d\",", i > 0 ? "," : "", i);
            add_entry(out, group, first + (uint64_t)i);
            buf_add_char(out, '}');
        }
        buf_add_char(out, ']');
    }
    buf_add_char(out, '}');
}

void sqs_load_receive_json(const char *queue, int wait_s, struct buf *out)
{
    buf_printf(out,
               "{\"QueueUrl\":\"%s\",\"MaxNumberOfMessages\":%d,\"WaitTimeSeconds\":%d,"
               "\"VisibilityTimeout\":600}",
               queue, SQS_LOAD_BATCH, wait_s);
}

void sqs_load_delete_json(const char *queue, const struct sqs_load_handles *handles,
                          struct buf *out)
{
    buf_printf(out, "{\"QueueUrl\":\"%s\",\"Entries\":[", queue);
    for (int i = 0; i < handles->count; i++)
        buf_printf(out, "%s{\"Id\":\"%d\",\"ReceiptHandle\":\"%s\"}", i > 0 ? "," : "", i,
                   handles->text[i]);
    buf_add_text(out, "]}");
}

// --- replies ---

void sqs_load_read_handles(struct span reply, struct sqs_load_handles *out)
{
    static const char name[] = "\"ReceiptHandle\":\"";
    const char *at = reply.data, *end = reply.data + reply.len;
    out->count = 0;
    while (out->count < SQS_LOAD_BATCH &&
           (at = memmem(at, (size_t)(end - at), name, sizeof name - 1)) != NULL) {
        at += sizeof name - 1;
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (quote == NULL || quote - at >= SQS_LOAD_HANDLE_BYTES)
            return;
        snprintf(out->text[out->count++], SQS_LOAD_HANDLE_BYTES, "%.*s", (int)(quote - at), at);
        at = quote;
    }
}

bool sqs_load_is_ok(struct span reply)
{
    static const char failed[] = "\"Failed\":[{";
    return reply.len > 12 && memcmp(reply.data + 9, "200", 3) == 0 &&
           memmem(reply.data, reply.len, failed, sizeof failed - 1) == NULL;
}
