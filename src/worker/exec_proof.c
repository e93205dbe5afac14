// The proof of a program handler: it is started once, comes to `ready`, and is ended.
#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "worker/exec_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// The child's first packet: ready, or why not.
static enum err hear(int fd, struct error *error)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int64_t until_ms = clock_monotonic_ms() + WORKER_START_S_MAX * 1000, left_ms;
    struct child_answer *a = calloc(1, sizeof *a);
    CHECK(a != NULL);
    while ((left_ms = until_ms - clock_monotonic_ms()) > 0 && poll(&polled, 1, (int)left_ms) < 0)
        continue;
    ssize_t got = recv(fd, a, sizeof *a, MSG_DONTWAIT);
    enum err err = OK;
    if (got < 0 && errno == EAGAIN)
        err = fail(error, ERR_TIMEOUT, 0, "the handler was not ready within %d s",
                   WORKER_START_S_MAX);
    else if (got < (ssize_t)CHILD_ANSWER_HEAD_BYTES)
        err = fail(error, ERR_UNAVAILABLE, 0, "the handler cannot be started");
    else if (a->kind != CHILD_READY)
        err = fail(error, ERR_UNAVAILABLE, 0, "%.*s", (int)a->text_bytes, a->text);
    free(a);
    return err;
}

enum err exec_prove(const char *command, struct error *error)
{
    int pair[2];
    AUTO_FD int memory_fd = memfd_create("smelt-proof", MFD_CLOEXEC);
    if (memory_fd < 0 || ftruncate(memory_fd, (off_t)SLOT_BYTES) != 0)
        return fail(error, ERR_NOMEM, errno, "make memory for the handler's proof");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make a socket for the handler's proof");
    AUTO_FD int ours = pair[0];
    AUTO_FD int theirs = pair[1];
    AUTO_FD int said = dup(STDERR_FILENO);
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        exec_child_run(command, 0, (int[ZYGOTE_START_FDS]){theirs, memory_fd, said}, self);
    if (pid < 0)
        return fail(error, ERR_IO, errno, "fork the handler's proof");
    fd_close(&theirs);
    enum err err = hear(ours, error);
    kill(pid, SIGKILL);
    kill(-pid, SIGKILL); // the program too
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    exec_strays_kill(NULL, 0);
    return err;
}
