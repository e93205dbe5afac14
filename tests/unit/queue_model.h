// A plain model of SQS, to compare the queues with: what was asked, what was answered, and from
// that alone what may be there. It knows nothing of journals and segments, and it is slow and
// simple.
//
// What nobody knows is kept as it is: each message has a set of possible states. Each change that
// was asked for is an effect; `durable` is what was acknowledged, `effects` what came after it, in
// order. After a crash there must be a number k so that what is found is `durable` and the first k
// effects. No I/O, no clock.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    JOBS, // standard, dead letters go to DEAD
    DEAD,
    JOBS_FIFO, // the same with FIFO queues
    DEAD_FIFO,
    OTHER, // standard; deleted and made anew, purged, its attributes change, messages expire
    QUEUES,
    NOWHERE = -1, // not sent, or deleted, purged, expired
    MODEL_MESSAGES = 700,
    MODEL_STATES = 8,
    MODEL_EFFECTS = 6000,
    MODEL_VISIBILITY_S = 5,
    MODEL_RECEIVES_MAX = 3, // maxReceiveCount of JOBS and JOBS_FIFO
    MODEL_DEDUP_MS = 300000,
};

struct place { // one state in which a message may be
    int queue, source;
    uint32_t count; // of receives
    int64_t visible_ms, first_ms;
    int64_t entered_ms, entered_max_ms; // in between
    bool moved;                         // has changed its queue at some time
};

struct message_state {
    struct place places[MODEL_STATES];
    int count;
    bool any;        // too many are possible: nothing is known
    bool remembered; // FIFO: its deduplication id is
};

struct queue_state {
    bool there;
    int born;                   // how often it was made
    int attributes, tags;       // versions of them, see below
    int64_t retention_ms;       // of `attributes`
    int64_t purged_ms, gone_ms; // when; -1: may have been forgotten
};

struct task_state {
    int serial;                                // 0: none yet
    int source, destination, destination_born; // which one of that name
    uint64_t moved;
    int status;  // enum task_status
    bool unsure; // there was no space for its record
};

struct model_state {
    struct queue_state queues[QUEUES];
    struct message_state messages[MODEL_MESSAGES];
    struct task_state task; // the latest one
};

enum effect_kind { EFFECT_MESSAGE, EFFECT_MAYBE, EFFECT_QUEUE, EFFECT_TASK, EFFECT_EMPTY };

struct effect {
    enum effect_kind kind;
    int index;                    // message, queue
    struct message_state message; // MESSAGE: from now on; MAYBE: its places are possible too
    struct queue_state queue;
    struct task_state task;
};

struct message_info { // what never changes
    int queue;        // it was sent to
    int group;        // FIFO
    int key;          // FIFO: its deduplication id
    uint64_t id;      // sequence number
    int64_t sent_ms;
    bool acknowledged;
};

struct model {
    struct model_state now, durable;
    struct message_info info[MODEL_MESSAGES];
    int count;
    struct effect effects[MODEL_EFFECTS];
    int effect_count;
    uint64_t last_id; // highest sequence number that was acknowledged
    int keys;         // deduplication ids given out
};

// Attributes and tags of a version, so that a state needs only its number.
static inline int model_retention_s(int queue, int version)
{
    return queue == OTHER ? 900 - 60 * (version % 10) : 345600;
}

static inline bool model_fifo(int queue)
{
    return queue == JOBS_FIFO || queue == DEAD_FIFO;
}

static inline int model_dead(int queue)
{
    return queue == JOBS ? DEAD : queue == JOBS_FIFO ? DEAD_FIFO : NOWHERE;
}

static inline void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    for (int i = 0; i < MODEL_MESSAGES; i++) {
        m->now.messages[i].count = 1;
        m->now.messages[i].places[0].queue = NOWHERE;
    }
    m->durable = m->now;
}

static inline bool place_same(const struct place *a, const struct place *b)
{
    return a->queue == b->queue &&
           (a->queue == NOWHERE ||
            (a->source == b->source && a->count == b->count && a->visible_ms == b->visible_ms &&
             a->moved == b->moved && a->first_ms == b->first_ms));
}

static inline void state_add(struct message_state *s, const struct place *p)
{
    for (int i = 0; i < s->count; i++) {
        struct place *same = &s->places[i];
        if (!place_same(same, p))
            continue;
        if (p->entered_ms < same->entered_ms)
            same->entered_ms = p->entered_ms;
        if (p->entered_max_ms > same->entered_max_ms)
            same->entered_max_ms = p->entered_max_ms;
        return;
    }
    if (s->count == MODEL_STATES)
        s->any = true;
    else
        s->places[s->count++] = *p;
}

static inline void queue_emptied(struct model_state *s, const struct message_info *info, int count,
                                 int queue)
{
    static const struct place nowhere = {.queue = NOWHERE};
    for (int i = 0; i < count; i++) {
        struct message_state before = s->messages[i], *after = &s->messages[i];
        after->count = 0;
        for (int k = 0; k < before.count; k++)
            state_add(after, before.places[k].queue == queue ? &nowhere : &before.places[k]);
        if (info[i].queue == queue)
            after->remembered = false;
    }
}

static inline void effect_apply(const struct model *m, struct model_state *s,
                                const struct effect *e)
{
    switch (e->kind) {
    case EFFECT_MESSAGE:
        s->messages[e->index] = e->message;
        break;
    case EFFECT_MAYBE:
        for (int i = 0; i < e->message.count; i++)
            state_add(&s->messages[e->index], &e->message.places[i]);
        break;
    case EFFECT_QUEUE:
        s->queues[e->index] = e->queue;
        if (!e->queue.there)
            queue_emptied(s, m->info, m->count, e->index);
        break;
    case EFFECT_TASK:
        s->task = e->task;
        break;
    case EFFECT_EMPTY:
        queue_emptied(s, m->info, m->count, e->index);
        break;
    }
}

static inline struct effect *effect_add(struct model *m, enum effect_kind kind, int index)
{
    if (m->effect_count == MODEL_EFFECTS)
        abort();
    struct effect *e = &m->effects[m->effect_count++];
    e->kind = kind;
    e->index = index;
    return e;
}

// Everything so far is acknowledged.
static inline void model_committed(struct model *m)
{
    for (int i = 0; i < m->effect_count; i++)
        effect_apply(m, &m->durable, &m->effects[i]);
    m->effect_count = 0;
    for (int i = 0; i < m->count; i++) {
        if (m->info[i].id > m->last_id)
            m->last_id = m->info[i].id;
        m->info[i].acknowledged = true;
    }
}

// --- what happens to a message ---

static inline void model_set(struct model *m, int i, const struct message_state *state,
                             bool recorded)
{
    m->now.messages[i] = *state;
    effect_add(m, recorded ? EFFECT_MESSAGE : EFFECT_MAYBE, i)->message = *state;
}

static inline void model_maybe(struct model *m, int i, const struct place *p)
{
    struct effect *e = effect_add(m, EFFECT_MAYBE, i);
    e->message = (struct message_state){.places = {*p}, .count = 1};
    effect_apply(m, &m->now, e);
}

// Returns its index.
static inline int model_sent(struct model *m, int queue, int group, int key, int64_t now_ms,
                             int delay_s, uint64_t id)
{
    int i = m->count++;
    m->info[i] = (struct message_info){
        .queue = queue, .group = group, .key = key, .id = id, .sent_ms = now_ms};
    struct message_state s = {.count = 1, .remembered = model_fifo(queue)};
    s.places[0] = (struct place){.queue = queue,
                                 .source = NOWHERE,
                                 .entered_ms = now_ms,
                                 .entered_max_ms = now_ms,
                                 .visible_ms = delay_s > 0 ? now_ms + delay_s * 1000 : 0};
    model_set(m, i, &s, true);
    return i;
}

// It surely is: nobody may get it.
static inline bool place_expired(const struct model_state *s, const struct place *p, int64_t now_ms)
{
    return p->entered_max_ms + s->queues[p->queue].retention_ms <= now_ms;
}

// Whether a message in this state can be handed out by this queue.
static inline bool place_ready(const struct model_state *s, const struct place *p, int queue,
                               int64_t now_ms)
{
    return p->queue == queue && p->visible_ms <= now_ms && !place_expired(s, p, now_ms);
}

static inline bool place_too_often(const struct place *p)
{
    return model_dead(p->queue) != NOWHERE && p->count >= MODEL_RECEIVES_MAX;
}

// What becomes of it when somebody looks: dead letters move on. FIFO: and their time begins anew.
static inline struct place place_dead_letter(const struct place *p, int64_t now_ms)
{
    struct place dead = *p;
    dead.queue = model_dead(p->queue);
    dead.source = p->queue;
    dead.visible_ms = 0;
    dead.moved = true;
    if (model_fifo(dead.queue))
        dead.entered_ms = dead.entered_max_ms = now_ms;
    return dead;
}

// A receive from a queue can move those that were received too often, whatever it returns.
static inline void model_looked(struct model *m, int queue, int64_t now_ms)
{
    if (model_dead(queue) == NOWHERE)
        return;
    for (int i = 0; i < m->count; i++) {
        struct message_state *s = &m->now.messages[i];
        for (int k = 0; k < s->count; k++)
            if (place_ready(&m->now, &s->places[k], queue, now_ms) &&
                place_too_often(&s->places[k])) {
                struct place dead = place_dead_letter(&s->places[k], now_ms);
                model_maybe(m, i, &dead);
                break;
            }
    }
}

// It was handed out. Returns what is wrong with that, or NULL.
static inline const char *model_received(struct model *m, int i, int queue, int source,
                                         int64_t now_ms, int visibility_s, uint32_t count,
                                         int64_t first_ms, bool recorded)
{
    const struct message_state *before = &m->now.messages[i];
    struct message_state after = {.remembered = before->remembered};
    const char *why = "it is not in this queue";
    if (!m->info[i].acknowledged)
        return "it was not durable yet";
    for (int k = 0; k < before->count; k++) {
        struct place p = before->places[k];
        if (p.queue != queue)
            continue;
        if (!place_ready(&m->now, &p, queue, now_ms)) {
            why = p.visible_ms > now_ms ? "it is hidden" : "its retention period is over";
            continue;
        }
        if (place_too_often(&p) && recorded) { // a full disk cannot move it
            why = "it was received too often";
            continue;
        }
        if (p.count + 1 != count || (p.first_ms != 0 && p.first_ms != first_ms)) {
            why = "its receive count or first receive is wrong";
            continue;
        }
        p.count = count;
        p.first_ms = first_ms;
        p.visible_ms = now_ms + visibility_s * 1000;
        state_add(&after, &p);
    }
    if (before->any)
        after = (struct message_state){.places = {{.queue = queue,
                                                   .source = source,
                                                   .count = count,
                                                   .first_ms = first_ms,
                                                   .visible_ms = now_ms + visibility_s * 1000,
                                                   .entered_ms = m->info[i].sent_ms,
                                                   .entered_max_ms = now_ms,
                                                   .moved = true}},
                                       .count = 1,
                                       .remembered = before->remembered};
    if (after.count == 0)
        return why;
    model_set(m, i, &after, recorded);
    return NULL;
}

// FIFO: true if an earlier message of its group is surely there, and was not handed out in this
// turn.
static inline bool model_overtakes(const struct model *m, int i, int queue, int64_t now_ms,
                                   const bool *in_turn)
{
    for (int k = 0; k < i; k++) {
        const struct message_state *s = &m->now.messages[k];
        const struct place *p = &s->places[0];
        if (m->info[k].group == m->info[i].group && s->count == 1 && !s->any && p->queue == queue &&
            !place_expired(&m->now, p, now_ms) && !p->moved &&
            !m->now.messages[i].places[0].moved && !in_turn[k])
            return true;
    }
    return false;
}

// --- the whole of a queue ---

static inline void model_queue(struct model *m, int queue, const struct queue_state *state)
{
    struct effect *e = effect_add(m, EFFECT_QUEUE, queue);
    e->queue = *state;
    e->queue.retention_ms = model_retention_s(queue, state->attributes) * 1000LL;
    effect_apply(m, &m->now, e);
}

// Before it is purged or deleted: messages that came from elsewhere go one by one.
static inline void model_emptying(struct model *m, int queue)
{
    static const struct place nowhere = {.queue = NOWHERE};
    for (int i = 0; i < m->count; i++)
        for (int k = 0; k < m->now.messages[i].count; k++)
            if (m->now.messages[i].places[k].queue == queue && m->now.messages[i].places[k].moved) {
                struct effect *e = effect_add(m, EFFECT_MAYBE, i);
                e->message = (struct message_state){.places = {nowhere}, .count = 1};
                break;
            }
}

static inline void model_purged(struct model *m, int queue)
{
    model_emptying(m, queue);
    effect_apply(m, &m->now, effect_add(m, EFFECT_EMPTY, queue));
}

// --- move tasks ---

// Where a task takes a message that is in this state. NOWHERE: it cannot.
static inline int task_target(const struct model_state *s, const struct task_state *t,
                              const struct place *p)
{
    int target = t->destination != NOWHERE ? t->destination : p->source;
    if (target == NOWHERE || !s->queues[target].there ||
        (t->destination != NOWHERE && s->queues[target].born != t->destination_born))
        return NOWHERE;
    return target;
}

static inline struct place place_redriven(int target, int64_t now_ms)
{
    return (struct place){.queue = target,
                          .source = NOWHERE,
                          .entered_ms = now_ms,
                          .entered_max_ms = now_ms,
                          .moved = true};
}

static inline void model_task(struct model *m, const struct task_state *t)
{
    struct effect *e = effect_add(m, EFFECT_TASK, 0);
    e->task = *t;
    effect_apply(m, &m->now, e);
}

// A task may have moved any of those that could be received.
static inline void model_task_ran(struct model *m, int64_t now_ms)
{
    const struct task_state *t = &m->now.task;
    for (int i = 0; i < m->count; i++) {
        struct message_state *s = &m->now.messages[i];
        for (int k = 0; k < s->count; k++) {
            int target = task_target(&m->now, t, &s->places[k]);
            if (place_ready(&m->now, &s->places[k], t->source, now_ms) && target != NOWHERE) {
                struct place p = place_redriven(target, now_ms);
                model_maybe(m, i, &p);
                break;
            }
        }
    }
}
