#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HAND_OVERS_MAX = 5,     // a picture that comes back this often without an answer goes elsewhere
    REPLY_IN_TIME_MS = 100, // a job that waited less in the queue is answered at once
};

static struct poller *poller_of(const struct task *t)
{
    return t->message->poller;
}

static bool is_open(const struct task *t)
{
    return t->step < TASK_PUBLISHING;
}

static void set_step(struct task *t, enum task_step step)
{
    bool was_open = is_open(t);
    t->step = step;
    if (was_open && !is_open(t))
        poller_of(t)->open_count--;
}

static void drop_picture(struct task *t)
{
    poller_of(t)->picture_bytes -= t->picture.len;
    buf_release(&t->picture);
}

// --- the ready list ---

static void push_ready(struct task *t)
{
    struct poller *p = poller_of(t);
    set_step(t, TASK_READY);
    t->next_ready = NULL;
    *p->ready_end = t;
    p->ready_end = &t->next_ready;
}

static void remove_ready(struct task *t)
{
    struct poller *p = poller_of(t);
    struct task **place = &p->ready_first;
    while (*place != t)
        place = &(*place)->next_ready;
    *place = t->next_ready;
    if (t->next_ready == NULL)
        p->ready_end = place;
}

struct task *task_take_ready(struct poller *p)
{
    struct task *t = p->ready_first;
    if (t != NULL) {
        remove_ready(t);
        set_step(t, TASK_WITH_CREW);
    }
    return t;
}

// --- end of a task ---

static void start(struct task *t);

void task_free(struct task *t)
{
    struct poller *p = poller_of(t);
    CHECK(t->call == NULL);
    loop_timer_cancel(p->config.loop, &t->retry);
    if (t->step == TASK_READY)
        remove_ready(t);
    if (is_open(t))
        p->open_count--;
    drop_picture(t);
    buf_release(&t->result);
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        p->tasks = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    p->task_count--;
    free(t);
}

static void wake_twins(struct poller *p, const char *id)
{
    if (p->twins == 0)
        return;
    for (struct task *t = p->tasks; t != NULL; t = t->next)
        if (t->step == TASK_TWIN && strcmp(t->job->id, id) == 0) {
            p->twins--;
            set_step(t, TASK_ADOPTING);
            start(t);
            return; // the next one waits for this one
        }
}

static void end_task(struct task *t, enum verdict verdict)
{
    struct message *m = t->message;
    struct poller *p = m->poller;
    const char *id = t->job->id;
    if (t->step == TASK_TWIN)
        p->twins--;
    task_free(t);
    if (!p->draining)
        wake_twins(p, id);
    message_task_done(m, verdict); // may free m, which owns id
}

// The step's call failed for now: the same again after a pause. next is a timer's callback.
static void again_later(struct task *t, void (*next)(void *ctx))
{
    struct loop *loop = poller_of(t)->config.loop;
    t->failures++;
    loop_timer_set(loop, &t->retry, loop_now_ms(loop) + poller_back_off_ms(t->failures), next, t);
}

// A callback of a cancelled call only clears it: who cancelled goes on.
static bool call_done(struct task *t, const struct aws_result *r)
{
    t->call = NULL;
    if (r->err == ERR_CANCELLED)
        return false;
    service_note(poller_of(t), &poller_of(t)->s3, r);
    return true;
}

// --- publish, reply ---

static void adopt(void *ctx);
static void publish(void *ctx);

static void on_reply(void *ctx, bool sent)
{
    struct task *t = ctx;
    if (!sent)
        log_event(LOG_INFO, "reply_dropped", "id=%s", t->job->id);
    end_task(t, t->verdict);
}

// The queue named in reply_to, as it is called from here: a message is data, never an address. Only
// the name is used, and only of a reply queue beside our own queue.
static bool reply_url(const struct poller *p, const char *reply_to, struct buf *out)
{
    const char *name = strrchr(reply_to, '/'), *end = strrchr(p->queue.queue_url, '/');
    if (name == NULL || end == NULL || !span_starts(span_from(name + 1), JOB_REPLIES_PREFIX) ||
        strlen(name + 1) > 80 || !job_id_valid(span_from(name + 1)))
        return false;
    buf_add(out, p->queue.queue_url, (size_t)(end - p->queue.queue_url));
    buf_add_text(out, name);
    return true;
}

static void reply(struct task *t)
{
    struct poller *p = poller_of(t);
    AUTO_BUF struct buf url = {0};
    set_step(t, TASK_REPLYING);
    if (t->job->reply_to[0] == '\0' || !reply_url(p, t->job->reply_to, &url)) {
        end_task(t, t->verdict);
        return;
    }
    // an owner who waited long in the queue can wait a little for the batch
    double delay_ms = t->timing.queued > REPLY_IN_TIME_MS ? t->timing.queued / 10 : 0;
    if (delay_ms > WORKER_REPLY_DELAY_MS)
        delay_ms = WORKER_REPLY_DELAY_MS;
    outbox_send(p->outbox, url.data, buf_view(&t->result), (int)delay_ms, on_reply, t);
}

static void on_published(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    (void)object;
    if (!call_done(t, r))
        return;
    if (r->err == OK) {
        reply(t);
    } else if (r->err == ERR_PRECONDITION) {
        adopt(t); // somebody was first: theirs is the result
    } else {
        if (r->err == ERR_NOT_FOUND)
            setup_again(poller_of(t)->setup); // the bucket
        again_later(t, publish);
    }
}

static void publish(void *ctx)
{
    struct task *t = ctx;
    struct poller *p = poller_of(t);
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, t->job->id);
    const struct s3_put_options options = {.content_type = "application/json",
                                           .if_none_match = true};
    set_step(t, TASK_PUBLISHING);
    t->call = s3_put(p->config.s3, p->config.bucket, key, buf_view(&t->result), &options,
                     on_published, t);
}

// The outcome is known: writes it down and publishes it. predictions: when succeeded.
static void finish(struct task *t, enum job_status status, struct span predictions,
                   const char *code, const char *sentence)
{
    struct poller *p = poller_of(t);
    const struct message *m = t->message;
    const struct crew_model *by = t->answered_by;
    if (by == NULL && t->model >= 0) // the one that was meant
        by = crew_model(p->crew, (size_t)t->model);
    int64_t now = clock_wall_ms();
    int64_t since = t->job->submitted_ms > 0 ? t->job->submitted_ms : m->sent_wall_ms;
    t->timing.queued =
        since > 0 && since <= m->received_wall_ms ? (double)(m->received_wall_ms - since) : -1;
    t->timing.total = since > 0 && since <= now ? (double)(now - since) : -1;
    const struct job_result result = {.id = t->job->id,
                                      .status = status,
                                      .model = by != NULL ? by->name : t->job->model,
                                      .model_sha256 = by != NULL ? by->sha256 : "",
                                      .precision = by != NULL ? by->precision : "",
                                      .preprocessing = by != NULL ? by->preprocessing : "",
                                      .result_json = predictions,
                                      .error_code = code,
                                      .error_message = sentence,
                                      .timing = t->timing,
                                      .bucket = t->job->bucket,
                                      .key = t->job->key,
                                      .attempts = m->receive_count,
                                      .submitted_ms = t->job->submitted_ms,
                                      .finished_ms = now};
    drop_picture(t);
    buf_clear(&t->result);
    job_result_encode(&result, &t->result);
    p->finished[status]++;
    t->failures = 0;
    log_event(LOG_DEBUG, "job_finished", "id=%s status=%s code=%s attempt=%d", t->job->id,
              job_status_name(status), code != NULL ? code : "", m->receive_count);
    publish(t);
}

static void task_fail(struct task *t, const char *code, const char *sentence)
{
    finish(t, JOB_FAILED, (struct span){0}, code, sentence);
}

// An attempt that may go better elsewhere. The last one: its owner is told, and the message is left
// to the dead-letter queue (it moves there when it is received once more).
static void attempt_failed(struct task *t, const char *code, const char *sentence)
{
    struct poller *p = poller_of(t);
    char quoted[300];
    int count = t->message->receive_count, max = p->queue.max_receive_count;
    log_event(LOG_WARN, "attempt_failed", "id=%s attempt=%d of=%d code=%s why=%s", t->job->id,
              count, max, code, log_quote(sentence, quoted, sizeof quoted));
    if (count < max) {
        end_task(t, VERDICT_RETURN);
        return;
    }
    char full[600];
    snprintf(full, sizeof full, "given up after %d attempts; the last one: %.480s", count,
             sentence);
    t->verdict = p->queue.has_dlq ? VERDICT_RETURN : VERDICT_DELETE;
    task_fail(t, code, full);
}

// --- adopt: a result that is there already ---

static void fetch(void *ctx);

static void on_adopted(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    if (!call_done(t, r))
        return;
    if (r->err == OK) {
        poller_of(t)->adopted++;
        drop_picture(t);
        buf_clear(&t->result);
        buf_add_span(&t->result, object->body);
        t->verdict = VERDICT_DELETE;
        reply(t);
    } else if (r->err == ERR_NOT_FOUND) {
        t->failures = 0;
        if (is_open(t))
            fetch(t);
        else
            again_later(t, publish); // deleted since
    } else {
        again_later(t, adopt);
    }
}

static void adopt(void *ctx)
{
    struct task *t = ctx;
    struct poller *p = poller_of(t);
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, t->job->id);
    t->call = s3_get(p->config.s3, p->config.bucket, key, JOB_RESULT_BYTES_MAX, on_adopted, t);
}

// --- fetch ---

// Refusals that are about this object, not about the service.
static void fetch_refused(struct task *t, const struct aws_result *r)
{
    char sentence[500];
    const char *bucket = t->job->bucket, *key = t->job->key;
    if (r->err == ERR_NOT_FOUND)
        snprintf(sentence, sizeof sentence, "there is no object s3://%.80s/%.300s (%.60s)", bucket,
                 key, r->code);
    else if (r->err == ERR_LIMIT)
        snprintf(sentence, sizeof sentence, "the picture s3://%.80s/%.300s is larger than %d MiB",
                 bucket, key, IMAGE_BYTES_MAX >> 20);
    else
        snprintf(sentence, sizeof sentence, "s3://%.80s/%.200s cannot be read: %.180s", bucket, key,
                 r->error.msg);
    if (r->err == ERR_DENIED) // may be ours: keys or rights that are being changed
        attempt_failed(t, "denied", sentence);
    else
        task_fail(t, err_name(r->err), sentence);
}

static void on_fetched(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    if (!call_done(t, r))
        return;
    switch (r->err) {
    case OK:
        t->failures = 0;
        t->timing.fetched = (double)(clock_monotonic_us() - t->fetch_begun_us) / 1000;
        buf_add_span(&t->picture, object->body);
        poller_of(t)->picture_bytes += t->picture.len;
        push_ready(t);
        return;
    case ERR_DENIED:
        if (strcmp(r->code, "AccessDenied") != 0) {
            again_later(t, fetch); // not this object: our keys
            return;
        }
        fetch_refused(t, r);
        return;
    case ERR_NOT_FOUND:
    case ERR_LIMIT:
    case ERR_ARGUMENT:
    case ERR_UNSUPPORTED:
        fetch_refused(t, r);
        return;
    default:
        again_later(t, fetch);
    }
}

static void fetch(void *ctx)
{
    struct task *t = ctx;
    set_step(t, TASK_FETCHING);
    t->fetch_begun_us = clock_monotonic_us();
    t->call = s3_get(poller_of(t)->config.s3, t->job->bucket, t->job->key, IMAGE_BYTES_MAX,
                     on_fetched, t);
}

// --- start ---

// "'a', 'b'"
static void list_models(const struct poller *p, struct buf *out)
{
    for (size_t i = 0; i < crew_model_count(p->crew); i++)
        buf_printf(out, "%s'%s'", i > 0 ? ", " : "", crew_model(p->crew, i)->name);
}

// After it is sure that nobody else has the same job here.
static void start(struct task *t)
{
    struct poller *p = poller_of(t);
    const struct job *job = t->job;
    char sentence[400];
    if (job->expires_ms > 0 && job->expires_ms <= clock_wall_ms()) {
        char when[CLOCK_ISO_BYTES];
        snprintf(sentence, sizeof sentence, "it expired at %s, before a worker could start it",
                 clock_iso8601(job->expires_ms, when));
        finish(t, JOB_EXPIRED, (struct span){0}, "expired", sentence);
    } else if (t->model < 0) {
        AUTO_BUF struct buf list = {0};
        list_models(p, &list);
        snprintf(sentence, sizeof sentence, "unknown model '%s'; this pool serves %.300s",
                 job->model, list.data);
        task_fail(t, "unknown_model", sentence);
    } else if (t->message->receive_count > 1 || t->step == TASK_ADOPTING) {
        set_step(t, TASK_ADOPTING);
        adopt(t);
    } else {
        fetch(t);
    }
}

static bool in_hand(const struct poller *p, const char *id)
{
    for (const struct task *t = p->tasks; t != NULL; t = t->next)
        if (strcmp(t->job->id, id) == 0)
            return true;
    return false;
}

static struct task *task_make(struct message *m, const struct job *job)
{
    struct poller *p = m->poller;
    struct task *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    *t = (struct task){.message = m,
                       .job = job,
                       .next = p->tasks,
                       .step = TASK_FETCHING,
                       .model = crew_find_model(p->crew, job->model),
                       .timing = {-1, -1, -1, -1, -1},
                       .verdict = VERDICT_DELETE};
    if (p->tasks != NULL)
        p->tasks->prev = t;
    p->tasks = t;
    p->task_count++;
    p->open_count++;
    m->open_tasks++;
    return t;
}

void task_new(struct message *m, const struct job *job)
{
    bool twin = in_hand(m->poller, job->id);
    struct task *t = task_make(m, job);
    if (twin) {
        t->step = TASK_TWIN;
        m->poller->twins++;
    } else {
        start(t);
    }
}

void task_refuse(struct message *m, const struct job *job, const char *code, const char *sentence)
{
    task_fail(task_make(m, job), code, sentence);
}

// --- with the crew ---

void task_on_answer(struct task *t, const struct crew_answer *answer)
{
    if (answer->err == OK) {
        struct poller *p = poller_of(t);
        double us = (double)(answer->decode_us + answer->infer_us);
        p->job_us = p->job_us > 0 ? 0.9 * p->job_us + 0.1 * us : us;
        t->timing.decoded = (double)answer->decode_us / 1000;
        t->timing.inferred = (double)answer->infer_us / 1000;
        t->answered_by = answer->model; // finish copies it
        finish(t, JOB_SUCCEEDED, answer->text, NULL, NULL);
        return;
    }
    char sentence[500];
    snprintf(sentence, sizeof sentence, "%.*s",
             (int)(answer->text.len < 499 ? answer->text.len : 499), answer->text.data);
    switch (answer->err) {
    case ERR_FORMAT:
    case ERR_LIMIT:
    case ERR_UNSUPPORTED:
        task_fail(t, err_name(answer->err), sentence);
        return;
    case ERR_CANCELLED:
        end_task(t, VERDICT_RETURN);
        return;
    default:
        attempt_failed(t, err_name(answer->err), sentence);
    }
}

void task_on_death(struct task *t, const struct crew_death *death)
{
    char sentence[300];
    snprintf(sentence, sizeof sentence, "the process that worked on it was %s", death->sentence);
    if (death->hung)
        attempt_failed(t, "timeout", sentence);
    else
        attempt_failed(t, "crashed", sentence);
}

void task_on_return(struct task *t)
{
    struct poller *p = poller_of(t);
    if (p->draining || ++t->handed_over >= HAND_OVERS_MAX)
        end_task(t, VERDICT_RETURN);
    else
        push_ready(t);
}

void task_abandon(struct task *t)
{
    if (t->call != NULL)
        s3_call_cancel(t->call);
    CHECK(t->call == NULL);
    end_task(t, VERDICT_RETURN);
}
