#include "worker/sandbox.h"

#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 65534 }; // user and group without rights

struct sandbox {
    struct sock_filter *filter; // BPF, made before the fork
    unsigned short filter_len;
    int landlock_abi; // 0: the kernel has none
};

// --- seccomp: what decoding and inferring need, and nothing else ---

// A call with a condition on one argument: (argument & mask) == value.
struct rule {
    int call;
    unsigned argument;
    scmp_datum_t mask, value;
};

#define ALL_BITS UINT64_MAX

static const struct rule rules[] = {
    {SCMP_SYS(read), 0, ALL_BITS, SANDBOX_SOCKET_FD},
    {SCMP_SYS(write), 0, ALL_BITS, SANDBOX_SOCKET_FD},
    {SCMP_SYS(write), 0, ALL_BITS, STDERR_FILENO},
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
};

static const int plain_calls[] = {
    // memory
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    // time, and the C library's housekeeping
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
// A sanitizer's run-time looks at the signal stack after each longjmp (libjpeg's way out of a bad
// picture), and at files and processes to report what it found: the first is let through, the rest
// refused, so that the report comes out instead of a silent end. No release has these.
static const int sanitizer_calls[] = {SCMP_SYS(sigaltstack)};
static const int sanitizer_refused_calls[] = {
    SCMP_SYS(openat), SCMP_SYS(open),  SCMP_SYS(readlink),  SCMP_SYS(readlinkat),
    SCMP_SYS(pipe2),  SCMP_SYS(pipe),  SCMP_SYS(clone),     SCMP_SYS(newfstatat),
    SCMP_SYS(ioctl),  SCMP_SYS(close), SCMP_SYS(getrlimit), SCMP_SYS(prlimit64),
};
#endif

// abort() wants these; refused, it ends by an illegal instruction instead, which is as good.
static const int refused_calls[] = {SCMP_SYS(tgkill), SCMP_SYS(rt_sigaction)};

static int add_rules(scmp_filter_ctx ctx)
{
    int bad = 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        bad |= seccomp_rule_add(
            ctx, SCMP_ACT_ALLOW, rules[i].call, 1,
            SCMP_CMP(rules[i].argument, SCMP_CMP_MASKED_EQ, rules[i].mask, rules[i].value));
    for (size_t i = 0; i < sizeof plain_calls / sizeof plain_calls[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, plain_calls[i], 0);
    for (size_t i = 0; i < sizeof refused_calls / sizeof refused_calls[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused_calls[i], 0);
#ifdef SANITIZED
    for (size_t i = 0; i < sizeof sanitizer_calls / sizeof sanitizer_calls[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, sanitizer_calls[i], 0);
    for (size_t i = 0; i < sizeof sanitizer_refused_calls / sizeof sanitizer_refused_calls[0]; i++)
        bad |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), sanitizer_refused_calls[i], 0);
#endif
    // mappings: private memory, of no file, not executable
    bad |= seccomp_rule_add(
        ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
        SCMP_CMP(3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS | MAP_SHARED, MAP_ANONYMOUS));
    return bad;
}

// libseccomp writes the program to a descriptor; the child needs it in memory.
static enum err export_filter(scmp_filter_ctx ctx, struct sandbox *s, struct error *error)
{
    AUTO_FD int fd = memfd_create("smelt-seccomp", MFD_CLOEXEC);
    struct stat info;
    if (fd < 0 || seccomp_export_bpf(ctx, fd) != 0 || fstat(fd, &info) != 0)
        return fail(error, ERR_IO, errno, "sandbox: export the seccomp filter");
    size_t bytes = (size_t)info.st_size;
    CHECK(bytes > 0 && bytes % sizeof(struct sock_filter) == 0 && bytes <= 1 << 16);
    s->filter = malloc(bytes);
    CHECK(s->filter != NULL);
    if (pread(fd, s->filter, bytes, 0) != (ssize_t)bytes)
        return fail(error, ERR_IO, errno, "sandbox: read the seccomp filter");
    s->filter_len = (unsigned short)(bytes / sizeof(struct sock_filter));
    return OK;
}

static enum err make_filter(struct sandbox *s, struct error *error)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return fail(error, ERR_UNSUPPORTED, errno, "sandbox: this kernel has no seccomp");
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    CHECK(ctx != NULL);
    enum err err = OK;
    if (add_rules(ctx) != 0)
        err = fail(error, ERR_UNSUPPORTED, 0, "sandbox: libseccomp refuses the filter");
    if (err == OK)
        err = export_filter(ctx, s, error);
    seccomp_release(ctx);
    return err;
}

enum err sandbox_new(struct sandbox **out, struct error *error)
{
    struct sandbox *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    enum err err = make_filter(s, error);
    if (err != OK) {
        sandbox_free(s);
        return err;
    }
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    s->landlock_abi = abi > 0 ? (int)abi : 0;
    *out = s;
    return OK;
}

void sandbox_free(struct sandbox *s)
{
    if (s == NULL)
        return;
    free(s->filter);
    free(s);
}

// --- the child's side ---

// Address space in use now: the first number of /proc/self/statm, in pages.
static rlim_t mapped_bytes(void)
{
    char text[128] = "";
    AUTO_FD int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    return (rlim_t)strtoull(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE);
}

static enum err set_limits(rlim_t memory_bytes, struct error *error)
{
    const struct {
        __rlimit_resource_t what;
        rlim_t value;
    } limits[] = {
        {RLIMIT_AS, memory_bytes}, {RLIMIT_CORE, 0},     {RLIMIT_FSIZE, 0},   {RLIMIT_NOFILE, 0},
        {RLIMIT_NPROC, 0},         {RLIMIT_MSGQUEUE, 0}, {RLIMIT_MEMLOCK, 0},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit = {limits[i].value, limits[i].value};
        if (setrlimit(limits[i].what, &limit) != 0)
            return fail(error, ERR_IO, errno, "sandbox: set limit %d", (int)limits[i].what);
    }
    return OK;
}

// Root gives up being root; anyone else stays who they are.
static enum err become_nobody(unsigned *layers, struct error *error)
{
    if (geteuid() != 0)
        return OK;
    if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        // in a user namespace that does not map 65534 root has no rights outside anyway
        if (errno == EINVAL || errno == EPERM)
            return OK;
        return fail(error, ERR_IO, errno, "sandbox: become user %d", NOBODY);
    }
    if (setresuid(0, 0, 0) == 0)
        return fail(error, ERR_INTERNAL, 0, "sandbox: root came back after it was given up");
    *layers |= SANDBOX_NOBODY;
    return OK;
}

// Later kernels' fields too; older ones are told a shorter size.
struct landlock_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

// A ruleset that handles every right the kernel knows and allows none.
static void enter_landlock(int abi, unsigned *layers)
{
    struct landlock_attr attr = {.handled_access_fs = (UINT64_C(1) << 13) - 1};
    size_t size = sizeof attr.handled_access_fs;
    if (abi >= 2)
        attr.handled_access_fs |= UINT64_C(1) << 13; // refer
    if (abi >= 3)
        attr.handled_access_fs |= UINT64_C(1) << 14; // truncate
    if (abi >= 5)
        attr.handled_access_fs |= UINT64_C(1) << 15; // ioctl on devices
    if (abi >= 4) {
        attr.handled_access_net = 3; // bind and connect TCP
        size = offsetof(struct landlock_attr, scoped);
    }
    if (abi >= 6) {
        attr.scoped = 3; // abstract sockets, signals
        size = sizeof attr;
    }
    long fd = syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0)
        return;
    if (syscall(SYS_landlock_restrict_self, (int)fd, 0) == 0)
        *layers |= SANDBOX_LANDLOCK;
    close((int)fd);
}

enum err sandbox_enter(const struct sandbox *s, pid_t parent_pid, size_t memory_bytes,
                       unsigned *layers, struct error *error)
{
    *layers = 0;
    if (syscall(SYS_close_range, SANDBOX_SOCKET_FD + 1, ~0U, 0) != 0)
        return fail(error, ERR_IO, errno, "sandbox: close descriptors");
    rlim_t now = mapped_bytes();
    if (now == 0)
        return fail(error, ERR_IO, errno, "sandbox: read /proc/self/statm");
    TRY(become_nobody(layers, error));
    // after the change of user, which would clear it
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent_pid)
        return fail(error, ERR_CANCELLED, 0, "sandbox: the parent is gone");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail(error, ERR_IO, errno, "sandbox: no_new_privs");
    *layers |= SANDBOX_NO_NEW_PRIVS;
    if (s->landlock_abi > 0)
        enter_landlock(s->landlock_abi, layers);
    TRY(set_limits(now + memory_bytes, error));
    *layers |= SANDBOX_LIMITS;
    struct sock_fprog program = {s->filter_len, s->filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        return fail(error, ERR_UNSUPPORTED, errno, "sandbox: load the seccomp filter");
    *layers |= SANDBOX_SECCOMP;
    return OK;
}

void sandbox_layers_write(unsigned layers, struct buf *out)
{
    static const char *const names[] = {"limits", "no_new_privs", "nobody", "landlock", "seccomp"};
    const char *comma = "";
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (layers & 1U << i) {
            buf_printf(out, "%s%s", comma, names[i]);
            comma = ",";
        }
}
