#include "cli/supervisor.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACKOFF_MS_MIN = 100,
    BACKOFF_MS_MAX = 5000,
    SETTLED_MS = 1000, // a role that lived as long did not end because of how it was started
    CHILD_LIFELINE_FD = 3,
    CHILD_READY_FD = 4,
    READY_LINE_BYTES_MAX = 1000,
};

enum state { ROLE_DOWN, ROLE_STARTING, ROLE_UP };

struct role {
    struct supervisor *s;
    const struct supervisor_role *spec;
    enum state state;
    bool was_ready; // at any time
    pid_t pid;      // 0: no process
    int port;
    int lifeline_fd; // our end; closing it ends the role
    int ready_fd;
    struct watch ready_watch;
    struct buf ready_line;
    int64_t started_ms;
    int backoff_ms;
    struct timer timer; // restart, or KILL when stopping
    bool told_to_stop;
};

struct supervisor {
    struct supervisor_config config;
    struct role roles[SUPERVISOR_ROLES_MAX];
    bool stopping, ready_told, stopped_told;
    char sentence[700]; // why a role could not start; "" none
};

static void stop_next(struct supervisor *s);
static void start_all(struct supervisor *s);

struct supervisor *supervisor_new(const struct supervisor_config *config)
{
    CHECK(config->role_count <= SUPERVISOR_ROLES_MAX);
    struct supervisor *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->config = *config;
    for (size_t i = 0; i < config->role_count; i++)
        s->roles[i] = (struct role){.s = s,
                                    .spec = &config->roles[i],
                                    .lifeline_fd = -1,
                                    .ready_fd = -1,
                                    .ready_line = {.limit_bytes = READY_LINE_BYTES_MAX}};
    return s;
}

static void close_ready(struct role *role)
{
    loop_watch_remove(role->s->config.loop, &role->ready_watch);
    fd_close(&role->ready_fd);
    buf_release(&role->ready_line);
    role->ready_line.full = false;
}

void supervisor_free(struct supervisor *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->config.role_count; i++) {
        loop_timer_cancel(s->config.loop, &s->roles[i].timer);
        close_ready(&s->roles[i]);
        fd_close(&s->roles[i].lifeline_fd);
    }
    free(s);
}

void supervisor_signal(const struct supervisor *s, size_t role, int signal)
{
    if (s->roles[role].pid > 0)
        kill(s->roles[role].pid, signal);
}

int supervisor_port(const struct supervisor *s, size_t role)
{
    return s->roles[role].port;
}

// A role that cannot start although it never ran: no back-off helps, a person has to read why.
static void give_up(struct supervisor *s, const struct role *role, const char *why)
{
    if (s->sentence[0] == '\0' && !s->stopping)
        snprintf(s->sentence, sizeof s->sentence, "%s: %.600s", role->spec->name, why);
    s->stopping = true;
    stop_next(s);
}

// --- readiness ---

static void note_ready(struct role *role, const char *port_text)
{
    struct supervisor *s = role->s;
    uint64_t port = 0;
    if (!span_to_u64(span_trim(span_from(port_text)), 65535, &port))
        log_event(LOG_ERROR, "ready_notice_odd", "role=%s", role->spec->name);
    role->state = ROLE_UP;
    role->was_ready = true;
    role->port = (int)port;
    log_event(LOG_INFO, "role_ready", "name=%s pid=%d port=%d", role->spec->name, (int)role->pid,
              role->port);
    start_all(s);
    for (size_t i = 0; i < s->config.role_count; i++)
        if (!s->roles[i].was_ready)
            return;
    if (!s->ready_told && !s->stopping)
        s->config.on_ready(s->config.ctx);
    s->ready_told = true;
}

static void on_ready_line(void *ctx, uint32_t events)
{
    struct role *role = ctx;
    char text[512];
    (void)events;
    ssize_t got = read(role->ready_fd, text, sizeof text);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got > 0)
        buf_add(&role->ready_line, text, (size_t)got);
    char *line = role->ready_line.data;
    char *end = line != NULL ? strchr(line, '\n') : NULL;
    if (end == NULL && got > 0)
        return;
    if (end != NULL && !role->ready_line.full) {
        *end = '\0';
        if (strncmp(line, "ready ", 6) == 0)
            note_ready(role, line + 6);
        else if (strncmp(line, "failed ", 7) == 0 && !role->was_ready)
            give_up(role->s, role, line + 7);
        else if (strncmp(line, "failed ", 7) == 0)
            log_event(LOG_ERROR, "role_cannot_start", "name=%s reason=\"%.500s\"", role->spec->name,
                      line + 7);
    }
    close_ready(role); // one line is all; its process's end says the rest
}

// --- start ---

static enum err open_pipes(struct role *role, int child[2], struct error *error)
{
    int lifeline[2], ready[2];
    if (pipe2(lifeline, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make a pipe");
    role->lifeline_fd = lifeline[1];
    child[0] = lifeline[0];
    if (pipe2(ready, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make a pipe");
    role->ready_fd = ready[0];
    child[1] = ready[1];
    fcntl(role->ready_fd, F_SETFL, O_NONBLOCK);
    return loop_watch_add(role->s->config.loop, &role->ready_watch, role->ready_fd, EPOLLIN,
                          on_ready_line, role, error);
}

static enum err spawn(struct role *role, struct error *error)
{
    int child[2] = {-1, -1};
    const char *argv[SUPERVISOR_ARGUMENTS_MAX] = {NULL};
    enum err err = open_pipes(role, child, error);
    if (err == OK) {
        const struct process_fd fds[] = {{child[0], CHILD_LIFELINE_FD}, {child[1], CHILD_READY_FD}};
        role->spec->arguments(role->s->config.ctx, role->port, argv);
        size_t n = 0;
        while (argv[n] != NULL)
            n++;
        CHECK(n + 4 < SUPERVISOR_ARGUMENTS_MAX);
        argv[n++] = "--lifeline-fd";
        argv[n++] = "3";
        argv[n++] = "--ready-fd";
        argv[n++] = "4";
        err = process_spawn(argv, fds, 2, &role->pid, error);
    }
    fd_close(&child[0]);
    fd_close(&child[1]);
    return err;
}

static void schedule_restart(struct role *role);

static void start(void *ctx)
{
    struct role *role = ctx;
    struct error error;
    if (role->s->stopping)
        return;
    role->started_ms = loop_now_ms(role->s->config.loop);
    role->state = ROLE_STARTING;
    if (spawn(role, &error) == OK)
        return;
    role->pid = 0;
    role->state = ROLE_DOWN;
    close_ready(role);
    fd_close(&role->lifeline_fd);
    if (!role->was_ready) {
        give_up(role->s, role, error.msg);
        return;
    }
    log_event(LOG_ERROR, "role_cannot_start", "name=%s reason=\"%s\"", role->spec->name, error.msg);
    schedule_restart(role);
}

static void schedule_restart(struct role *role)
{
    struct loop *loop = role->s->config.loop;
    int64_t now = loop_now_ms(loop);
    if (now - role->started_ms >= SETTLED_MS)
        role->backoff_ms = 0;
    role->backoff_ms = role->backoff_ms < BACKOFF_MS_MIN ? BACKOFF_MS_MIN : role->backoff_ms * 2;
    if (role->backoff_ms > BACKOFF_MS_MAX)
        role->backoff_ms = BACKOFF_MS_MAX;
    loop_timer_set(loop, &role->timer, now + role->backoff_ms, start, role);
}

// Starts each role whose needs are met and that was never started.
static void start_all(struct supervisor *s)
{
    for (size_t i = 0; i < s->config.role_count && !s->stopping; i++) {
        struct role *role = &s->roles[i];
        bool met = role->state == ROLE_DOWN && !role->was_ready && role->pid == 0 &&
                   role->timer.heap_place == 0;
        for (size_t k = 0; k < s->config.role_count; k++)
            if ((role->spec->needs & 1u << k) != 0 && !s->roles[k].was_ready)
                met = false;
        if (met)
            start(role);
    }
}

void supervisor_start(struct supervisor *s)
{
    start_all(s);
    stop_next(s); // if none could be started, all is over already
}

// --- end ---

static void describe_end(int status, char *out, size_t out_size)
{
    if (WIFSIGNALED(status))
        snprintf(out, out_size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, out_size, "exit code %d", WEXITSTATUS(status));
}

static void role_ended(struct role *role, int status)
{
    struct supervisor *s = role->s;
    char how[80];
    describe_end(status, how, sizeof how);
    log_event(s->stopping ? LOG_INFO : LOG_WARN, "role_ended", "name=%s pid=%d how=\"%s\"",
              role->spec->name, (int)role->pid, how);
    role->pid = 0;
    if (role->ready_fd >= 0)
        on_ready_line(role, EPOLLIN); // its last words may still be in the pipe
    role->state = ROLE_DOWN;
    loop_timer_cancel(s->config.loop, &role->timer);
    close_ready(role);
    fd_close(&role->lifeline_fd);
    if (s->stopping) {
        stop_next(s);
    } else if (role->was_ready) {
        schedule_restart(role);
    } else {
        char why[160];
        snprintf(why, sizeof why, "it ended while starting (%s); the log above says why", how);
        give_up(s, role, why);
    }
}

void supervisor_child_ended(struct supervisor *s)
{
    for (size_t i = 0; i < s->config.role_count; i++) {
        struct role *role = &s->roles[i];
        int status;
        if (role->pid > 0 && waitpid(role->pid, &status, WNOHANG) == role->pid)
            role_ended(role, status);
    }
}

static void kill_role(void *ctx)
{
    struct role *role = ctx;
    log_event(LOG_WARN, "role_killed", "name=%s reason=\"did not stop within %d s\"",
              role->spec->name, role->spec->stop_s);
    kill(role->pid, SIGKILL);
}

// Is a role still running that needs this one?
static bool is_needed(const struct supervisor *s, size_t i)
{
    for (size_t k = 0; k < s->config.role_count; k++)
        if (s->roles[k].pid > 0 && (s->roles[k].spec->needs & 1u << i) != 0)
            return true;
    return false;
}

// Tells every running role that nobody needs any more to stop.
static void stop_next(struct supervisor *s)
{
    bool running = false;
    if (!s->stopping)
        return;
    for (size_t i = 0; i < s->config.role_count; i++) {
        struct role *role = &s->roles[i];
        if (role->pid == 0) {
            loop_timer_cancel(s->config.loop, &role->timer);
            continue;
        }
        running = true;
        if (role->told_to_stop || is_needed(s, i))
            continue;
        role->told_to_stop = true;
        kill(role->pid, SIGTERM);
        loop_timer_set(s->config.loop, &role->timer,
                       loop_now_ms(s->config.loop) + role->spec->stop_s * 1000, kill_role, role);
    }
    if (!running && !s->stopped_told) {
        s->stopped_told = true;
        s->config.on_stopped(s->config.ctx, s->sentence[0] != '\0' ? s->sentence : NULL);
    }
}

void supervisor_stop(struct supervisor *s)
{
    if (!s->stopping) {
        s->stopping = true;
        stop_next(s);
        return;
    }
    for (size_t i = 0; i < s->config.role_count; i++)
        if (s->roles[i].pid > 0)
            kill(s->roles[i].pid, SIGKILL);
}
