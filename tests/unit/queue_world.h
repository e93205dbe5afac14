// A client of the queues that uses everything that must survive a restart, by a seed, and keeps the
// model (queue_model.h) beside them. world_crash ends a life, world_recover begins the next one: it
// looks at all there is, in a copy of the disk, and compares it with what the model allows.
#pragma once

#include "journal/manifest.h"
#include "queue_model.h"
#include "queue_rig.h"
#include "sqs/move_task.h"

#include <stdarg.h>

enum { WORLD_HANDLES = 64, WORLD_HIDDEN_MAX_S = 20, WORLD_STEP_MS = 500, WORLD_GROUPS = 4 };

struct world_handle {
    char text[RECEIPT_TEXT_BYTES + 1];
    int message, queue, born; // and which one of that name
    uint32_t count;
    int life;
    int64_t at_ms;
};

struct world {
    struct rig rig;
    struct model model;
    struct queue *queues[QUEUES]; // NULL: not there
    struct world_handle handles[WORLD_HANDLES];
    int handle_count;
    int life, received_in[MODEL_MESSAGES]; // in which life last
    uint64_t seed, chance;
    int64_t latest_ms, committed_ms; // store time that was reached, and at the last commit
    bool anchored;                 // store time of this boot of the machine is known from a commit
    bool power_lost;               // since the model was last compared
    uint64_t marks[MODEL_EFFECTS]; // of each effect: no record after this one tells of it
    int marked;
    char why[400]; // what does not fit; "": all does
};

static const char *const world_names[QUEUES] = {"jobs", "dead", "jobs.fifo", "dead.fifo", "other"};

static inline int world_queue_of(const char *name)
{
    for (int q = 0; name != NULL && q < QUEUES; q++)
        if (strcmp(name, world_names[q]) == 0)
            return q;
    return NOWHERE;
}

// Notes the first thing that is wrong.
__attribute__((format(printf, 2, 3))) static inline bool world_wrong(struct world *w,
                                                                     const char *format, ...)
{
    if (w->why[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(w->why, sizeof w->why, format, args);
        va_end(args);
    }
    return false;
}

// With SMELT_TRACE each step is told.
__attribute__((format(printf, 1, 2))) static inline void world_trace(const char *format, ...)
{
    if (getenv("SMELT_TRACE") == NULL)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static inline uint64_t world_dice(struct world *w, uint64_t sides)
{
    return fake_random(&w->chance) % sides;
}

static inline void world_body(int i, char out[4000])
{
    int more = i % 23 == 22 ? 2900 : i * 37 % 150, len = snprintf(out, 100, "%d:", i);
    memset(out + len, 'a' + i % 26, (size_t)more);
    out[len + more] = '\0';
}

static inline bool world_full(struct world *w)
{
    struct journal_stats stats;
    journal_stats(queues_journal(w->rig.queues), &stats);
    return stats.full;
}

static inline bool world_failed(struct world *w)
{
    return journal_failed(queues_journal(w->rig.queues));
}

// --- queues ---

static inline struct queue *world_create(struct world *w, int queue, int version)
{
    static const char *const jobs[] = {
        "VisibilityTimeout=5",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
        "\"maxReceiveCount\":3}",
        NULL};
    static const char *const jobs_fifo[] = {
        "VisibilityTimeout=5",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead.fifo\","
        "\"maxReceiveCount\":3}",
        NULL};
    static const char *const plain[] = {"VisibilityTimeout=5", NULL};
    char retention[50], visibility[50];
    snprintf(retention, sizeof retention, "MessageRetentionPeriod=%d",
             model_retention_s(OTHER, version));
    snprintf(visibility, sizeof visibility, "VisibilityTimeout=%d", 100 + version);
    const char *const other[] = {retention, visibility, NULL};
    return rig_queue(&w->rig, world_names[queue],
                     queue == JOBS        ? jobs
                     : queue == JOBS_FIFO ? jobs_fifo
                     : queue == OTHER     ? other
                                          : plain);
}

static inline void world_make(struct world *w, int queue, int version)
{
    struct queue_state s = w->model.now.queues[queue];
    bool refused = s.gone_ms > 0 && w->rig.now_ms < s.gone_ms + w->rig.cooldown_ms;
    w->queues[queue] = world_create(w, queue, version);
    if (w->queues[queue] == NULL)
        return;
    if (refused)
        world_wrong(w, "the name of a deleted queue was free too early");
    s = (struct queue_state){.there = true, .born = s.born + 1, .attributes = version};
    model_queue(&w->model, queue, &s);
}

static inline char *world_policy(int version)
{
    char text[200];
    snprintf(text, sizeof text,
             "{\"Version\":\"2012-10-17\",\"Id\":\"v%d\",\"Statement\":[{\"Sid\":\"a\",\"Effect\":"
             "\"Allow\",\"Principal\":\"*\",\"Action\":\"SQS:SendMessage\",\"Resource\":\"*\"}]}",
             version);
    return strdup(text);
}

// Retention only gets shorter: what expired once stays so.
static inline void world_set_attributes(struct world *w)
{
    struct queue_attributes a;
    struct queue_info info;
    struct fault f;
    uint64_t wait_for;
    struct queue_state s = w->model.now.queues[OTHER];
    if (w->queues[OTHER] == NULL || s.attributes % 10 == 9)
        return;
    queue_info(w->rig.queues, w->queues[OTHER], &info);
    attributes_copy(&a, info.attributes);
    s.attributes++;
    a.retention_s = model_retention_s(OTHER, s.attributes);
    a.visibility_s = 100 + s.attributes;
    free(a.policy);
    a.policy = world_policy(s.attributes);
    if (queue_set_attributes(w->rig.queues, w->queues[OTHER], w->rig.now_ms, &a, &wait_for, &f) ==
        SQS_OK)
        model_queue(&w->model, OTHER, &s);
    else
        attributes_release(&a);
}

static inline void world_set_tags(struct world *w)
{
    struct fault f;
    uint64_t wait_for;
    char text[20];
    struct queue_state s = w->model.now.queues[OTHER];
    if (w->queues[OTHER] == NULL)
        return;
    struct tag *tags = calloc(1, sizeof tags[0]);
    s.tags++;
    snprintf(text, sizeof text, "%d", s.tags);
    tags[0] = (struct tag){strdup("version"), strdup(text)};
    if (queue_set_tags(w->rig.queues, w->queues[OTHER], tags, 1, &wait_for, &f) == SQS_OK)
        model_queue(&w->model, OTHER, &s);
    else
        tags_free(tags, 1);
}

static inline void world_remake(struct world *w)
{
    struct fault f;
    uint64_t wait_for;
    int version = 10 * (int)world_dice(w, 90);
    world_trace("delete or make queue %d", OTHER);
    if (w->queues[OTHER] == NULL) {
        world_make(w, OTHER, version);
        return;
    }
    if (queue_delete(w->rig.queues, w->queues[OTHER], w->rig.now_ms, &wait_for, &f) != SQS_OK) {
        if (!world_failed(w))
            world_wrong(w, "the queue cannot be deleted: %s", f.message);
        return;
    }
    struct queue_state s = w->model.now.queues[OTHER];
    s.there = false;
    s.gone_ms = w->rig.now_ms;
    model_emptying(&w->model, OTHER);
    model_queue(&w->model, OTHER, &s);
    w->queues[OTHER] = NULL;
    if (version % 4 > 0) // the same name again in the same commit
        world_make(w, OTHER, version);
}

static inline void world_purge(struct world *w, int queue)
{
    struct fault f;
    uint64_t wait_for;
    struct queue_state s = w->model.now.queues[queue];
    if (w->queues[queue] == NULL)
        return;
    bool full = world_full(w);
    if (full && model_fifo(queue)) // whether the deduplication ids go depends on the space
        return;
    bool refused = s.purged_ms > 0 && w->rig.now_ms < s.purged_ms + w->rig.cooldown_ms;
    enum sqs_code code = queue_purge(w->rig.queues, w->queues[queue], w->rig.now_ms, &wait_for, &f);
    world_trace("purge %d: %d", queue, (int)code);
    bool unsure = s.purged_ms == -1 && code == SQS_PURGE_IN_PROGRESS;
    if (!unsure && !world_failed(w) &&
        ((code == SQS_PURGE_IN_PROGRESS) != refused || (code != SQS_OK && !refused)))
        world_wrong(w, "a purge is %s: %s", refused ? "not refused" : "refused", f.message);
    if (code != SQS_OK)
        return;
    model_purged(&w->model, queue);
    s.purged_ms = full || world_full(w) ? -1 : w->rig.now_ms; // on a full disk it may be forgotten
    if (w->rig.cooldown_ms > 0)
        model_queue(&w->model, queue, &s);
}

// --- messages ---

// A deduplication id that was used within five minutes: nothing must be added. NOWHERE: none
// chosen.
static inline int world_again(struct world *w)
{
    const struct model *m = &w->model;
    for (int tries = 0; tries < 6 && m->count > 0; tries++) {
        int i = (int)world_dice(w, (uint64_t)m->count);
        if (m->info[i].queue != JOBS_FIFO || m->info[i].id == 0 || i < m->count - 150)
            continue;
        for (int k = m->count - 1; k > i; k--) // the latest with this id
            if (m->info[k].queue == JOBS_FIFO && m->info[k].id != 0 &&
                m->info[k].key == m->info[i].key)
                i = k;
        return i;
    }
    return NOWHERE;
}

static inline bool world_remembered(const struct model_state *s, const struct model *m, int i,
                                    int64_t now_ms)
{
    return s->messages[i].remembered && m->info[i].sent_ms + MODEL_DEDUP_MS > now_ms;
}

static inline void world_send_fifo(struct world *w)
{
    struct model *m = &w->model;
    char body[4000], key[16], group[8];
    struct sent sent;
    int again = world_dice(w, 4) == 0 ? world_again(w) : NOWHERE;
    int number = again != NOWHERE ? m->info[again].key : m->keys++;
    int g = again != NOWHERE ? m->info[again].group : (int)world_dice(w, WORLD_GROUPS);
    bool known = again != NOWHERE && world_remembered(&m->now, m, again, w->rig.now_ms);
    world_body(m->count, body);
    snprintf(key, sizeof key, "k%d", number);
    snprintf(group, sizeof group, "g%d", g);
    if (rig_send_fifo(&w->rig, w->queues[JOBS_FIFO], body, group, key, &sent) != SQS_OK)
        return;
    if (sent.duplicate != known)
        world_wrong(w, "message %d: deduplication id %s was %s", again, key,
                    known ? "forgotten" : "remembered for too long");
    else if (known && sent.id != m->info[again].id)
        world_wrong(w, "a duplicate of message %d got another sequence number", again);
    else if (!known && sent.id <= m->last_id)
        world_wrong(w, "sequence number %llu comes after %llu", (unsigned long long)sent.id,
                    (unsigned long long)m->last_id);
    else if (!known)
        world_trace("send %d, group %d, id %d",
                    model_sent(m, JOBS_FIFO, g, number, w->rig.now_ms, 0, sent.id), g, number);
}

static inline void world_send(struct world *w, int queue)
{
    static const char *const tenants[7] = {NULL, "a", "a", "a", "b", "a", NULL};
    struct model *m = &w->model;
    char body[4000];
    uint64_t id;
    int delay_s = world_dice(w, 4) == 0 ? 1 + (int)world_dice(w, WORLD_HIDDEN_MAX_S) : -1;
    if (m->count == MODEL_MESSAGES || w->queues[queue] == NULL)
        return;
    if (queue == JOBS_FIFO) {
        world_send_fifo(w);
        return;
    }
    world_body(m->count, body);
    w->rig.tenant = tenants[m->count % 7]; // no dice: the seeds that are kept go on as they did
    if (rig_send_id(&w->rig, w->queues[queue], body, delay_s, &id) == SQS_OK)
        world_trace("send %d to %d, delay %d s",
                    model_sent(m, queue, 0, 0, w->rig.now_ms, delay_s, id), queue, delay_s);
}

// The message that was handed out, by its body; by its number if the disk did not let the body be
// read.
static inline int world_which(struct world *w, const struct rig_message *got)
{
    char body[4000];
    const struct model *m = &w->model;
    int i = atoi(got->body);
    if (got->body[0] == '\0') {
        if (w->rig.disk.fault == FAKE_NONE)
            world_wrong(w, "a message cannot be read");
        for (i = m->count - 1; i > 0 && m->info[i].id != got->id; i--) {
        }
        return i;
    }
    if (i < 0 || i >= m->count) {
        world_wrong(w, "message '%.40s' was never sent", got->body);
        return NOWHERE;
    }
    world_body(i, body);
    if (strcmp(body, got->body) != 0 || m->info[i].id != got->id) {
        world_wrong(w, "message %d has another body or number", i);
        return NOWHERE;
    }
    return i;
}

static inline void world_handle_add(struct world *w, int queue, int i,
                                    const struct rig_message *got)
{
    int h = w->handle_count < WORLD_HANDLES ? w->handle_count++ : (int)world_dice(w, WORLD_HANDLES);
    w->handles[h] = (struct world_handle){.message = i,
                                          .queue = queue,
                                          .born = w->model.now.queues[queue].born,
                                          .count = got->receive_count,
                                          .life = w->life,
                                          .at_ms = w->rig.now_ms};
    memcpy(w->handles[h].text, got->handle, sizeof got->handle);
}

static inline void world_receive(struct world *w, int queue)
{
    static struct rig_message got[10];
    bool in_turn[MODEL_MESSAGES] = {false};
    struct model *m = &w->model;
    int visibility_s =
        world_dice(w, 3) == 0 ? (int)world_dice(w, WORLD_HIDDEN_MAX_S) : MODEL_VISIBILITY_S;
    if (w->queues[queue] == NULL)
        return;
    bool full = world_full(w);
    size_t count = rig_receive(&w->rig, w->queues[queue], 1 + world_dice(w, 10), visibility_s, got);
    full = full || world_full(w) || world_failed(w); // then it is handed out without a record
    model_looked(m, queue, w->rig.now_ms);
    for (size_t k = 0; k < count; k++) {
        int i = world_which(w, &got[k]);
        if (i == NOWHERE)
            return;
        const char *wrong =
            model_received(m, i, queue, world_queue_of(got[k].source), w->rig.now_ms, visibility_s,
                           got[k].receive_count, got[k].first_received_ms, !full);
        if (wrong != NULL)
            world_wrong(w, "message %d was received from '%s', and %s", i, world_names[queue],
                        wrong);
        else if (model_fifo(queue) && model_overtakes(m, i, queue, w->rig.now_ms, in_turn))
            world_wrong(w, "message %d was received before its turn in its group", i);
        in_turn[i] = true;
        world_trace("receive %d from %d for %d s, count %u, full %d", i, queue, visibility_s,
                    got[k].receive_count, full);
        w->received_in[i] = w->life;
        world_handle_add(w, queue, i, &got[k]);
    }
}

// Whether the handle is the message's latest in this queue, if the message is in this place.
static inline bool world_held(const struct world *w, const struct world_handle *h,
                              const struct place *p)
{
    if (p->queue != h->queue || h->born != w->model.now.queues[h->queue].born ||
        h->at_ms < p->entered_ms)
        return false;
    if (w->received_in[h->message] == w->life)
        return h->life == w->life && h->count == p->count;
    return h->count >= p->count; // a crash may have forgotten the latest receives
}

static inline void world_delete(struct world *w, int which)
{
    struct world_handle h = w->handles[which];
    struct message_state s = w->model.now.messages[h.message],
                         after = {.any = s.any, .remembered = s.remembered};
    static const struct place nowhere = {.queue = NOWHERE};
    bool held = false, surely = !s.any;
    w->handles[which] = w->handles[--w->handle_count];
    if (w->queues[h.queue] == NULL)
        return;
    for (int k = 0; k < s.count; k++) {
        const struct place *p = &s.places[k];
        bool goes =
            world_held(w, &h, p) && !(model_fifo(h.queue) && p->visible_ms <= w->rig.now_ms);
        state_add(&after, goes ? &nowhere : p);
        held = held || goes;
        surely = surely && goes;
    }
    enum sqs_code code = rig_delete(&w->rig, w->queues[h.queue], h.text);
    world_trace("delete %d with the handle of receive %u from %d: %d, held %d", h.message, h.count,
                h.queue, (int)code, held);
    if (code == SQS_OK && held)
        model_set(&w->model, h.message, &after, true);
    else if (code != SQS_OK && surely && !world_failed(w))
        world_wrong(w, "message %d cannot be deleted: %d", h.message, (int)code);
}

static inline void world_change(struct world *w, int which)
{
    const struct world_handle *h = &w->handles[which];
    struct message_state s = w->model.now.messages[h->message],
                         after = {.any = s.any, .remembered = s.remembered};
    int visibility_s = (int)world_dice(w, WORLD_HIDDEN_MAX_S);
    bool held = false;
    if (w->queues[h->queue] == NULL)
        return;
    for (int k = 0; k < s.count; k++) {
        struct place p = s.places[k];
        if (world_held(w, h, &p) && p.count > 0 && p.visible_ms > w->rig.now_ms) {
            p.visible_ms = w->rig.now_ms + visibility_s * 1000;
            held = true;
        }
        state_add(&after, &p);
    }
    enum sqs_code code = rig_visibility(&w->rig, w->queues[h->queue], h->text, visibility_s);
    world_trace("hide %d for %d s with the handle of receive %u from %d: %d, held %d", h->message,
                visibility_s, h->count, h->queue, (int)code, held);
    if (code == SQS_OK && held)
        model_set(&w->model, h->message, &after, true);
}

// --- move tasks ---

static inline void world_task_start(struct world *w)
{
    struct fault f;
    uint64_t wait_for;
    char id[TASK_ID_BYTES];
    struct task_state t = w->model.now.task;
    if ((t.serial > 0 && t.status == TASK_RUNNING) || w->queues[DEAD_FIFO] == NULL ||
        w->queues[DEAD] == NULL)
        return;
    t = (struct task_state){.serial = t.serial + 1, .source = world_dice(w, 2) ? DEAD : DEAD_FIFO};
    t.destination =
        t.source == DEAD && world_dice(w, 3) == 0 && w->queues[OTHER] != NULL ? OTHER : NOWHERE;
    t.destination_born = t.destination != NOWHERE ? w->model.now.queues[OTHER].born : 0;
    snprintf(id, sizeof id, "task-%d", t.serial);
    if (task_start(w->rig.queues, w->queues[t.source],
                   t.destination != NOWHERE ? w->queues[t.destination] : NULL,
                   world_dice(w, 2) ? 0 : 2, id, w->rig.now_ms, &wait_for, &f) == SQS_OK)
        model_task(&w->model, &t);
    world_trace("task %d from %d to %d", t.serial, t.source, t.destination);
}

static inline void world_task_cancel(struct world *w)
{
    struct fault f;
    uint64_t wait_for;
    struct task_state t = w->model.now.task;
    if (t.serial == 0 || t.status != TASK_RUNNING)
        return;
    const struct move_task *found = tasks_of(w->queues[t.source]);
    t.status = TASK_CANCELLED;
    if (task_cancel(w->rig.queues, (struct move_task *)(uintptr_t)found, &wait_for, &f) == SQS_OK)
        model_task(&w->model, &t);
}

// After anything that lets deadlines pass.
static inline void world_ticked(struct world *w)
{
    struct task_state t = w->model.now.task;
    if (t.serial == 0 || t.status != TASK_RUNNING)
        return;
    const struct move_task *found = tasks_of(w->queues[t.source]);
    model_task_ran(&w->model, w->rig.now_ms);
    if (found->moved == t.moved && (int)found->status == t.status)
        return;
    t.moved = found->moved;
    t.status = (int)found->status;
    t.unsure = world_full(w);
    world_trace("task %d: moved %llu, status %d, full %d", t.serial, (unsigned long long)t.moved,
                t.status, t.unsure);
    model_task(&w->model, &t);
}

// --- time and turns ---

static inline void world_advance(struct world *w, int64_t ms)
{
    world_trace("advance %lld ms", (long long)ms);
    rig_advance(&w->rig, ms);
    world_ticked(w);
}

static inline void world_turn(struct world *w)
{
    bool full = world_full(w);
    rig_turn(&w->rig);
    world_ticked(w);
    struct journal *j = queues_journal(w->rig.queues);
    if (!journal_failed(j) && journal_durable(j) + 1 == journal_next_sequence(j)) {
        struct journal_stats stats;
        journal_stats(j, &stats);
        world_trace("turn at %lld: %d effects are durable; %u segments, %u spare, %llu free, %llu "
                    "reserved, %llu live",
                    (long long)w->rig.now_ms, w->model.effect_count, stats.segments, stats.spares,
                    (unsigned long long)stats.free_bytes, (unsigned long long)stats.reserve_bytes,
                    (unsigned long long)stats.live_bytes);
        model_committed(&w->model);
        w->marked = 0;
        w->anchored = true;
        if (!full && !world_full(w))
            w->committed_ms = w->rig.now_ms;
    }
}

// --- a life ---

static inline void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    rig_init(&w->rig);
    model_init(&w->model);
    w->seed = w->chance = seed;
    w->rig.cooldown_ms = seed % 3 == 0 ? 60000 : 0;
}

// Opens the store, makes what is not there. False: the disk did not let it.
static inline bool world_begin(struct world *w)
{
    w->life++;
    world_trace("life %d", w->life);
    w->handle_count = w->handle_count < WORLD_HANDLES / 2 ? w->handle_count : WORLD_HANDLES / 2;
    if (rig_open(&w->rig) != OK)
        return false;
    for (int q = 0; q < QUEUES; q++) {
        w->queues[q] = queue_find(w->rig.queues, span_from(world_names[q]));
        if (w->queues[q] == NULL)
            world_make(w, q, 0);
    }
    world_turn(w);
    return true;
}

static inline void world_rare_step(struct world *w)
{
    uint64_t dice = world_dice(w, 40);
    if (dice < 3)
        world_task_start(w);
    else if (dice < 4)
        world_task_cancel(w);
    else if (dice < 9)
        world_set_attributes(w);
    else if (dice < 13)
        world_set_tags(w);
    else if (dice < 15)
        world_purge(w, (int)world_dice(w, QUEUES));
    else if (dice < 17)
        world_remake(w);
    else if (dice < 20)
        world_advance(w, 1000 * (int64_t)world_dice(w, 400));
    else
        world_advance(w, (int64_t)world_dice(w, 3000));
}

static inline void world_step(struct world *w)
{
    static const int sends[] = {JOBS, JOBS, JOBS_FIFO, JOBS_FIFO, OTHER};
    static const int receives[] = {JOBS, JOBS, JOBS_FIFO, JOBS_FIFO, OTHER, DEAD, DEAD_FIFO};
    uint64_t kind = world_dice(w, 16);
    if (kind < 4) {
        int queue = sends[world_dice(w, 5)], batch = 1 + (int)world_dice(w, 4);
        for (int i = 0; i < batch && w->model.count < MODEL_MESSAGES; i++)
            world_send(w, queue);
    } else if (kind < 7) {
        world_receive(w, receives[world_dice(w, 7)]);
    } else if (kind < 11 && w->handle_count > 0) {
        world_delete(w, (int)world_dice(w, (uint64_t)w->handle_count));
    } else if (kind < 13 && w->handle_count > 0) {
        world_change(w, (int)world_dice(w, (uint64_t)w->handle_count));
    } else {
        world_rare_step(w);
    }
}

static inline void world_mark(struct world *w)
{
    while (w->marked < w->model.effect_count)
        w->marks[w->marked++] = journal_next_sequence(queues_journal(w->rig.queues)) - 1;
}

// How many of the effects a kill of the process cannot take away: receives were answered then.
static inline int world_promised(const struct world *w)
{
    int count = 0;
    while (!w->power_lost && count < w->marked && w->marks[count] <= w->rig.written)
        count++;
    return count;
}

// Until the disk ends it, or something is wrong. True: all steps were made.
static inline bool world_live(struct world *w, int steps)
{
    if (!world_begin(w))
        return false;
    for (int i = 0; i < steps && w->why[0] == '\0' && !world_failed(w); i++) {
        world_step(w);
        world_mark(w);
        if (world_dice(w, 3) == 0 && !world_failed(w))
            world_turn(w);
    }
    if (!world_failed(w))
        world_turn(w);
    return !world_failed(w);
}
