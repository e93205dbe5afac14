#include "cli/quarantine.h"

#include "base/check.h"
#include "base/file.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// What the child sends: this, then the bytes. A child that was taken over may send anything.
struct verdict {
    struct error error;
    size_t bytes;
};

enum { PIECE_BYTES = 1 << 16 };

_Noreturn static void child_main(const struct quarantine *q, const struct sandbox *sandbox,
                                 int pipe_fd, pid_t parent)
{
    struct verdict verdict = {0};
    AUTO_BUF struct buf out = {.limit_bytes = q->out_bytes_max};
    struct rlimit cpu = {(rlim_t)q->cpu_s, (rlim_t)q->cpu_s + 1};
    unsigned layers;
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(pipe_fd, SANDBOX_SOCKET_FD) < 0 || setrlimit(RLIMIT_CPU, &cpu) != 0)
        _exit(1);
    enum err err = sandbox_enter(sandbox, parent, q->memory_bytes, &layers, &verdict.error);
    if (err == OK)
        err = q->work(q->ctx, &out, &verdict.error);
    if (err == OK && out.full)
        err = fail(&verdict.error, ERR_LIMIT, 0, "the result is over %zu bytes", q->out_bytes_max);
    verdict.error.code = err;
    verdict.bytes = out.len;
    if (fd_write_all(SANDBOX_SOCKET_FD, &verdict, sizeof verdict, "result", NULL) != OK ||
        fd_write_all(SANDBOX_SOCKET_FD, out.data, out.len, "result", NULL) != OK)
        _exit(1);
    syscall(SYS_exit_group, 0); // not _exit: sanitizers make a call before it that is forbidden
    abort();
}

// Everything the child sends.
static enum err receive(const struct quarantine *q, int fd, struct verdict *verdict,
                        struct buf *out, struct error *error)
{
    AUTO_BUF struct buf all = {.limit_bytes = q->out_bytes_max + sizeof *verdict};
    ssize_t got;
    do {
        buf_reserve(&all, PIECE_BYTES);
        got = read(fd, all.data + all.len, PIECE_BYTES);
        if (got < 0 && errno != EINTR)
            return fail(error, ERR_IO, errno, "read from the process that reads the file");
        if (got > 0)
            all.len += (size_t)got;
        if (all.len > all.limit_bytes)
            return fail(error, ERR_LIMIT, 0, "the result is over %zu bytes", q->out_bytes_max);
    } while (got != 0);
    if (all.len < sizeof *verdict) // it crashed: wait tells how
        return OK;
    memcpy(verdict, all.data, sizeof *verdict);
    verdict->error.msg[sizeof verdict->error.msg - 1] = '\0';
    for (char *at = verdict->error.msg; *at != '\0'; at++) // it goes to a terminal
        *at = (unsigned char)*at < ' ' || *at == 127 ? '?' : *at;
    if (verdict->bytes == all.len - sizeof *verdict && (unsigned)verdict->error.code < ERR_COUNT)
        buf_add(out, all.data + sizeof *verdict, verdict->bytes);
    else
        verdict->error.code = ERR_COUNT;
    return OK;
}

static enum err judge(int status, const struct verdict *verdict, struct error *error)
{
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL))
        return fail(error, ERR_FORMAT, 0, "reading the file took too long: it is damaged");
    if (WIFSIGNALED(status))
        return fail(error, ERR_FORMAT, 0,
                    "the process that reads the file crashed (%s): the file is damaged, or made "
                    "to do harm",
                    strsignal(WTERMSIG(status)));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || verdict->error.code == ERR_COUNT)
        return fail(error, ERR_INTERNAL, 0, "the process that reads the file gave no result");
    if (verdict->error.code != OK && error != NULL)
        *error = verdict->error;
    return verdict->error.code;
}

enum err quarantine_run(const struct quarantine *q, struct buf *out, struct error *error)
{
    int fds[2], status = 0;
    size_t len = out->len;
    struct sandbox *sandbox;
    TRY(sandbox_new(&sandbox, error));
    if (pipe2(fds, O_CLOEXEC) != 0) {
        sandbox_free(sandbox);
        return fail(error, ERR_IO, errno, "make a pipe");
    }
    AUTO_FD int from_child = fds[0];
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        child_main(q, sandbox, fds[1], parent);
    int sys = errno;
    close(fds[1]);
    sandbox_free(sandbox);
    if (child < 0)
        return fail(error, ERR_IO, sys, "start a process");
    struct verdict verdict = {.error.code = ERR_COUNT};
    enum err err = receive(q, from_child, &verdict, out, error);
    fd_close(&from_child); // a child that goes on writing ends by SIGPIPE
    while (waitpid(child, &status, 0) < 0)
        CHECK(errno == EINTR);
    if (err == OK)
        err = judge(status, &verdict, error);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        out->len = len; // of a process that crashed nothing is believed
        buf_add(out, "", 0);
    }
    return err;
}
