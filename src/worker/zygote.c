#include "worker/zygote.h"

#include "base/check.h"
#include "base/file.h"
#include "base/process.h"
#include "worker/child.h"
#include "worker/exec_child.h"
#include "worker/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct zygote {
    int control_fd, signal_fd;
    struct model_set *models;
    struct sandbox *sandbox;
    const char *exec;     // not NULL: a program answers, and there are neither models nor sandbox
    uint64_t child_bytes; // a child's own memory, measured
    cpu_set_t cpus;       // ours; empty: children are not pinned
    struct {
        pid_t pid; // 0: none
        uint32_t serial;
        int memory_fd;               // of its slot: for what it was doing when it died
    } children[WORKER_CHILDREN_MAX]; // by slot
};

static void send_report(const struct zygote *z, const struct zygote_report *report)
{
    if (send(z->control_fd, report, sizeof *report, MSG_NOSIGNAL) != (ssize_t)sizeof *report)
        _exit(0); // the poller is gone
}

// Keys and passwords in the environment are for the poller alone: a child must not find them in its
// memory. What the zygote needs came as flags.
static void forget_environment(void)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        explicit_bzero(*variable, strlen(*variable));
    clearenv();
}

// Children inherit these: nothing to read, nothing to print to but the log.
static enum err null_standard_fds(struct error *error)
{
    AUTO_FD int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
        return fail(error, ERR_IO, errno, "open /dev/null");
    return OK;
}

// Ctrl-C and a supervisor's TERM reach the whole process group: the poller alone decides to drain.
static enum err set_signals(struct zygote *z, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    z->signal_fd = -1;
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
        z->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (z->signal_fd < 0)
        return fail(error, ERR_IO, errno, "watch for dead children");
    return OK;
}

// Says so and ends, if the packages are what one of the fingerprints in known stands for.
static enum err look_for_known(const struct zygote *z, const struct zygote_config *config,
                               struct error *error)
{
    struct zygote_report report = {.kind = ZYGOTE_SAME};
    char now[65];
    TRY(model_set_fingerprint_of(config->model, config->search_path, now, error));
    for (struct span rest = span_from(config->known); rest.len > 0; report.which++)
        if (span_is(span_cut(rest, ',', &rest), now)) {
            send_report(z, &report);
            _exit(0);
        }
    return OK;
}

// At most two generations are in memory: the poller says when an older one has gone.
static void wait_for_room(const struct zygote *z)
{
    struct zygote_request request = {.kind = ZYGOTE_KILL};
    send_report(z, &(struct zygote_report){.kind = ZYGOTE_LOADS});
    while (recv(z->control_fd, &request, sizeof request, 0) < 0 && errno == EINTR)
        continue;
    if (request.kind != ZYGOTE_LOAD)
        _exit(0); // the poller is gone
}

static enum err load(struct zygote *z, const struct zygote_config *config, struct error *error)
{
    if (config->exec != NULL)
        exec_environment_clean();
    else
        forget_environment();
    TRY(null_standard_fds(error));
    TRY(set_signals(z, error));
    if (config->exec != NULL) // what its programs leave behind
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (config->exec == NULL && config->known != NULL)
        TRY(look_for_known(z, config, error));
    wait_for_room(z);
    if (config->exec != NULL) // the first one proves itself in its children
        return config->known != NULL ? exec_prove(config->exec, error) : OK;
    TRY(sandbox_new(&z->sandbox, error));
    // each runs once, here: it proves the model, and children inherit what the first run makes
    TRY(model_set_open(config->model, config->search_path, &z->models, error));
    model_set_cool(z->models);
    malloc_trim(0); // what loading needed and packing freed
    return proof_run(z->models, z->sandbox, &z->child_bytes, error);
}

// What the dead child was doing, from its trace. A child may have written anything there.
static void describe_trace(const struct zygote *z, int memory_fd, struct buf *out)
{
    struct {
        int model, where;
    } trace;
    _Static_assert(sizeof trace == sizeof(struct slot_trace), "atomic_int is an int in memory");
    if (pread(memory_fd, &trace, sizeof trace, (off_t)SLOT_TRACE_OFFSET) != (ssize_t)sizeof trace)
        return;
    if (trace.model >= 0 && (size_t)trace.model < model_set_count(z->models))
        predictor_where(model_set_predictor(z->models, (size_t)trace.model), trace.where, out);
}

static void report_died(struct zygote *z, uint32_t slot, int status)
{
    struct zygote_report report = {.kind = ZYGOTE_DIED,
                                   .slot = slot,
                                   .serial = z->children[slot].serial,
                                   .pid = z->children[slot].pid,
                                   .wait_status = status};
    AUTO_BUF struct buf where = {0};
    if (report.pid > 0 && z->exec != NULL)
        exec_reason_read(z->children[slot].memory_fd, &where);
    else if (report.pid > 0)
        describe_trace(z, z->children[slot].memory_fd, &where);
    if (report.pid > 0)
        fd_close(&z->children[slot].memory_fd);
    if (where.len > 0)
        snprintf(report.sentence, sizeof report.sentence, "%s", where.data);
    z->children[slot].pid = 0;
    send_report(z, &report);
}

// The child of this slot has ended, or does now. Its group (the program, and what that has started)
// goes before it is waited for: so long its number is nobody else's.
static void bury(struct zygote *z, uint32_t slot)
{
    siginfo_t ended;
    int status = 0;
    pid_t pid = z->children[slot].pid;
    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR)
        continue;
    if (z->exec != NULL)
        kill(-pid, SIGKILL);
    waitpid(pid, &status, 0);
    report_died(z, slot, status);
}

// What programs left behind in sessions of their own.
static void kill_strays(const struct zygote *z)
{
    pid_t children[WORKER_CHILDREN_MAX];
    for (size_t i = 0; i < WORKER_CHILDREN_MAX; i++)
        children[i] = z->children[i].pid;
    exec_strays_kill(children, WORKER_CHILDREN_MAX);
}

static void pin(const struct zygote *z, uint32_t slot)
{
    int count = CPU_COUNT(&z->cpus), nth = count > 0 ? (int)(slot % (uint32_t)count) : -1;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && nth >= 0; cpu++)
        if (CPU_ISSET(cpu, &z->cpus) && nth-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one); // if not, it runs anywhere
        }
}

static void start_child(struct zygote *z, uint32_t slot, uint32_t serial, int fds[ZYGOTE_START_FDS])
{
    if (z->children[slot].pid != 0)
        bury(z, slot); // it was killed a moment ago
    z->children[slot].serial = serial;
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        pin(z, slot);
    if (pid == 0 && z->exec != NULL)
        exec_child_run(z->exec, slot, fds, self);
    if (pid == 0)
        child_run(z->models, z->sandbox, fds, self);
    if (pid < 0) {
        report_died(z, slot, -1);
        return;
    }
    z->children[slot].pid = pid;
    z->children[slot].memory_fd = fds[1];
    fds[1] = -1;
}

static void reap(struct zygote *z)
{
    struct signalfd_siginfo info;
    while (read(z->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        continue;
    siginfo_t ended = {0};
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
        uint32_t slot = 0;
        while (slot < WORKER_CHILDREN_MAX && z->children[slot].pid != ended.si_pid)
            slot++;
        if (slot < WORKER_CHILDREN_MAX)
            bury(z, slot);
        else
            waitpid(ended.si_pid, NULL, 0);
        ended.si_pid = 0;
    }
    if (z->exec != NULL)
        kill_strays(z);
}

// Descriptors of the packet into fds (-1 if there are none).
static void take_fds(struct msghdr *message, int fds[ZYGOTE_START_FDS])
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len == CMSG_LEN(ZYGOTE_START_FDS * sizeof(int)))
            memcpy(fds, CMSG_DATA(c), ZYGOTE_START_FDS * sizeof(int));
}

// One request of the poller; false when the poller is gone.
static bool serve_request(struct zygote *z)
{
    struct zygote_request request;
    int fds[ZYGOTE_START_FDS] = {-1, -1, -1};
    union {
        char bytes[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } control;
    struct iovec io = {&request, sizeof request};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(z->control_fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR)
        return true;
    if (got != (ssize_t)sizeof request)
        return false;
    take_fds(&message, fds);
    CHECK(request.slot < WORKER_CHILDREN_MAX);
    if (request.kind == ZYGOTE_START && fds[0] >= 0)
        start_child(z, request.slot, request.serial, fds);
    else if (request.kind == ZYGOTE_KILL && z->children[request.slot].pid > 0 &&
             z->children[request.slot].serial == request.serial)
        kill(z->children[request.slot].pid, SIGKILL);
    for (int i = 0; i < ZYGOTE_START_FDS; i++)
        fd_close(&fds[i]);
    return true;
}

static void serve(struct zygote *z)
{
    struct pollfd polled[] = {{.fd = z->control_fd, .events = POLLIN},
                              {.fd = z->signal_fd, .events = POLLIN}};
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            return;
        if (polled[1].revents != 0) // deaths first: their slots may be started again
            reap(z);
        if (polled[0].revents != 0 && !serve_request(z))
            return;
    }
}

static void report_models(const struct zygote *z, const struct zygote_config *config)
{
    if (z->exec != NULL) {
        struct zygote_report report = {.kind = ZYGOTE_MODEL};
        snprintf(report.model.name, sizeof report.model.name, "%s", config->model);
        send_report(z, &report);
        send_report(z, &(struct zygote_report){.kind = ZYGOTE_READY});
        return;
    }
    for (size_t i = 0; i < model_set_count(z->models); i++) {
        const struct predictor *p = model_set_predictor(z->models, i);
        const struct package *package = predictor_package(p);
        struct zygote_report report = {.kind = ZYGOTE_MODEL};
        struct crew_model *m = &report.model;
        AUTO_BUF struct buf way = {0};
        preprocess_describe(&package->preprocess, &way);
        snprintf(m->name, sizeof m->name, "%s", package->name);
        snprintf(m->sha256, sizeof m->sha256, "%s", package->sha256);
        snprintf(m->precision, sizeof m->precision, "%s", predictor_precision(p));
        snprintf(m->preprocessing, sizeof m->preprocessing, "%s", way.data);
        snprintf(report.folder, sizeof report.folder, "%s", package_place(package));
        send_report(z, &report);
    }
    struct zygote_report ready = {.kind = ZYGOTE_READY};
    model_set_fingerprint(z->models, ready.fingerprint);
    ready.child_bytes = z->child_bytes;
    ready.shared_bytes = proof_resident_bytes();
    send_report(z, &ready);
}

int zygote_run(const struct zygote_config *config)
{
    static struct zygote z;
    struct error error = {0};
    z.control_fd = config->control_fd;
    z.exec = config->exec;
    if (config->pin && sched_getaffinity(0, sizeof z.cpus, &z.cpus) != 0)
        CPU_ZERO(&z.cpus);
    fcntl(z.control_fd, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NAME, "smelt-zygote");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    process_raise_file_limit(WORKER_CHILDREN_MAX + 64); // a slot's memory for each child
    enum err err = load(&z, config, &error);
    if (err == OK) {
        report_models(&z, config);
        serve(&z);
    } else {
        struct zygote_report report = {.kind = ZYGOTE_FAILED};
        snprintf(report.sentence, sizeof report.sentence, "%s", error.msg);
        send_report(&z, &report);
    }
    // children end with their parent (PDEATHSIG), and with their sockets
    model_set_free(z.models);
    sandbox_free(z.sandbox);
    return err == OK ? 0 : 1;
}
