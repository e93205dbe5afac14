// One generation follows another: the coming one proves itself, then children change over one by
// one, each at the end of a job. The one before is kept for a while, without children: going back
// costs no loading. It goes back by itself when the new one crashes on jobs (worker/trial.h). No
// more than two generations are in memory: one that comes waits until older ones have left.
#include "worker/crew_internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

static void leave(struct generation *g);

// Lets the coming one load, if it waits for that and there is room. The one that is kept goes for
// it, unless nothing else could serve.
static void make_room(struct crew *c)
{
    struct generation *coming = c->coming;
    int others = 0;
    if (coming == NULL || !coming->waits)
        return;
    for (const struct generation *g = c->generations; g != NULL; g = g->next)
        others += g != coming;
    if (others > 1 && c->kept != NULL && c->serving != NULL)
        leave(c->kept); // comes back here when it has left
    else if (others <= 1)
        generation_let_load(coming);
}

static void leave(struct generation *g)
{
    struct crew *c = g->crew;
    g->role = GENERATION_LEAVING;
    if (c->kept == g)
        c->kept = NULL;
    loop_timer_cancel(c->config.loop, &g->limit);
    if (g->children == 0) {
        log_event(LOG_INFO, "generation_left", "generation=%u", g->number);
        generation_end(g);
        make_room(c);
    }
}

static void on_kept_long(void *ctx)
{
    leave(ctx);
}

static void keep(struct generation *g)
{
    struct crew *c = g->crew;
    if (c->kept != NULL)
        leave(c->kept);
    c->kept = g;
    g->role = GENERATION_KEPT;
    loop_timer_set(c->config.loop, &g->limit, loop_now_ms(c->config.loop) + WORKER_KEEP_S * 1000,
                   on_kept_long, g);
}

static void watch_packages(struct crew *c)
{
    const struct generation *g = c->serving;
    const char *packages[WORKER_MODELS_MAX];
    if (c->config.exec != NULL) // a program's files are not known: SIGHUP says that they changed
        return;
    for (size_t i = 0; g != NULL && i < g->model_count; i++)
        packages[i] = g->folders[i];
    package_watch_reset(c->watch, packages, g != NULL ? g->model_count : 0);
}

// Children that have nothing to do change at once, the others when they have answered; what waits
// behind their job goes to the new ones.
static void change_over(struct crew *c)
{
    for (int i = 0; i < c->config.children; i++) {
        struct slot *s = &c->slots[i];
        if (s->generation == c->serving && s->state != SLOT_OFF)
            continue;
        if (s->state == SLOT_OFF && i >= c->wanted)
            continue;
        if (s->state == SLOT_OFF) {
            loop_timer_cancel(c->config.loop, &s->restart);
            s->failures = 0;
            slot_start(s);
            continue;
        }
        for (uint32_t k = 1; s->state == SLOT_UP && k < s->pending; k++)
            slot_revoke(s, s->order[k]);
        change_on_idle(s);
    }
}

// The one that served so far is kept, or leaves.
static void serve(struct generation *g, bool keep_last)
{
    struct crew *c = g->crew;
    struct generation *last = c->serving;
    loop_timer_cancel(c->config.loop, &g->limit);
    if (c->coming == g)
        c->coming = NULL;
    if (c->kept == g)
        c->kept = NULL;
    c->serving = g;
    g->role = GENERATION_SERVING;
    memset(g->trials, 0, sizeof g->trials);
    g->stillborn = 0;
    if (last != NULL && keep_last)
        keep(last);
    else if (last != NULL)
        leave(last);
    c->refused[0] = '\0';
    c->zygote_failures = 0;
    memcpy(c->models, g->models, sizeof c->models);
    c->model_count = g->model_count;
    for (size_t i = 0; i < g->model_count; i++)
        log_event(LOG_INFO, "model_serves", "generation=%u model=%s precision=%s sha256=%.12s",
                  g->number, g->models[i].name, g->models[i].precision, g->models[i].sha256);
    watch_packages(c);
    crew_fit_memory(c);
    change_over(c);
    crew_state_write(c);
}

// A program's files are on disk: a zygote that was started before them has nothing that they have
// not, so there is no way back to it.
static bool worth_keeping(const struct crew *c)
{
    return c->config.exec == NULL;
}

void change_on_idle(struct slot *s)
{
    const struct crew *c = s->crew;
    bool idle = s->state == SLOT_STARTING || s->state == SLOT_UP;
    for (uint32_t i = 0; s->state == SLOT_UP && i < s->pending; i++)
        idle = idle && s->lanes[s->order[i]].revoked;
    if (c->serving == NULL || s->generation == c->serving || !idle)
        return;
    slot_retire(s);
    if (s->index < (uint32_t)c->wanted)
        slot_start(s);
}

// --- how a start ends ---

static void say_refused(struct crew *c, const char *why, int64_t wall_ms)
{
    snprintf(c->refused, sizeof c->refused, "%s", why);
    c->refused_wall_ms = wall_ms;
    crew_state_write(c);
}

static void look_again(struct crew *c)
{
    if (!c->look_again)
        return;
    c->look_again = false;
    change_start(c);
}

static void on_restart(void *ctx)
{
    change_start(ctx);
}

static void start_later(struct crew *c)
{
    c->zygote_failures++;
    loop_timer_set(c->config.loop, &c->zygote_restart,
                   loop_now_ms(c->config.loop) +
                       (c->zygote_failures == 1 ? 0 : crew_back_off_ms(c->zygote_failures)),
                   on_restart, c);
}

void change_start(struct crew *c)
{
    struct error error;
    if (c->coming != NULL) {
        c->look_again = true;
        return;
    }
    loop_timer_cancel(c->config.loop, &c->zygote_restart);
    c->why[0] = '\0';
    if (generation_start(c, &error) == OK)
        return;
    char text[520];
    log_event(LOG_ERROR, "zygote_start_failed", "why=%s", log_quote(error.msg, text, sizeof text));
    if (c->serving == NULL)
        start_later(c);
}

void change_on_ready(struct generation *g)
{
    struct crew *c = g->crew;
    if (g != c->coming || g->model_count == 0)
        return;
    log_event(LOG_INFO, "generation_proved", "generation=%u child_bytes=%llu shared_bytes=%llu",
              g->number, (unsigned long long)g->child_bytes, (unsigned long long)g->shared_bytes);
    serve(g, worth_keeping(c));
    look_again(c);
}

void change_on_loads(struct generation *g)
{
    if (g != g->crew->coming)
        return;
    g->waits = true;
    loop_timer_cancel(g->crew->config.loop, &g->limit); // older ones leave when their jobs are done
    make_room(g->crew);
}

void change_on_same(struct generation *g, uint32_t which)
{
    enum { FIRST_CONDEMNED = 2 }; // behind what serves and what is kept
    struct crew *c = g->crew;
    char text[600];
    if (g != c->coming)
        return;
    generation_end(g);
    const struct condemned *condemned = NULL;
    if (which >= FIRST_CONDEMNED && which < FIRST_CONDEMNED + WORKER_CONDEMNED_MAX)
        condemned = &c->condemned[which - FIRST_CONDEMNED];
    bool back = which == 1 || (condemned != NULL && c->serving == NULL);
    if (back && c->kept != NULL) {
        log_event(LOG_INFO, "generation_back", "generation=%u", c->kept->number);
        serve(c->kept, true);
    } else {
        log_event(LOG_INFO, "models_unchanged", "generation=%u", c->generation_number);
        watch_packages(c);
    }
    if (condemned != NULL)
        log_event(LOG_WARN, "models_not_tried_again", "why=%s",
                  log_quote(condemned->why, text, sizeof text));
    say_refused(c, condemned != NULL ? condemned->why : "",
                condemned != NULL ? condemned->wall_ms : 0);
    look_again(c);
}

void change_on_failed(struct generation *g, const char *sentence)
{
    struct crew *c = g->crew;
    char text[600];
    if (g != c->coming)
        return;
    generation_end(g);
    snprintf(c->why, sizeof c->why, "%s", sentence);
    if (!c->ever_ready && c->serving == NULL && c->kept == NULL) {
        // it is the worker's last sentence, which needs no second one in the log
        log_event(LOG_INFO, "model_failed", "why=%s", log_quote(c->why, text, sizeof text));
        crew_give_up(c, c->why);
        return;
    }
    c->counts.refused++;
    log_event(LOG_ERROR, "generation_refused", "generation=%u why=%s", c->generation_number,
              log_quote(c->why, text, sizeof text));
    if (c->serving == NULL && c->kept != NULL)
        serve(c->kept, true);
    else if (c->serving == NULL)
        start_later(c);
    else
        watch_packages(c);
    say_refused(c, c->why, clock_wall_ms());
    look_again(c);
}

void change_on_end(struct generation *g, const char *sentence)
{
    struct crew *c = g->crew;
    char text[700];
    if (g == c->coming) {
        snprintf(text, sizeof text, "the process that loads model '%.400s' was %s", c->config.model,
                 sentence);
        change_on_failed(g, text);
        return;
    }
    bool served = g == c->serving;
    generation_end(g);
    make_room(c);
    if (!served || c->coming != NULL)
        return;
    if (c->ever_ready)
        start_later(c);
    else
        crew_give_up(c, sentence);
}

void change_on_fewer(struct generation *g)
{
    if (g->role == GENERATION_LEAVING && g->children == 0)
        leave(g);
}

// --- the way back ---

static void condemn(struct crew *c, const struct generation *g, const char *why)
{
    struct condemned *at = &c->condemned[c->condemned_count++ % WORKER_CONDEMNED_MAX];
    memcpy(at->fingerprint, g->fingerprint, sizeof at->fingerprint);
    snprintf(at->why, sizeof at->why, "%s", why);
    at->wall_ms = clock_wall_ms();
}

static void change_back(struct crew *c, const char *why)
{
    struct generation *bad = c->serving;
    char text[600];
    log_event(LOG_ERROR, "generation_taken_back", "generation=%u to=%u why=%s", bad->number,
              c->kept->number, log_quote(why, text, sizeof text));
    condemn(c, bad, why);
    c->counts.taken_back++;
    serve(c->kept, false);
    say_refused(c, why, clock_wall_ms());
}

bool change_back_if_failed(struct crew *c, const char *sentence)
{
    const struct generation *g = c->serving, *before = c->kept;
    char why[500];
    if (g == NULL || before == NULL)
        return false;
    if (g->stillborn >= WORKER_TRIAL_BAD) {
        snprintf(why, sizeof why,
                 "taken back: %d of its processes in a row could not start, the last one: %.200s; "
                 "it is not tried again until a package changes",
                 g->stillborn, sentence);
        change_back(c, why);
        return true;
    }
    for (size_t i = 0; i < g->model_count; i++) {
        const struct trial *t = &g->trials[i];
        if (!trial_failed(t, i < before->model_count ? &before->trials[i] : NULL))
            continue;
        snprintf(why, sizeof why,
                 "model '%.80s' (sha256 %.12s) was taken back: %u different pictures of %u jobs "
                 "ended badly, the last one: %.200s; it is not tried again until its package "
                 "changes",
                 g->models[i].name, g->models[i].sha256, t->bad, t->begun, sentence);
        change_back(c, why);
        return true;
    }
    return false;
}
