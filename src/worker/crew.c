#include "worker/crew.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/random.h"
#include "worker/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum slot_state {
    SLOT_OFF,      // no child; none asked for, or its back-off timer runs
    SLOT_STARTING, // asked for; jobs may wait in its socket already
    SLOT_UP,
    SLOT_KILLED,   // SIGKILL is on its way: only its death is waited for
};

// Deaths in a row after which a child is started again without waiting: poison pictures come in
// threes, a child that cannot live at all comes back slowly.
enum { DEATHS_AT_ONCE = 3 };

struct lane {
    void *task;   // NULL: free, or (revoked) taken back while the child still has it
    bool in_use;  // the child has a job in this lane
    bool revoked; // its answer is not wanted
    uint32_t picture_bytes;
};

struct slot {
    struct crew *crew;
    uint32_t index;
    enum slot_state state;
    bool begun;         // it was up once: its jobs may be to blame for its death
    bool hung;          // killed for its deadline
    int socket_fd;      // ours
    int memory_fd;
    char *memory;       // SLOT_BYTES; NULL before the first start
    struct watch watch;
    struct lane lanes[CHILD_LANES];
    uint32_t order[CHILD_LANES]; // lanes in the order they were handed over; [0] is computed
    uint32_t pending;            // of order
    int64_t begun_ms;            // when order[0] began
    struct timer deadline;       // of order[0]; of the start before
    struct timer restart;
    int failures;                // deaths in a row without an answer in between
};

struct crew {
    struct crew_config config;
    struct slot *slots; // [config.children]
    // the zygote of today; another generation would be another one of these
    pid_t zygote_pid;   // 0: none
    int control_fd, pid_fd;
    struct watch control_watch, pid_watch;
    struct timer zygote_restart;
    int zygote_failures;
    bool zygote_ready, ever_ready;
    char model[129], model_sha256[65];
    char why[500]; // sentence of the last failure to start
    struct crew_counts counts;
    struct child_answer answer; // of the child that is being heard
};

// --- small things ---

// Full jitter: anything up to a doubling bound.
static int64_t back_off_ms(int failures)
{
    int64_t bound = 50;
    for (int i = 1; i < failures && bound < WORKER_RETRY_MS_MAX; i++)
        bound *= 2;
    if (bound > WORKER_RETRY_MS_MAX)
        bound = WORKER_RETRY_MS_MAX;
    return 1 + (int64_t)(random_u64() % (uint64_t)bound);
}

static int64_t now_ms(const struct crew *c)
{
    return loop_now_ms(c->config.loop);
}

static void describe_death(int wait_status, bool hung, int job_timeout_ms, struct crew_death *out)
{
    *out = (struct crew_death){.hung = hung};
    if (hung)
        snprintf(out->sentence, sizeof out->sentence, "killed: no answer within %d ms", job_timeout_ms);
    else if (wait_status == -1)
        snprintf(out->sentence, sizeof out->sentence, "could not be forked");
    else if (WIFSIGNALED(wait_status))
        snprintf(out->sentence, sizeof out->sentence, "killed by signal %d (%s)%s",
                 WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)),
                 WTERMSIG(wait_status) == SIGSYS ? ": a system call that the sandbox forbids" : "");
    else
        snprintf(out->sentence, sizeof out->sentence, "ended with status %d", WEXITSTATUS(wait_status));
}

// --- slots: memory, socket, start ---

static struct slot_page *slot_page(struct slot *s)
{
    return (struct slot_page *)(void *)s->memory;
}

static enum err slot_map(struct slot *s, struct error *error)
{
    if (s->memory != NULL)
        return OK;
    s->memory_fd = memfd_create("smelt-slot", MFD_CLOEXEC);
    if (s->memory_fd < 0 || ftruncate(s->memory_fd, (off_t)SLOT_BYTES) != 0)
        return fail(error, ERR_NOMEM, errno, "make the memory of slot %u", s->index);
    void *memory = mmap(NULL, SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->memory_fd, 0);
    if (memory == MAP_FAILED)
        return fail(error, ERR_NOMEM, errno, "map the memory of slot %u", s->index);
    s->memory = memory;
    return OK;
}

static enum err send_start(struct crew *c, uint32_t index, const int fds[ZYGOTE_START_FDS],
                           struct error *error)
{
    struct zygote_request request = {ZYGOTE_START, index};
    union {
        char bytes[CMSG_SPACE(ZYGOTE_START_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec io = {&request, sizeof request};
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(ZYGOTE_START_FDS * sizeof(int));
    memcpy(CMSG_DATA(head), fds, ZYGOTE_START_FDS * sizeof(int));
    if (sendmsg(c->control_fd, &message, MSG_NOSIGNAL) < 0)
        return fail(error, ERR_IO, errno, "ask the zygote for a child");
    return OK;
}

static void on_child(void *ctx, uint32_t events);
static void on_restart(void *ctx);
static void on_deadline(void *ctx);

static enum err slot_connect(struct slot *s, struct error *error)
{
    int pair[2];
    TRY(slot_map(s, error));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make the socket of slot %u", s->index);
    s->socket_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    int fds[ZYGOTE_START_FDS] = {theirs, s->memory_fd};
    TRY(loop_watch_add(s->crew->config.loop, &s->watch, s->socket_fd, EPOLLIN, on_child, s, error));
    return send_start(s->crew, s->index, fds, error);
}

static void slot_disconnect(struct slot *s)
{
    loop_watch_remove(s->crew->config.loop, &s->watch);
    loop_timer_cancel(s->crew->config.loop, &s->deadline);
    fd_close(&s->socket_fd);
}

static void slot_restart_later(struct slot *s)
{
    loop_timer_set(s->crew->config.loop, &s->restart,
                   now_ms(s->crew) + back_off_ms(s->failures - DEATHS_AT_ONCE), on_restart, s);
}

static void slot_start(struct slot *s)
{
    struct error error;
    CHECK(s->state == SLOT_OFF && s->pending == 0);
    if (!s->crew->zygote_ready)
        return;
    if (slot_connect(s, &error) != OK) {
        char text[520];
        slot_disconnect(s);
        s->failures++;
        log_event(LOG_ERROR, "child_start_failed", "slot=%u why=%s", s->index,
                  log_quote(error.msg, text, sizeof text));
        slot_restart_later(s);
        return;
    }
    s->state = SLOT_STARTING;
    s->begun = s->hung = false;
    loop_timer_set(s->crew->config.loop, &s->deadline, now_ms(s->crew) + WORKER_START_S_MAX * 1000,
                   on_deadline, s);
}

static void on_restart(void *ctx)
{
    struct slot *s = ctx;
    if (s->state == SLOT_OFF)
        slot_start(s);
}

static void slot_kill(struct slot *s)
{
    if (s->state != SLOT_STARTING && s->state != SLOT_UP)
        return;
    struct zygote_request request = {ZYGOTE_KILL, s->index};
    s->state = SLOT_KILLED;
    slot_disconnect(s);
    // cannot fail but by the zygote's death, which is seen elsewhere
    if (send(s->crew->control_fd, &request, sizeof request, MSG_NOSIGNAL) < 0)
        log_event(LOG_DEBUG, "kill_unsent", "slot=%u errno=%d", s->index, errno);
}

// --- lanes ---

static void on_deadline(void *ctx)
{
    struct slot *s = ctx;
    s->hung = true;
    s->crew->counts.hung++;
    slot_kill(s);
}

static void arm_deadline(struct slot *s)
{
    s->begun_ms = now_ms(s->crew);
    loop_timer_set(s->crew->config.loop, &s->deadline,
                   s->begun_ms + s->crew->config.job_timeout_ms + WORKER_KILL_GRACE_MS, on_deadline,
                   s);
}

// Memory that a big picture left behind; small ones are kept, the next picture needs them.
static void lane_shrink(struct slot *s, uint32_t lane)
{
    enum { KEEP_BYTES = 1 << 20 };
    if (s->lanes[lane].picture_bytes > KEEP_BYTES)
        fallocate(s->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)slot_lane_offset(lane), IMAGE_BYTES_MAX);
}

static void lane_free(struct slot *s, uint32_t lane)
{
    lane_shrink(s, lane);
    s->lanes[lane] = (struct lane){0};
    atomic_store(&slot_page(s)->cancel[lane], 0);
    for (uint32_t i = 0; i < s->pending; i++)
        if (s->order[i] == lane) {
            for (uint32_t k = i + 1; k < s->pending; k++)
                s->order[k - 1] = s->order[k];
            s->pending--;
            return;
        }
    CHECK(!"the lane is pending");
}

// Takes back what waits behind the first job. The child will find the lane cancelled; if it has begun
// it in this very moment, its answer is dropped.
static void lane_revoke(struct slot *s, uint32_t lane)
{
    void *task = s->lanes[lane].task;
    if (s->lanes[lane].revoked)
        return;
    s->lanes[lane].revoked = true;
    s->lanes[lane].task = NULL;
    atomic_store(&slot_page(s)->cancel[lane], 1);
    s->crew->config.handlers.on_return(s->crew->config.handlers.ctx, task);
}

// --- death ---

// Whatever the dead child had: the job it was on is told of the death, unless it had not read it yet
// or no job is to blame (death NULL).
static void slot_bury(struct slot *s, const struct crew_death *death)
{
    const struct crew_handlers *h = &s->crew->config.handlers;
    struct lane lanes[CHILD_LANES];
    uint32_t order[CHILD_LANES], pending = s->pending;
    memcpy(lanes, s->lanes, sizeof lanes);
    memcpy(order, s->order, sizeof order);
    slot_disconnect(s);
    s->state = SLOT_OFF;
    while (s->pending > 0)
        lane_free(s, s->order[0]);
    for (uint32_t i = 0; i < pending; i++) {
        const struct lane *lane = &lanes[order[i]];
        if (lane->revoked)
            continue;
        if (i == 0 && s->begun && death != NULL)
            h->on_death(h->ctx, lane->task, death);
        else
            h->on_return(h->ctx, lane->task);
    }
}

static void give_up(struct crew *c, const char *sentence)
{
    if (!c->ever_ready)
        c->config.handlers.on_failed(c->config.handlers.ctx, sentence);
}

static void on_died(struct crew *c, const struct zygote_report *report)
{
    struct slot *s = &c->slots[report->slot];
    struct crew_death death;
    char text[200];
    if (s->state == SLOT_OFF)
        return;
    bool begun = s->begun;
    describe_death(report->wait_status, s->hung, c->config.job_timeout_ms, &death);
    log_event(LOG_WARN, "child_died", "slot=%u pid=%d why=%s", s->index, (int)report->pid,
              log_quote(death.sentence, text, sizeof text));
    c->counts.deaths++;
    s->failures++;
    slot_bury(s, &death);
    if (!begun && !c->ever_ready)
        give_up(c, c->why[0] != '\0' ? c->why : death.sentence);
    else if (s->failures <= DEATHS_AT_ONCE)
        slot_start(s);
    else
        slot_restart_later(s);
}

// --- what children say ---

static bool text_is_json_object(struct span text)
{
    json_error_t why;
    json_t *root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    bool good = json_is_object(root);
    json_decref(root);
    return good;
}

// The child says what it should not: it is not ours any more.
static void distrust(struct slot *s, const char *what)
{
    log_event(LOG_ERROR, "child_distrusted", "slot=%u why=\"%s\"", s->index, what);
    slot_kill(s);
}

static void on_child_ready(struct slot *s, const struct child_answer *a)
{
    struct crew *c = s->crew;
    if (s->state != SLOT_STARTING) {
        distrust(s, "ready twice");
        return;
    }
    s->state = SLOT_UP;
    s->begun = true;
    loop_timer_cancel(c->config.loop, &s->deadline);
    log_event(LOG_DEBUG, "child_ready", "slot=%u sandbox=%.*s", s->index, (int)a->text_bytes, a->text);
    if (s->pending > 0)
        arm_deadline(s);
    if (!c->ever_ready) {
        c->ever_ready = true;
        log_event(LOG_INFO, "pool_ready", "model=%s children=%d sandbox=%.*s", c->model,
                  c->config.children, (int)a->text_bytes, a->text);
        c->config.handlers.on_ready(c->config.handlers.ctx);
    }
}

static void on_child_broken(struct slot *s, const struct child_answer *a)
{
    char text[600];
    snprintf(s->crew->why, sizeof s->crew->why, "%.*s", (int)a->text_bytes, a->text);
    log_event(LOG_ERROR, "child_broken", "slot=%u why=%s", s->index,
              log_quote(s->crew->why, text, sizeof text));
}

static void on_child_done(struct slot *s, const struct child_answer *a)
{
    struct crew *c = s->crew;
    if (s->state != SLOT_UP || s->pending == 0 || a->lane != s->order[0]) {
        distrust(s, "an answer to no question");
        return;
    }
    struct crew_answer answer = {.err = (enum err)a->err, .text = {a->text, a->text_bytes},
                                 .decode_us = a->decode_us, .infer_us = a->infer_us};
    if (answer.err == OK && !text_is_json_object(answer.text)) {
        distrust(s, "predictions that are not JSON");
        return;
    }
    struct lane lane = s->lanes[a->lane];
    lane_free(s, a->lane);
    s->failures = 0;
    if (s->pending > 0)
        arm_deadline(s);
    else
        loop_timer_cancel(c->config.loop, &s->deadline);
    if (!lane.revoked)
        c->config.handlers.on_answer(c->config.handlers.ctx, lane.task, &answer);
}

static void on_child(void *ctx, uint32_t events)
{
    struct slot *s = ctx;
    struct child_answer *a = &s->crew->answer;
    (void)events;
    ssize_t got = recv(s->socket_fd, a, sizeof *a, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { // it hung up: its death, if it is one, is reported by the zygote
        loop_watch_remove(s->crew->config.loop, &s->watch);
        return;
    }
    if ((size_t)got < CHILD_ANSWER_HEAD_BYTES || (size_t)got > sizeof *a ||
        a->text_bytes != (size_t)got - CHILD_ANSWER_HEAD_BYTES || a->lane >= CHILD_LANES ||
        a->err >= ERR_COUNT)
        distrust(s, "a packet of another form");
    else if (a->kind == CHILD_READY)
        on_child_ready(s, a);
    else if (a->kind == CHILD_DONE)
        on_child_done(s, a);
    else if (a->kind == CHILD_BROKEN)
        on_child_broken(s, a);
    else
        distrust(s, "a packet of another kind");
}

// --- the zygote ---

static void zygote_start(struct crew *c);

static void on_zygote_restart(void *ctx)
{
    zygote_start(ctx);
}

static void zygote_close(struct crew *c)
{
    loop_watch_remove(c->config.loop, &c->control_watch);
    loop_watch_remove(c->config.loop, &c->pid_watch);
    fd_close(&c->control_fd);
    fd_close(&c->pid_fd);
    c->zygote_pid = 0;
    c->zygote_ready = false;
}

static void zygote_kill(struct crew *c)
{
    if (c->zygote_pid > 0) { // its children die with it
        kill(c->zygote_pid, SIGKILL);
        waitpid(c->zygote_pid, NULL, 0);
    }
    zygote_close(c);
}

static void zygote_start_later(struct crew *c)
{
    c->zygote_failures++;
    loop_timer_set(c->config.loop, &c->zygote_restart,
                   now_ms(c) + (c->zygote_failures == 1 ? 0 : back_off_ms(c->zygote_failures)),
                   on_zygote_restart, c);
}

// One report, if there is one. False: there was none.
static bool take_report(struct crew *c)
{
    struct zygote_report report;
    ssize_t got = recv(c->control_fd, &report, sizeof report, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got != (ssize_t)sizeof report) { // its end is reported by its pidfd
        loop_watch_remove(c->config.loop, &c->control_watch);
        return false;
    }
    if (report.kind == ZYGOTE_READY) {
        snprintf(c->model, sizeof c->model, "%s", report.model);
        snprintf(c->model_sha256, sizeof c->model_sha256, "%s", report.model_sha256);
        c->zygote_ready = true;
        c->zygote_failures = 0;
        for (int i = 0; i < c->config.children; i++)
            slot_start(&c->slots[i]);
    } else if (report.kind == ZYGOTE_FAILED) {
        char text[600];
        snprintf(c->why, sizeof c->why, "%s", report.sentence);
        log_event(LOG_ERROR, "model_failed", "why=%s", log_quote(c->why, text, sizeof text));
    } else if (report.kind == ZYGOTE_DIED && report.slot < (uint32_t)c->config.children) {
        on_died(c, &report);
    }
    return true;
}

static void on_zygote_report(void *ctx, uint32_t events)
{
    (void)events;
    take_report(ctx);
}

// The zygote has ended, and its children with it: no job is to blame.
static void on_zygote_end(void *ctx, uint32_t events)
{
    struct crew *c = ctx;
    struct crew_death death;
    int status = 0;
    char text[200];
    (void)events;
    while (c->control_watch.active && take_report(c)) // its last words
        continue;
    waitpid(c->zygote_pid, &status, 0);
    describe_death(status, false, 0, &death);
    log_event(LOG_ERROR, "zygote_died", "pid=%d why=%s", (int)c->zygote_pid,
              log_quote(death.sentence, text, sizeof text));
    zygote_close(c);
    for (int i = 0; i < c->config.children; i++) {
        loop_timer_cancel(c->config.loop, &c->slots[i].restart);
        if (c->slots[i].state != SLOT_OFF)
            slot_bury(&c->slots[i], NULL);
    }
    if (!c->ever_ready) {
        char sentence[700];
        snprintf(sentence, sizeof sentence, "the process that loads model '%s' was %s",
                 c->config.model, death.sentence);
        give_up(c, c->why[0] != '\0' ? c->why : sentence);
        return;
    }
    zygote_start_later(c);
}

static enum err zygote_spawn(struct crew *c, struct error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make the zygote's socket");
    c->control_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    const char *argv[] = {"smelt",    "zygote",              "--fd", "3", "--model", c->config.model,
                          "--models", c->config.search_path, NULL};
    struct process_fd fds[] = {{theirs, 3}};
    TRY(process_spawn(argv, fds, 1, &c->zygote_pid, error));
    c->pid_fd = (int)syscall(SYS_pidfd_open, c->zygote_pid, 0);
    if (c->pid_fd < 0)
        return fail(error, ERR_IO, errno, "watch the zygote");
    TRY(loop_watch_add(c->config.loop, &c->pid_watch, c->pid_fd, EPOLLIN, on_zygote_end, c, error));
    return loop_watch_add(c->config.loop, &c->control_watch, c->control_fd, EPOLLIN,
                          on_zygote_report, c, error);
}

static void zygote_start(struct crew *c)
{
    struct error error;
    c->why[0] = '\0';
    c->counts.zygote_starts++;
    if (zygote_spawn(c, &error) == OK)
        return;
    char text[520];
    log_event(LOG_ERROR, "zygote_start_failed", "why=%s", log_quote(error.msg, text, sizeof text));
    zygote_kill(c);
    zygote_start_later(c);
}

// --- the crew ---

enum err crew_new(const struct crew_config *config, struct crew **out, struct error *error)
{
    CHECK(config->children >= 1 && config->children <= WORKER_CHILDREN_MAX);
    struct crew *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->config = *config;
    c->control_fd = c->pid_fd = -1;
    c->slots = calloc((size_t)config->children, sizeof *c->slots);
    CHECK(c->slots != NULL);
    for (int i = 0; i < config->children; i++) {
        c->slots[i].crew = c;
        c->slots[i].index = (uint32_t)i;
        c->slots[i].socket_fd = c->slots[i].memory_fd = -1;
    }
    c->counts.zygote_starts = 1;
    enum err err = zygote_spawn(c, error);
    if (err != OK) {
        crew_free(c);
        return err;
    }
    *out = c;
    return OK;
}

void crew_free(struct crew *c)
{
    if (c == NULL)
        return;
    loop_timer_cancel(c->config.loop, &c->zygote_restart);
    for (int i = 0; i < c->config.children; i++) {
        struct slot *s = &c->slots[i];
        loop_timer_cancel(c->config.loop, &s->restart);
        slot_disconnect(s);
        if (s->memory != NULL)
            munmap(s->memory, SLOT_BYTES);
        fd_close(&s->memory_fd);
    }
    zygote_kill(c);
    free(c->slots);
    free(c);
}

const char *crew_model(const struct crew *c)
{
    return c->model;
}

const char *crew_model_sha256(const struct crew *c)
{
    return c->model_sha256;
}

static bool slot_usable(const struct slot *s)
{
    return s->state == SLOT_UP || s->state == SLOT_STARTING;
}

bool crew_able(const struct crew *c)
{
    for (int i = 0; i < c->config.children; i++)
        if (slot_usable(&c->slots[i]))
            return true;
    return false;
}

size_t crew_room(const struct crew *c)
{
    size_t room = 0;
    for (int i = 0; i < c->config.children; i++)
        if (slot_usable(&c->slots[i]))
            room += CHILD_LANES - c->slots[i].pending;
    return room;
}

// The fewest jobs first, then a child that is up, then the one whose job began first.
static bool slot_better(const struct slot *a, const struct slot *b)
{
    if (a->pending != b->pending)
        return a->pending < b->pending;
    if (a->state != b->state)
        return a->state == SLOT_UP;
    return a->begun_ms < b->begun_ms;
}

static struct slot *best_slot(const struct crew *c)
{
    struct slot *best = NULL;
    for (int i = 0; i < c->config.children; i++) {
        struct slot *s = &c->slots[i];
        if (slot_usable(s) && s->pending < CHILD_LANES && (best == NULL || slot_better(s, best)))
            best = s;
    }
    return best;
}

void crew_hand_over(struct crew *c, void *task, struct span picture)
{
    struct slot *s = best_slot(c);
    CHECK(s != NULL && picture.len <= IMAGE_BYTES_MAX);
    uint32_t lane = 0;
    while (s->lanes[lane].in_use)
        lane++;
    CHECK(lane < CHILD_LANES);
    memcpy(s->memory + slot_lane_offset(lane), picture.data, picture.len);
    s->lanes[lane] =
        (struct lane){.task = task, .in_use = true, .picture_bytes = (uint32_t)picture.len};
    s->order[s->pending++] = lane;
    struct child_job job = {lane, (uint32_t)picture.len, (uint32_t)c->config.job_timeout_ms};
    // two packets of 12 bytes always fit; a child that is gone is reported by the zygote
    if (send(s->socket_fd, &job, sizeof job, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_event(LOG_DEBUG, "job_unsent", "slot=%u errno=%d", s->index, errno);
    if (s->pending == 1 && s->state == SLOT_UP)
        arm_deadline(s);
}

static int idle_children(const struct crew *c)
{
    int idle = 0;
    for (int i = 0; i < c->config.children; i++)
        idle += c->slots[i].state == SLOT_UP && c->slots[i].pending == 0;
    return idle;
}

void crew_rebalance(struct crew *c, bool everything)
{
    int idle = idle_children(c);
    for (int i = 0; i < c->config.children && (everything || idle > 0); i++) {
        struct slot *s = &c->slots[i];
        for (uint32_t k = 1; slot_usable(s) && k < s->pending && (everything || idle > 0); k++) {
            idle -= !s->lanes[s->order[k]].revoked;
            lane_revoke(s, s->order[k]);
        }
    }
}

struct crew_counts crew_counts(const struct crew *c)
{
    struct crew_counts counts = c->counts;
    for (int i = 0; i < c->config.children; i++) {
        counts.up += c->slots[i].state == SLOT_UP;
        counts.busy += c->slots[i].state == SLOT_UP && c->slots[i].pending > 0;
    }
    return counts;
}
