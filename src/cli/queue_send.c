// smelt queue send.
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/progress_bar.h"
#include "cli/queue.h"
#include "cli/queue_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT_MAX = 10 * 1000 * 1000, ATTRIBUTES_MAX = 10, READ_BYTES = 64 << 10 };

// clang-format off
static const struct option table[] = {
    QUEUE_OPTIONS,
    {"group", "ID", NULL, "message group (needed for FIFO queues)"},
    {"dedup", "ID", NULL, "deduplication id; with --count or --lines -1, -2 … is added to it"},
    {"delay", "S", NULL, "seconds before it can be received (0 to 900)"},
    {"attribute", "K=V[,K=V]", NULL, "message attributes, as strings"},
    {"count", "N", "1", "send the same message N times"},
    {"lines", NULL, NULL, "each line of standard input is a message"},
    {0},
};
// clang-format on

struct sending {
    struct queue_client *c;
    struct buf url;
    json_t *common;  // fields of each entry
    json_t *entries; // not sent yet, at most ten
    size_t entry_bytes, attribute_bytes;
    const char *dedup;
    bool many;
    uint64_t made, sent, total;
    struct progress_bar bar;
    char last_id[64];
};

// --- what is sent ---

// K=V pairs with commas between; a comma in a value is not possible here.
static enum err read_attributes(struct sending *s, struct error *error)
{
    struct span rest = span_from(options_get(s->c->options, "attribute"));
    json_t *all = json_object();
    json_object_set_new(s->common, "MessageAttributes", all);
    while (rest.len > 0) {
        struct span value, pair = span_cut(rest, ',', &rest), name = span_cut(pair, '=', &value);
        if (name.len == 0 || value.len == 0 || json_object_size(all) == ATTRIBUTES_MAX ||
            !utf8_valid(pair))
            return fail(error, ERR_ARGUMENT, 0,
                        "--attribute takes up to %d NAME=VALUE with commas between, not '%.100s'",
                        ATTRIBUTES_MAX, options_get(s->c->options, "attribute"));
        char key[300];
        snprintf(key, sizeof key, "%.*s", (int)name.len, name.data);
        json_object_set_new(
            all, key,
            json_pack("{s:s,s:s%}", "DataType", "String", "StringValue", value.data, value.len));
        s->attribute_bytes += name.len + value.len + strlen("String");
    }
    if (json_object_size(all) == 0)
        json_object_del(s->common, "MessageAttributes");
    return OK;
}

static enum err begin(struct sending *s, const char *queue, struct error *error)
{
    const struct options *o = s->c->options;
    const char *group = options_get(o, "group");
    s->dedup = options_get(o, "dedup");
    s->common = json_object();
    s->entries = json_array();
    TRY(read_attributes(s, error));
    if ((group != NULL && !utf8_valid(span_from(group))) ||
        (s->dedup != NULL && !utf8_valid(span_from(s->dedup))))
        return fail(error, ERR_ARGUMENT, 0, "--group and --dedup must be valid UTF-8");
    if (group != NULL)
        json_object_set_new(s->common, "MessageGroupId", json_string(group));
    if (options_get(o, "delay") != NULL) {
        long delay_s = strtol(options_get(o, "delay"), NULL, 10); // checked by queue_send_main
        json_object_set_new(s->common, "DelaySeconds", json_integer(delay_s));
    }
    TRY(queue_find_url(s->c, queue, &s->url, error));
    size_t len = s->url.len;
    if (len > 5 && strcmp(s->url.data + len - 5, ".fifo") == 0 && group == NULL)
        return fail(error, ERR_ARGUMENT, 0, "it is a FIFO queue: say which --group");
    return OK;
}

// --- sending, by tens ---

static enum err note_sent(struct sending *s, const json_t *answer, struct error *error)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "Successful"), i, item)
    {
        const char *id = json_string_value(json_object_get(item, "MessageId"));
        s->sent++;
        snprintf(s->last_id, sizeof s->last_id, "%s", id != NULL ? id : "");
        if (options_on(s->c->options, "json"))
            printf("{\"MessageId\":\"%s\"}\n", s->last_id);
    }
    const json_t *failed = json_array_get(json_object_get(answer, "Failed"), 0);
    if (failed == NULL)
        return OK;
    const char *code = json_string_value(json_object_get(failed, "Code"));
    const char *text = json_string_value(json_object_get(failed, "Message"));
    return fail(error, ERR_ARGUMENT, 0, "a message was refused: %.80s %.300s",
                code != NULL ? code : "", text != NULL ? text : "");
}

static enum err flush(struct sending *s, struct error *error)
{
    json_t *answer = NULL;
    if (json_array_size(s->entries) == 0)
        return OK;
    json_t *request = json_pack("{s:s,s:o}", "QueueUrl", s->url.data, "Entries", s->entries);
    s->entries = json_array();
    s->entry_bytes = 0;
    TRY(queue_ask(s->c, "SendMessageBatch", request, 0, &answer, error));
    enum err err = note_sent(s, answer, error);
    json_decref(answer);
    progress_bar_show(&s->bar, s->sent, s->total, "messages");
    return err;
}

static enum err add(struct sending *s, struct span body, struct error *error)
{
    if (body.len == 0)
        return OK; // an empty line: a message cannot be empty
    if (!utf8_xml_valid(body))
        return fail(error, ERR_FORMAT, 0,
                    "message %llu has bytes that SQS does not take (not UTF-8, or control "
                    "characters): encode it, for instance with base64",
                    (unsigned long long)s->made + 1);
    size_t bytes = body.len + s->attribute_bytes;
    if (bytes > SQS_MESSAGE_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0,
                    "the message has %zu bytes with its attributes, SQS takes up to %d", bytes,
                    SQS_MESSAGE_BYTES_MAX);
    if (json_array_size(s->entries) == SQS_BATCH_MAX ||
        s->entry_bytes + bytes > SQS_MESSAGE_BYTES_MAX)
        TRY(flush(s, error));
    char text[300];
    snprintf(text, sizeof text, "%zu", json_array_size(s->entries));
    json_t *entry = json_pack("{s:s,s:s%}", "Id", text, "MessageBody", body.data, body.len);
    json_object_update(entry, s->common);
    s->made++;
    if (s->dedup != NULL) {
        snprintf(text, sizeof text, s->many ? "%.128s-%llu" : "%.128s", s->dedup,
                 (unsigned long long)s->made);
        json_object_set_new(entry, "MessageDeduplicationId", json_string(text));
    }
    json_array_append_new(s->entries, entry);
    s->entry_bytes += bytes;
    return OK;
}

static enum err send_lines(struct sending *s, struct error *error)
{
    AUTO_BUF struct buf held = {0};
    char piece[READ_BYTES];
    ssize_t got;
    progress_bar_begin(&s->bar, 0);
    while ((got = queue_read_input(s->c, piece, sizeof piece)) > 0) {
        buf_add(&held, piece, (size_t)got);
        size_t at = 0;
        for (const char *end; (end = memchr(held.data + at, '\n', held.len - at)) != NULL;) {
            struct span line = {held.data + at, (size_t)(end - held.data) - at};
            if (line.len > 0 && line.data[line.len - 1] == '\r')
                line.len--;
            TRY(add(s, line, error));
            at = (size_t)(end - held.data) + 1;
        }
        buf_consume(&held, at);
        if (held.len > SQS_MESSAGE_BYTES_MAX)
            return fail(error, ERR_LIMIT, 0, "message %llu is longer than %d bytes",
                        (unsigned long long)s->made + 1, SQS_MESSAGE_BYTES_MAX);
        if ((size_t)got < sizeof piece) // what comes slowly does not wait for company
            TRY(flush(s, error));
    }
    if (got < 0)
        return fail(error, ERR_CANCELLED, 0, "stopped");
    TRY(add(s, buf_view(&held), error));
    return flush(s, error);
}

static enum err send_body(struct sending *s, struct span body, long count, struct error *error)
{
    s->many = count > 1;
    s->total = (uint64_t)count;
    if (body.len == 0)
        return fail(error, ERR_ARGUMENT, 0, "a message must not be empty");
    if (s->many)
        progress_bar_begin(&s->bar, 0);
    for (long i = 0; i < count; i++)
        TRY(add(s, body, error));
    return flush(s, error);
}

static enum err read_all_input(struct queue_client *c, struct buf *out, struct error *error)
{
    char piece[READ_BYTES];
    ssize_t got;
    while ((got = queue_read_input(c, piece, sizeof piece)) > 0) {
        buf_add(out, piece, (size_t)got);
        if (out->len > SQS_MESSAGE_BYTES_MAX)
            return fail(error, ERR_LIMIT, 0, "standard input has more than %d bytes",
                        SQS_MESSAGE_BYTES_MAX);
    }
    return got < 0 ? fail(error, ERR_CANCELLED, 0, "stopped") : OK;
}

// BODY, - or @FILE
static enum err read_body(struct queue_client *c, const char *given, struct buf *out,
                          struct error *error)
{
    if (given == NULL || strcmp(given, "-") == 0)
        return read_all_input(c, out, error);
    if (given[0] == '@')
        return file_read(given + 1, SQS_MESSAGE_BYTES_MAX, out, error);
    buf_add_text(out, given);
    return OK;
}

static enum err send_all(struct sending *s, const char *queue, const char *given, long count,
                         struct error *error)
{
    AUTO_BUF struct buf body = {0};
    bool lines = options_on(s->c->options, "lines");
    if (!lines)
        TRY(read_body(s->c, given, &body, error));
    TRY(begin(s, queue, error));
    s->many = lines;
    return lines ? send_lines(s, error) : send_body(s, buf_view(&body), count, error);
}

static int run(struct queue_client *c, long count)
{
    const struct options *o = c->options;
    struct sending s = {.c = c};
    struct error error;
    enum err err = send_all(&s, o->arguments[0], o->argument_count > 1 ? o->arguments[1] : NULL,
                            count, &error);
    progress_bar_end(&s.bar);
    if (s.sent > 1 || (s.sent > 0 && err != OK))
        fprintf(stderr, "%llu messages sent\n", (unsigned long long)s.sent);
    else if (s.sent == 1 && !options_on(o, "json"))
        printf("%s\n", s.last_id);
    json_decref(s.common);
    json_decref(s.entries);
    buf_release(&s.url);
    return err == OK ? 0 : queue_failed(c, o->arguments[0], &error);
}

int queue_send_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    long count = 1, delay_s;
    int code = options_parse(&o, table, "smelt queue send [options] QUEUE [BODY|-|@FILE]",
                             "Sends a message: the text given, a file's (@FILE), or standard "
                             "input's (-, or nothing).\nPrints its id.",
                             argc, argv);
    if (code < 0 && (o.argument_count < 1 || o.argument_count > 2)) {
        fprintf(stderr, o.argument_count < 1
                            ? "smelt: queue send needs a queue's name or URL\n"
                            : "smelt: queue send takes a queue and one body; put it in quotes\n");
        code = 2;
    }
    if (code < 0 && options_on(&o, "lines") && o.argument_count > 1) {
        fprintf(stderr, "smelt: --lines reads standard input; give no body beside it\n");
        code = 2;
    }
    if (code < 0 &&
        (!options_int(&o, "count", 1, COUNT_MAX, &count) ||
         (options_get(&o, "delay") != NULL && !options_int(&o, "delay", 0, 900, &delay_s))))
        code = 2;
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0)
        code = run(&c, count);
    queue_client_close(&c);
    options_release(&o);
    return code;
}
