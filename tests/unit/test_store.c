#include "s3/store.h"

#include "base/file.h"
#include "base/log.h"
#include "suite.h"
#include "temp_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char data_dir[64];
static struct loop *loop;
static struct store *store;
static struct error fatal;
static uint64_t map_bytes; // 0: the usual

// --- the disk: LMDB's calls and ours come past here, and the n-th one of a kind fails ---

static int syncs_until_failure, writes_until_failure; // 0: none fails

static bool counts_down(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST) > 0 &&
           __atomic_sub_fetch(counter, 1, __ATOMIC_SEQ_CST) == 0;
}

int fdatasync(int fd)
{
    if (counts_down(&syncs_until_failure)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static bool write_fails(void)
{
    bool fails = counts_down(&writes_until_failure);
    if (fails)
        errno = ENOSPC;
    return fails;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return write_fails() ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return write_fails() ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_fails() ? -1 : syscall(SYS_writev, fd, parts, count);
}

static int system_fdatasync(int fd)
{
    return fdatasync(fd);
}

static ssize_t system_write(int fd, const void *data, size_t len)
{
    return write_fails() ? -1 : write(fd, data, len);
}

static const struct blob_io io = {system_write, system_fdatasync, fsync};

// --- opening and changing ---

static void on_fatal(void *ctx, const struct error *error)
{
    (void)ctx;
    fatal = *error;
    loop_stop(loop);
}

static enum err try_open(struct error *error)
{
    const struct store_config config = {.dir = data_dir,
                                        .loop = loop,
                                        .on_fatal = on_fatal,
                                        .io = &io,
                                        .catalog_bytes_max = map_bytes};
    return store_open(&config, &store, error);
}

static void open_store(void)
{
    struct error error = {.msg = ""};
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_msg(try_open(&error) == OK, "%s", error.msg);
    fatal = (struct error){.code = OK};
}

static void close_store(void)
{
    store_close(store);
    loop_free(loop);
    store = NULL;
}

static int waiting; // changes not answered
static int answered[ERR_COUNT];

static void on_done(struct commit_op *op)
{
    answered[op->err]++;
    commit_op_free(op);
    if (--waiting == 0)
        loop_stop(loop);
}

static void submit(struct commit_op *op)
{
    op->done = on_done;
    waiting++;
    store_submit(store, op);
}

// Runs until all are answered, or the disk failed. Returns how many had this outcome.
static int outcome(enum err err)
{
    if (fatal.code != OK) // nothing is answered any more
        return 0;
    if (waiting > 0)
        ck_assert_int_eq(loop_run(loop, NULL), OK);
    int count = answered[err];
    memset(answered, 0, sizeof answered);
    return count;
}

static struct span body_of(size_t len, char c)
{
    static char bytes[200000];
    ck_assert_uint_le(len, sizeof bytes);
    memset(bytes, c, len);
    return (struct span){bytes, len};
}

// ERR_FULL or ERR_IO from the body's way; else the change is submitted.
static enum err start_put(const char *key, struct span body, struct commit_op *op)
{
    const struct upload_claims claims = {.has_md5 = false};
    struct object_record record = {.modified_ms = 1000};
    struct upload *upload = store_upload(store, &claims);
    enum err err = upload_write(upload, body, NULL);
    if (err == OK) {
        ck_assert_int_eq(upload_finish(upload, &record), UPLOAD_GOOD);
        if (op == NULL)
            op = commit_op_new(COMMIT_PUT, SPAN("bucket"), span_from(key));
        record_encode(&record, &op->record);
        op->file = upload_take(upload);
        submit(op);
    } else {
        commit_op_free(op);
    }
    upload_free(upload);
    return err;
}

static bool put(const char *key, size_t len, char c)
{
    return start_put(key, body_of(len, c), NULL) == OK && outcome(OK) == 1;
}

static bool delete (const char *key)
{
    submit(commit_op_new(COMMIT_DELETE, SPAN("bucket"), span_from(key)));
    return outcome(OK) == 1;
}

static bool make_bucket(void)
{
    submit(commit_op_new(COMMIT_BUCKET_CREATE, SPAN("bucket"), SPAN("")));
    return outcome(OK) == 1;
}

// Is key there with exactly this body?
static enum err get(const char *key, size_t len, char c)
{
    struct store_object object;
    static char body[200000];
    bool no_bucket;
    ck_assert_int_eq(store_read_begin(store, NULL, NULL), OK);
    enum err err =
        store_object_open(store, "bucket", span_from(key), true, &object, &no_bucket, NULL);
    if (err == OK)
        err = store_object_check(store, &object, NULL);
    if (err == OK) {
        struct span there = object.record.body;
        if (object.body_fd >= 0)
            there = (struct span){body, (size_t)read(object.body_fd, body, sizeof body)};
        ck_assert_msg(span_equal(there, body_of(len, c)), "'%s' has another body", key);
    }
    fd_close(&object.body_fd);
    store_read_end(store);
    return err;
}

// Body files, without those kept ready (they are empty). path gets one of them.
static int count_blobs(char path[128])
{
    int count = 0;
    for (int i = 0; i < 256; i++) {
        char folder[80];
        struct stat st;
        snprintf(folder, sizeof folder, "%s/blobs/%02x", data_dir, (unsigned)i);
        DIR *list = opendir(folder);
        struct dirent *entry;
        while (list != NULL && (entry = readdir(list)) != NULL)
            if (entry->d_name[0] != '.' && fstatat(dirfd(list), entry->d_name, &st, 0) == 0 &&
                st.st_size > 0) {
                count++;
                snprintf(path, 128, "%s/%.20s", folder, entry->d_name);
            }
        if (list != NULL)
            closedir(list);
    }
    return count;
}

static void wait_for_blobs(int wanted) // files are removed behind the answer
{
    char path[128];
    for (int i = 0; i < 1000000 && count_blobs(path) != wanted; i++)
        sched_yield();
    ck_assert_int_eq(count_blobs(path), wanted);
}

// --- tests ---

START_TEST(objects_survive_reopening)
{
    temp_dir_make(data_dir);
    open_store();
    ck_assert(!put("early", 10, 'x')); // no bucket
    ck_assert(make_bucket());
    ck_assert(!make_bucket()); // exists
    ck_assert(put("small", 100, 'a') && put("large", 150000, 'b') && put("empty", 0, 'c'));
    ck_assert(put("edge", S3_INLINE_BYTES_MAX, 'd') && put("over", S3_INLINE_BYTES_MAX + 1, 'e'));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(get("small", 100, 'a'), OK);
        ck_assert_int_eq(get("large", 150000, 'b'), OK);
        ck_assert_int_eq(get("empty", 0, 'c'), OK);
        ck_assert_int_eq(get("edge", S3_INLINE_BYTES_MAX, 'd'), OK);
        ck_assert_int_eq(get("over", S3_INLINE_BYTES_MAX + 1, 'e'), OK);
        ck_assert_int_eq(get("none", 0, 'c'), ERR_NOT_FOUND);
        wait_for_blobs(2);
        close_store();
        open_store();
    }
    submit(commit_op_new(COMMIT_BUCKET_DELETE, SPAN("bucket"), SPAN("")));
    ck_assert_int_eq(outcome(ERR_BUSY), 1);
    ck_assert(delete ("small") && delete ("large") && delete ("empty") && delete ("edge"));
    ck_assert(delete ("over") && delete ("never was"));
    submit(commit_op_new(COMMIT_BUCKET_DELETE, SPAN("bucket"), SPAN("")));
    ck_assert_int_eq(outcome(OK), 1);
    wait_for_blobs(0);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

START_TEST(overwriting_frees_the_old_body_and_readers_go_on)
{
    struct store_object object;
    bool no_bucket;
    char byte = 0;
    temp_dir_make(data_dir);
    open_store();
    ck_assert(make_bucket() && put("k", 100000, 'a'));
    ck_assert_int_eq(store_read_begin(store, NULL, NULL), OK);
    ck_assert_int_eq(store_object_open(store, "bucket", SPAN("k"), true, &object, &no_bucket, NULL),
                     OK);
    store_read_end(store);
    ck_assert(put("k", 120000, 'b'));
    wait_for_blobs(1);
    ck_assert_int_eq(get("k", 120000, 'b'), OK);
    ck_assert_int_eq(pread(object.body_fd, &byte, 1, 99999), 1);
    ck_assert_int_eq(byte, 'a');
    fd_close(&object.body_fd);
    ck_assert(put("k", 10, 'c'));
    wait_for_blobs(0);
    ck_assert_int_eq(get("k", 10, 'c'), OK);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

static struct commit_op *conditional(const char *if_match, bool if_none_match)
{
    struct commit_op *op = commit_op_new(COMMIT_PUT, SPAN("bucket"), SPAN("k"));
    op->if_none_match = if_none_match;
    snprintf(op->if_match, sizeof op->if_match, "%s", if_match);
    return op;
}

START_TEST(one_of_many_writers_wins)
{
    temp_dir_make(data_dir);
    open_store();
    ck_assert(make_bucket());
    for (int i = 0; i < 700; i++) // more than one batch, small and large mixed
        ck_assert_int_eq(
            start_put("k", body_of(i % 50 == 0 ? 5000 : 10, 'a'), conditional("", true)), OK);
    ck_assert_int_eq(outcome(OK), 1);
    ck_assert_int_eq(start_put("k", body_of(10, 'b'), conditional("", true)), OK);
    ck_assert_int_eq(outcome(ERR_PRECONDITION), 1);
    ck_assert(put("k", 1, 'a'));
    wait_for_blobs(0);                                         // the losers' files are gone
    const char *etag = "\"0cc175b9c0f1b6a831c399e269772661\""; // of "a"
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(start_put("k", body_of(2, (char)('c' + i)), conditional(etag, false)), OK);
    ck_assert_int_eq(outcome(OK), 1); // the first changed the etag
    ck_assert_int_eq(get("k", 2, 'c'), OK);
    ck_assert(delete ("k"));
    ck_assert_int_eq(start_put("k", body_of(2, 'x'), conditional(etag, false)), OK);
    ck_assert_int_eq(outcome(ERR_NOT_FOUND), 1);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

// Every sync fails once, in turn: nothing is answered from then on, and what was answered before is
// there afterwards.
START_TEST(a_failed_sync_stops_everything)
{
    log_init("test", LOG_ERROR + 1);
    bool survived = false;
    for (int n = 1; !survived; n++) {
        ck_assert_int_lt(n, 40);
        temp_dir_make(data_dir);
        open_store();
        ck_assert(make_bucket() && put("old", 10, 'o') && put("gone", 6000, 'g'));
        __atomic_store_n(&syncs_until_failure, n, __ATOMIC_SEQ_CST);
        bool small = put("small", 10, 's');
        bool large = fatal.code == OK && put("large", 6000, 'l');
        bool gone = fatal.code == OK && delete ("gone");
        bool over = fatal.code == OK && put("old", 6000, 'p');
        survived = fatal.code == OK;
        __atomic_store_n(&syncs_until_failure, 0, __ATOMIC_SEQ_CST);
        ck_assert(survived || fatal.code == ERR_IO);
        waiting = 0;
        close_store();
        open_store();
        enum err err = get("small", 10, 's');
        ck_assert(err == OK || (!small && err == ERR_NOT_FOUND));
        err = get("large", 6000, 'l');
        ck_assert(err == OK || (!large && err == ERR_NOT_FOUND));
        err = get("gone", 6000, 'g');
        ck_assert(gone ? err == ERR_NOT_FOUND : err == OK || err == ERR_NOT_FOUND);
        if (over)
            ck_assert_int_eq(get("old", 6000, 'p'), OK);
        else if (!gone)
            ck_assert_int_eq(get("old", 10, 'o'), OK);
        close_store();
        temp_dir_remove(data_dir);
    }
}
END_TEST

// Every write meets a full disk once, in turn: that change fails alone, nothing is half made.
START_TEST(a_full_disk_fails_one_change_and_goes_on)
{
    log_init("test", LOG_ERROR + 1);
    bool all = false;
    for (int n = 1; !all; n++) {
        ck_assert_int_lt(n, 60);
        temp_dir_make(data_dir);
        open_store();
        ck_assert(make_bucket() && put("gone", 6000, 'g'));
        __atomic_store_n(&writes_until_failure, n, __ATOMIC_SEQ_CST);
        bool small = put("small", 10, 's');
        bool large = put("large", 60000, 'l');
        bool gone = delete ("gone");
        bool unused = __atomic_load_n(&writes_until_failure, __ATOMIC_SEQ_CST) > 0;
        __atomic_store_n(&writes_until_failure, 0, __ATOMIC_SEQ_CST);
        if (fatal.code != OK) { // the meta page itself: LMDB gives up, and so do we
            waiting = 0;
            close_store();
            open_store();
            ck_assert(!small || get("small", 10, 's') == OK);
            ck_assert(!large || get("large", 60000, 'l') == OK);
        } else {
            ck_assert_int_eq(small + large + gone, unused ? 3 : 2);
            ck_assert_int_eq(get("small", 10, 's'), small ? OK : ERR_NOT_FOUND);
            ck_assert_int_eq(get("large", 60000, 'l'), large ? OK : ERR_NOT_FOUND);
            ck_assert_int_eq(get("gone", 6000, 'g'), gone ? ERR_NOT_FOUND : OK);
            wait_for_blobs(large + !gone);
            ck_assert(put("after", 6000, 'a'));
            all = unused;
        }
        close_store();
        temp_dir_remove(data_dir);
    }
}
END_TEST

// Puts small objects, 400 at a time, until there is no space. Returns how many are there.
static int fill(void)
{
    int stored = 0;
    char key[32];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 400; i++) {
            snprintf(key, sizeof key, "key-%d", stored + i);
            ck_assert_int_eq(start_put(key, body_of(4000, 'k'), NULL), OK);
        }
        int good = outcome(OK);
        stored += good;
        if (good < 400)
            return stored;
    }
    ck_abort_msg("it never became full");
    return 0;
}

static void empty_and_refill(int stored)
{
    char key[32];
    ck_assert_int_gt(stored, 500);
    ck_assert(!put("one more", 10, 'x'));
    ck_assert_int_eq(get("key-0", 4000, 'k'), OK);
    for (int i = 0; i < stored; i++) { // each alone: many transactions that each need pages
        snprintf(key, sizeof key, "key-%d", i);
        if (i < 200) {
            ck_assert(delete (key));
        } else {
            submit(commit_op_new(COMMIT_DELETE, SPAN("bucket"), span_from(key)));
        }
    }
    ck_assert_int_eq(outcome(OK), stored - 200);
    ck_assert(put("one more", 10, 'x'));
    ck_assert_int_eq(get("one more", 10, 'x'), OK);
}

START_TEST(deletes_work_when_the_catalog_is_at_its_limit)
{
    temp_dir_make(data_dir);
    map_bytes = MIB(64);
    open_store();
    ck_assert(make_bucket());
    empty_and_refill(fill());
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

START_TEST(deletes_work_when_the_disk_is_full)
{
    const struct rlimit limit = {MIB(48), MIB(48)}; // of a file: fallocate and write fail above
    temp_dir_make(data_dir);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    open_store();
    ck_assert(make_bucket());
    int stored = fill();
    close_store();
    open_store(); // also after a restart
    empty_and_refill(stored);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

START_TEST(an_upload_that_did_not_end_leaves_nothing)
{
    char path[128];
    temp_dir_make(data_dir);
    pid_t pid = fork();
    if (pid ==
        0) { // a process that dies in the middle of two uploads, one of them not yet committed
        open_store();
        if (!make_bucket() || !put("whole", 100000, 'w'))
            _exit(1);
        const struct upload_claims claims = {.has_md5 = false};
        struct upload *upload = store_upload(store, &claims);
        if (upload_write(upload, body_of(50000, 'x'), NULL) == OK)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(count_blobs(path), 2);
    open_store();
    ck_assert_int_eq(get("whole", 100000, 'w'), OK);
    wait_for_blobs(1);
    const struct upload_claims claims = {.has_md5 = false};
    struct upload *upload = store_upload(store, &claims);
    ck_assert_int_eq(upload_write(upload, body_of(50000, 'x'), NULL), OK);
    upload_free(upload); // the client went away
    wait_for_blobs(1);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

START_TEST(changed_bytes_on_disk_are_never_handed_out)
{
    char path[128];
    temp_dir_make(data_dir);
    log_init("test", LOG_ERROR + 1);
    open_store();
    ck_assert(make_bucket() && put("k", 100000, 'a'));
    ck_assert_int_eq(count_blobs(path), 1);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(syscall(SYS_pwrite64, fd, "b", 1, 55555), 1);
    ck_assert_int_eq(get("k", 100000, 'a'), ERR_CORRUPT);
    ck_assert_int_eq(syscall(SYS_pwrite64, fd, "a", 1, 55555), 1);
    ck_assert_int_eq(get("k", 100000, 'a'), OK);
    ck_assert_int_eq(ftruncate(fd, 99999), 0);
    ck_assert_int_eq(get("k", 100000, 'a'), ERR_CORRUPT);
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(get("k", 100000, 'a'), ERR_CORRUPT);
    ck_assert(put("k", 5, 'n')); // it can be stored again
    ck_assert_int_eq(get("k", 5, 'n'), OK);
    close_store();
    temp_dir_remove(data_dir);
}
END_TEST

START_TEST(newer_formats_and_second_owners_are_refused)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    struct error error;
    uint64_t format = CATALOG_FORMAT + 1;
    MDB_val key = {6, (void *)(uintptr_t) "format"}, value = {sizeof format, &format};
    temp_dir_make(data_dir);
    open_store();
    struct store *first = store;
    ck_assert_int_eq(try_open(&error), ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(error.msg, "in use by another smelt"));
    store = first;
    close_store();
    ck_assert_int_eq(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 4);
    ck_assert_int_eq(mdb_env_open(env, data_dir, 0, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
    ck_assert_int_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_int_eq(try_open(&error), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.msg, "format 2"));
    loop_free(loop);
    temp_dir_remove(data_dir);
}
END_TEST

SUITE_MAIN("store", objects_survive_reopening, overwriting_frees_the_old_body_and_readers_go_on,
           one_of_many_writers_wins, a_failed_sync_stops_everything,
           a_full_disk_fails_one_change_and_goes_on, deletes_work_when_the_catalog_is_at_its_limit,
           deletes_work_when_the_disk_is_full, an_upload_that_did_not_end_leaves_nothing,
           changed_bytes_on_disk_are_never_handed_out, newer_formats_and_second_owners_are_refused)
