#include "worker/child.h"

#include "base/check.h"
#include "base/clock.h"
#include "worker/protocol.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct child {
    struct model_set *models;
    const char *memory; // SLOT_BYTES, read-only, written by the poller
    struct slot_trace *trace;
    struct buf json;
    struct child_answer answer;
};

static void put_text(struct child_answer *a, struct span text)
{
    CHECK(text.len <= sizeof a->text);
    if (text.len > 0)
        memcpy(a->text, text.data, text.len);
    a->text_bytes = (uint32_t)text.len;
}

static void put_error(struct child_answer *a, enum err err, const struct error *error)
{
    a->err = (uint32_t)err;
    put_text(a, span_from(error->msg));
}

// The poller is gone: nothing to stay for.
static void send_answer(const struct child_answer *a)
{
    size_t bytes = CHILD_ANSWER_HEAD_BYTES + a->text_bytes;
    if (write(SANDBOX_SOCKET_FD, a, bytes) != (ssize_t)bytes)
        _exit(0);
}

// The trace stays as it is when this process dies in between.
static enum err run_model(struct child *c, size_t model, struct span picture,
                          const atomic_int *cancel, int64_t deadline_ms,
                          struct prediction_result *result, struct error *error)
{
    struct predictor *p = model_set_predictor(c->models, model);
    atomic_store(&c->trace->model, (int)model);
    predictor_trace(p, &c->trace->where);
    enum err err = predictor_run(p, picture, cancel, deadline_ms, result, error);
    predictor_trace(p, NULL);
    atomic_store(&c->trace->where, PREDICTOR_IDLE);
    return err;
}

static void run_job(struct child *c, const struct child_job *job)
{
    struct child_answer *a = &c->answer;
    memset(a, 0, CHILD_ANSWER_HEAD_BYTES);
    a->kind = CHILD_DONE;
    a->lane = job->lane;
    CHECK(job->lane < CHILD_LANES && job->picture_bytes <= IMAGE_BYTES_MAX);
    const struct slot_page *page = (const void *)c->memory;
    const atomic_int *cancel = &page->cancel[job->lane];
    struct span picture = {c->memory + slot_lane_offset(job->lane), job->picture_bytes};
    struct prediction_result result = {0};
    struct error error = {0};
    enum err err;
    int64_t now = clock_monotonic_ms(), deadline = now + job->timeout_ms;
    if (job->deadline_ms > 0 && job->deadline_ms < deadline)
        deadline = job->deadline_ms;
    if (atomic_load(cancel) != 0)
        err = fail(&error, ERR_CANCELLED, 0, "the job was cancelled before it began");
    else if (deadline <= now)
        err = fail(&error, ERR_TIMEOUT, 0, "the job's deadline passed before it began");
    else
        err = run_model(c, job->model, picture, cancel, deadline, &result, &error);
    if (err != OK) {
        put_error(a, err, &error);
        return;
    }
    a->decode_us = result.decode_us;
    a->infer_us = result.infer_us;
    buf_clear(&c->json);
    c->json.full = false;
    predictor_write_json(model_set_predictor(c->models, job->model), &result, &c->json);
    if (c->json.full)
        put_error(a,
                  fail(&error, ERR_LIMIT, 0,
                       "the predictions need over %d bytes; lower top_k of "
                       "the model's package",
                       WORKER_ANSWER_BYTES_MAX),
                  &error);
    else
        put_text(a, buf_view(&c->json));
}

// Everything that can fail, before the first job.
static enum err set_up(struct child *c, const struct sandbox *sandbox, int memory_fd,
                       pid_t zygote_pid, unsigned *layers, struct error *error)
{
    void *trace = mmap(NULL, SLOT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd,
                       (off_t)SLOT_TRACE_OFFSET);
    c->memory = mmap(NULL, SLOT_BYTES, PROT_READ, MAP_SHARED, memory_fd, 0);
    if (c->memory == MAP_FAILED || trace == MAP_FAILED)
        return fail(error, ERR_NOMEM, errno, "map the memory for pictures");
    c->trace = trace;
    atomic_store(&c->trace->where, PREDICTOR_IDLE);
    c->json.limit_bytes = WORKER_ANSWER_BYTES_MAX;
    // big buffers of one picture go back to the system with it
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    return sandbox_enter(sandbox, zygote_pid, WORKER_CHILD_BYTES_MAX, layers, error);
}

_Noreturn void child_run(struct model_set *models, const struct sandbox *sandbox,
                         const int fds[ZYGOTE_START_FDS], pid_t zygote_pid)
{
    static struct child c; // 64 KiB: not on the stack
    struct error error = {0};
    unsigned layers = 0;
    c.models = models;
    prctl(PR_SET_NAME, "smelt-child");
    if (dup2(fds[2], STDERR_FILENO) < 0 || dup2(fds[0], SANDBOX_SOCKET_FD) < 0)
        _exit(1);
    enum err err = set_up(&c, sandbox, fds[1], zygote_pid, &layers, &error);
    c.answer.kind = err == OK ? CHILD_READY : CHILD_BROKEN;
    if (err == OK) {
        sandbox_layers_write(layers, &c.json);
        put_text(&c.answer, buf_view(&c.json));
    } else {
        put_error(&c.answer, err, &error);
    }
    send_answer(&c.answer);
    while (err == OK) {
        struct child_job job;
        ssize_t got = read(SANDBOX_SOCKET_FD, &job, sizeof job);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof job)
            break;
        run_job(&c, &job);
        send_answer(&c.answer);
    }
    _exit(0);
}
