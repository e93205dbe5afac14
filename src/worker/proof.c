#include "worker/proof.h"

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "worker/child.h"
#include "worker/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct proof {
    struct model_set *models;
    pid_t pid;
    int socket_fd, memory_fd, usage_fd;
    struct child_answer answer;
};

// Where a package has no sample: a PNG with soft colours and an edge.
static void make_picture(struct buf *out)
{
    enum { SIDE = 96 };
    static uint8_t pixels[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        pixels[3 * i] = (uint8_t)(x * 255 / SIDE);
        pixels[3 * i + 1] = (uint8_t)(y * 255 / SIDE);
        pixels[3 * i + 2] = x > y ? 200 : 60;
    }
    struct spng_ihdr head = {
        .width = SIDE, .height = SIDE, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    CHECK(ctx != NULL);
    spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(ctx, &head);
    int bad = spng_encode_image(ctx, pixels, sizeof pixels, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    size_t len = 0;
    char *bytes = bad == 0 ? spng_get_png_buffer(ctx, &len, &bad) : NULL;
    CHECK(bytes != NULL && bad == 0);
    buf_add(out, bytes, len);
    free(bytes);
    spng_ctx_free(ctx);
}

static enum err start(struct proof *p, const struct sandbox *sandbox, struct error *error)
{
    int pair[2];
    p->memory_fd = memfd_create("smelt-proof", MFD_CLOEXEC);
    if (p->memory_fd < 0 || ftruncate(p->memory_fd, (off_t)SLOT_BYTES) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make a child's memory and socket");
    p->socket_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    AUTO_FD int log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, SANDBOX_SOCKET_FD + 1);
    const int fds[ZYGOTE_START_FDS] = {theirs, p->memory_fd, log};
    pid_t self = getpid();
    p->pid = fork();
    if (p->pid == 0) {
        // it must not outlive a zygote that is killed now
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self)
            _exit(1);
        close(p->socket_fd);
        char go; // once it is locked up, nobody may look at its memory any more: see below
        if (read(theirs, &go, 1) != 1)
            _exit(1);
        child_run(p->models, sandbox, fds, self);
    }
    if (p->pid < 0)
        return fail(error, ERR_NOMEM, errno, "fork a child");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)p->pid);
    p->usage_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (send(p->socket_fd, "g", 1, MSG_NOSIGNAL) != 1)
        return fail(error, ERR_IO, errno, "start a child");
    return OK;
}

static enum err explain_death(struct proof *p, struct error *error)
{
    struct {
        int model, where;
    } trace = {-1, PREDICTOR_IDLE};
    int status = 0;
    AUTO_BUF struct buf where = {0};
    waitpid(p->pid, &status, 0);
    p->pid = 0;
    if (pread(p->memory_fd, &trace, sizeof trace, (off_t)SLOT_TRACE_OFFSET) ==
            (ssize_t)sizeof trace &&
        trace.model >= 0 && (size_t)trace.model < model_set_count(p->models))
        predictor_where(model_set_predictor(p->models, (size_t)trace.model), trace.where, &where);
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return fail(error, ERR_INTERNAL, 0, "its process ended by signal %d%s%s%s", signal,
                where.len > 0 ? " in " : "", where.len > 0 ? where.data : "",
                signal == SIGSYS ? ": a system call that the sandbox forbids" : "");
}

static enum err hear(struct proof *p, struct error *error)
{
    struct pollfd polled = {.fd = p->socket_fd, .events = POLLIN};
    int got = poll(&polled, 1, WORKER_START_S_MAX * 1000);
    if (got == 0)
        return fail(error, ERR_TIMEOUT, 0, "no answer within %d s", WORKER_START_S_MAX);
    ssize_t bytes = recv(p->socket_fd, &p->answer, sizeof p->answer, 0);
    if (bytes <= 0)
        return explain_death(p, error);
    if ((size_t)bytes < CHILD_ANSWER_HEAD_BYTES || p->answer.err >= ERR_COUNT ||
        p->answer.text_bytes != (size_t)bytes - CHILD_ANSWER_HEAD_BYTES)
        return fail(error, ERR_FORMAT, 0, "an answer of another form");
    if (p->answer.err != OK)
        return fail(error, (enum err)p->answer.err, 0, "%.*s", (int)p->answer.text_bytes,
                    p->answer.text);
    return OK;
}

// The label that the package promises, if it does.
static enum err check_answer(const struct proof *p, const struct package *package,
                             struct error *error)
{
    json_error_t why;
    json_t *root = json_loadb(p->answer.text, p->answer.text_bytes, 0, &why);
    json_t *best = json_array_get(json_object_get(root, "predictions"), 0);
    const char *label = json_string_value(json_object_get(best, "label"));
    double score = json_number_value(json_object_get(best, "score"));
    enum err err = OK;
    if (label == NULL)
        err = fail(error, ERR_FORMAT, 0, "no prediction");
    else if (package->sample_label != NULL && strcmp(label, package->sample_label) != 0)
        err = fail(error, ERR_PRECONDITION, 0, "it is '%.80s' (%.3g), but smelt.json says '%.80s'",
                   label, score, package->sample_label);
    json_decref(root);
    return err;
}

static enum err ask(struct proof *p, size_t model, struct error *error)
{
    const struct package *package = predictor_package(model_set_predictor(p->models, model));
    AUTO_BUF struct buf picture = {0};
    if (package->sample_path == NULL)
        make_picture(&picture);
    else
        TRY(file_read(package->sample_path, IMAGE_BYTES_MAX, &picture, error));
    const struct child_job job = {.model = (uint32_t)model,
                                  .picture_bytes = (uint32_t)picture.len,
                                  .timeout_ms = WORKER_START_S_MAX * 1000};
    if (pwrite(p->memory_fd, picture.data, picture.len, (off_t)slot_lane_offset(0)) !=
            (ssize_t)picture.len ||
        send(p->socket_fd, &job, sizeof job, MSG_NOSIGNAL) != (ssize_t)sizeof job)
        return fail(error, ERR_IO, errno, "hand a picture over");
    enum err err = hear(p, error);
    if (err == OK)
        err = check_answer(p, package, error);
    if (err != OK)
        return fail_context(error, err, "model '%.100s', proof on %.200s", package->name,
                            package->sample_path != NULL ? package->sample_path
                                                         : "a made-up picture");
    return OK;
}

// "Private_Clean:  12 kB" and "Private_Dirty: …"
static uint64_t private_bytes(int usage_fd)
{
    char text[4096] = "";
    uint64_t total = 0;
    if (usage_fd < 0 || pread(usage_fd, text, sizeof text - 1, 0) <= 0)
        return 0;
    for (const char *at = text; (at = strstr(at, "Private_")) != NULL; at++) {
        const char *colon = strchr(at, ':');
        if (colon != NULL)
            total += strtoull(colon + 1, NULL, 10) << 10;
    }
    return total;
}

enum err proof_run(struct model_set *models, const struct sandbox *sandbox, uint64_t *child_bytes,
                   struct error *error)
{
    static struct proof p; // 64 KiB: not on the stack
    p = (struct proof){.models = models, .socket_fd = -1, .memory_fd = -1, .usage_fd = -1};
    enum err err = start(&p, sandbox, error);
    if (err == OK) {
        err = hear(&p, error); // that it is ready
        if (err != OK)
            err = fail_context(error, err, "a child cannot work");
    }
    for (size_t i = 0; err == OK && i < model_set_count(models); i++)
        err = ask(&p, i, error);
    if (err == OK)
        *child_bytes = private_bytes(p.usage_fd);
    if (p.pid > 0) {
        kill(p.pid, SIGKILL);
        waitpid(p.pid, NULL, 0);
    }
    fd_close(&p.socket_fd);
    fd_close(&p.memory_fd);
    fd_close(&p.usage_fd);
    return err;
}

uint64_t proof_resident_bytes(void)
{
    unsigned long long size, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    bool good = file != NULL && fscanf(file, "%llu %llu", &size, &resident) == 2;
    if (file != NULL)
        fclose(file);
    return good ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
