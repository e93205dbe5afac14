// What the tests of the actions share: a request in either protocol is decoded, run on a store in
// memory and answered, without sockets.
#pragma once

#include "queue_rig.h"
#include "sqs/call.h"

#include <check.h>
#include <jansson.h>

static struct rig r;
static struct arena arena;
static struct sqs_call call;
static struct {
    const char *account, *user, *peer;
} asker; // NULL: the owner's root

static inline void start(void)
{
    rig_init(&r);
    r.segment_bytes = 8 << 20; // a message of 1 MiB must fit
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
}

static inline void stop(void)
{
    arena_release(&arena);
    reply_release(&call.out);
    rig_release(&r);
}

static inline void prepare(bool json)
{
    arena_release(&arena);
    reply_release(&call.out);
    call = (struct sqs_call){.queues = r.queues,
                             .arena = &arena,
                             .in.arena = &arena,
                             .now_ms = r.now_ms,
                             .json = json,
                             .host = SPAN("queue.example:1234"),
                             .region = "eu-west-1",
                             .sender = "AKIDEXAMPLE",
                             .account = asker.account,
                             .user = asker.user,
                             .peer = asker.peer};
}

static inline const char *finish(enum sqs_code code)
{
    call.out.json = call.json;
    if (code != SQS_OK)
        reply_error(&call.out, &call.fault, "rid");
    else
        sqs_call_end(&call, "rid");
    rig_turn(&r);
    buf_reserve(&call.out.out, 1);
    return call.out.out.data;
}

// The reply of a JSON request; call.fault.code says how it went.
static inline const char *json_call(enum sqs_action action, const char *body)
{
    prepare(true);
    call.in.action = action;
    enum sqs_code code = request_from_json(span_from(body), &call.in, &call.fault);
    if (code == SQS_OK)
        code = sqs_call_run(&call);
    return finish(code);
}

static inline const char *query_call(const char *body)
{
    struct span given;
    prepare(false);
    enum sqs_code code =
        request_from_query(span_from(body), (struct span){NULL, 0}, &call.in, &given, &call.fault);
    ck_assert_int_ne(call.in.action, ACTION_NONE);
    if (code == SQS_OK)
        code = sqs_call_run(&call);
    return finish(code);
}

static inline void must_say(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' does not hold '%s'", text, part);
}

static inline void json_fault(enum sqs_action action, const char *body, enum sqs_code code,
                              const char *message)
{
    const char *reply = json_call(action, body);
    ck_assert_msg(call.fault.code == code, "%s: code %d instead of %d", reply, call.fault.code,
                  code);
    ck_assert_str_eq(call.fault.message, message);
}

static inline const char *string_of(const char *json, const char *name)
{
    static char out[300];
    json_t *root = json_loads(json, 0, NULL);
    ck_assert_msg(json_is_object(root), "%s", json);
    const json_t *found = json_object_get(root, name);
    if (found == NULL) {
        const json_t *first = json_array_get(json_object_get(root, "Messages"), 0);
        found = json_object_get(first, name);
    }
    ck_assert_msg(json_is_string(found), "%s in %s", name, json);
    snprintf(out, sizeof out, "%s", json_string_value(found));
    json_decref(root);
    return out;
}

#define ARN(name) "arn:aws:sqs:eu-west-1:000000000000:" name

static inline void make_dead_letters(int count)
{
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"dead\"}");
    json_call(
        ACTION_CREATE_QUEUE,
        "{\"QueueName\":\"jobs\",\"Attributes\":{\"VisibilityTimeout\":\"0\",\"RedrivePolicy\":"
        "\"{\\\"deadLetterTargetArn\\\":\\\"" ARN("dead") "\\\",\\\"maxReceiveCount\\\":1}\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    for (int i = 0; i < count; i++)
        json_call(ACTION_SEND, "{\"QueueUrl\":\"jobs\",\"MessageBody\":\"x\"}");
    for (int i = 0; i < 2 * count; i++)
        json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"jobs\"}");
    ck_assert_uint_eq(rig_info(&r, queue_find(r.queues, SPAN("dead"))).visible, (uint64_t)count);
}

static inline uint64_t visible(const char *name)
{
    return rig_info(&r, queue_find(r.queues, span_from(name))).visible;
}
