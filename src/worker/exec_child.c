#include "worker/exec_child.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "worker/exec_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    POLLER_FD = 3,        // our socket
    STATUS_PROTOCOL = 76, // of this process when the program did not keep to the frames
    LAST_WORD_MS = 1000,  // from the end of its output to the end of the program
    FAREWELL_MS = 2000,   // from the end of its input to the end of the program
    ORPHANED = SIGUSR1,   // the kernel's word that the zygote is gone
};

struct bridge {
    const char *command;
    const char *memory; // SLOT_BYTES, read-only, written by the poller
    char *reason;       // SLOT_REASON_BYTES, ours to write
    int to_fd, from_fd; // the program's standard input and output
    pid_t program;
    int program_fd;  // pidfd
    bool ready;      // it said so
    struct buf read; // of its output, what is not answered yet
    struct child_answer answer;
};

void exec_environment_clean(void)
{
    char **kept = environ;
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++) {
        if (strncmp(*variable, "AWS_", 4) == 0 || strncmp(*variable, "SMELT_", 6) == 0)
            explicit_bzero(*variable, strlen(*variable));
        else
            *kept++ = *variable;
    }
    if (kept != NULL)
        *kept = NULL;
}

void exec_reason_read(int memory_fd, struct buf *out)
{
    char reason[SLOT_REASON_BYTES] = "";
    off_t at = (off_t)(SLOT_TRACE_OFFSET + SLOT_REASON_AT);
    if (pread(memory_fd, reason, sizeof reason, at) == (ssize_t)sizeof reason)
        buf_add(out, reason, strnlen(reason, sizeof reason));
}

static bool is_one_of(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

void exec_strays_kill(const pid_t *children, size_t count)
{
    char path[64], list[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, list, sizeof list - 1) : 0;
    list[len > 0 ? len : 0] = '\0';
    char *at = list;
    // each number has a blank behind it; the last one, without, may be half a number
    for (pid_t pid; (pid = (pid_t)strtol(at, &at, 10)) > 0 && *at == ' ';)
        if (!is_one_of(children, count, pid))
            kill(pid, SIGKILL);
}

// --- to the poller ---

static void put_answer(struct bridge *b, enum child_answer_kind kind, enum err err,
                       struct span text)
{
    struct child_answer *a = &b->answer;
    CHECK(text.len <= sizeof a->text);
    a->kind = kind;
    a->err = (uint32_t)err;
    a->text_bytes = (uint32_t)text.len;
    if (text.len > 0)
        memcpy(a->text, text.data, text.len);
    size_t bytes = CHILD_ANSWER_HEAD_BYTES + text.len;
    if (write(POLLER_FD, a, bytes) != (ssize_t)bytes)
        _exit(0); // nothing to stay for
}

// The end, and why: into the slot's memory, where the zygote finds it; before the program was ready
// to the poller too. wait_status: how the program ended, or -1; this process ends likewise.
static _Noreturn void end(struct bridge *b, int wait_status, const char *why)
{
    snprintf(b->reason, SLOT_REASON_BYTES, "%s", why);
    if (!b->ready) {
        char sentence[900];
        snprintf(sentence, sizeof sentence, "before it was ready the handler '%.300s' was %s",
                 b->command, why);
        memset(&b->answer, 0, CHILD_ANSWER_HEAD_BYTES);
        put_answer(b, CHILD_BROKEN, ERR_UNAVAILABLE, span_from(sentence));
    }
    if (wait_status != -1 && WIFSIGNALED(wait_status)) {
        signal(WTERMSIG(wait_status), SIG_DFL);
        raise(WTERMSIG(wait_status));
    }
    _exit(wait_status != -1 && WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : STATUS_PROTOCOL);
}

static _Noreturn void end_for_error(struct bridge *b, const struct error *error)
{
    char why[SLOT_REASON_BYTES];
    snprintf(why, sizeof why, "ended: %.380s", error->msg);
    end(b, -1, why);
}

// The program has ended, or closed one of its ends (which: "output", "input").
static _Noreturn void end_with_program(struct bridge *b, const char *which)
{
    char why[SLOT_REASON_BYTES];
    struct pollfd polled = {.fd = b->program_fd, .events = POLLIN};
    int status;
    while (poll(&polled, 1, LAST_WORD_MS) < 0 && errno == EINTR)
        continue;
    if (waitpid(b->program, &status, WNOHANG) != b->program) {
        snprintf(why, sizeof why, "ended: it closed its standard %s", which);
        end(b, -1, why);
    }
    if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(why, sizeof why, "ended with status %d", WEXITSTATUS(status));
    end(b, status, why);
}

// --- the program ---

// A command of plain words needs no shell between: the program itself is our child, and ends with
// us whatever happens. ERR_NOT_FOUND and the like are left to the shell, which has built-ins and
// says it in the usual words.
static void exec_plain(const char *command)
{
    enum { WORDS_MAX = 128 };
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                " _-+./:,@";
    char *words[WORDS_MAX + 1], *rest = NULL;
    int count = 0;
    if (command[strspn(command, plain)] != '\0')
        return;
    char *copy = strdup(command);
    CHECK(copy != NULL);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    words[count] = NULL;
    if (count > 0 && count < WORDS_MAX)
        execvp(words[0], words);
    free(copy);
}

static _Noreturn void become_program(const char *command, const int in[2], const int out[2],
                                     pid_t parent)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, ORPHANED};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0 ||
        syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(126);
    exec_plain(command);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    fprintf(stderr, "/bin/sh: %s\n", strerror(errno));
    _exit(127);
}

static enum err start_program(struct bridge *b, const char *command, struct error *error)
{
    int in[2], out[2];
    pid_t self = getpid();
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make the handler's pipes");
    b->program = fork();
    if (b->program == 0)
        become_program(command, in, out, self);
    if (b->program < 0)
        return fail(error, ERR_IO, errno, "fork the handler");
    close(in[0]);
    close(out[1]);
    b->to_fd = in[1];
    b->from_fd = out[0];
    b->program_fd = (int)syscall(SYS_pidfd_open, b->program, 0);
    if (b->program_fd < 0 || fcntl(b->to_fd, F_SETFL, O_NONBLOCK) != 0)
        return fail(error, ERR_IO, errno, "watch the handler");
    return OK;
}

// What the program left behind becomes ours (PR_SET_CHILD_SUBREAPER): no zombies of it.
static void reap_strays(const struct bridge *b)
{
    siginfo_t ended = {0};
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0 &&
           ended.si_pid != b->program) {
        waitpid(ended.si_pid, NULL, 0);
        ended.si_pid = 0;
    }
}

// The poller wants nothing more: the program may end by itself. Then the zygote ends what is left.
static _Noreturn void say_farewell(struct bridge *b)
{
    struct pollfd polled = {.fd = b->program_fd, .events = POLLIN};
    close(b->to_fd);
    (void)poll(&polled, 1, FAREWELL_MS);
    _exit(0);
}

// What there is of its output. Ends this process when that is over.
static void read_output(struct bridge *b)
{
    char piece[16 << 10];
    ssize_t got = read(b->from_fd, piece, sizeof piece);
    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0)
        end_with_program(b, "output");
    buf_add(&b->read, piece, (size_t)got);
}

static bool take_answer(struct bridge *b, struct exec_answer *out, size_t *used)
{
    struct error error = {0};
    if (exec_answer_read(buf_view(&b->read), out, used, &error) != OK)
        end_for_error(b, &error);
    if (*used > 0 && (out->word == EXEC_READY) == b->ready) {
        fail(&error, ERR_FORMAT, 0,
             b->ready ? "it said \"ready\" a second time" : "it answered before it was \"ready\"");
        end_for_error(b, &error);
    }
    return *used > 0;
}

// Between jobs nothing may be left over.
static void expect_silence(struct bridge *b)
{
    struct error error;
    if (b->read.len == 0)
        return;
    fail(&error, ERR_FORMAT, 0, "it wrote %zu bytes more than its answer", b->read.len);
    end_for_error(b, &error);
}

// --- a job ---

// Two pieces that are written as the program reads them.
struct outgoing {
    struct span pieces[2];
};

static bool write_some(struct bridge *b, struct outgoing *o)
{
    for (size_t i = 0; i < 2; i++) {
        struct span *s = &o->pieces[i];
        while (s->len > 0) {
            ssize_t put = write(b->to_fd, s->data, s->len);
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0 && errno == EAGAIN)
                return false;
            if (put < 0)
                end_with_program(b, "input");
            s->data += put;
            s->len -= (size_t)put;
        }
    }
    return true;
}

// Until the program has read the job and answered. Hangs are the poller's to end.
static void converse(struct bridge *b, struct outgoing *o, struct exec_answer *answer, size_t *used)
{
    bool written = false, answered = false;
    while (!written || !answered) {
        struct pollfd polled[] = {{.fd = b->from_fd, .events = POLLIN},
                                  {.fd = written ? -1 : b->to_fd, .events = POLLOUT},
                                  {.fd = POLLER_FD, .events = POLLRDHUP}};
        if (poll(polled, 3, -1) < 0)
            continue;
        if (polled[2].revents & (POLLHUP | POLLERR))
            _exit(0); // the poller is gone
        if (polled[1].revents != 0)
            written = write_some(b, o);
        if (polled[0].revents != 0)
            read_output(b);
        answered = take_answer(b, answer, used);
        if (answered && b->read.len > *used) {
            buf_consume(&b->read, *used);
            expect_silence(b);
        }
    }
}

static void run_job(struct bridge *b, const struct child_job *job)
{
    static const enum err errs[] = {
        [EXEC_RESULT] = OK, [EXEC_FAILED] = ERR_FORMAT, [EXEC_RETRY] = ERR_UNAVAILABLE};
    CHECK(job->lane < CHILD_LANES && job->picture_bytes <= IMAGE_BYTES_MAX &&
          job->note_bytes <= SLOT_NOTE_BYTES_MAX);
    struct child_answer *a = &b->answer;
    const struct slot_page *page = (const void *)b->memory;
    memset(a, 0, CHILD_ANSWER_HEAD_BYTES);
    a->lane = job->lane;
    if (atomic_load(&page->cancel[job->lane]) != 0) {
        put_answer(b, CHILD_DONE, ERR_CANCELLED, SPAN("the job was cancelled before it began"));
        return;
    }
    if (job->deadline_ms > 0 && job->deadline_ms <= clock_monotonic_ms()) {
        put_answer(b, CHILD_DONE, ERR_TIMEOUT, SPAN("the job's deadline passed before it began"));
        return;
    }
    AUTO_BUF struct buf head = {0};
    struct exec_answer answer;
    size_t used = 0;
    struct span note = {b->memory + slot_note_offset(job->lane), job->note_bytes};
    exec_job_write(note, job->picture_bytes, &head);
    struct outgoing o = {
        {buf_view(&head), {b->memory + slot_lane_offset(job->lane), job->picture_bytes}}};
    int64_t begun_us = clock_monotonic_us();
    converse(b, &o, &answer, &used);
    a->infer_us = clock_monotonic_us() - begun_us;
    if (answer.text.len == 0)
        answer.text = SPAN("the handler gave no reason");
    put_answer(b, CHILD_DONE, errs[answer.word], answer.text);
    buf_consume(&b->read, used);
}

// --- life ---

// Nobody is left to end our group: we do, and are in it ourselves.
static void on_orphaned(int signal)
{
    (void)signal;
    kill(0, SIGKILL);
}

static enum err confine(pid_t zygote_pid, struct error *error)
{
    const struct rlimit no_core = {0, 0};
    const struct sigaction orphaned = {.sa_handler = on_orphaned};
    if (setsid() < 0 || sigaction(ORPHANED, &orphaned, NULL) != 0 ||
        prctl(PR_SET_PDEATHSIG, ORPHANED) != 0 || getppid() != zygote_pid)
        return fail(error, ERR_CANCELLED, 0, "the parent is gone");
    // while we live, what the program leaves behind is ours and not the zygote's
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &no_core) != 0)
        return fail(error, ERR_IO, errno, "confine the handler");
    return OK;
}

static enum err map_slot(struct bridge *b, int memory_fd, struct error *error)
{
    void *own = mmap(NULL, SLOT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd,
                     (off_t)SLOT_TRACE_OFFSET);
    b->memory = mmap(NULL, SLOT_BYTES, PROT_READ, MAP_SHARED, memory_fd, 0);
    if (b->memory == MAP_FAILED || own == MAP_FAILED)
        return fail(error, ERR_NOMEM, errno, "map the memory for pictures");
    b->reason = (char *)own + SLOT_REASON_AT;
    memset(b->reason, 0, SLOT_REASON_BYTES);
    return OK;
}

// Until "ready"; the poller's patience is WORKER_START_S_MAX.
static void wait_until_ready(struct bridge *b)
{
    struct exec_answer answer;
    size_t used = 0;
    while (!take_answer(b, &answer, &used))
        read_output(b);
    buf_consume(&b->read, used);
    b->ready = true;
    expect_silence(b);
    memset(&b->answer, 0, CHILD_ANSWER_HEAD_BYTES);
    put_answer(b, CHILD_READY, OK, SPAN("no_new_privs,session"));
}

static _Noreturn void serve(struct bridge *b)
{
    for (;;) {
        struct pollfd polled[] = {{.fd = POLLER_FD, .events = POLLIN},
                                  {.fd = b->from_fd, .events = POLLIN}};
        struct child_job job;
        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[1].revents != 0) {
            read_output(b); // nothing was asked: it ends, or says too much
            expect_silence(b);
        }
        if (polled[0].revents == 0)
            continue;
        ssize_t got = read(POLLER_FD, &job, sizeof job);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof job)
            say_farewell(b);
        run_job(b, &job);
        reap_strays(b);
    }
}

_Noreturn void exec_child_run(const char *command, uint32_t slot, const int fds[ZYGOTE_START_FDS],
                              pid_t zygote_pid)
{
    static struct bridge b; // 64 KiB: not on the stack
    struct error error = {0};
    char number[16];
    prctl(PR_SET_NAME, "smelt-handler");
    if (dup2(fds[2], STDERR_FILENO) < 0 || dup3(fds[0], POLLER_FD, O_CLOEXEC) < 0)
        _exit(1);
    signal(SIGPIPE, SIG_IGN);
    snprintf(number, sizeof number, "%u", slot);
    setenv("SMELT_SLOT", number, 1);
    b.command = command;
    enum err err = map_slot(&b, fds[1], &error);
    syscall(SYS_close_range, POLLER_FD + 1, ~0U, 0);
    if (err == OK)
        err = confine(zygote_pid, &error);
    if (err == OK)
        err = start_program(&b, command, &error);
    if (err != OK) {
        put_answer(&b, CHILD_BROKEN, err, span_from(error.msg));
        _exit(1);
    }
    wait_until_ready(&b);
    serve(&b);
}
