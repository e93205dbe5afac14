// One job's way from its message to its outcome: is it still wanted, its picture, a child's answer.
// What comes after the outcome is task_result.c's.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HAND_OVERS_MAX = 5, // a picture that comes back this often without an answer goes elsewhere
    WAKE_MS_MAX = 2000, // after an outage retries come within this, and at most
    WAKES_PER_S = 200,  // as many in a second
};

static struct poller *poller_of(const struct task *t)
{
    return t->message->poller;
}

bool task_is_open(const struct task *t)
{
    return t->step < TASK_PUBLISHING;
}

void task_set_step(struct task *t, enum task_step step)
{
    bool was_open = task_is_open(t);
    t->step = step;
    if (was_open && !task_is_open(t))
        poller_of(t)->open_count--;
}

void task_drop_picture(struct task *t)
{
    poller_of(t)->picture_bytes -= t->picture.len;
    buf_release(&t->picture);
}

// --- the ready list ---

static void push_ready(struct task *t)
{
    struct poller *p = poller_of(t);
    task_set_step(t, TASK_READY);
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
        task_set_step(t, TASK_WITH_CREW);
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
    if (task_is_open(t))
        p->open_count--;
    task_drop_picture(t);
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
            task_set_step(t, TASK_ADOPTING);
            start(t);
            return; // the next one waits for this one
        }
}

void task_end(struct task *t, enum verdict verdict)
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

// --- the store's calls ---

// While the store is out of reach one call at a time, and more and more rarely, tries whether it is
// back; the others wait: an outage is met with the load of one job, not with that of all.
static void on_retry(void *ctx)
{
    struct task *t = ctx;
    struct poller *p = poller_of(t);
    int64_t now = loop_now_ms(p->config.loop);
    if (p->s3.broken && (p->probes > 0 || now < p->probe_at_ms)) {
        int64_t at = now > p->probe_at_ms ? now : p->probe_at_ms;
        loop_timer_set(p->config.loop, &t->retry, at + poller_back_off_ms(t->failures), on_retry,
                       t);
        return;
    }
    t->probing = p->s3.broken;
    p->probes += t->probing;
    t->again(t);
}

void task_again_later(struct task *t, void (*again)(struct task *t))
{
    struct loop *loop = poller_of(t)->config.loop;
    t->failures++;
    t->again = again;
    loop_timer_set(loop, &t->retry, loop_now_ms(loop) + poller_back_off_ms(t->failures), on_retry,
                   t);
}

void tasks_wake(struct poller *p)
{
    int64_t within_ms = 1 + (int64_t)p->task_count * 1000 / WAKES_PER_S;
    within_ms = within_ms < WAKE_MS_MAX ? within_ms : WAKE_MS_MAX;
    for (struct task *t = p->tasks; t != NULL; t = t->next)
        if (t->retry.heap_place != 0)
            loop_timer_set(p->config.loop, &t->retry,
                           loop_now_ms(p->config.loop) +
                               (int64_t)(random_u64() % (uint64_t)within_ms),
                           on_retry, t);
}

bool task_call_done(struct task *t, const struct aws_result *r)
{
    struct poller *p = poller_of(t);
    bool probing = t->probing;
    t->call = NULL;
    p->probes -= probing;
    t->probing = false;
    if (r->err == ERR_CANCELLED)
        return false;
    service_note(p, &p->s3, r);
    if (!p->s3.broken)
        p->probe_failures = 0;
    else if (probing)
        p->probe_at_ms = loop_now_ms(p->config.loop) + poller_back_off_ms(++p->probe_failures);
    return true;
}

// --- failures ---

static void task_fail(struct task *t, const char *code, const char *sentence)
{
    task_finish(t, JOB_FAILED, (struct span){0}, code, sentence);
}

// An attempt that may go better elsewhere. The last one: its owner is told, and the message is left
// to the dead-letter queue (it moves there when it is received once more).
static void attempt_failed(struct task *t, const char *code, const char *sentence)
{
    const struct setup_result *queue = &t->message->source->found;
    char quoted[1300];
    int count = t->message->receive_count, max = queue->max_receive_count;
    tally_attempt(&poller_of(t)->tally, code);
    log_event(LOG_WARN, "attempt_failed", "id=%s trace=%s attempt=%d of=%d code=%s why=%s",
              t->job->id, t->trace, count, max, code, log_quote(sentence, quoted, sizeof quoted));
    if (count < max) {
        task_end(t, VERDICT_RETURN);
        return;
    }
    char full[1300];
    snprintf(full, sizeof full, "given up after %d attempts; the last one: %s", count, sentence);
    t->last_words = queue->has_dlq;
    t->verdict = queue->has_dlq ? VERDICT_RETURN : VERDICT_DELETE;
    task_fail(t, code, full);
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
    if (!task_call_done(t, r))
        return;
    switch (r->err) {
    case OK:
        t->failures = 0;
        t->timing.fetched = (double)(clock_monotonic_us() - t->fetch_begun_us) / 1000;
        if (object->body_buf != NULL) {
            t->picture = *object->body_buf; // task_fetch has dropped what was there
            *object->body_buf = (struct buf){0};
        } else {
            buf_add_span(&t->picture, object->body);
        }
        poller_of(t)->picture_bytes += t->picture.len;
        push_ready(t);
        return;
    case ERR_DENIED:
        if (strcmp(r->code, "AccessDenied") != 0) {
            task_again_later(t, task_fetch); // not this object: our keys
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
        task_again_later(t, task_fetch);
    }
}

void task_fetch(struct task *t)
{
    task_drop_picture(t);
    task_set_step(t, TASK_FETCHING);
    t->fetch_begun_us = clock_monotonic_us();
    aws_client_trace(poller_of(t)->config.s3, t->trace);
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

static bool is_over(const struct task *t)
{
    return t->job->expires_ms > 0 && t->job->expires_ms <= clock_wall_ms();
}

static void expire(struct task *t, const char *when_it_was)
{
    char sentence[160], when[CLOCK_ISO_BYTES];
    snprintf(sentence, sizeof sentence, "it expired at %s, %s",
             clock_iso8601(t->job->expires_ms, when), when_it_was);
    task_finish(t, JOB_EXPIRED, (struct span){0}, "expired", sentence);
}

bool task_expired(struct task *t)
{
    if (!is_over(t))
        return false;
    expire(t, "before a worker could start it");
    return true;
}

// A cancelled job has no picture any more, so that no job pays for the question; one whose picture
// is not ours has to ask.
static bool may_be_cancelled(const struct task *t)
{
    const struct job *job = t->job;
    return job->kind == JOB_NATIVE && (strcmp(job->bucket, poller_of(t)->config.bucket) != 0 ||
                                       !span_starts(span_from(job->key), JOB_INBOX_PREFIX));
}

// After it is sure that nobody else has the same job here.
static void start(struct task *t)
{
    struct poller *p = poller_of(t);
    const struct job *job = t->job;
    char sentence[400];
    if (task_expired(t))
        return;
    if (!job_bucket_allowed(p->config.bucket_allow, p->config.bucket, job->bucket)) {
        snprintf(sentence, sizeof sentence,
                 "pictures are not taken from the bucket '%.80s' here; --bucket-allow names those "
                 "that are",
                 job->bucket);
        task_fail(t, "denied", sentence);
    } else if (t->model < 0) {
        AUTO_BUF struct buf list = {0};
        list_models(p, &list);
        snprintf(sentence, sizeof sentence, "unknown model '%s'; this pool serves %.300s",
                 job->model, list.data);
        task_fail(t, "unknown_model", sentence);
    } else if (t->message->receive_count > 1 || job->repeated || t->step == TASK_ADOPTING ||
               may_be_cancelled(t)) {
        task_set_step(t, TASK_ADOPTING);
        task_adopt(t);
    } else {
        task_fetch(t);
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
    const char *trace = job->trace[0] != '\0' ? job->trace : m->trace;
    if (trace[0] != '\0')
        memcpy(t->trace, trace, sizeof t->trace);
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

// What a program is told of the job.
static void write_note(const struct task *t, struct buf *out)
{
    const struct job *job = t->job;
    const char *const members[][2] = {{"id", job->id},
                                      {"model", job->model},
                                      {"bucket", job->bucket},
                                      {"key", job->key},
                                      {"trace_id", job->trace}};
    buf_printf(out, "{\"bytes\":%zu,\"attempt\":%d,\"timeout_ms\":%d", t->picture.len,
               t->message->receive_count, poller_of(t)->config.job_timeout_ms);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        buf_printf(out, ",\"%s\":", members[i][0]);
        json_escape(span_from(members[i][1]), out);
    }
    buf_add_char(out, '}');
}

void task_hand_over(struct task *t)
{
    struct poller *p = poller_of(t);
    AUTO_BUF struct buf note = {0};
    struct crew_job job = {.model = (size_t)t->model,
                           .picture = buf_view(&t->picture),
                           .timeout_ms = p->config.job_timeout_ms};
    if (t->job->expires_ms > 0)
        // both clocks are cut to whole ms: when it is over, it is over by the wall clock, too
        job.deadline_ms = clock_monotonic_ms() + 2 + (t->job->expires_ms - clock_wall_ms());
    if (p->config.exec != NULL)
        write_note(t, &note);
    job.note = buf_view(&note);
    crew_hand_over(p->crew, t, &job);
}

static void on_looked(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    (void)object;
    if (!task_call_done(t, r) || r->err != OK)
        return;
    log_event(LOG_INFO, "job_superseded", "id=%s", t->job->id);
    t->superseded = true;
    crew_cancel(poller_of(t)->crew, t);
}

void task_look(struct task *t)
{
    struct poller *p = poller_of(t);
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    if (t->step != TASK_WITH_CREW || t->call != NULL || t->superseded)
        return;
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, t->job->id);
    t->call = s3_head(p->config.s3, p->config.bucket, key, on_looked, t);
}

// The crew is done with it. True: what it brought is not wanted, the result that is there is.
static bool came_back(struct task *t)
{
    if (t->call != NULL)
        s3_call_cancel(t->call);
    if (!t->superseded)
        return false;
    task_set_step(t, TASK_ADOPTING);
    task_adopt(t);
    return true;
}

static void learn_job_time(struct poller *p, const struct crew_answer *answer)
{
    double us = (double)(answer->decode_us + answer->infer_us);
    if (us < 100) // a refusal at the first byte
        us = 100;
    p->job_us = p->job_us > 0 ? 0.9 * p->job_us + 0.1 * us : us;
}

void task_on_answer(struct task *t, const struct crew_answer *answer)
{
    learn_job_time(poller_of(t), answer);
    tally_child(&poller_of(t)->tally, answer->child);
    if (came_back(t))
        return;
    if (answer->err == OK) {
        t->timing.decoded = (double)answer->decode_us / 1000;
        t->timing.inferred = (double)answer->infer_us / 1000;
        t->answered_by = answer->model; // task_finish copies it
        task_finish(t, JOB_SUCCEEDED, answer->text, NULL, NULL);
        return;
    }
    char sentence[500];
    snprintf(sentence, sizeof sentence, "%.*s",
             (int)(answer->text.len < 499 ? answer->text.len : 499), answer->text.data);
    switch (answer->err) {
    case ERR_FORMAT:
    case ERR_LIMIT:
    case ERR_UNSUPPORTED:
        task_fail(t, poller_of(t)->config.exec != NULL ? "handler" : err_name(answer->err),
                  sentence);
        return;
    case ERR_CANCELLED:
        task_end(t, VERDICT_RETURN);
        return;
    case ERR_TIMEOUT:
        if (is_over(t)) {
            expire(t, "while it was computed");
            return;
        }
        attempt_failed(t, err_name(answer->err), sentence);
        return;
    default:
        attempt_failed(t, err_name(answer->err), sentence);
    }
}

void task_on_death(struct task *t, const struct crew_death *death)
{
    enum { TAIL_BYTES = 700 };
    char sentence[1400];
    size_t tail = strlen(death->tail);
    while (tail > 0 && death->tail[tail - 1] == '\n')
        tail--;
    const char *said = death->tail + (tail > TAIL_BYTES ? tail - TAIL_BYTES : 0);
    const char *code = death->hung ? "timeout" : "crashed";
    if (came_back(t))
        return;
    if (death->cancelled) { // it did not hear that it should stop: not its fault
        task_end(t, VERDICT_RETURN);
        return;
    }
    if (death->hung && is_over(t)) {
        expire(t, "while it was computed");
        return;
    }
    snprintf(sentence, sizeof sentence, "the process that worked on it was %s%s%s%s%.*s",
             death->sentence, death->where[0] != '\0' ? ", in " : "", death->where,
             tail > 0 ? "; it said: " : "", (int)(death->tail + tail - said), said);
    if (strcmp(death->limit, "memory") == 0)
        code = "memory";
    attempt_failed(t, code, sentence);
}

void task_on_return(struct task *t)
{
    struct poller *p = poller_of(t);
    if (came_back(t))
        return;
    if (p->draining || ++t->handed_over >= HAND_OVERS_MAX)
        task_end(t, VERDICT_RETURN);
    else
        push_ready(t);
}

void task_abandon(struct task *t)
{
    if (t->call != NULL)
        s3_call_cancel(t->call);
    CHECK(t->call == NULL);
    task_end(t, VERDICT_RETURN);
}
