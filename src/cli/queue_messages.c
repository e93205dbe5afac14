#include "cli/queue_messages.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "cli/text_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PEEK_PAGE_MAX = 100, BODY_SHOWN_MAX = 400, PIPE_WIDTH = 0 };

// --- getting them ---

// Any answer but one about the queue or the keys means that the action is not known.
static bool is_unknown_action(const struct aws_result *r)
{
    static const char *const others[] = {"QueueDoesNotExist", "NonExistentQueue",
                                         "AWS.SimpleQueueService.NonExistentQueue"};
    if (r->status == 0 || r->err == ERR_THROTTLED)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(r->code, others[i]) == 0)
            return false;
    return true;
}

enum err queue_peek(struct queue_client *c, const char *url, size_t max, queue_message_fn *fn,
                    void *ctx, struct error *error)
{
    json_t *answer = NULL, *message;
    size_t shown = 0, i;
    bool more = true;
    while (more && shown < max) {
        size_t page = max - shown < PEEK_PAGE_MAX ? max - shown : PEEK_PAGE_MAX;
        json_t *request = json_pack("{s:s,s:I}", "QueueUrl", url, "MaxResults", (json_int_t)page);
        json_t *token = json_object_get(answer, "NextToken");
        bool first = token == NULL;
        if (!first)
            json_object_set(request, "NextToken", token);
        json_decref(answer);
        answer = NULL;
        enum err err = queue_ask(c, "PeekMessages", request, 0, &answer, error);
        if (err != OK && first && is_unknown_action(&c->result))
            return fail(error, ERR_UNSUPPORTED, 0, "%s cannot show messages without receiving them",
                        c->endpoint);
        TRY(err);
        json_array_foreach(json_object_get(answer, "Messages"), i, message)
        {
            shown++;
            more = more && fn(ctx, message);
        }
        more = more && json_object_get(answer, "NextToken") != NULL;
    }
    json_decref(answer);
    return OK;
}

enum err queue_receive_some(struct queue_client *c, const char *url, size_t max, int wait_s,
                            int visibility_s, json_t **messages, struct error *error)
{
    json_t *answer = NULL;
    size_t n = max < SQS_BATCH_MAX ? max : SQS_BATCH_MAX;
    // AttributeNames is the older name of the second: some services know only one
    json_t *request =
        json_pack("{s:s,s:I,s:i,s:[s],s:[s],s:[s]}", "QueueUrl", url, "MaxNumberOfMessages",
                  (json_int_t)n, "WaitTimeSeconds", wait_s, "AttributeNames", "All",
                  "MessageSystemAttributeNames", "All", "MessageAttributeNames", "All");
    if (visibility_s >= 0)
        json_object_set_new(request, "VisibilityTimeout", json_integer(visibility_s));
    TRY(queue_ask(c, "ReceiveMessage", request, wait_s, &answer, error));
    json_t *list = json_object_get(answer, "Messages");
    *messages = json_is_array(list) ? json_incref(list) : json_array();
    json_decref(answer);
    return OK;
}

static enum err batch_refused(const json_t *answer, const char *action, struct error *error)
{
    const json_t *first = json_array_get(json_object_get(answer, "Failed"), 0);
    const char *code = json_string_value(json_object_get(first, "Code"));
    const char *text = json_string_value(json_object_get(first, "Message"));
    if (first == NULL)
        return OK;
    return fail(error, ERR_ARGUMENT, 0, "%s: %zu refused, the first one: %.80s %.200s", action,
                json_array_size(json_object_get(answer, "Failed")), code != NULL ? code : "",
                text != NULL ? text : "");
}

enum err queue_batch(struct queue_client *c, const char *action, const char *url,
                     const json_t *handles, const json_t *more, struct error *error)
{
    size_t count = json_array_size(handles);
    enum err first = OK;
    for (size_t at = 0; at < count; at += SQS_BATCH_MAX) {
        json_t *entries = json_array(), *answer = NULL;
        for (size_t i = at; i < count && i < at + SQS_BATCH_MAX; i++) {
            char id[24];
            snprintf(id, sizeof id, "%zu", i - at);
            json_t *entry =
                json_pack("{s:s,s:O}", "Id", id, "ReceiptHandle", json_array_get(handles, i));
            if (more != NULL)
                json_object_update(entry, (json_t *)(uintptr_t)more);
            json_array_append_new(entries, entry);
        }
        struct error why;
        enum err err =
            queue_ask(c, action, json_pack("{s:s,s:o}", "QueueUrl", url, "Entries", entries), 0,
                      &answer, &why);
        if (err == OK)
            err = batch_refused(answer, action, &why);
        json_decref(answer);
        if (err != OK && first == OK) { // the others are tried all the same
            first = err;
            *error = why;
        }
    }
    return first;
}

enum err queue_borrow(struct queue_client *c, const char *url, size_t max, queue_message_fn *fn,
                      void *ctx, struct error *error)
{
    json_t *handles = json_array(), *back = json_pack("{s:i}", "VisibilityTimeout", 0);
    enum err err = OK;
    bool more = true;
    if (max > QUEUE_BORROW_MAX)
        max = QUEUE_BORROW_MAX;
    while (err == OK && more && json_array_size(handles) < max) {
        json_t *messages = NULL, *message;
        size_t i;
        err = queue_receive_some(c, url, max - json_array_size(handles), 1, QUEUE_BORROW_S,
                                 &messages, error);
        more = json_array_size(messages) > 0;
        json_array_foreach(messages, i, message)
        {
            json_array_append(handles, json_object_get(message, "ReceiptHandle"));
            json_object_del(message, "ReceiptHandle"); // void in a moment
            more = more && fn(ctx, message);
        }
        json_decref(messages);
    }
    bool interrupted = c->interrupted;
    c->interrupted = false; // what was borrowed goes back all the same
    struct error why;
    enum err returned = queue_batch(c, "ChangeMessageVisibilityBatch", url, handles, back, &why);
    c->interrupted = c->interrupted || interrupted;
    json_decref(handles);
    json_decref(back);
    if (err == OK && returned != OK) {
        *error = why;
        fail_context(error, why.code, "not all messages were handed back, they come again in %d s",
                     QUEUE_BORROW_S);
        return returned;
    }
    return err;
}

// --- showing them ---

void queue_printer_init(struct queue_printer *p, const struct options *o, bool fifo)
{
    static const char *const heads[] = {"MESSAGE ID", ">AGE", ">RECEIVED", "STATE", "BODY", NULL};
    static const char *const fifo_heads[] = {"MESSAGE ID", ">AGE", ">RECEIVED", "STATE",
                                             "GROUP",      "BODY", NULL};
    *p = (struct queue_printer){.json = options_on(o, "json"), .full = options_on(o, "full")};
    p->table = calloc(1, sizeof *p->table);
    CHECK(p->table != NULL);
    text_table_init(p->table, fifo ? fifo_heads : heads);
}

static const char *text_of(const json_t *message, const char *name)
{
    const char *text = json_string_value(json_object_get(message, name));
    return text != NULL ? text : "";
}

static void age_of(const json_t *message, char out[32])
{
    int64_t sent_ms = queue_number(json_object_get(message, "Attributes"), "SentTimestamp");
    snprintf(out, 32, "-");
    if (sent_ms > 0)
        text_age((clock_wall_ms() - sent_ms) / 1000, out);
}

// "visible", "in flight 12 s", "delayed 3 s"; received by us: "received".
static void state_of(const json_t *message, char out[64])
{
    const char *state = text_of(message, "State");
    int64_t until_ms = json_integer_value(json_object_get(message, "VisibleTimestamp"));
    char left[32];
    text_age((until_ms - clock_wall_ms() + 999) / 1000, left);
    if (strcmp(state, "inflight") == 0)
        snprintf(out, 64, "in flight, %s left", left);
    else if (strcmp(state, "delayed") == 0)
        snprintf(out, 64, "delayed, %s left", left);
    else
        snprintf(out, 64, "%.30s", state[0] != '\0' ? state : "received");
}

static void print_full(const json_t *message)
{
    const json_t *value;
    const char *name;
    char age[32], state[64];
    AUTO_BUF struct buf line = {0};
    json_t *attributes = json_object_get(message, "MessageAttributes");
    age_of(message, age);
    state_of(message, state);
    printf("message %s, %s old, %s\n", text_of(message, "MessageId"), age, state);
    json_object_foreach(json_object_get(message, "Attributes"), name, value)
        printf("  %s: %s\n", name, json_string_value(value));
    json_object_foreach(attributes, name, value)
    {
        const char *text = text_of(value, "StringValue");
        buf_clear(&line);
        text_line(span_from(text[0] != '\0' ? text : text_of(value, "BinaryValue")), BODY_SHOWN_MAX,
                  &line);
        printf("  %s (%s): %s\n", name, text_of(value, "DataType"), line.data);
    }
    printf("%s\n\n", text_of(message, "Body"));
}

bool queue_print_message(void *ctx, json_t *message)
{
    struct queue_printer *p = ctx;
    char age[32], state[64];
    p->printed++;
    if (p->json) {
        json_dumpf(message, stdout, JSON_COMPACT);
        printf("\n");
        return true;
    }
    if (p->full) {
        print_full(message);
        return true;
    }
    AUTO_BUF struct buf body = {0};
    const json_t *attributes = json_object_get(message, "Attributes");
    text_line(span_from(text_of(message, "Body")), BODY_SHOWN_MAX, &body);
    age_of(message, age);
    state_of(message, state);
    text_table_add(p->table, text_of(message, "MessageId"));
    text_table_add(p->table, age);
    text_table_add(p->table, queue_attribute(attributes, "ApproximateReceiveCount", "-"));
    text_table_add(p->table, state);
    if (p->table->columns == 6)
        text_table_add(p->table, queue_attribute(attributes, "MessageGroupId", "-"));
    text_table_add(p->table, body.data != NULL ? body.data : "");
    return true;
}

void queue_printer_end(struct queue_printer *p)
{
    struct winsize size = {0};
    AUTO_BUF struct buf text = {0};
    size_t width = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
                       ? size.ws_col
                       : PIPE_WIDTH;
    if (p->table->count > p->table->columns) {
        text_table_write(p->table, width, &text);
        fputs(text.data, stdout);
    }
    text_table_release(p->table);
    free(p->table);
    p->table = NULL;
}
