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
    struct predictor *predictor;
    const char *memory; // SLOT_BYTES, read-only, written by the poller
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
    struct prediction_result result;
    struct error error = {0};
    enum err err = ERR_CANCELLED;
    if (atomic_load(cancel) == 0)
        err = predictor_run(c->predictor, picture, cancel, clock_monotonic_ms() + job->timeout_ms,
                            &result, &error);
    if (err != OK) {
        put_error(a, err, &error);
        return;
    }
    a->decode_us = result.decode_us;
    a->infer_us = result.infer_us;
    buf_clear(&c->json);
    c->json.full = false;
    predictor_write_json(c->predictor, &result, &c->json);
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
    c->memory = mmap(NULL, SLOT_BYTES, PROT_READ, MAP_SHARED, memory_fd, 0);
    if (c->memory == MAP_FAILED)
        return fail(error, ERR_NOMEM, errno, "map the memory for pictures");
    c->json.limit_bytes = WORKER_ANSWER_BYTES_MAX;
    // big buffers of one picture go back to the system with it
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    return sandbox_enter(sandbox, zygote_pid, WORKER_CHILD_BYTES_MAX, layers, error);
}

_Noreturn void child_run(struct predictor *predictor, const struct sandbox *sandbox, int socket_fd,
                         int memory_fd, pid_t zygote_pid)
{
    static struct child c; // 64 KiB: not on the stack
    struct error error = {0};
    unsigned layers = 0;
    c.predictor = predictor;
    prctl(PR_SET_NAME, "smelt-child");
    if (dup2(socket_fd, SANDBOX_SOCKET_FD) < 0)
        _exit(1);
    enum err err = set_up(&c, sandbox, memory_fd, zygote_pid, &layers, &error);
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
