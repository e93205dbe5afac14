// What is there after a restart: everything is looked at in a copy of the disk, until it is empty,
// and compared with the model (queue_model.h).
#pragma once

#include "queue_world.h"

// Small steps as long as something may be hidden; then large ones: where the clock went back over a
// restart of the machine, deadlines are farther away.
enum { LOOK_STEPS = (WORLD_HIDDEN_MAX_S + 1) * 1000 / WORLD_STEP_MS, LOOK_LARGE_STEPS = 2000 };

struct look {
    int64_t now_ms;    // store time of the restart
    int64_t latest_ms; // and the latest before: what had ended by then may be gone
    struct {
        bool there;
        int attributes, tags;
    } queues[QUEUES];
    struct task_state task;      // serial 0: none
    bool known[MODEL_MESSAGES];  // FIFO: its deduplication id still finds it
    bool probed[MODEL_MESSAGES]; // that was asked
    struct {
        int queue, source; // NOWHERE: not found
        uint32_t count;
        int64_t at_ms, step_ms, first_ms; // found at, so long after it was looked for before
        int order;
    } found[MODEL_MESSAGES];
    int found_count;
    int64_t step_ms;
};

// --- looking ---

static inline void look_queue(struct world *w, struct rig *r, int q, struct look *l)
{
    struct queue_info info;
    struct queue *found = queue_find(r->queues, span_from(world_names[q]));
    l->queues[q].there = found != NULL;
    if (found == NULL || q != OTHER)
        return;
    queue_info(r->queues, found, &info);
    int version = info.attributes->visibility_s - 100;
    l->queues[q].attributes = version;
    char *policy = world_policy(version);
    if (info.attributes->retention_s != model_retention_s(OTHER, version) ||
        (version % 10 != 0) != (info.attributes->policy != NULL) ||
        (version % 10 != 0 && strcmp(policy, info.attributes->policy) != 0))
        world_wrong(w, "the attributes of a queue are not of one version");
    free(policy);
    if (info.tag_count == 1 && strcmp(info.tags[0].key, "version") == 0)
        l->queues[q].tags = atoi(info.tags[0].value);
    else if (info.tag_count != 0)
        world_wrong(w, "the tags of a queue are not those that were set");
}

static inline void look_task(struct rig *r, struct look *l)
{
    static const int sources[] = {DEAD, DEAD_FIFO};
    for (int k = 0; k < 2; k++) {
        struct queue *q = queue_find(r->queues, span_from(world_names[sources[k]]));
        for (const struct move_task *t = q != NULL ? tasks_of(q) : NULL; t != NULL; t = t->next) {
            int serial = atoi(t->id + strlen("task-"));
            if (serial > l->task.serial)
                l->task = (struct task_state){.serial = serial,
                                              .source = sources[k],
                                              .moved = t->moved,
                                              .status = (int)t->status};
        }
    }
}

// Sends every deduplication id of the last minutes once more.
static inline void look_dedup(struct world *w, struct rig *r, struct look *l)
{
    const struct model *m = &w->model;
    uint64_t answers[MODEL_MESSAGES] = {0}; // by deduplication id: message that it finds
    bool asked[MODEL_MESSAGES] = {false};
    struct queue *q = queue_find(r->queues, span_from(world_names[JOBS_FIFO]));
    for (int i = m->count - 1; i >= 0 && q != NULL; i--) {
        char text[16];
        struct sent sent;
        int key = m->info[i].key;
        if (m->info[i].queue != JOBS_FIFO || m->info[i].sent_ms + MODEL_DEDUP_MS < r->now_ms)
            continue;
        snprintf(text, sizeof text, "k%d", key);
        l->probed[i] = asked[key];
        l->known[i] = asked[key] && answers[key] == m->info[i].id;
        if (asked[key] || rig_send_fifo(r, q, "probe", "probe", text, &sent) != SQS_OK)
            continue; // or a full disk
        answers[key] = sent.duplicate ? sent.id : UINT64_MAX;
        asked[key] = l->probed[i] = true;
        l->known[i] = answers[key] == m->info[i].id;
        if (!sent.duplicate && sent.id <= m->last_id)
            world_wrong(w, "sequence number %llu comes after %llu", (unsigned long long)sent.id,
                        (unsigned long long)m->last_id);
    }
}

static inline void look_found(struct world *w, struct look *l, int q, const struct rig_message *got,
                              int64_t now_ms)
{
    char body[4000];
    int i = atoi(got->body);
    if (strcmp(got->body, "probe") == 0)
        return;
    world_body(i >= 0 && i < w->model.count ? i : 0, body);
    if (strcmp(body, got->body) != 0)
        world_wrong(w, "after the restart message '%.40s' was never sent", got->body);
    else if (l->found[i].queue != NOWHERE)
        world_wrong(w, "after the restart message %d is there twice", i);
    else {
        l->found[i].queue = q;
        l->found[i].source = world_queue_of(got->source);
        l->found[i].count = got->receive_count;
        l->found[i].first_ms = got->first_received_ms;
        l->found[i].at_ms = now_ms;
        l->found[i].step_ms = l->step_ms;
        l->found[i].order = l->found_count++;
    }
}

static inline void look_drain(struct world *w, struct rig *r, int q, struct look *l)
{
    static struct rig_message got[10];
    size_t count;
    struct queue *queue = queue_find(r->queues, span_from(world_names[q]));
    while (queue != NULL && (count = rig_receive(r, queue, 10, 3600, got)) > 0) {
        for (size_t k = 0; k < count; k++) {
            look_found(w, l, q, &got[k], r->now_ms);
            if (rig_delete(r, queue, got[k].handle) != SQS_OK)
                world_wrong(w, "after the restart a message cannot be deleted");
        }
        rig_turn(r);
    }
}

// Looks at all there is; the store itself is not touched.
static inline void look_at(struct world *w, struct look *l)
{
    static struct rig r;
    memset(l, 0, sizeof *l);
    for (int i = 0; i < MODEL_MESSAGES; i++)
        l->found[i].queue = l->found[i].source = NOWHERE;
    r = w->rig;
    r.queues = NULL;
    fake_disk_copy(&w->rig.disk, &r.disk);
    if (rig_open(&r) != OK) {
        world_wrong(w, "the store does not open: %s", r.error.msg);
        fake_disk_release(&r.disk);
        return;
    }
    l->now_ms = r.now_ms;
    l->latest_ms = w->latest_ms > r.now_ms ? w->latest_ms : r.now_ms;
    for (int q = 0; q < QUEUES; q++)
        look_queue(w, &r, q, l);
    look_task(&r, l);
    look_dedup(w, &r, l);
    rig_turn(&r);
    for (int step = 0; step < LOOK_STEPS + LOOK_LARGE_STEPS; step++) {
        for (int q = 0; q < QUEUES; q++)
            look_drain(w, &r, q, l);
        struct queues_stats stats;
        queues_stats(r.queues, &stats);
        if (step > LOOK_STEPS && stats.messages == 0)
            break;
        l->step_ms = step < LOOK_STEPS ? WORLD_STEP_MS : 10 * WORLD_STEP_MS;
        rig_advance(&r, l->step_ms);
        rig_turn(&r);
    }
    for (int q = 0; q < QUEUES; q++) {
        struct queue *queue = queue_find(r.queues, span_from(world_names[q]));
        struct queue_info info = {0};
        if (queue != NULL)
            queue_info(r.queues, queue, &info);
        if (info.visible + info.in_flight + info.delayed != 0)
            world_wrong(w, "'%s' was drained and counts %llu, %llu, %llu", world_names[q],
                        (unsigned long long)info.visible, (unsigned long long)info.in_flight,
                        (unsigned long long)info.delayed);
    }
    rig_release(&r);
}

// --- comparing ---

struct verdict { // why a state is not what was found
    char text[300];
};

static inline int64_t latest_visible(const struct model *m, const struct model_state *s, int i)
{
    int64_t latest_ms = 0;
    for (int k = 0; k < m->count; k++)
        for (int n = 0; n < s->messages[k].count; n++)
            if (m->info[k].queue == m->info[i].queue && m->info[k].group == m->info[i].group &&
                s->messages[k].places[n].queue != NOWHERE &&
                s->messages[k].places[n].visible_ms > latest_ms)
                latest_ms = s->messages[k].places[n].visible_ms;
    return latest_ms;
}

static inline bool task_running(const struct model_state *s)
{
    return s->task.serial > 0 && s->task.status == TASK_RUNNING;
}

// Whether the message, being in this place, would have been found as it was.
static inline bool place_fits(const struct model *m, const struct model_state *s, int i,
                              const struct place *was, const struct look *l)
{
    struct place p = *was;
    bool missing = l->found[i].queue == NOWHERE;
    if (p.queue == NOWHERE)
        return missing;
    int64_t from_ms = p.visible_ms > l->now_ms ? p.visible_ms : l->now_ms;
    int64_t end_ms = s->queues[p.queue].retention_ms;
    int64_t until_ms = model_fifo(p.queue) ? latest_visible(m, s, i) : 0;
    until_ms = (until_ms > from_ms ? until_ms : from_ms) + l->found[i].step_ms;
    if (missing)
        return p.entered_ms + end_ms <= until_ms + 10 * WORLD_STEP_MS ||
               p.entered_ms + end_ms <= l->latest_ms;
    if (p.entered_max_ms + end_ms <= l->found[i].at_ms || l->found[i].at_ms < from_ms)
        return false;
    if (place_too_often(&p))
        p = place_dead_letter(&p, l->now_ms);
    bool timely = l->found[i].at_ms <= until_ms;
    bool here = l->found[i].queue == p.queue && l->found[i].source == p.source &&
                l->found[i].count == p.count + 1 &&
                (p.first_ms == 0 || l->found[i].first_ms == p.first_ms);
    if (here && (timely || task_running(s)))
        return true;
    int target =
        task_running(s) && s->task.source == p.queue ? task_target(s, &s->task, &p) : NOWHERE;
    return target != NOWHERE && l->found[i].queue == target && l->found[i].source == NOWHERE &&
           l->found[i].count == 1;
}

static inline bool fits_messages(const struct model *m, const struct model_state *s,
                                 const struct look *l, struct verdict *why)
{
    for (int i = 0; i < m->count; i++) {
        const struct message_state *state = &s->messages[i];
        bool fits = state->any;
        for (int k = 0; k < state->count && !fits; k++)
            fits = place_fits(m, s, i, &state->places[k], l);
        const struct place *p = &state->places[0];
        if (!fits) {
            snprintf(why->text, sizeof why->text,
                     "message %d%s should be in queue %d, %u times received, visible in %lld ms; "
                     "it is in queue %d, %u times received, in %lld ms",
                     i, state->count > 1 ? " perhaps" : "", p->queue, p->count,
                     p->queue != NOWHERE ? (long long)(p->visible_ms - l->now_ms) : 0,
                     l->found[i].queue, l->found[i].count,
                     (long long)(l->found[i].at_ms - l->now_ms));
            return false;
        }
        bool known = state->remembered && m->info[i].sent_ms + MODEL_DEDUP_MS > l->now_ms;
        bool ended = m->info[i].sent_ms + MODEL_DEDUP_MS <= l->latest_ms;
        if (l->probed[i] && l->known[i] != known && !ended) {
            snprintf(why->text, sizeof why->text, "deduplication id k%d of message %d is %s",
                     m->info[i].key, i, known ? "forgotten" : "remembered");
            return false;
        }
    }
    return true;
}

static inline bool may_have_moved(const struct message_state *s)
{
    for (int k = 0; k < s->count; k++)
        if (s->places[k].queue != NOWHERE && (s->places[k].moved || place_too_often(&s->places[k])))
            return true;
    return false;
}

// FIFO: what never moved comes in the order in which it was sent.
static inline bool fits_order(const struct model *m, const struct model_state *s,
                              const struct look *l, struct verdict *why)
{
    int last[WORLD_GROUPS];
    memset(last, -1, sizeof last);
    for (int i = 0; i < m->count; i++) {
        int g = m->info[i].group;
        if (m->info[i].queue != JOBS_FIFO || l->found[i].queue != JOBS_FIFO ||
            may_have_moved(&s->messages[i]))
            continue;
        if (l->found[i].order < last[g]) {
            snprintf(why->text, sizeof why->text, "message %d came before its turn in group %d", i,
                     g);
            return false;
        }
        last[g] = l->found[i].order;
    }
    return true;
}

static inline bool fits(const struct model *m, const struct model_state *s, const struct look *l,
                        struct verdict *why)
{
    for (int q = 0; q < QUEUES; q++) {
        const struct queue_state *e = &s->queues[q];
        if (e->there == l->queues[q].there &&
            (!e->there || q != OTHER ||
             (e->attributes == l->queues[q].attributes && e->tags == l->queues[q].tags)))
            continue;
        snprintf(why->text, sizeof why->text,
                 "queue '%s' should be %d, version %d, %d; it is %d, %d, %d", world_names[q],
                 e->there, e->attributes, e->tags, l->queues[q].there, l->queues[q].attributes,
                 l->queues[q].tags);
        return false;
    }
    const struct task_state *t = &s->task;
    if (t->serial != l->task.serial ||
        (!t->unsure && (t->moved != l->task.moved || t->status != l->task.status))) {
        snprintf(why->text, sizeof why->text,
                 "task %d should have status %d with %llu moved, task %d has %d with %llu",
                 t->serial, t->status, (unsigned long long)t->moved, l->task.serial, l->task.status,
                 (unsigned long long)l->task.moved);
        return false;
    }
    return fits_messages(m, s, l, why) && fits_order(m, s, l, why);
}

// The model goes on from what was found: only the states stay that fit. `first`: of the first
// number of effects that fits; else what it allows is added, as nobody can tell which it was.
static inline void settle_on(struct model *m, struct model_state *out, const struct model_state *s,
                             const struct look *l, bool first)
{
    for (int q = 0; q < QUEUES; q++) {
        struct queue_state before = out->queues[q], *after = &out->queues[q];
        *after = s->queues[q];
        if (!first && before.purged_ms != after->purged_ms)
            after->purged_ms = -1;
        if (!first && before.gone_ms != after->gone_ms)
            after->gone_ms = -1;
    }
    out->task = s->task;
    out->task.status = l->task.status;
    out->task.moved = l->task.moved;
    out->task.unsure = false;
    for (int i = 0; i < m->count; i++) {
        struct message_state *after = &out->messages[i];
        const struct message_state *state = &s->messages[i];
        if (first)
            *after = (struct message_state){.any = state->any};
        after->any = after->any || state->any;
        after->remembered = state->remembered && (!l->probed[i] || l->known[i]);
        for (int k = 0; k < state->count; k++)
            if (place_fits(m, s, i, &state->places[k], l))
                state_add(after, &state->places[k]);
    }
}

static inline void settled(struct model *m, const struct model_state *found, const struct look *l)
{
    m->now = m->durable = *found;
    m->effect_count = 0;
    for (int i = 0; i < m->count; i++) {
        struct message_info *info = &m->info[i];
        if (!info->acknowledged && l->found[i].queue == NOWHERE && !l->known[i])
            info->id = 0; // it never was, and its number comes again
        info->acknowledged = true;
        if (l->found[i].queue != NOWHERE && info->id > m->last_id)
            m->last_id = info->id;
    }
}

// False: nothing that the model allows is what was found; w->why says more.
static inline bool world_compare(struct world *w, const struct look *l)
{
    static struct model_state s, found;
    struct model *m = &w->model;
    struct verdict first = {""}, last = {""};
    bool any = false;
    int promised = world_promised(w);
    s = found = m->durable;
    for (int k = 0; k < promised; k++)
        effect_apply(m, &s, &m->effects[k]);
    for (int k = promised; k <= m->effect_count; k++) {
        struct verdict *why = k == promised ? &first : &last;
        if (k > promised)
            effect_apply(m, &s, &m->effects[k - 1]);
        bool fit = fits(m, &s, l, why);
        world_trace("%d of %d effects: %s", k, m->effect_count, fit ? "fits" : why->text);
        if (fit)
            settle_on(m, &found, &s, l, !any);
        any = any || fit;
    }
    if (!any)
        return world_wrong(w, "if nothing was lost: %s | if all that may be lost was: %s",
                           m->effect_count > promised ? last.text : first.text, first.text);
    w->power_lost = false;
    w->marked = 0;
    settled(m, &found, l);
    return true;
}
