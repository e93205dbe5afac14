// Message move tasks: StartMessageMoveTask, CancelMessageMoveTask, ListMessageMoveTasks.
#include "base/digest.h"
#include "base/random.h"
#include "sqs/call.h"
#include "sqs/move_task.h"

#include <jansson.h>
#include <string.h>

static enum sqs_code bad_arn(struct sqs_call *c, const char *parameter)
{
    return fault(&c->fault, SQS_INVALID_PARAMETER,
                 "You must use this format to specify the %s: "
                 "arn:<partition>:<service>:<region>:<account-id>:<resource-id>",
                 parameter);
}

static enum sqs_code queue_of_arn(struct sqs_call *c, struct span arn, const char *parameter,
                                  struct queue **out)
{
    struct span name;
    if (!arn_queue_name(arn, &name))
        return bad_arn(c, parameter);
    *out = queue_find(c->queues, name);
    return *out != NULL
               ? call_authorize(c, *out)
               : fault(&c->fault, SQS_RESOURCE_NOT_FOUND,
                       "The resource that you specified for the %s parameter doesn't exist.",
                       parameter);
}

struct search {
    struct sqs_call *c;
    const char *name;
    bool found;
};

static bool is_source(void *ctx, struct queue *q)
{
    struct search *s = ctx;
    struct queue_info info;
    queue_info(s->c->queues, q, &info);
    s->found = strcmp(info.attributes->dead_letter_queue, s->name) == 0;
    return !s->found;
}

static bool is_dead_letter_queue(struct sqs_call *c, struct queue *q)
{
    struct queue_info info;
    queue_info(c->queues, q, &info);
    struct search s = {.c = c, .name = info.name};
    queues_each(c->queues, (struct span){NULL, 0}, is_source, &s);
    return s.found;
}

// TaskHandle: base64 of {"taskId":"<uuid>","sourceArn":"<arn>"}
static void write_handle(struct sqs_call *c, const char *id, const char *source)
{
    AUTO_BUF struct buf json = {0}, handle = {0};
    buf_printf(&json, "{\"taskId\":\"%s\",\"sourceArn\":\"", id);
    call_queue_arn(c, source, &json);
    buf_add_text(&json, "\"}");
    base64_encode(buf_view(&json), &handle);
    reply_text(&c->out, "TaskHandle", buf_view(&handle));
}

static enum sqs_code check_destination(struct sqs_call *c, struct queue *source,
                                       struct queue *destination)
{
    struct queue_info from, to;
    queue_info(c->queues, source, &from);
    queue_info(c->queues, destination, &to);
    if (source == destination)
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Source queue arn and destination queue arn cannot be the same.");
    if (from.attributes->fifo != to.attributes->fifo)
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Source queue and destination queue must be of the same type.");
    return SQS_OK;
}

enum sqs_code action_start_move_task(struct sqs_call *c)
{
    struct queue *source = NULL, *destination = NULL;
    struct queue_info info;
    uint64_t wait_for = 0;
    char id[37];
    if (c->in.source_arn.data == NULL)
        return fault_missing(&c->fault, "SourceArn");
    if (c->in.rate.given && (c->in.rate.value < 1 || c->in.rate.value > 500))
        return fault(
            &c->fault, SQS_INVALID_PARAMETER,
            "Value %lld for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: Must "
            "be between 1 and 500, if provided.",
            (long long)c->in.rate.value);
    enum sqs_code code = queue_of_arn(c, c->in.source_arn, "SourceArn", &source);
    if (code == SQS_OK && !is_dead_letter_queue(c, source))
        code = fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Source queue must be configured as a Dead Letter Queue.");
    if (code == SQS_OK && c->in.destination_arn.len > 0)
        code = queue_of_arn(c, c->in.destination_arn, "DestinationArn", &destination);
    if (code == SQS_OK && destination != NULL)
        code = check_destination(c, source, destination);
    if (code != SQS_OK)
        return code;
    random_uuid(id);
    uint32_t rate = c->in.rate.given ? (uint32_t)c->in.rate.value : 0;
    code = task_start(c->queues, source, destination, rate, id, c->now_ms, &wait_for, &c->fault);
    if (code != SQS_OK)
        return code;
    call_wait_for(c, wait_for);
    queue_info(c->queues, source, &info);
    write_handle(c, id, info.name);
    return SQS_OK;
}

enum sqs_code action_cancel_move_task(struct sqs_call *c)
{
    AUTO_BUF struct buf text = {0};
    struct queue *source = NULL;
    uint64_t wait_for = 0;
    if (c->in.task_handle.data == NULL)
        return fault_missing(&c->fault, "TaskHandle");
    json_t *root =
        base64_decode(c->in.task_handle, &text) ? json_loadb(text.data, text.len, 0, NULL) : NULL;
    const char *id = json_string_value(json_object_get(root, "taskId"));
    const char *arn = json_string_value(json_object_get(root, "sourceArn"));
    enum sqs_code code = SQS_OK;
    if (id == NULL || arn == NULL)
        code =
            fault(&c->fault, SQS_INVALID_PARAMETER, "Value for parameter TaskHandle is invalid.");
    if (code == SQS_OK)
        code = queue_of_arn(c, span_from(arn), "SourceArn", &source);
    struct move_task *t = code == SQS_OK ? task_find(source, span_from(id)) : NULL;
    json_decref(root);
    if (code != SQS_OK)
        return code;
    if (t == NULL || t->status != TASK_RUNNING)
        return fault(&c->fault, SQS_RESOURCE_NOT_FOUND, "Task does not exist.");
    code = task_cancel(c->queues, t, &wait_for, &c->fault);
    call_wait_for(c, wait_for);
    if (code == SQS_OK)
        reply_number(&c->out, "ApproximateNumberOfMessagesMoved", (int64_t)t->moved);
    return code;
}

static void write_task(struct sqs_call *c, const struct move_task *t, const char *source)
{
    static const char item[] = "ListMessageMoveTasksResultEntry";
    static const char *const statuses[] = {"RUNNING", "COMPLETED", "CANCELLED", "FAILED"};
    AUTO_BUF struct buf arn = {0};
    reply_item_begin(&c->out, item);
    if (t->status == TASK_RUNNING)
        write_handle(c, t->id, source);
    reply_text(&c->out, "Status", span_from(statuses[t->status]));
    call_queue_arn(c, source, &arn);
    reply_text(&c->out, "SourceArn", buf_view(&arn));
    if (t->destination_name[0] != '\0') {
        buf_clear(&arn);
        call_queue_arn(c, t->destination_name, &arn);
        reply_text(&c->out, "DestinationArn", buf_view(&arn));
    }
    if (t->rate > 0)
        reply_number(&c->out, "MaxNumberOfMessagesPerSecond", t->rate);
    reply_number(&c->out, "ApproximateNumberOfMessagesMoved", (int64_t)t->moved);
    reply_number(&c->out, "ApproximateNumberOfMessagesToMove", (int64_t)t->to_move);
    if (t->status == TASK_FAILED)
        reply_text(&c->out, "FailureReason",
                   t->destination_gone ? SPAN("AWS.SimpleQueueService.NonExistentQueue")
                                       : SPAN("CouldNotDetermineMessageSource"));
    reply_number(&c->out, "StartedTimestamp", t->started_ms);
    reply_item_end(&c->out, item);
}

enum sqs_code action_list_move_tasks(struct sqs_call *c)
{
    struct queue *source = NULL;
    struct queue_info info;
    int64_t max = c->in.max_results.given ? c->in.max_results.value : 1;
    if (c->in.source_arn.data == NULL)
        return fault_missing(&c->fault, "SourceArn");
    if (max < 1 || max > TASKS_KEPT)
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Value %lld for parameter MaxResults is invalid. Reason: Value for parameter "
                     "MaxResults must be greater than 1 and less than 10.",
                     (long long)max);
    enum sqs_code code = queue_of_arn(c, c->in.source_arn, "SourceArn", &source);
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, source, &info);
    const struct move_task *t = tasks_of(source);
    if (t == NULL)
        return SQS_OK;
    reply_list_begin(&c->out, "Results");
    for (; t != NULL && max > 0; t = t->next, max--)
        write_task(c, t, info.name);
    reply_list_end(&c->out);
    return SQS_OK;
}
