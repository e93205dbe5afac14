// One child's place as the poller sees it: its start and end, its two lanes, what it says.
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "worker/crew_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool slot_usable(const struct slot *s)
{
    return (s->state == SLOT_UP || s->state == SLOT_STARTING) && s->generation == s->crew->serving;
}

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

static enum err send_start(const struct slot *s, const int fds[ZYGOTE_START_FDS],
                           struct error *error)
{
    struct zygote_request request = {ZYGOTE_START, s->index, s->serial};
    union {
        char bytes[CMSG_SPACE(ZYGOTE_START_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec io = {&request, sizeof request};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(ZYGOTE_START_FDS * sizeof(int));
    memcpy(CMSG_DATA(head), fds, ZYGOTE_START_FDS * sizeof(int));
    if (sendmsg(s->generation->control_fd, &message, MSG_NOSIGNAL) < 0)
        return fail(error, ERR_IO, errno, "ask the zygote for a child");
    return OK;
}

static void on_child(void *ctx, uint32_t events);
static void on_restart(void *ctx);
static void on_deadline(void *ctx);
static void on_too_much(void *ctx);

static enum err slot_connect(struct slot *s, struct error *error)
{
    int pair[2];
    TRY(slot_map(s, error));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make the socket of slot %u", s->index);
    s->socket_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    AUTO_FD int their_stderr = -1;
    TRY(said_open(&s->said, s->crew->config.loop, s->index, &their_stderr, on_too_much, s, error));
    int fds[ZYGOTE_START_FDS] = {theirs, s->memory_fd, their_stderr};
    TRY(loop_watch_add(s->crew->config.loop, &s->watch, s->socket_fd, EPOLLIN, on_child, s, error));
    s->generation = s->crew->serving;
    s->serial = ++s->crew->child_serial;
    TRY(send_start(s, fds, error));
    s->generation->children++;
    return OK;
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
                   loop_now_ms(s->crew->config.loop) +
                       crew_back_off_ms(s->failures - DEATHS_AT_ONCE),
                   on_restart, s);
}

void slot_start(struct slot *s)
{
    struct error error;
    CHECK(s->state == SLOT_OFF && s->pending == 0);
    if (s->crew->serving == NULL)
        return;
    if (slot_connect(s, &error) != OK) {
        char text[520];
        slot_disconnect(s);
        s->generation = NULL;
        s->failures++;
        log_event(LOG_ERROR, "child_start_failed", "slot=%u why=%s", s->index,
                  log_quote(error.msg, text, sizeof text));
        slot_restart_later(s);
        return;
    }
    s->state = SLOT_STARTING;
    s->begun = s->hung = s->cancelling = s->cancelled = false;
    s->distrusted = NULL;
    loop_timer_set(s->crew->config.loop, &s->deadline,
                   loop_now_ms(s->crew->config.loop) + WORKER_START_S_MAX * 1000, on_deadline, s);
}

static void on_restart(void *ctx)
{
    struct slot *s = ctx;
    if (s->state == SLOT_OFF && s->index < (uint32_t)s->crew->wanted)
        slot_start(s);
}

static void send_kill(const struct slot *s)
{
    struct zygote_request request = {ZYGOTE_KILL, s->index, s->serial};
    // cannot fail but by the zygote's death, which is seen elsewhere
    if (send(s->generation->control_fd, &request, sizeof request, MSG_NOSIGNAL) < 0)
        log_event(LOG_DEBUG, "kill_unsent", "slot=%u errno=%d", s->index, errno);
}

static void slot_kill(struct slot *s)
{
    if (s->state != SLOT_STARTING && s->state != SLOT_UP)
        return;
    s->state = SLOT_KILLED;
    slot_disconnect(s);
    send_kill(s);
}

void slot_retire(struct slot *s)
{
    CHECK(s->state == SLOT_STARTING || s->state == SLOT_UP);
    send_kill(s);
    slot_bury(s, NULL); // hands back what waited for it to start
    said_close(&s->said);
}

// --- lanes ---

static void on_deadline(void *ctx)
{
    struct slot *s = ctx;
    s->cancelled = s->cancelling;
    s->hung = !s->cancelling;
    s->crew->counts.hung += s->hung;
    slot_kill(s);
}

// The first job begins now.
static void arm_deadline(struct slot *s)
{
    const struct lane *lane = &s->lanes[s->order[0]];
    s->begun_ms = loop_now_ms(s->crew->config.loop);
    s->cancelling = false;
    trial_begun(&s->generation->trials[lane->model]);
    said_begin(&s->said);
    int64_t end_ms = s->begun_ms + lane->timeout_ms;
    if (lane->deadline_ms > 0 && lane->deadline_ms < end_ms)
        end_ms = lane->deadline_ms > s->begun_ms ? lane->deadline_ms : s->begun_ms;
    loop_timer_set(s->crew->config.loop, &s->deadline, end_ms + WORKER_KILL_GRACE_MS, on_deadline,
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
    uint32_t i = 0;
    while (i < s->pending && s->order[i] != lane)
        i++;
    CHECK(i < s->pending);
    for (s->pending--; i < s->pending; i++)
        s->order[i] = s->order[i + 1];
}

// Takes back what waits behind the first job. The child will find the lane cancelled; if it has
// begun it in this very moment, its answer is dropped.
void slot_revoke(struct slot *s, uint32_t lane)
{
    void *task = s->lanes[lane].task;
    if (s->lanes[lane].revoked)
        return;
    s->lanes[lane].revoked = true;
    s->lanes[lane].task = NULL;
    atomic_store(&slot_page(s)->cancel[lane], 1);
    s->crew->config.handlers.on_return(s->crew->config.handlers.ctx, task);
}

bool slot_cancel(struct slot *s, void *task)
{
    uint32_t i = 0;
    while (i < s->pending && s->lanes[s->order[i]].task != task)
        i++;
    if (i == s->pending || task == NULL)
        return false;
    if (i > 0) {
        slot_revoke(s, s->order[i]);
    } else if (s->state == SLOT_UP || s->state == SLOT_STARTING) {
        s->cancelling = true;
        atomic_store(&slot_page(s)->cancel[s->order[0]], 1);
        loop_timer_set(s->crew->config.loop, &s->deadline,
                       loop_now_ms(s->crew->config.loop) + WORKER_KILL_GRACE_MS, on_deadline, s);
    }
    return true; // or it is being killed: its death says the rest
}

void slot_hand_over(struct slot *s, void *task, const struct crew_job *in)
{
    uint32_t lane = 0;
    while (s->lanes[lane].in_use)
        lane++;
    CHECK(lane < CHILD_LANES);
    if (in->picture.len > 0)
        memcpy(s->memory + slot_lane_offset(lane), in->picture.data, in->picture.len);
    if (in->note.len > 0)
        memcpy(s->memory + slot_note_offset(lane), in->note.data, in->note.len);
    s->lanes[lane] = (struct lane){.task = task,
                                   .in_use = true,
                                   .picture_bytes = (uint32_t)in->picture.len,
                                   .model = in->model,
                                   .timeout_ms = in->timeout_ms,
                                   .deadline_ms = in->deadline_ms};
    s->order[s->pending++] = lane;
    struct child_job job = {.lane = lane,
                            .model = (uint32_t)in->model,
                            .picture_bytes = (uint32_t)in->picture.len,
                            .note_bytes = (uint32_t)in->note.len,
                            .timeout_ms = (uint32_t)in->timeout_ms,
                            .deadline_ms = in->deadline_ms};
    // two small packets always fit; a child that is gone is reported by the zygote
    if (send(s->socket_fd, &job, sizeof job, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_event(LOG_DEBUG, "job_unsent", "slot=%u errno=%d", s->index, errno);
    if (s->pending == 1 && s->state == SLOT_UP)
        arm_deadline(s);
}

// --- the generation's trial ---

// The first job ended badly, and it is not clear that something else than the model is to blame. A
// job's own deadline may be any time.
static void note_bad_end(struct slot *s, uint32_t lane_index)
{
    const struct lane *lane = &s->lanes[lane_index];
    const struct span picture = {s->memory + slot_lane_offset(lane_index), lane->picture_bytes};
    bool late = lane->deadline_ms > 0 && loop_now_ms(s->crew->config.loop) >= lane->deadline_ms;
    if (!late)
        trial_bad(&s->generation->trials[lane->model], picture);
}

// All generations decode with the same code: what dies there dies of its picture.
static void note_death(struct slot *s, const struct crew_death *death)
{
    if (!s->begun)
        s->generation->stillborn++;
    else if (s->pending > 0 && !death->cancelled && strcmp(death->where, "decode") != 0)
        note_bad_end(s, s->order[0]);
}

static void note_answer(struct slot *s, enum err err, uint32_t lane)
{
    if (err == ERR_TIMEOUT || err == ERR_NOMEM || err == ERR_INTERNAL)
        note_bad_end(s, lane);
}

// --- death ---

void slot_bury(struct slot *s, const struct crew_death *death)
{
    const struct crew_handlers *h = &s->crew->config.handlers;
    struct lane lanes[CHILD_LANES];
    uint32_t order[CHILD_LANES], pending = s->pending;
    memcpy(lanes, s->lanes, sizeof lanes);
    memcpy(order, s->order, sizeof order);
    slot_disconnect(s);
    loop_timer_cancel(s->crew->config.loop, &s->restart);
    s->state = SLOT_OFF;
    s->generation = NULL;
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

static bool hear(struct slot *s);

// What a dead child said may be read after the report of its death: that it began, or an answer.
static void hear_rest(struct slot *s)
{
    uint32_t serial = s->serial;
    while ((s->state == SLOT_STARTING || s->state == SLOT_UP) && s->serial == serial && hear(s))
        continue;
}

void slot_died(struct slot *s, const struct zygote_report *report)
{
    struct crew *c = s->crew;
    struct crew_death death;
    char text[500], where[250];
    if (s->state == SLOT_OFF)
        return;
    hear_rest(s);
    if (s->state == SLOT_OFF || s->serial != report->serial)
        return; // what it said last brought another child
    bool begun = s->begun;
    crew_describe_death(c, report->wait_status, s->hung, s->cancelled, &death);
    death.child = s->index;
    said_drain(&s->said);
    if (c->config.exec == NULL)
        snprintf(death.where, sizeof death.where, "%.199s", report->sentence);
    else if (!s->hung && !s->cancelled && report->sentence[0] != '\0')
        snprintf(death.sentence, sizeof death.sentence, "%.399s", report->sentence);
    if (s->distrusted != NULL) { // the signal that ended it was ours
        death.limit = "";
        snprintf(death.sentence, sizeof death.sentence, "killed: %s", s->distrusted);
    }
    snprintf(death.tail, sizeof death.tail, "%s", s->said.tail);
    log_event(LOG_WARN, "child_died", "slot=%u pid=%d why=%s where=%s", s->index, (int)report->pid,
              log_quote(death.sentence, text, sizeof text),
              log_quote(death.where, where, sizeof where));
    c->counts.deaths++;
    s->failures++;
    note_death(s, &death);
    slot_bury(s, &death);
    if (change_back_if_failed(c, death.sentence))
        return; // this slot, too, has its next child
    if (!begun && !c->ever_ready)
        crew_give_up(c, c->why[0] != '\0' ? c->why : death.sentence);
    else if (s->index >= (uint32_t)c->wanted)
        return;
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
    s->distrusted = what;
    slot_kill(s);
}

static void on_too_much(void *ctx)
{
    distrust(ctx, "it printed more than 64 KiB to standard error for one job");
}

static void on_child_ready(struct slot *s, const struct child_answer *a)
{
    struct crew *c = s->crew;
    if (s->state != SLOT_STARTING) {
        distrust(s, "ready twice");
        return;
    }
    s->state = SLOT_UP;
    s->generation->stillborn = 0;
    s->idle_ms = loop_now_ms(c->config.loop);
    s->begun = true;
    loop_timer_cancel(c->config.loop, &s->deadline);
    log_event(LOG_DEBUG, "child_ready", "slot=%u sandbox=%.*s", s->index, (int)a->text_bytes,
              a->text);
    if (s->pending > 0)
        arm_deadline(s);
    if (!c->ever_ready) {
        c->ever_ready = true;
        log_event(LOG_INFO, "pool_ready", "model=%s children=%d sandbox=%.*s", c->models[0].name,
                  c->wanted, (int)a->text_bytes, a->text);
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
    struct crew_answer answer = {.err = (enum err)a->err,
                                 .text = {a->text, a->text_bytes},
                                 .decode_us = a->decode_us,
                                 .infer_us = a->infer_us,
                                 .child = s->index};
    if (answer.err == OK && !text_is_json_object(answer.text)) {
        distrust(s, "predictions that are not JSON");
        return;
    }
    answer.model = &s->generation->models[s->lanes[a->lane].model];
    struct lane lane = s->lanes[a->lane];
    note_answer(s, answer.err, a->lane);
    lane_free(s, a->lane);
    s->failures = 0;
    if (s->pending > 0)
        arm_deadline(s);
    else
        loop_timer_cancel(c->config.loop, &s->deadline);
    s->idle_ms = loop_now_ms(c->config.loop);
    if (!lane.revoked)
        c->config.handlers.on_answer(c->config.handlers.ctx, lane.task, &answer);
    change_on_idle(s);
    if (answer.err != OK) {
        char sentence[200];
        snprintf(sentence, sizeof sentence, "%.*s",
                 (int)(a->text_bytes < 199 ? a->text_bytes : 199), a->text);
        change_back_if_failed(c, sentence);
    }
}

// One packet; false: there is none.
static bool hear(struct slot *s)
{
    const int64_t US_MAX = INT64_C(86400) * 1000000;
    struct child_answer *a = &s->crew->answer;
    ssize_t got = recv(s->socket_fd, a, sizeof *a, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) { // it hung up: its death, if it is one, is reported by the zygote
        loop_watch_remove(s->crew->config.loop, &s->watch);
        return false;
    }
    if ((size_t)got < CHILD_ANSWER_HEAD_BYTES || (size_t)got > sizeof *a ||
        a->text_bytes != (size_t)got - CHILD_ANSWER_HEAD_BYTES || a->lane >= CHILD_LANES ||
        a->err >= ERR_COUNT || a->decode_us < 0 || a->decode_us > US_MAX || a->infer_us < 0 ||
        a->infer_us > US_MAX)
        distrust(s, "a packet of another form");
    else if (a->kind == CHILD_READY)
        on_child_ready(s, a);
    else if (a->kind == CHILD_DONE)
        on_child_done(s, a);
    else if (a->kind == CHILD_BROKEN)
        on_child_broken(s, a);
    else
        distrust(s, "a packet of another kind");
    return true;
}

static void on_child(void *ctx, uint32_t events)
{
    (void)events;
    hear(ctx);
}

void slot_close(struct slot *s)
{
    loop_timer_cancel(s->crew->config.loop, &s->restart);
    slot_disconnect(s);
    said_close(&s->said);
    if (s->memory != NULL)
        munmap(s->memory, SLOT_BYTES);
    s->memory = NULL;
    fd_close(&s->memory_fd);
}
