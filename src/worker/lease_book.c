#include "worker/lease_book.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    MAGIC = 0x314c4d53, // "SML1"
    TEXT_BYTES = 2016,  // a queue's URL and a receipt, each with its '\0'; Amazon's have 1 KiB
};

// A place in the file. Written as it is: only this host reads it.
struct entry {
    uint32_t magic; // 0: free
    uint32_t crc;   // of what follows, up to text_bytes of text
    int64_t until_wall_ms;
    int32_t receive_count;
    uint32_t text_bytes;
    char text[TEXT_BYTES];
};
_Static_assert(sizeof(struct entry) == 2040, "what a predecessor wrote");

enum {
    HEAD_BYTES = offsetof(struct entry, text),
    CRC_FROM = offsetof(struct entry, until_wall_ms)
};

struct lease_book {
    int fd;
    bool used[LEASE_BOOK_PLACES];
    bool left[LEASE_BOOK_PLACES]; // by the predecessor
    struct entry entries[LEASE_BOOK_PLACES];
};

static uint32_t crc_of(const struct entry *e)
{
    return digest_crc32c(0, (const char *)e + CRC_FROM, HEAD_BYTES - CRC_FROM + e->text_bytes);
}

static bool is_whole(const struct entry *e)
{
    return e->magic == MAGIC && e->text_bytes >= 2 && e->text_bytes <= TEXT_BYTES &&
           e->text[e->text_bytes - 1] == '\0' && memchr(e->text, '\0', e->text_bytes - 1) != NULL &&
           crc_of(e) == e->crc;
}

// What cannot be written is not remembered.
static bool put(struct lease_book *b, int place, size_t bytes)
{
    off_t at = (off_t)place * (off_t)sizeof(struct entry);
    return pwrite(b->fd, &b->entries[place], bytes, at) == (ssize_t)bytes;
}

enum err lease_book_open(const char *path, struct lease_book **out, struct error *error)
{
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(error, ERR_IO, errno, "open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return fail(error, ERR_BUSY, errno, "'%s' is another worker's; give each its own", path);
    struct lease_book *b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    for (int i = 0; i < LEASE_BOOK_PLACES; i++) {
        struct entry *e = &b->entries[i];
        off_t at = (off_t)i * (off_t)sizeof *e;
        ssize_t n = pread(fd, e, sizeof *e, at);
        if (n <= 0)
            break;
        b->used[i] = b->left[i] = n >= HEAD_BYTES && is_whole(e);
    }
    b->fd = fd;
    fd = -1;
    *out = b;
    return OK;
}

void lease_book_close(struct lease_book *b)
{
    if (b != NULL)
        fd_close(&b->fd);
    free(b);
}

int lease_book_add(struct lease_book *b, const char *queue_url, const char *receipt,
                   int receive_count, int64_t until_wall_ms)
{
    size_t url_bytes = strlen(queue_url) + 1, receipt_bytes = strlen(receipt) + 1;
    int place = 0;
    while (b != NULL && place < LEASE_BOOK_PLACES && b->used[place])
        place++;
    if (b == NULL || place == LEASE_BOOK_PLACES || url_bytes + receipt_bytes > TEXT_BYTES)
        return -1;
    struct entry *e = &b->entries[place];
    e->magic = MAGIC;
    e->until_wall_ms = until_wall_ms;
    e->receive_count = receive_count;
    e->text_bytes = (uint32_t)(url_bytes + receipt_bytes);
    memcpy(e->text, queue_url, url_bytes);
    memcpy(e->text + url_bytes, receipt, receipt_bytes);
    e->crc = crc_of(e);
    b->used[place] = put(b, place, HEAD_BYTES + e->text_bytes);
    return b->used[place] ? place : -1;
}

void lease_book_renew(struct lease_book *b, int place, int64_t until_wall_ms)
{
    if (b == NULL || place < 0)
        return;
    struct entry *e = &b->entries[place];
    e->until_wall_ms = until_wall_ms;
    e->crc = crc_of(e);
    (void)put(b, place, HEAD_BYTES);
}

void lease_book_remove(struct lease_book *b, int place)
{
    if (b == NULL || place < 0)
        return;
    b->entries[place].magic = 0;
    b->used[place] = false;
    (void)put(b, place, sizeof b->entries[place].magic);
}

int lease_book_take(struct lease_book *b, int64_t now_wall_ms, lease_book_fn *fn, void *ctx)
{
    int count = 0;
    for (int i = 0; b != NULL && i < LEASE_BOOK_PLACES; i++) {
        const struct entry *e = &b->entries[i];
        if (!b->left[i])
            continue;
        b->left[i] = false;
        if (e->receive_count == 1 && e->until_wall_ms > now_wall_ms) {
            fn(ctx, e->text, e->text + strlen(e->text) + 1);
            count++;
        }
        lease_book_remove(b, i);
    }
    return count;
}
