#include "cli/download.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "http/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SILENCE_MS = 30000,          // without a byte: given up
    WHOLE_MS = 24 * 3600 * 1000, // of one request
    TRIES_MAX = 20,              // each has brought bytes
    BAR_MS = 100,                // between two drawings
    BAR_WIDTH = 24,
};

struct transfer {
    const struct download *spec;
    struct loop *loop;
    struct http_client *client;
    struct http_call *call;
    struct timer silence;
    int fd;
    uint64_t at, total; // bytes there; of the whole file, 0 when unknown
    bool begun;         // the first piece of an answer has been looked at
    bool whole;         // nothing is missing
    struct error error; // code OK: none
    int64_t drawn_ms, start_ms;
    uint64_t start_at;
};

// ---- progress ---------------------------------------------------------------------------------

static void draw(struct transfer *t, bool last)
{
    int64_t now = clock_monotonic_ms();
    if (!isatty(STDERR_FILENO) || (!last && now - t->drawn_ms < BAR_MS))
        return;
    t->drawn_ms = now;
    const char *slash = strrchr(t->spec->path, '/');
    double mb = (double)t->at / 1e6, total = (double)t->total / 1e6;
    double seconds = (double)(now - t->start_ms) / 1000.0;
    double rate = seconds > 0.2 ? (double)(t->at - t->start_at) / 1e6 / seconds : 0;
    char bar[BAR_WIDTH + 1];
    int full = total > 0 ? (int)(BAR_WIDTH * mb / total) : 0;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r  %.44s  %s  %.1f of %.1f MB  %.1f MB/s \033[K%s",
            slash != NULL ? slash + 1 : t->spec->path, bar, mb, total, rate, last ? "\n" : "");
    fflush(stderr);
}

// ---- one request ------------------------------------------------------------------------------

static void on_silence(void *ctx)
{
    struct transfer *t = ctx;
    fail(&t->error, ERR_TIMEOUT, 0, "%s: nothing came for %d s", t->spec->url, SILENCE_MS / 1000);
    http_call_cancel(t->call);
}

// "bytes 100-199/1000": whether it begins where we are; *total gets the last number, or 0.
static bool range_fits(struct span text, uint64_t at, uint64_t *total)
{
    struct span rest, size, first;
    if (!span_starts(text, "bytes "))
        return false;
    rest = span_cut((struct span){text.data + 6, text.len - 6}, '/', &size);
    first = span_cut(rest, '-', &rest);
    uint64_t from;
    if (!span_to_u64(size, UINT64_MAX, total))
        *total = 0;
    return span_to_u64(first, UINT64_MAX, &from) && from == at;
}

// What the answer's head says of the bytes that follow.
static enum err begin(struct transfer *t)
{
    const char *url = t->spec->url;
    int status = http_call_status(t->call);
    uint64_t length = 0;
    t->begun = true;
    t->total = 0;
    if (status == 206) {
        if (!range_fits(http_call_response_header(t->call, "Content-Range"), t->at, &t->total))
            return fail(&t->error, ERR_FORMAT, 0,
                        "%s: the server sends another range than it was asked for", url);
    } else if (status == 200) {
        if (t->at > 0 && ftruncate(t->fd, 0) != 0) // it does not do ranges: from the start
            return fail(&t->error, ERR_IO, errno, "truncate '%s.part'", t->spec->path);
        t->at = t->start_at = 0;
        if (span_to_u64(http_call_response_header(t->call, "Content-Length"), UINT64_MAX, &length))
            t->total = length;
    } else {
        return fail(&t->error, ERR_FORMAT, 0, "%s: HTTP status %d", url, status);
    }
    if (t->total > t->spec->bytes_max)
        return fail(&t->error, ERR_LIMIT, 0,
                    "%s has %" PRIu64 " bytes, at most %" PRIu64 " are expected", url, t->total,
                    t->spec->bytes_max);
    return OK;
}

static enum err on_body(void *ctx, struct span piece)
{
    struct transfer *t = ctx;
    if (!t->begun)
        TRY(begin(t));
    if (piece.len > t->spec->bytes_max - t->at)
        return fail(&t->error, ERR_LIMIT, 0, "%s has over %" PRIu64 " bytes", t->spec->url,
                    t->spec->bytes_max);
    if (lseek(t->fd, (off_t)t->at, SEEK_SET) < 0)
        return fail(&t->error, ERR_IO, errno, "seek in '%s.part'", t->spec->path);
    TRY(fd_write_all(t->fd, piece.data, piece.len, t->spec->path, &t->error));
    t->at += piece.len;
    loop_timer_set(t->loop, &t->silence, loop_now_ms(t->loop) + SILENCE_MS, on_silence, t);
    draw(t, false);
    return OK;
}

static void judge_status(struct transfer *t, const struct http_response *r)
{
    const char *url = t->spec->url;
    if (r->status / 100 == 2) {
        t->whole = t->total == 0 || t->at == t->total;
        if (!t->whole)
            fail(&t->error, ERR_NET, 0, "%s: the answer ended early", url);
    } else if (r->status == 416) {
        t->whole = true; // there is nothing behind what we have: the MD5 will tell
    } else if (r->status / 100 == 3) {
        struct span to = http_response_header(r, "Location");
        fail(&t->error, ERR_UNSUPPORTED, 0,
             "%s redirects to '%.*s', which is not followed: give the address of that folder with "
             "--from",
             url, to.len < 150 ? (int)to.len : 150, to.data != NULL ? to.data : "");
    } else if (r->status == 404 || r->status == 410) {
        fail(&t->error, ERR_NOT_FOUND, 0, "%s: there is no such file (HTTP status %d)", url,
             r->status);
    } else {
        fail(&t->error, r->status >= 500 ? ERR_UNAVAILABLE : ERR_DENIED, 0, "%s: HTTP status %d",
             url, r->status);
    }
}

static void on_done(void *ctx, const struct http_response *r)
{
    struct transfer *t = ctx;
    loop_timer_cancel(t->loop, &t->silence);
    loop_stop(t->loop);
    if (r->err == OK && t->error.code == OK)
        judge_status(t, r);
    else if (t->error.code == OK)
        fail(&t->error, r->err, 0, "%s: %s", t->spec->url, r->error.msg);
}

// Asks for what is missing, once.
static enum err request(struct transfer *t, struct error *error)
{
    char range[40];
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-", t->at);
    const struct http_call_header header = {"Range", range};
    const struct http_call_spec spec = {.method = "GET",
                                        .url = t->spec->url,
                                        .headers = &header,
                                        .header_count = t->at > 0 ? 1 : 0,
                                        .body_fd = -1,
                                        .connect_timeout_ms = SILENCE_MS / 3,
                                        .timeout_ms = WHOLE_MS,
                                        .on_body = on_body};
    t->begun = t->whole = false;
    t->error = (struct error){0};
    t->start_at = t->at;
    t->start_ms = clock_monotonic_ms();
    t->call = http_client_start(t->client, &spec, on_done, t);
    loop_timer_set(t->loop, &t->silence, loop_now_ms(t->loop) + SILENCE_MS, on_silence, t);
    TRY(loop_run(t->loop, error));
    draw(t, true);
    if (t->error.code != OK)
        *error = t->error;
    return t->error.code;
}

// ---- the file ---------------------------------------------------------------------------------

static enum err md5_of(int fd, const char *path, char out[2 * MD5_BYTES + 1], struct error *error)
{
    enum { PIECE_BYTES = 1 << 18 };
    AUTO_BUF struct buf piece = {0};
    uint8_t bytes[SHA256_BYTES];
    struct digest *digest = digest_new(DIGEST_MD5);
    ssize_t got;
    off_t at = 0;
    buf_reserve(&piece, PIECE_BYTES);
    while ((got = pread(fd, piece.data, PIECE_BYTES, at)) > 0) {
        digest_update(digest, piece.data, (size_t)got);
        at += got;
    }
    int sys = errno;
    digest_finish(digest, bytes);
    digest_free(digest);
    hex_encode(bytes, MD5_BYTES, out);
    return got == 0 ? OK : fail(error, ERR_IO, sys, "read '%s'", path);
}

// Requests until the file is whole; one that broke off is asked for again while bytes come.
static enum err fetch_rest(struct transfer *t, struct error *error)
{
    for (int try = 1;; try++) {
        uint64_t before = t->at;
        enum err err = request(t, error);
        bool broke_off = err == ERR_NET || err == ERR_TIMEOUT;
        if (!broke_off || t->at <= before || try == TRIES_MAX)
            return err;
    }
}

// Fetches into t->fd, which holds t->at bytes of an earlier try.
static enum err fetch_right(struct transfer *t, struct error *error)
{
    char md5[2 * MD5_BYTES + 1] = "";
    for (bool resumed = t->at > 0;; resumed = false) {
        TRY(fetch_rest(t, error));
        TRY(md5_of(t->fd, t->spec->path, md5, error));
        if (strcasecmp(md5, t->spec->md5) == 0)
            return OK;
        if (ftruncate(t->fd, 0) != 0)
            return fail(error, ERR_IO, errno, "truncate '%s.part'", t->spec->path);
        uint64_t bytes = t->at;
        t->at = 0;
        if (!resumed) // else the earlier part was of another file
            return fail(error, ERR_FORMAT, 0,
                        "%s is not the file that was expected: %" PRIu64 " bytes with MD5 %s, not "
                        "%s",
                        t->spec->url, bytes, md5, t->spec->md5);
    }
}

static enum err run_transfer(struct transfer *t, struct error *error)
{
    const struct http_client_config config = {.ca_bundle = getenv("AWS_CA_BUNDLE")};
    TRY(loop_new(&t->loop, error));
    enum err err = http_client_new(t->loop, &config, &t->client, error);
    if (err == OK)
        err = fetch_right(t, error);
    http_client_free(t->client);
    loop_free(t->loop);
    return err;
}

// Whether the file is there and right.
static bool have(const struct download *d)
{
    char md5[2 * MD5_BYTES + 1];
    AUTO_FD int fd = open(d->path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && md5_of(fd, d->path, md5, NULL) == OK && strcasecmp(md5, d->md5) == 0;
}

enum err download_run(const struct download *d, struct error *error)
{
    AUTO_BUF struct buf part = {0};
    struct stat st;
    if (have(d))
        return OK;
    buf_printf(&part, "%s.part", d->path);
    AUTO_FD int fd = open(part.data, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", part.data);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return fail(error, ERR_BUSY, 0, "another smelt is fetching '%s' at the moment", d->path);
    struct transfer t = {.spec = d, .fd = fd, .at = (uint64_t)st.st_size};
    if (t.at > d->bytes_max) {
        if (ftruncate(fd, 0) != 0)
            return fail(error, ERR_IO, errno, "truncate '%s'", part.data);
        t.at = 0;
    }
    enum err err = run_transfer(&t, error);
    if (err != OK && t.at == 0)
        unlink(part.data);
    TRY(err);
    if (rename(part.data, d->path) != 0)
        return fail(error, err_from_errno(errno), errno, "rename '%s'", part.data);
    return OK;
}
