// smelt check: is a data directory whole? Reads only.
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/check.h"
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// clang-format off
static const struct option table[] = {
    {"deep", NULL, NULL, "also read every object's bytes and compare their checksum"},
    {"dump", NULL, NULL, "print the messages of all queues, or of the one named behind DIR, as JSON lines"},
    {"skip-bad", NULL, NULL, "with --dump: also what follows damage (deleted messages may be among it)"},
    {"json", NULL, NULL, "one JSON object per line, for programs"},
    {0},
};
// clang-format on

enum { SEGMENT_FILES_MAX = 20000 };
enum { APART_WHOLE = 0, APART_DAMAGED = 10, APART_FAILED = 11 }; // exit codes; any other: a crash

// --- what is said ---

void check_say(const struct check *c, const char *fmt, ...)
{
    va_list args;
    if (c->json || options_on(c->options, "dump"))
        return;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    fflush(stdout); // whatever comes next
}

void check_json(const struct check *c, json_t *line)
{
    if (c->json && line != NULL) {
        json_dumpf(line, stdout, JSON_COMPACT);
        printf("\n");
    }
    json_decref(line);
}

void check_damage(struct check *c, const char *part, const char *file, int64_t at, int64_t bytes,
                  const char *text)
{
    c->damages++;
    if (c->json && !options_on(c->options, "dump")) {
        json_t *line = json_pack("{s:s,s:s,s:s}", "part", part, "file", file, "damage", text);
        if (at >= 0)
            json_object_set_new(line, "at", json_integer(at));
        if (bytes > 0)
            json_object_set_new(line, "bytes", json_integer(bytes));
        check_json(c, line);
        return;
    }
    FILE *out = options_on(c->options, "dump") ? stderr : stdout;
    if (at >= 0)
        fprintf(out, "  DAMAGE %s/%s, offset %lld: %s\n", part, file, (long long)at, text);
    else
        fprintf(out, "  DAMAGE %s/%s: %s\n", part, file, text);
}

// --- whose it is ---

// Waits for nobody: holds DIR/lock while a part is looked at. ERR_BUSY: a server owns it;
// ERR_NOT_FOUND: there is no such folder. *fd: -1 if it has never been locked.
static enum err check_lock(const char *dir, int *fd, struct error *error)
{
    char path[PATH_MAX], pid[16] = "";
    struct stat st;
    *fd = -1;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return fail(error, ERR_NOT_FOUND, 0, "there is no folder '%s'", dir);
    if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", dir);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT)
        return OK; // nobody ever opened it
    if (*fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    ssize_t got = pread(*fd, pid, sizeof pid - 1, 0);
    pid[got > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    fd_close(fd);
    return fail(error, ERR_BUSY, 0,
                "'%s' is in use by a running smelt (pid %s): stop it first, or check a copy", dir,
                pid[0] != '\0' ? pid : "unknown");
}

// --- the parts ---

static void check_keys(struct check *c, const char *data)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/credentials", data);
    if (stat(path, &st) != 0) {
        check_say(c, "credentials: none\n");
        return;
    }
    if ((st.st_mode & 077) != 0)
        check_damage(c, ".", "credentials", -1, 0,
                     "it holds secret keys and others may read it: run chmod 600 on it");
    else
        check_say(c, "credentials: only their owner may read them\n");
}

// A damaged catalog can crash the library that reads it: so it is read in a process of its own.
static enum err check_objects_apart(struct check *c, const char *dir, struct error *error)
{
    int status = 0;
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid < 0)
        return fail(error, ERR_IO, errno, "fork");
    if (pid == 0) {
        size_t before = c->damages;
        enum err err = check_objects(c, dir, error);
        if (err != OK)
            fprintf(stderr, "smelt: %s\n", error->msg);
        fflush(stdout);
        fflush(stderr);
        _exit(err != OK ? APART_FAILED : c->damages > before ? APART_DAMAGED : APART_WHOLE);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == APART_FAILED)
        return fail(error, ERR_IO, 0, "%s could not be examined", dir);
    if (code == APART_DAMAGED)
        c->damages++; // it has said what it is
    else if (code != APART_WHOLE)
        check_damage(
            c, "s3", "data.mdb", -1, 0,
            "reading the catalog ends in a crash: it was cut or changed. Restore it from a "
            "backup");
    return OK;
}

static enum err check_part(struct check *c, const char *data, const char *name,
                           enum err (*fn)(struct check *c, const char *dir, struct error *error),
                           bool *found, struct error *error)
{
    char dir[PATH_MAX];
    int lock = -1;
    if (snprintf(dir, sizeof dir, "%s/%s", data, name) >= (int)sizeof dir)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", data);
    enum err err = check_lock(dir, &lock, error);
    if (err == ERR_NOT_FOUND) {
        check_say(c, "%s: none\n", name);
        return OK;
    }
    *found = true;
    if (err == OK)
        err = fn(c, dir, error);
    fd_close(&lock);
    return err;
}

static int run(struct check *c)
{
    const struct options *o = c->options;
    const char *data = o->arguments[0];
    struct error error;
    bool found = false, dump = options_on(o, "dump");
    enum err err = check_part(c, data, "sqs", check_queues, &found, &error);
    if (err == OK && !dump)
        err = check_part(c, data, "s3", check_objects_apart, &found, &error);
    if (err == OK && !found)
        err = fail(&error, ERR_NOT_FOUND, 0,
                   "'%s' is no data directory of smelt: neither sqs nor s3 is in it", data);
    if (err == OK && !dump)
        check_keys(c, data);
    if (err != OK) {
        fprintf(stderr, "smelt: %s\n", error.msg);
        return 1;
    }
    check_say(c, c->damages == 0 ? "all is whole\n" : "DAMAGED; nothing was changed\n");
    if (c->damages > 0 && dump)
        fprintf(stderr, "smelt: there is damage; %s\n",
                options_on(o, "skip-bad")
                    ? "what could be read was printed, deleted messages may be among it"
                    : "printed is what stands before it, --skip-bad goes on behind it");
    return c->damages == 0 ? 0 : 1;
}

int check_main(int argc, char **argv)
{
    struct options o;
    struct check c = {.options = &o};
    int code = options_parse(&o, table, "smelt check [options] DIR [QUEUE]",
                             "Examines a data directory that no server is using, and changes "
                             "nothing: the journal of the\n"
                             "queues record by record, the objects and their files, who may read "
                             "the keys. Exit code 0:\n"
                             "all is whole; 1: damage, each named with file and offset.",
                             argc, argv);
    if (code < 0 && o.argument_count < 1) {
        fprintf(stderr, "smelt: check needs the data directory (--data of `smelt serve`)\n");
        code = 2;
    }
    if (code < 0 && (o.argument_count > 2 || (o.argument_count == 2 && !options_on(&o, "dump")))) {
        fprintf(stderr, "smelt: check takes one directory, and a queue's name only with --dump\n");
        code = 2;
    }
    if (code < 0 && options_on(&o, "skip-bad") && !options_on(&o, "dump")) {
        fprintf(stderr, "smelt: --skip-bad belongs to --dump\n");
        code = 2;
    }
    if (code < 0) {
        c.json = options_on(&o, "json");
        log_init("check", LOG_ERROR);
        process_raise_file_limit(SEGMENT_FILES_MAX);
        code = run(&c);
    }
    options_release(&o);
    return code;
}
