// A predictor for tests of the crew and the sandbox: the "picture" is a command. Linked instead of
// the engine's (its symbols come first), in test programs only.
#pragma once

#include "base/check.h"
#include "base/clock.h"
#include "engine/predictor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct predictor {
    struct package package;
    char say[600];
    atomic_int *trace;
};

// A package is a folder with a file "content": its first word is what its predictions say.
static enum err fake_read(struct predictor *p, const char *folder, struct error *error)
{
    char path[300];
    snprintf(path, sizeof path, "%s/content", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%30s", p->package.sha256) != 1)
        return fail(error, ERR_NOT_FOUND, 0, "no content in '%s'", folder);
    fclose(file);
    free(p->package.folder);
    p->package.folder = strdup(folder);
    memcpy(p->package.fingerprint, p->package.sha256, strlen(p->package.sha256));
    return OK;
}

// A loaded package takes one of two places beside its folder: what is there a third time fails.
static enum err fake_take_memory(struct predictor *p, struct error *error)
{
    for (int place = 0; place < 2; place++) {
        char path[300];
        snprintf(path, sizeof path, "%s-place-%d", p->package.folder, place);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            return OK; // until the process ends; children close it
        close(fd);
    }
    return fail(error, ERR_NOMEM, 0, "three generations in memory");
}

static enum err fake_load(struct predictor *p, struct error *error)
{
    TRY(fake_take_memory(p, error));
    while (strcmp(p->package.sha256, "slow-load") == 0)
        pause();
    return OK;
}

static enum err fake_open(const char *name_or_path, struct predictor **out, struct error *error)
{
    if (strcmp(name_or_path, "missing") == 0)
        return fail(error, ERR_NOT_FOUND, 0, "there is no model 'missing' here");
    if (strcmp(name_or_path, "loader-crash") == 0)
        raise(SIGSEGV);
    struct predictor *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->package.name = strdup(name_or_path);
    p->package.folder = strdup("");
    memcpy(p->package.sha256, "00ff", 5);
    memset(p->package.fingerprint, '0', 64);
    if (strncmp(name_or_path, "file:", 5) == 0) {
        TRY(fake_read(p, name_or_path + 5, error));
        p->package.name[4] = '\0';
    }
    *out = p;
    return OK;
}

enum err predictor_open(const char *name_or_path, const char *search_path, struct predictor **out,
                        struct error *error)
{
    (void)search_path;
    TRY(fake_open(name_or_path, out, error));
    return strncmp(name_or_path, "file:", 5) == 0 ? fake_load(*out, error) : OK;
}

enum err predictor_fingerprint(const char *name_or_path, const char *search_path, char out[65],
                               struct error *error)
{
    struct predictor *p;
    (void)search_path;
    TRY(fake_open(name_or_path, &p, error));
    memcpy(out, p->package.fingerprint, 65);
    predictor_free(p);
    return OK;
}

void predictor_free(struct predictor *p)
{
    if (p != NULL) {
        free(p->package.name);
        free(p->package.folder);
    }
    free(p);
}

const struct package *predictor_package(const struct predictor *p)
{
    return &p->package;
}

const char *predictor_precision(const struct predictor *p)
{
    (void)p;
    return "fp32";
}

enum err predictor_prepare(struct predictor *p, struct error *error)
{
    (void)p;
    (void)error;
    return OK;
}

enum err predictor_prepare_in(struct predictor *p, void *scratch, struct error *error)
{
    (void)scratch;
    return predictor_prepare(p, error);
}

size_t predictor_scratch_bytes(const struct predictor *p)
{
    (void)p;
    return 4096;
}

void predictor_trace(struct predictor *p, atomic_int *where)
{
    p->trace = where;
}

void predictor_where(const struct predictor *p, int where, struct buf *out)
{
    (void)p;
    if (where >= 0 && where < 1000)
        buf_printf(out, "layer %d", where);
}

static void put_answer(const char *text)
{
    // 40 bytes of head, see worker/protocol.h: written as a taken-over child might
    ssize_t n = write(3, text, strlen(text));
    (void)n;
}

static void spin(const atomic_int *cancel, int64_t deadline_ms)
{
    while ((cancel == NULL || atomic_load(cancel) == 0) && clock_monotonic_ms() < deadline_ms)
        continue;
}

// Ways out of a process that need no argument to be tried.
static const struct {
    const char *name;
    long number;
} bare_calls[] = {
    {"clone3", SYS_clone3},
    {"io_uring_setup", SYS_io_uring_setup},
    {"process_vm_readv", SYS_process_vm_readv},
    {"process_vm_writev", SYS_process_vm_writev},
    {"unshare", SYS_unshare},
    {"setns", SYS_setns},
    {"pidfd_open", SYS_pidfd_open},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"shmget", SYS_shmget},
    {"seccomp", SYS_seccomp},
    {"sched_setaffinity", SYS_sched_setaffinity},
    {"dup", SYS_dup},
    {"personality", SYS_personality},
    {"userfaultfd", SYS_userfaultfd},
    {"bpf", SYS_bpf},
    {"keyctl", SYS_keyctl},
    {"mount", SYS_mount},
    {"chroot", SYS_chroot},
    {"setuid", SYS_setuid},
    {"capset", SYS_capset},
    {"perf_event_open", SYS_perf_event_open},
    {"connect", SYS_connect},
    {"bind", SYS_bind},
    {"accept4", SYS_accept4},
    {"recvmsg", SYS_recvmsg},
    {"openat2", SYS_openat2},
    {"rename", SYS_renameat2},
    {"mknodat", SYS_mknodat},
    {"truncate", SYS_truncate},
    {"pread64", SYS_pread64},
    {"pwrite64", SYS_pwrite64},
    {"writev", SYS_writev},
    {"sendfile", SYS_sendfile},
    {"pkey_mprotect", SYS_pkey_mprotect},
    {"timer_create", SYS_timer_create},
    {"nanosleep", SYS_nanosleep},
};

// What a sandboxed child must not be able to do. Returns what it achieved.
static long attempt(const char *what)
{
    if (strcmp(what, "open") == 0)
        return open("/etc/passwd", O_RDONLY);
    if (strcmp(what, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM, 0);
    if (strcmp(what, "fork") == 0)
        return fork();
    if (strcmp(what, "execve") == 0)
        return execve("/bin/true", (char *[]){NULL}, (char *[]){NULL});
    if (strcmp(what, "ptrace") == 0)
        return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
    if (strcmp(what, "kill") == 0)
        return kill(getppid(), SIGKILL);
    if (strcmp(what, "unlink") == 0)
        return unlink("/tmp/nothing-here");
    if (strcmp(what, "prctl") == 0)
        return syscall(SYS_prctl, 1, 0, 0, 0, 0);
    if (strcmp(what, "memfd") == 0)
        return memfd_create("x", 0);
    if (strcmp(what, "getdents") == 0)
        return syscall(SYS_getdents64, 0, NULL, 0);
    if (strcmp(what, "ioctl") == 0)
        return syscall(SYS_ioctl, 2, 0x5412, "x");
    if (strcmp(what, "sendmsg") == 0)
        return syscall(SYS_sendmsg, 3, NULL, 0);
    if (strcmp(what, "setrlimit") == 0)
        return syscall(SYS_prlimit64, 0, 9, NULL, NULL);
    if (strcmp(what, "mprotect-exec") == 0) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return mprotect(page, 4096, PROT_READ | PROT_EXEC);
    }
    if (strcmp(what, "mmap-exec") == 0)
        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                       MAP_FAILED
                   ? -1
                   : 0;
    if (strcmp(what, "mmap-shared") == 0)
        return mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1
                                                                                            : 0;
    if (strcmp(what, "read-0") == 0) {
        char c;
        return syscall(SYS_read, 0, &c, 1);
    }
    for (size_t i = 0; i < sizeof bare_calls / sizeof bare_calls[0]; i++)
        if (strcmp(what, bare_calls[i].name) == 0)
            return syscall(bare_calls[i].number, 0, 0, 0, 0, 0, 0);
#ifdef __x86_64__
    if (strcmp(what, "int80") == 0) { // the numbers of another architecture: getpid is 20 there
        long result = 20;
        __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
        return result;
    }
    if (strcmp(what, "x32") == 0)
        return syscall(0x40000000 + SYS_getpid);
#endif
    if (strcmp(what, "write-1") == 0)
        return syscall(SYS_write, 1, "x", 1);
    return -2;
}

// Commands: "ok TEXT", "bad TEXT" (the picture's fault), "crash", "abort", "exit", "hang" (deaf),
// "slow MS" (hears cancel), "try CALL", "garbage", "not-json", "memory", "environment NAME",
// "write-slot", "pid", "nomem". A package "real-COMMAND" does that for all pictures but its sample
// and "ok".
enum err predictor_run(struct predictor *p, struct span picture, const atomic_int *cancel,
                       int64_t deadline_ms, struct prediction_result *out, struct error *error)
{
    char text[256] = "";
    memcpy(text, picture.data, picture.len < sizeof text - 1 ? picture.len : sizeof text - 1);
    *out = (struct prediction_result){.decode_us = 1, .infer_us = 2};
    snprintf(p->say, sizeof p->say, "{\"said\":\"%s\"}", text);
    if (p->trace != NULL)
        atomic_store(p->trace, 7);
    if (memcmp(text, "\x89PNG", 4) == 0 && strcmp(p->package.sha256, "proof-crash") == 0)
        strcpy(text, "crash");
    if (memcmp(text, "\x89PNG", 4) == 0) // the proof
        snprintf(p->say, sizeof p->say, "{\"predictions\":[{\"label\":\"a\",\"score\":1}]}");
    else if (strncmp(p->package.sha256, "real-", 5) == 0 && strncmp(text, "ok", 2) != 0)
        strcpy(text, p->package.sha256 + 5); // it is well on its sample alone
    if (strcmp(text, "nomem") == 0)
        return fail(error, ERR_NOMEM, 0, "no memory for the tensors");
    if (strncmp(text, "bad ", 4) == 0)
        return fail(error, ERR_FORMAT, 0, "%s", text + 4);
    if (strncmp(text, "print ", 6) == 0) {
        char *rest = strchr(text, '\n');
        fprintf(stderr, "%.*s", (int)(rest != NULL ? rest + 1 - text : 255), text);
        memmove(text, rest + 1, strlen(rest + 1) + 1);
    }
    if (strncmp(text, "forge-trace\n", 12) == 0) {
        atomic_store(p->trace, INT32_MAX);
        memmove(text, text + 12, strlen(text + 12) + 1);
    }
    while (strcmp(text, "flood") == 0)
        fprintf(stderr, "%0100d\n", 1);
    if (strcmp(text, "model") == 0)
        snprintf(p->say, sizeof p->say, "{\"model\":\"%s\"}", p->package.name);
    if (strcmp(text, "sha") == 0)
        snprintf(p->say, sizeof p->say, "{\"sha\":\"%s\"}", p->package.sha256);
    // volatile: the compiler must not see that nothing is there
    static int *volatile nowhere = (int *)(uintptr_t)4096;
    if (strcmp(text, "crash") == 0)
        *nowhere = 1;
    if (strcmp(text, "abort") == 0)
        abort();
    if (strcmp(text, "exit") == 0)
        _exit(7);
    if (strcmp(text, "hang") == 0)
        spin(NULL, INT64_MAX);
    if (strncmp(text, "slow ", 5) == 0) {
        int64_t end = clock_monotonic_ms() + atoi(text + 5);
        spin(cancel, end < deadline_ms ? end : deadline_ms);
        if (cancel != NULL && atomic_load(cancel) != 0)
            return fail(error, ERR_CANCELLED, 0, "cancelled");
        if (clock_monotonic_ms() >= deadline_ms)
            return fail(error, ERR_TIMEOUT, 0, "too slow");
    }
    if (strncmp(text, "try ", 4) == 0)
        snprintf(p->say, sizeof p->say, "{\"got\":%ld}", attempt(text + 4));
    if (strcmp(text, "garbage") == 0)
        put_answer("this is no answer at all, but it is longer than its head of forty bytes");
    if (strcmp(text, "not-json") == 0)
        snprintf(p->say, sizeof p->say, "},\"id\":\"forged\"");
    if (strcmp(text, "memory") == 0) {
        size_t got = 0;
        for (void *volatile block; got < 4096 && (block = malloc(1 << 20)) != NULL; got++)
            *(volatile char *)block = 1;
        snprintf(p->say, sizeof p->say, "{\"mib\":%zu}", got);
    }
    if (strncmp(text, "environment ", 12) == 0)
        snprintf(p->say, sizeof p->say, "{\"set\":%s}",
                 getenv(text + 12) != NULL ? "true" : "false");
    if (strcmp(text, "write-slot") == 0)
        *(volatile char *)(uintptr_t)picture.data = 'x';
    if (strcmp(text, "pid") == 0)
        snprintf(p->say, sizeof p->say, "{\"pid\":%d}", (int)getpid());
    return OK;
}

void predictor_write_json(const struct predictor *p, const struct prediction_result *r,
                          struct buf *out)
{
    (void)r;
    buf_add_text(out, p->say);
}
