#include "worker/said.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 1024,
    LINES_MAX = 20, // for one job; the tail has the last ones anyway
};
_Static_assert(PIECE_BYTES < (int)WORKER_STDERR_TAIL_BYTES, "a piece must not push itself out");

static void forget_bytes(struct said *s, size_t count)
{
    memmove(s->tail, s->tail + count, s->tail_bytes - count);
    s->tail_bytes -= count;
    s->logged -= s->logged < count ? s->logged : count;
}

// Bytes that are no text could do harm in a terminal or a log.
static void keep(struct said *s, const char *bytes, size_t count)
{
    if (s->tail_bytes + count > WORKER_STDERR_TAIL_BYTES)
        forget_bytes(s, s->tail_bytes + count - WORKER_STDERR_TAIL_BYTES);
    for (size_t i = 0; i < count; i++) {
        bool plain = bytes[i] == '\n' || (bytes[i] >= ' ' && bytes[i] <= '~');
        s->tail[s->tail_bytes++] = plain ? bytes[i] : '?';
    }
    s->tail[s->tail_bytes] = '\0';
}

static void log_lines(struct said *s, bool unfinished)
{
    while (s->logged < s->tail_bytes) {
        char line[400], quoted[500];
        const char *begin = s->tail + s->logged;
        const char *end = memchr(begin, '\n', s->tail_bytes - s->logged);
        size_t len = end != NULL ? (size_t)(end - begin) : s->tail_bytes - s->logged;
        if (end == NULL && !unfinished && len < sizeof line)
            return;
        size_t shown = len < sizeof line ? len : sizeof line - 1;
        memcpy(line, begin, shown);
        line[shown] = '\0';
        s->logged += len + (end != NULL);
        if (shown > 0 && s->lines++ < LINES_MAX)
            log_event(LOG_WARN, "child_said", "slot=%u text=%s", s->slot,
                      log_quote(line, quoted, sizeof quoted));
    }
}

// False: nothing more is there.
static bool read_piece(struct said *s)
{
    char piece[PIECE_BYTES];
    ssize_t got = read(s->fd, piece, sizeof piece);
    if (got < 0 && errno == EINTR)
        return true;
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            loop_watch_remove(s->loop, &s->watch);
        return false;
    }
    keep(s, piece, (size_t)got);
    s->since_bytes += (size_t)got;
    log_lines(s, false);
    return true;
}

static void on_readable(void *ctx, uint32_t events)
{
    struct said *s = ctx;
    (void)events;
    read_piece(s);
    if (s->since_bytes > WORKER_STDERR_BYTES_MAX) {
        loop_watch_remove(s->loop, &s->watch);
        s->on_too_much(s->ctx);
    }
}

enum err said_open(struct said *s, struct loop *loop, uint32_t slot, int *child_fd,
                   void (*on_too_much)(void *ctx), void *ctx, struct error *error)
{
    int ends[2];
    said_close(s);
    *s =
        (struct said){.loop = loop, .slot = slot, .fd = -1, .on_too_much = on_too_much, .ctx = ctx};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make the pipe for a child's standard error");
    s->fd = ends[0];
    *child_fd = ends[1];
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    return loop_watch_add(loop, &s->watch, s->fd, EPOLLIN, on_readable, s, error);
}

void said_begin(struct said *s)
{
    s->since_bytes = 0;
    s->lines = 0;
}

void said_drain(struct said *s)
{
    // one that never ends does not hold us up
    while (s->loop != NULL && s->fd >= 0 && s->since_bytes <= WORKER_STDERR_BYTES_MAX &&
           read_piece(s))
        continue;
    log_lines(s, true);
}

void said_close(struct said *s)
{
    if (s->loop == NULL)
        return;
    loop_watch_remove(s->loop, &s->watch);
    fd_close(&s->fd);
}
