// The queues that jobs come from, and how much is received from which.
//
// One queue: a long poll for as much as there is room for. Several: those that are quiet are
// watched with a long poll for one message each, so that an arrival is seen at once and empty
// queues cost three requests a minute; those that brought something are busy, and the room goes to
// the busy one that had the least of its share so far (start-time fair queueing): no queue starves,
// whatever its weight, and a queue that was quiet gains no claim to the past.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "worker/poller_internal.h"

#include <stdlib.h>
#include <string.h>

enum { WAKE_MS = 500 }; // after an outage the retries are spread over this

// --- receiving ---

static void on_retry(void *ctx)
{
    (void)ctx; // the hook at the end of this turn receives
}

static double lowest_pass(const struct poller *p)
{
    double lowest = 0;
    bool found = false;
    for (size_t i = 0; i < p->source_count; i++) {
        const struct source *s = &p->sources[i];
        if (s->busy && (!found || s->pass < lowest)) {
            lowest = s->pass;
            found = true;
        }
    }
    return lowest;
}

static void receive_failed(struct source *s, const struct aws_result *r)
{
    struct poller *p = s->poller;
    if (r->err == ERR_NOT_FOUND && !p->draining) {
        s->lost = true; // deleted under our feet
        setup_again(s->setup);
    }
    loop_timer_set(p->config.loop, &s->retry,
                   loop_now_ms(p->config.loop) + poller_back_off_ms(++s->failures), on_retry, s);
}

static void on_received(void *ctx, const struct aws_result *r, const struct sqs_message *messages,
                        size_t count)
{
    struct source *s = ctx;
    struct poller *p = s->poller;
    s->receive = NULL;
    loop_timer_cancel(p->config.loop, &s->receive_limit);
    if (r->err == ERR_CANCELLED)
        return;
    service_note(p, &p->sqs, r);
    if (r->err != OK) {
        receive_failed(s, r);
        return;
    }
    s->failures = 0;
    s->received += count;
    s->empty_receives += count == 0;
    if (count > 0 && !s->busy) {
        double lowest = lowest_pass(p);
        s->pass = s->pass < lowest ? lowest : s->pass;
    }
    s->busy = count > 0;
    s->pass += (double)count / s->weight;
    for (size_t i = 0; i < count; i++) {
        if (p->draining) // came in the last moment
            outbox_visibility(p->outbox, s->found.queue_url, messages[i].receipt_handle, 0);
        else
            message_take(s, &messages[i]);
    }
    messages_watch_leases(p);
}

static void receive(struct source *s, size_t room, int wait_s)
{
    struct poller *p = s->poller;
    s->receives++;
    s->receive_begun_ms = loop_now_ms(p->config.loop);
    // after an outage a short answer, so that we know that it is over
    s->receive = sqs_receive(p->config.sqs, s->found.queue_url,
                             room < SQS_BATCH_MAX ? (int)room : SQS_BATCH_MAX,
                             p->sqs.broken ? 0 : wait_s, s->visibility_s, on_received, s);
}

static bool able(const struct source *s)
{
    return s->found.queue_url != NULL && !s->lost && s->receive == NULL && s->retry.heap_place == 0;
}

int sources_visibility_s(const struct poller *p)
{
    int shortest = p->config.visibility_s;
    for (size_t i = 0; i < p->source_count; i++)
        if (i == 0 || p->sources[i].visibility_s < shortest)
            shortest = p->sources[i].visibility_s;
    return shortest;
}

static void watch_quiet_ones(struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (able(&p->sources[i]) && !p->sources[i].busy)
            receive(&p->sources[i], 1, SQS_WAIT_S_MAX);
}

// Of the busy ones; NULL: none, or one of them is being asked.
static struct source *next_busy(struct poller *p)
{
    struct source *best = NULL;
    for (size_t i = 0; i < p->source_count; i++) {
        struct source *s = &p->sources[i];
        if (s->busy && s->receive != NULL)
            return NULL;
        if (s->busy && able(s) && (best == NULL || s->pass < best->pass))
            best = s;
    }
    return best;
}

bool sources_receiving(const struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (p->sources[i].receive != NULL)
            return true;
    return false;
}

void sources_receive(struct poller *p)
{
    size_t max = poller_in_hand_max(p), taken = p->open_count + p->unstarted;
    size_t worthwhile = poller_prefetch(p) < SQS_BATCH_MAX ? poller_prefetch(p) : SQS_BATCH_MAX;
    worthwhile = worthwhile < max ? worthwhile : max;
    if (p->draining || !p->crew_ready || !crew_able(p->crew) || taken >= max)
        return;
    // publishing and replying are behind: what is computed must not pile up
    if (p->task_count > 4 * max)
        return;
    // what is in hand probes a store that is out of reach; with nothing in hand one job does
    if (p->s3.broken && (p->task_count > 0 || sources_receiving(p)))
        return;
    size_t room = p->s3.broken ? 1 : max - taken;
    if (p->source_count == 1) {
        if (able(&p->sources[0]) && taken + worthwhile <= max)
            receive(&p->sources[0], room, SQS_WAIT_S_MAX);
        return;
    }
    watch_quiet_ones(p);
    struct source *s = next_busy(p);
    if (s != NULL && taken + worthwhile <= max)
        receive(s, room, 0);
}

// But for its receive.
static void leave(struct source *s)
{
    loop_timer_cancel(s->poller->config.loop, &s->retry);
    dead_letters_free(s->dead_letters);
    s->dead_letters = NULL;
}

void sources_stop(struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++) {
        if (p->sources[i].receive != NULL)
            sqs_call_cancel(p->sources[i].receive);
        leave(&p->sources[i]);
    }
}

static void on_receive_limit(void *ctx)
{
    struct source *s = ctx;
    if (s->receive != NULL)
        sqs_call_cancel(s->receive);
}

// A receive that is ended while its answer is on its way hides the messages in it until their lease
// is over. One that has waited for a while has none.
void sources_drain(struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++) {
        struct source *s = &p->sources[i];
        leave(s);
        if (s->receive != NULL)
            loop_timer_set(p->config.loop, &s->receive_limit,
                           s->receive_begun_ms + WORKER_LAST_RECEIVE_MS, on_receive_limit, s);
    }
}

void sources_wake(struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (p->sources[i].retry.heap_place != 0)
            loop_timer_set(p->config.loop, &p->sources[i].retry,
                           loop_now_ms(p->config.loop) + (int64_t)(random_u64() % WAKE_MS),
                           on_retry, &p->sources[i]);
}

// --- finding them ---

static void watch_dead_letters(struct source *s)
{
    const struct poller_config *c = &s->poller->config;
    const struct dead_letters_config config = {.loop = c->loop,
                                               .sqs = c->sqs,
                                               .s3 = c->s3,
                                               .outbox = s->poller->outbox,
                                               .bucket = c->bucket,
                                               .jobs_url = s->found.queue_url,
                                               .name = s->found.dlq_name,
                                               .max_receive_count = s->found.max_receive_count,
                                               .look_s = s->visibility_s};
    dead_letters_free(s->dead_letters);
    s->dead_letters =
        config.name[0] != '\0' && !s->poller->draining ? dead_letters_new(&config) : NULL;
}

static void on_left_lease(void *ctx, const char *queue_url, const char *receipt)
{
    struct poller *p = ctx;
    outbox_visibility(p->outbox, queue_url, span_from(receipt), 0);
}

// What a poller before us had in hand when it was killed.
static void hand_back_left_leases(struct poller *p)
{
    int count = lease_book_take(p->leases, clock_wall_ms(), on_left_lease, p);
    if (count > 0)
        log_event(LOG_WARN, "leases_handed_back", "messages=%d", count);
}

static void on_setup(void *ctx, const struct setup_result *result)
{
    struct source *s = ctx;
    s->found = *result;
    s->lost = false;
    log_event(LOG_INFO, "queue_found", "url=%s max_receive_count=%d dead_letter_queue=%s",
              result->queue_url, result->max_receive_count,
              result->dlq_name[0] != '\0' ? result->dlq_name : "none");
    watch_dead_letters(s);
    hand_back_left_leases(s->poller);
    poller_announce(s->poller);
}

static void on_setup_progress(void *ctx, bool is_s3, const struct aws_result *r)
{
    struct source *source = ctx;
    struct poller *p = source->poller;
    struct service *s = is_s3 ? &p->s3 : &p->sqs;
    service_note(p, s, r);
    if (r->err != OK && !s->broken) {
        char text[300];
        log_event(LOG_WARN, "setup_waits", "service=%s queue=%s why=%s", s->name, source->queue,
                  log_quote(r->error.msg, text, sizeof text));
    }
}

bool sources_found(const struct poller *p, const char **missing)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (p->sources[i].found.queue_url == NULL || p->sources[i].lost) {
            *missing = p->sources[i].queue;
            return false;
        }
    return true;
}

void sources_setup_again(struct poller *p)
{
    setup_again(p->sources[0].setup); // the bucket is the same for all
}

// "NAME", "NAME:3", "NAME:3:600", "http://host:9324/000000000000/NAME:3": a weight, and the time of
// a lease. The colons of a URL stand before its last slash.
static enum err read_source(struct source *s, struct span text, int visibility_s,
                            struct error *error)
{
    bool is_url = span_starts(text, "http://") || span_starts(text, "https://");
    const char *slash = is_url ? memrchr(text.data, '/', text.len) : NULL;
    size_t skip = slash != NULL ? (size_t)(slash - text.data) : 0;
    struct span rest, number = {text.data + skip, text.len - skip};
    size_t name_bytes = skip + span_cut(number, ':', &rest).len;
    uint64_t weight = 1, lease_s = (uint64_t)visibility_s;
    number = span_cut(rest, ':', &rest);
    bool has_weight = name_bytes < text.len;
    bool has_lease = has_weight && name_bytes + 1 + number.len < text.len;
    if (has_weight && (!span_to_u64(number, WORKER_WEIGHT_MAX, &weight) || weight == 0))
        return fail(error, ERR_ARGUMENT, 0,
                    "--queue: '%.*s' is not a weight; give NAME:1 to NAME:%d",
                    (int)(number.len < 20 ? number.len : 20), number.data, WORKER_WEIGHT_MAX);
    if (has_lease &&
        (!span_to_u64(rest, SQS_VISIBILITY_S_MAX, &lease_s) || lease_s < WORKER_VISIBILITY_S_MIN))
        return fail(error, ERR_ARGUMENT, 0,
                    "--queue: '%.*s' is not a lease in seconds; give NAME:WEIGHT:%d to "
                    "NAME:WEIGHT:%d",
                    (int)(rest.len < 20 ? rest.len : 20), rest.data, WORKER_VISIBILITY_S_MIN,
                    SQS_VISIBILITY_S_MAX);
    if (name_bytes == 0)
        return fail(error, ERR_ARGUMENT, 0,
                    "--queue names no queue; give NAME, NAME:WEIGHT or NAME:WEIGHT:SECONDS,…");
    s->queue = strndup(text.data, name_bytes);
    CHECK(s->queue != NULL);
    s->weight = (int)weight;
    s->visibility_s = (int)lease_s;
    return OK;
}

static enum err add_source(struct poller *p, struct span text, struct error *error)
{
    if (p->source_count == WORKER_QUEUES_MAX)
        return fail(error, ERR_LIMIT, 0, "--queue names more than %d queues", WORKER_QUEUES_MAX);
    struct source *s = &p->sources[p->source_count];
    s->poller = p;
    TRY(read_source(s, text, p->config.visibility_s, error));
    p->source_count++; // sources_close releases it from here on
    for (size_t i = 0; i + 1 < p->source_count; i++)
        if (strcmp(p->sources[i].queue, s->queue) == 0)
            return fail(error, ERR_ARGUMENT, 0, "--queue names '%.80s' twice", s->queue);
    return OK;
}

enum err sources_open(struct poller *p, struct error *error)
{
    const struct poller_config *c = &p->config;
    struct span rest = span_from(c->queue);
    do
        TRY(add_source(p, span_trim(span_cut(rest, ',', &rest)), error));
    while (rest.len > 0);
    for (size_t i = 0; i < p->source_count; i++) {
        const struct setup_config setup = {.loop = c->loop,
                                           .sqs = c->sqs,
                                           .s3 = c->s3,
                                           .queue = p->sources[i].queue,
                                           .bucket = c->bucket,
                                           .create = c->create,
                                           .max_receive_count = c->max_receive_count,
                                           .visibility_s = p->sources[i].visibility_s};
        p->sources[i].setup = setup_new(&setup, on_setup, on_setup_progress, &p->sources[i]);
    }
    return OK;
}

void sources_close(struct poller *p)
{
    sources_stop(p);
    for (size_t i = 0; i < p->source_count; i++) {
        setup_free(p->sources[i].setup);
        free(p->sources[i].queue);
    }
    p->source_count = 0;
}
