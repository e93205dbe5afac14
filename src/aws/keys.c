#include "aws/keys.h"

#include "aws/keys_internal.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    AHEAD_MS_MAX =
        15 * 60 * 1000,  // before expiry new ones are fetched, or at half of a shorter life
    RETRY_MS_MIN = 1000, // after a failed fetch, doubling, full jitter
    RETRY_MS_MAX = 20000,
    REFUSED_MS_MIN = 5000,       // keys this new that are refused are not the ones that expired
    OVERDUE_MS = 10 * 60 * 1000, // expired when they come: one of two clocks is wrong. Used so long
};

// --- who waits ---

static void tell(struct keys *k, const struct error *error)
{
    struct keys_wait list = {0}, *w;
    if (k->waiting.next == &k->waiting)
        return;
    list = k->waiting; // those who wait again in their callbacks wait for the next time
    list.next->prev = list.prev->next = &list;
    k->waiting.next = k->waiting.prev = &k->waiting;
    while ((w = list.next) != &list) {
        keys_wait_cancel(w);
        w->fn(w->ctx, error);
    }
}

static void tell_last_error(void *ctx)
{
    struct keys *k = ctx;
    struct error error = k->last_error;
    tell(k, keys_now(k) != NULL ? NULL : &error);
}

void keys_wait_cancel(struct keys_wait *w)
{
    if (w->next == NULL)
        return;
    w->prev->next = w->next;
    w->next->prev = w->prev;
    w->prev = w->next = NULL;
}

// --- fetching ---

static void fetch_file(struct keys *k)
{
    struct credentials got;
    struct error error;
    enum err err = credentials_read(k->path, k->profile, &got, &error);
    keys_fetched(k, err, &got, &error);
    explicit_bzero(&got, sizeof got);
}

static void fetch(void *ctx)
{
    struct keys *k = ctx;
    switch (k->place) {
    case KEYS_FIXED:
        CHECK(false);
        break;
    case KEYS_FILE:
        fetch_file(k);
        break;
    case KEYS_PROCESS:
        keys_fetch_process(k);
        break;
    case KEYS_WEB_IDENTITY:
        keys_fetch_web_identity(k);
        break;
    case KEYS_ROLE:
        keys_fetch_role(k);
        break;
    case KEYS_CONTAINER:
        keys_fetch_container(k);
        break;
    case KEYS_IMDS:
        keys_fetch_imds(k);
        break;
    }
}

// One at a time. The fetch begins in the loop, so that nobody is called back before he waits.
static void fetch_begin(void *ctx)
{
    struct keys *k = ctx;
    if (k->fetching)
        return;
    k->fetching = true;
    loop_timer_set(k->config.loop, &k->timer, loop_now_ms(k->config.loop), fetch, k);
}

static void take(struct keys *k, const struct credentials *got)
{
    int64_t now_ms = loop_now_ms(k->config.loop), left_ms = got->expires_wall_ms - clock_wall_ms();
    k->now = *got;
    k->has = true;
    k->generation++;
    k->failures = 0;
    k->fetched_ms = now_ms;
    k->until_ms = INT64_MAX;
    if (got->expires_wall_ms == 0)
        return;
    if (left_ms <= 0) {
        log_event(LOG_WARN, "keys_expired_on_arrival", "place=\"%s\" since_s=%lld", k->name,
                  (long long)(-left_ms / 1000));
        left_ms = OVERDUE_MS;
    }
    int64_t ahead_ms = left_ms / 2 < AHEAD_MS_MAX ? left_ms / 2 : AHEAD_MS_MAX;
    ahead_ms -= (int64_t)(random_u64() % (uint64_t)(ahead_ms / 5 + 1)); // not all hosts at once
    k->until_ms = now_ms + left_ms;
    loop_timer_set(k->config.loop, &k->timer, k->until_ms - ahead_ms, fetch_begin, k);
}

void keys_fetched(struct keys *k, enum err err, const struct credentials *got,
                  const struct error *error)
{
    k->fetching = false;
    if (err == ERR_CANCELLED)
        return; // keys_close
    if (err == OK) {
        take(k, got);
        log_event(LOG_INFO, "keys_fetched", "place=\"%s\" valid_s=%lld", k->name,
                  k->until_ms == INT64_MAX ? -1LL
                                           : (long long)(k->until_ms - k->fetched_ms) / 1000);
        tell(k, NULL);
        return;
    }
    char quoted[800];
    int64_t most = RETRY_MS_MIN;
    for (int i = 0; i < k->failures && most < RETRY_MS_MAX; i++)
        most *= 2;
    most = most < RETRY_MS_MAX ? most : RETRY_MS_MAX;
    k->failures++;
    fail(&k->last_error, err, 0, "keys from %s: %.400s", k->name, error->msg);
    const struct credentials *valid = keys_now(k);
    log_event(LOG_WARN, "keys_not_fetched", "valid_s=%lld error=%s",
              valid != NULL ? (long long)(k->until_ms - loop_now_ms(k->config.loop)) / 1000 : 0LL,
              log_quote(k->last_error.msg, quoted, sizeof quoted));
    loop_timer_set(k->config.loop, &k->timer,
                   loop_now_ms(k->config.loop) + 1 + (int64_t)(random_u64() % (uint64_t)most),
                   fetch_begin, k);
    tell_last_error(k);
}

// --- for clients ---

const struct credentials *keys_now(const struct keys *k)
{
    return k->has && loop_now_ms(k->config.loop) < k->until_ms ? &k->now : NULL;
}

unsigned keys_generation(const struct keys *k)
{
    return k->generation;
}

bool keys_refused(struct keys *k, unsigned generation)
{
    if (k->place == KEYS_FIXED)
        return false;
    if (generation != k->generation)
        return true;
    if (loop_now_ms(k->config.loop) - k->fetched_ms < REFUSED_MS_MIN)
        return false;
    k->has = false;
    fetch_begin(k);
    return true;
}

void keys_wait(struct keys *k, struct keys_wait *w,
               void (*fn)(void *ctx, const struct error *error), void *ctx)
{
    CHECK(w->next == NULL);
    *w = (struct keys_wait){.prev = k->waiting.prev, .next = &k->waiting, .fn = fn, .ctx = ctx};
    w->prev->next = w->next->prev = w;
    if (keys_now(k) != NULL || (!k->fetching && k->failures > 0)) // the next try has its time
        loop_timer_set(k->config.loop, &k->tell_timer, loop_now_ms(k->config.loop), tell_last_error,
                       k);
    else
        fetch_begin(k);
}

struct first {
    struct keys *keys;
    bool told;
    struct error error; // code OK: they came
};

static void on_first(void *ctx, const struct error *error)
{
    struct first *f = ctx;
    f->told = true;
    if (error != NULL)
        f->error = *error;
    loop_stop(f->keys->config.loop);
}

enum err keys_first(struct keys *k, struct error *error)
{
    struct first f = {.keys = k};
    struct keys_wait wait = {0};
    if (keys_now(k) != NULL)
        return OK;
    keys_wait(k, &wait, on_first, &f);
    enum err err = loop_run(k->config.loop, error);
    keys_wait_cancel(&wait);
    if (err != OK)
        return err;
    if (!f.told)
        return fail(error, ERR_CANCELLED, 0, "stopped");
    bool passing = f.error.code == ERR_UNAVAILABLE || f.error.code == ERR_THROTTLED ||
                   f.error.code == ERR_NET || f.error.code == ERR_TIMEOUT;
    if (k->place == KEYS_IMDS && f.error.code != OK &&
        f.error.code != ERR_UNAVAILABLE) // not on EC2
        return fail(error, ERR_NOT_FOUND, 0, "no AWS keys found; looked at %s, and %.200s",
                    k->looked, f.error.msg);
    if (f.error.code == OK || passing)
        return OK;
    *error = f.error;
    return f.error.code;
}

void keys_close(struct keys *k)
{
    if (k == NULL)
        return;
    while (k->waiting.next != &k->waiting)
        keys_wait_cancel(k->waiting.next);
    keys_wait_cancel(&k->base_wait);
    if (k->http != NULL)
        http_call_cancel(k->http);
    if (k->imds_call != NULL)
        imds_call_cancel(k->imds_call);
    keys_process_cancel(k);
    imds_free(k->imds);
    loop_timer_cancel(k->config.loop, &k->timer);
    loop_timer_cancel(k->config.loop, &k->tell_timer);
    keys_close(k->base); // NOLINT(misc-no-recursion): KEYS_DEPTH_MAX
    arena_release(&k->request);
    arena_release(&k->arena);
    explicit_bzero(&k->now, sizeof k->now);
    free(k);
}
