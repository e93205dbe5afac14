// The layers of the sandbox, each alone: what one of them denies it denies without the others. The
// file itself is read here, for its static parts; the whole is tested with children (test_crew.c).
#include "worker/sandbox.c" // NOLINT(bugprone-suspicious-include)

#include "base/limits.h"

#include "suite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

// Runs `layer` and then `what` in a process of its own: what() < 0 ? errno : 0, or 1000 + the
// signal that ended it.
static int in_process(void (*layer)(void), long (*what)(void))
{
    int status;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        layer();
        errno = 0;
        _exit(what() < 0 ? errno : 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void nothing(void) {}

static char scratch[] = "/tmp/smelt-sandbox-XXXXXX"; // a folder that anybody may write to

static void make_scratch(void)
{
    ck_assert_ptr_nonnull(mkdtemp(scratch));
    ck_assert_int_eq(chmod(scratch, 0777), 0);
    ck_assert_int_eq(chdir(scratch), 0);
    AUTO_FD int fd = open("file", O_WRONLY | O_CREAT, 0666);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, 0666), 0);
}

static void remove_scratch(void)
{
    unlink("file");
    unlink("made");
    rmdir("folder");
    ck_assert_int_eq(rmdir(scratch), 0);
}

// --- what is tried ---

static long read_a_file(void)
{
    return open("file", O_RDONLY);
}

static long write_a_file(void)
{
    return open("file", O_WRONLY);
}

static long make_a_file(void)
{
    return open("made", O_WRONLY | O_CREAT, 0600);
}

static long make_a_folder(void)
{
    return mkdir("folder", 0700);
}

static long make_a_link(void)
{
    return symlink("file", "made");
}

static long remove_a_file(void)
{
    return unlink("file");
}

static long list_a_folder(void)
{
    return open(".", O_RDONLY | O_DIRECTORY);
}

static long run_a_program(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static long connect_to_a_port(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(socket(AF_INET, SOCK_STREAM, 0), (const void *)&to, sizeof to);
}

static long bind_a_port(void)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(socket(AF_INET, SOCK_STREAM, 0), (const void *)&at, sizeof at);
}

static long make_a_memory_file(void)
{
    AUTO_FD int fd = memfd_create("x", 0);
    return fd < 0 ? -1 : write(fd, "x", 1);
}

#ifndef SANITIZED
static long map_much(void)
{
    return mmap(NULL, MIB(64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? -1
               : 0;
}

static long map_little(void)
{
    return mmap(NULL, MIB(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? -1
               : 0;
}
#endif

static long start_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}

static long lock_memory(void)
{
    static char page[4096];
    return syscall(SYS_mlock, page, sizeof page); // a sanitizer has its own mlock
}

static long raise_a_limit(void)
{
    const struct rlimit more = {16, 16};
    return setrlimit(RLIMIT_NOFILE, &more);
}

static long kill_the_parent(void)
{
    return kill(getppid(), 0);
}

static long come_back_as_root(void)
{
    return setresuid(0, 0, 0);
}

static long use_a_right(void) // of root
{
    return chroot("/");
}

// --- layers ---

static void landlock_layer(void)
{
    unsigned layers = 0;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        enter_landlock((int)abi, &layers);
    if (layers != SANDBOX_LANDLOCK)
        abort();
}

START_TEST(landlock_alone_denies_files_programs_and_ports)
{
    static long (*const denied[])(void) = {read_a_file,   write_a_file, make_a_file,
                                           make_a_folder, make_a_link,  remove_a_file,
                                           list_a_folder, run_a_program};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return; // this kernel has none
    make_scratch();
    ck_assert_int_eq(in_process(nothing, read_a_file), 0); // it is not the file
    for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++)
        ck_assert_msg(in_process(landlock_layer, denied[i]) == EACCES, "number %zu", i);
    if (abi >= 4) {
        ck_assert_int_eq(in_process(landlock_layer, connect_to_a_port), EACCES);
        ck_assert_int_eq(in_process(landlock_layer, bind_a_port), EACCES);
    }
    remove_scratch();
}
END_TEST

static void nobody_layer(void)
{
    unsigned layers = 0;
    struct error error;
    if (become_nobody(&layers, &error) != OK)
        abort();
}

static void limits_layer(void)
{
    struct error error;
    rlim_t now = mapped_bytes();
    nobody_layer(); // root is above some limits
    if (set_limits(now + MIB(16), &error) != OK)
        abort();
}

START_TEST(limits_alone_deny_more_of_everything)
{
    make_scratch();
    ck_assert_int_eq(in_process(limits_layer, read_a_file), EMFILE);
    ck_assert_int_eq(in_process(limits_layer, make_a_memory_file), EMFILE);
    ck_assert_int_eq(in_process(limits_layer, raise_a_limit), EPERM);
#ifndef SANITIZED // whose run-time has mapped the whole address space
    ck_assert_int_eq(in_process(limits_layer, map_much), ENOMEM);
    ck_assert_int_eq(in_process(limits_layer, map_little), 0);
#endif
    if (geteuid() == 0) { // a user who runs nothing else: the limit is below what he has
        ck_assert_int_eq(in_process(nobody_layer, start_a_process), 0);
        ck_assert_int_eq(in_process(limits_layer, start_a_process), EAGAIN);
    }
    int locked = in_process(limits_layer, lock_memory);
    ck_assert_msg(locked == EPERM || locked == ENOMEM, "%d", locked);
    remove_scratch();
}
END_TEST

static int file_fd;

static void file_size_layer(void)
{
    nobody_layer();
    file_fd = open("file", O_WRONLY); // one that was overlooked when descriptors were closed
    limits_layer();
}

static long write_to_it(void)
{
    return write(file_fd, "x", 1);
}

START_TEST(no_file_grows)
{
    make_scratch();
    ck_assert_int_eq(in_process(file_size_layer, write_to_it), 1000 + SIGXFSZ);
    remove_scratch();
}
END_TEST

START_TEST(nobody_alone_has_no_rights)
{
    if (geteuid() != 0)
        return; // who is not root stays who he is
    ck_assert_int_eq(in_process(nothing, use_a_right), 0);
    ck_assert_int_eq(in_process(nobody_layer, use_a_right), EPERM);
    ck_assert_int_eq(in_process(nobody_layer, come_back_as_root), EPERM);
    ck_assert_int_eq(in_process(nobody_layer, kill_the_parent), EPERM);
}
END_TEST

#ifndef SANITIZED // refused instead of killed, so that its run-time can say why
static void seccomp_layer(void)
{
    struct sandbox *s;
    struct error error;
    if (sandbox_new(&s, &error) != OK || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        abort();
    const struct sock_fprog program = {s->filter_len, s->filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        abort();
}

START_TEST(seccomp_alone_ends_the_process)
{
    static long (*const deadly[])(void) = {read_a_file,       make_a_folder,   run_a_program,
                                           connect_to_a_port, start_a_process, kill_the_parent};
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        ck_assert_msg(in_process(seccomp_layer, deadly[i]) == 1000 + SIGSYS, "number %zu", i);
}
END_TEST
#endif

START_TEST(who_lost_its_parent_does_not_begin)
{
    struct sandbox *s;
    struct error error;
    unsigned layers;
    int status;
    ck_assert_int_eq(sandbox_new(&s, &error), OK);
    pid_t pid = fork();
    if (pid == 0) // the pid is not its parent's: that one has ended in between
        _exit(sandbox_enter(s, getpid(), MIB(64), &layers, &error) == ERR_CANCELLED ? 7 : 8);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    sandbox_free(s);
}
END_TEST

#ifdef SANITIZED
SUITE_MAIN("sandbox", landlock_alone_denies_files_programs_and_ports,
           limits_alone_deny_more_of_everything, no_file_grows, nobody_alone_has_no_rights,
           who_lost_its_parent_does_not_begin)
#else
SUITE_MAIN("sandbox", landlock_alone_denies_files_programs_and_ports,
           limits_alone_deny_more_of_everything, no_file_grows, nobody_alone_has_no_rights,
           seccomp_alone_ends_the_process, who_lost_its_parent_does_not_begin)
#endif
