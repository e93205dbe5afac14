// The role as a process: what it opens, its turns, how it ends.
#include "aws/credentials.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "sqs/session.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    DRAIN_MS = 10 * 1000,  // what is not answered by then is cut off
    SPACE_RETRY_MS = 1000, // a full disk is looked at again so often
    FILES_WANTED = 65536,  // connections and segments
};

// --- turns ---

static void on_written(void *ctx, uint64_t sequence)
{
    sessions_written(ctx, sequence);
}

static void on_durable(void *ctx, uint64_t sequence)
{
    sessions_synced(ctx, sequence);
}

static void on_failed(void *ctx, const struct error *error)
{
    struct role *role = ctx;
    char text[600];
    role->failed = true;
    role->why = *error;
    log_event(LOG_ERROR, "journal_failed", "error=%s", log_quote(error->msg, text, sizeof text));
    if (role->loop != NULL)
        loop_stop(role->loop);
}

static void on_deadline(void *ctx)
{
    (void)ctx; // the end of this turn does what is due
}

static void on_space_timer(void *ctx)
{
    struct role *role = ctx;
    journal_retry_space(queues_journal(role->queues));
}

static void arm_timers(struct role *role)
{
    int64_t next_ms = queues_next_deadline_ms(role->queues);
    struct journal_stats stats;
    if (next_ms == INT64_MAX)
        loop_timer_cancel(role->loop, &role->deadline_timer);
    else
        loop_timer_set(role->loop, &role->deadline_timer, next_ms - queues_time(role->queues, 0),
                       on_deadline, role);
    journal_stats(queues_journal(role->queues), &stats);
    if (stats.full && role->space_timer.heap_place == 0)
        loop_timer_set(role->loop, &role->space_timer, loop_now_ms(role->loop) + SPACE_RETRY_MS,
                       on_space_timer, role);
}

static void end_if_drained(struct role *role)
{
    struct journal *j = queues_journal(role->queues);
    if (role->draining && role->sessions == 0 && http_server_connections(role->server) == 0 &&
        journal_durable(j) + 1 == journal_next_sequence(j))
        loop_stop(role->loop);
}

// Group commit: all that came in goes to the disk together, as soon as nothing more comes in, it is
// enough, or the first of it has waited long enough. False: it waits for more.
static bool commit(struct role *role)
{
    const struct journal *j = queues_journal(role->queues);
    uint64_t next = journal_next_sequence(j);
    if (journal_is_syncing(j))
        return true; // its end brings the next turn, and soon those whom it answers
    if (next != role->committed && next - role->committed < SQS_COMMIT_RECORDS &&
        !loop_is_idle(role->loop)) {
        int64_t now_us = clock_monotonic_us();
        if (role->fresh_since_us == 0)
            role->fresh_since_us = now_us;
        if (now_us - role->fresh_since_us < SQS_COMMIT_WAIT_US)
            return false;
    }
    role->committed = next;
    role->fresh_since_us = 0;
    queues_commit(role->queues);
    return true;
}

static bool on_turn_end(void *ctx)
{
    struct role *role = ctx;
    if (role->failed)
        return false;
    role->replied = false;
    queues_wall(role->queues, clock_wall_ms());
    bool more = queues_tick(role->queues, queues_time(role->queues, loop_now_ms(role->loop)));
    queues_wake(role->queues);
    more = queues_compact(role->queues) || more;
    more = !commit(role) || more;
    if (journal_is_syncing(queues_journal(role->queues)))
        sessions_make_replies(role); // the loop has time now
    arm_timers(role);
    end_if_drained(role);
    return more || role->replied;
}

// --- requests ---

static enum http_body on_head(void *ctx, struct http_request *http)
{
    if (http->content_length != -1 || http_request_header(http, "Transfer-Encoding").len > 0)
        session_head(ctx, http);
    return HTTP_BODY_BUFFER;
}

static void on_request(void *ctx, struct http_request *http)
{
    if (!role_status_serve(ctx, http))
        session_start(ctx, http);
}

static void on_too_large(void *ctx, struct http_request *http)
{
    session_too_large(ctx, http);
}

static void on_refused(void *ctx, struct http_request *http, int status, const char *text)
{
    session_refused(ctx, http, status, text);
}

static void on_done(void *ctx, struct http_request *http)
{
    (void)ctx;
    if (http->user != NULL)
        session_end(http->user);
}

// --- end ---

static void on_drain_over(void *ctx)
{
    struct role *role = ctx;
    log_event(LOG_WARN, "drain_cut", "connections=%d", http_server_connections(role->server));
    loop_stop(role->loop);
}

static void on_signal(void *ctx, int signal)
{
    struct role *role = ctx;
    if (role->draining) { // asked twice
        loop_stop(role->loop);
        return;
    }
    log_event(LOG_INFO, "draining", "signal=%d waiting=%zu", signal, role->waiting.count);
    role->draining = true;
    http_server_stop_accepting(role->server);
    sessions_drain(role);
    loop_timer_set(role->loop, &role->drain_timer, loop_now_ms(role->loop) + DRAIN_MS,
                   on_drain_over, role);
}

static void on_parent_gone(void *ctx)
{
    struct role *role = ctx;
    log_event(LOG_WARN, "parent_gone", "action=end");
    loop_stop(role->loop);
}

// --- start ---

static enum err open_keys(struct role *role, struct error *error)
{
    char path[PATH_MAX];
    const char *file = role->config->credentials;
    if (role->config->unsigned_requests)
        return OK;
    if (file == NULL) {
        if (snprintf(path, sizeof path, "%s/credentials", role->config->data_dir) >=
            (int)sizeof path)
            return fail(error, ERR_ARGUMENT, 0, "the path of --data is too long");
        TRY(credentials_create(path, error));
        file = path;
    }
    return keyring_open(file, &role->keyring, error);
}

// The kernel's boot id, so that a restart on the same boot knows exactly how long it was away.
static void read_boot_id(uint8_t out[BOOT_ID_BYTES])
{
    AUTO_BUF struct buf text = {0};
    char hex[2 * BOOT_ID_BYTES + 1];
    size_t n = 0;
    if (file_read("/proc/sys/kernel/random/boot_id", 4096, &text, NULL) != OK)
        return;
    for (size_t i = 0; i < text.len && n < 2 * BOOT_ID_BYTES; i++)
        if (text.data[i] != '-' && text.data[i] != '\n')
            hex[n++] = text.data[i];
    if (n != 2 * BOOT_ID_BYTES || !hex_decode((struct span){hex, n}, out, BOOT_ID_BYTES))
        memset(out, 0, BOOT_ID_BYTES);
}

static enum err open_queues(struct role *role, struct error *error)
{
    char dir[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s/sqs", role->config->data_dir) >= (int)sizeof dir)
        return fail(error, ERR_ARGUMENT, 0, "the path of --data is too long");
    TRY(dir_make(dir, error));
    TRY(dir_lock(dir, &role->lock_fd, error));
    struct queues_config qc = {.dir = dir,
                               .loop = role->loop,
                               .cooldown_ms = (int64_t)role->config->cooldown_s * 1000,
                               .wall_ms = clock_wall_ms(),
                               .monotonic_ms = clock_monotonic_ms(),
                               .ctx = role,
                               .on_written = on_written,
                               .on_durable = on_durable,
                               .on_failed = on_failed};
    random_bytes(qc.store_id, sizeof qc.store_id);
    read_boot_id(qc.boot_id);
    int64_t start_us = clock_monotonic_us();
    TRY(queues_open(&qc, &role->queues, error));
    struct journal_stats j;
    struct queues_stats q;
    journal_stats(queues_journal(role->queues), &j);
    queues_stats(role->queues, &q);
    log_event(j.cut_bytes > 0 ? LOG_WARN : LOG_INFO, "journal_open",
              "dir=%s messages=%llu queues=%zu segments=%u cut_bytes=%llu took_ms=%lld", dir,
              (unsigned long long)q.messages, queues_count(role->queues), j.segments,
              (unsigned long long)j.cut_bytes, (long long)(clock_monotonic_us() - start_us) / 1000);
    return OK;
}

static enum err open_server(struct role *role, struct error *error)
{
    struct http_server_config sc = {.listen = role->config->listen,
                                    .body_limit_bytes = SQS_REQUEST_BYTES_MAX};
    struct http_handlers handlers = {.ctx = role,
                                     .on_head = on_head,
                                     .on_request = on_request,
                                     .on_too_large = on_too_large,
                                     .on_refused = on_refused,
                                     .on_done = on_done};
    enum err err = http_server_new(role->loop, &sc, &handlers, &role->server, error);
    if (err != OK)
        return fail_context(error, err, "--sqs-listen");
    // behind the server's own hook, which may bring requests: what they append is committed in this
    // turn
    loop_hook_add(role->loop, &role->hook, on_turn_end, role);
    const char *colon = strrchr(role->config->listen, ':');
    snprintf(role->listen_host, sizeof role->listen_host, "%.*s:%d",
             (int)(colon - role->config->listen), role->config->listen,
             http_server_port(role->server));
    return OK;
}

static enum err start(struct role *role, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    process_raise_file_limit(FILES_WANTED);
    TRY(loop_new(&role->loop, error));
    TRY(loop_signals(role->loop, signals, on_signal, role, error));
    TRY(dir_make(role->config->data_dir, error));
    TRY(open_keys(role, error));
    TRY(open_queues(role, error));
    TRY(process_lifeline(role->loop, &role->lifeline, role->config->lifeline_fd, on_parent_gone,
                         role, error));
    role_metrics_init(role);
    return open_server(role, error);
}

static void stop(struct role *role)
{
    http_server_free(role->server);
    queues_close(role->queues);
    keyring_free(role->keyring);
    metrics_release(&role->metrics.all);
    loop_free(role->loop);
    fd_close(&role->lock_fd);
}

enum err sqs_role_run(const struct sqs_role_config *config, struct error *error)
{
    struct role role = {.config = config, .lock_fd = -1};
    enum err err = start(&role, error);
    if (err == OK) {
        log_event(LOG_INFO, "serving", "listen=%s signatures=%s", role.listen_host,
                  config->unsigned_requests ? "ignored" : "checked");
        process_ready(config->ready_fd, http_server_port(role.server));
        err = loop_run(role.loop, error);
    } else {
        process_failed(config->ready_fd, error->msg);
    }
    if (role.failed) {
        *error = role.why;
        err = error->code;
    }
    stop(&role);
    return err;
}
