// Keys that a program prints: credential_process of a profile. It runs beside the loop.
#include "aws/keys_internal.h"
#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROCESS_MS_MAX = 60000, // it may ask a service of its own
    OUTPUT_BYTES_MAX = 64 << 10,
    STDERR_BYTES_MAX = 4 << 10, // more is read and dropped
    STDERR_SHOWN_MAX = 300,
};

extern char **environ;

struct keys_pipe {
    int fd; // our end; -1: at its end
    struct watch watch;
    struct buf text;
};

struct keys_child {
    struct keys *keys;
    pid_t pid;
    int pidfd;
    struct watch exit_watch;
    struct keys_pipe out, err;
    struct timer limit;
};

static void pipe_release(struct keys_child *c, struct keys_pipe *p)
{
    loop_watch_remove(c->keys->config.loop, &p->watch);
    fd_close(&p->fd);
    if (p->text.data != NULL)
        explicit_bzero(p->text.data, p->text.cap);
    buf_release(&p->text);
}

static void child_free(struct keys_child *c)
{
    struct loop *loop = c->keys->config.loop;
    loop_timer_cancel(loop, &c->limit);
    loop_watch_remove(loop, &c->exit_watch);
    pipe_release(c, &c->out);
    pipe_release(c, &c->err);
    fd_close(&c->pidfd);
    c->keys->child = NULL;
    free(c);
}

// The end of one that does not end by itself: with all that it started.
// Nobody waits for that: a process that hangs in the kernel (on a dead network disk, say) ends when
// it can. It is reaped before the next one starts.
static void child_kill(struct keys_child *c)
{
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL); // it may have left its group
    for (size_t i = 0; i < KEYS_LEFT_MAX; i++)
        if (c->keys->left[i] == 0) {
            c->keys->left[i] = c->pid;
            return;
        }
}

// How many have not ended.
static int reap(struct keys *k)
{
    int left = 0;
    for (size_t i = 0; i < KEYS_LEFT_MAX; i++) {
        if (k->left[i] != 0 && waitpid(k->left[i], NULL, WNOHANG) != 0)
            k->left[i] = 0;
        left += k->left[i] != 0;
    }
    return left;
}

static void child_end(struct keys_child *c, enum err err, const struct credentials *got,
                      const struct error *error)
{
    struct keys *k = c->keys;
    child_free(c);
    keys_fetched(k, err, got, error);
}

static void on_limit(void *ctx)
{
    struct keys_child *c = ctx;
    struct error error;
    enum err err =
        fail(&error, ERR_TIMEOUT, 0, "it did not end within %d s", PROCESS_MS_MAX / 1000);
    child_kill(c);
    child_end(c, err, NULL, &error);
}

// Takes what is there. False: more than is allowed.
static bool pipe_read(struct keys_child *c, struct keys_pipe *p)
{
    char piece[4096];
    ssize_t n = 1;
    while (p->fd >= 0 && (n = read(p->fd, piece, sizeof piece)) > 0)
        buf_add(&p->text, piece, (size_t)n);
    explicit_bzero(piece, sizeof piece);
    if (p->fd >= 0 && (n == 0 || errno != EAGAIN)) {
        loop_watch_remove(c->keys->config.loop, &p->watch);
        fd_close(&p->fd);
    }
    return p == &c->err || !p->text.full;
}

static void on_text(void *ctx, uint32_t events)
{
    struct keys_child *c = ctx;
    struct error error;
    (void)events;
    pipe_read(c, &c->err);
    if (pipe_read(c, &c->out))
        return;
    enum err err = fail(&error, ERR_LIMIT, 0, "it printed over %d bytes", OUTPUT_BYTES_MAX);
    child_kill(c);
    child_end(c, err, NULL, &error);
}

static enum err read_output(const struct keys_child *c, struct credentials *got,
                            struct error *error)
{
    struct span text = buf_view(&c->out.text);
    json_t *root = json_loadb(text.data != NULL ? text.data : "", text.len, 0, NULL);
    bool known = root == NULL || !json_is_object(root) ||
                 json_integer_value(json_object_get(root, "Version")) == 1;
    json_decref(root);
    if (!known)
        return fail(error, ERR_UNSUPPORTED, 0, "what it printed does not have \"Version\": 1");
    return keys_read_json(text, "what it printed", got, error);
}

static void on_exit_of_child(void *ctx, uint32_t events)
{
    struct keys_child *c = ctx;
    struct credentials got = {0};
    struct error error;
    int status = 0;
    (void)events;
    if (waitpid(c->pid, &status, WNOHANG) != c->pid) { // a debugger has it: until the limit
        loop_watch_remove(c->keys->config.loop, &c->exit_watch);
        return;
    }
    enum err err = OK;
    pipe_read(c, &c->err);
    bool whole = pipe_read(c, &c->out);
    if (status != 0) {
        size_t len = c->err.text.len < STDERR_SHOWN_MAX ? c->err.text.len : STDERR_SHOWN_MAX;
        char shown[STDERR_SHOWN_MAX + 1] = "";
        for (size_t i = 0; i < len; i++)
            shown[i] = (unsigned char)c->err.text.data[i] < ' ' ? ' ' : c->err.text.data[i];
        err = fail(&error, ERR_DENIED, 0, "it ended with %s %d: %s",
                   WIFSIGNALED(status) ? "signal" : "exit code",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), shown);
    } else if (!whole) {
        err = fail(&error, ERR_LIMIT, 0, "it printed over %d bytes", OUTPUT_BYTES_MAX);
    } else {
        err = read_output(c, &got, &error);
    }
    child_end(c, err, &got, &error);
    explicit_bzero(&got, sizeof got);
}

// Our end does not block.
static enum err pipe_open(int *ours, int *theirs, struct error *error)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "create a pipe");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *ours = fds[0];
    *theirs = fds[1];
    return OK;
}

// Runs the command by the shell, as the other AWS tools do on this system, in a group of its own.
static enum err spawn(struct keys_child *c, const char *command, int out, int err,
                      struct error *error)
{
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int sys =
        posix_spawn(&c->pid, argv[0], &actions, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return sys == 0 ? OK : fail(error, ERR_IO, sys, "start /bin/sh");
}

static enum err watch_child(struct keys_child *c, struct error *error)
{
    struct loop *loop = c->keys->config.loop;
    c->pidfd = pidfd_open(c->pid, 0);
    if (c->pidfd < 0)
        return fail(error, ERR_IO, errno, "watch process %d", (int)c->pid);
    TRY(loop_watch_add(loop, &c->exit_watch, c->pidfd, EPOLLIN, on_exit_of_child, c, error));
    TRY(loop_watch_add(loop, &c->out.watch, c->out.fd, EPOLLIN, on_text, c, error));
    TRY(loop_watch_add(loop, &c->err.watch, c->err.fd, EPOLLIN, on_text, c, error));
    loop_timer_set(loop, &c->limit, loop_now_ms(loop) + PROCESS_MS_MAX, on_limit, c);
    return OK;
}

static enum err start(struct keys_child *c, struct error *error)
{
    AUTO_FD int out = -1;
    AUTO_FD int err = -1;
    if (reap(c->keys) == KEYS_LEFT_MAX)
        return fail(error, ERR_TIMEOUT, 0, "%d runs of it were killed and do not end",
                    KEYS_LEFT_MAX);
    TRY(pipe_open(&c->out.fd, &out, error));
    TRY(pipe_open(&c->err.fd, &err, error));
    TRY(spawn(c, c->keys->command, out, err, error));
    enum err watched = watch_child(c, error);
    if (watched != OK)
        child_kill(c);
    return watched;
}

void keys_fetch_process(struct keys *k)
{
    struct error error;
    struct keys_child *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    *c = (struct keys_child){.keys = k, .pidfd = -1, .out.fd = -1, .err.fd = -1};
    c->out.text.limit_bytes = OUTPUT_BYTES_MAX;
    c->err.text.limit_bytes = STDERR_BYTES_MAX;
    k->child = c;
    enum err err = start(c, &error);
    if (err != OK)
        child_end(c, err, NULL, &error);
}

void keys_process_cancel(struct keys *k)
{
    if (k->child != NULL) {
        child_kill(k->child);
        child_free(k->child);
    }
    reap(k);
}
