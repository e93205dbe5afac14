#include "s3/listing.h"

#include <string.h>

void listing_page_release(struct listing_page *page)
{
    buf_release(&page->last);
}

static bool starts_with(struct span s, struct span prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

// The smallest string greater than all that start with s. False if there is none (all bytes 0xff).
static bool successor(struct span s, struct buf *out)
{
    while (s.len > 0 && (uint8_t)s.data[s.len - 1] == 0xff)
        s.len--;
    buf_clear(out);
    if (s.len == 0)
        return false;
    buf_add_span(out, s);
    out->data[s.len - 1] = (char)(out->data[s.len - 1] + 1);
    return true;
}

// The common prefix that key rolls up into; empty if it does not.
static struct span rolled_up(const struct listing_query *q, struct span key)
{
    if (q->delimiter.len == 0 || key.len < q->prefix.len + q->delimiter.len)
        return (struct span){NULL, 0};
    const char *found = memmem(key.data + q->prefix.len, key.len - q->prefix.len, q->delimiter.data,
                               q->delimiter.len);
    if (found == NULL)
        return (struct span){NULL, 0};
    return (struct span){key.data, (size_t)(found - key.data) + q->delimiter.len};
}

// Puts the cursor on the first key that the query may return.
static enum err start(struct keytree_cursor *c, uint64_t root, const struct listing_query *q,
                      struct error *error)
{
    AUTO_BUF struct buf from = {0};
    if (q->after_is_prefix) {
        if (!successor(q->after, &from)) {
            c->valid = false;
            return OK;
        }
    } else if (q->after.len > 0) {
        buf_add_span(&from, q->after);
        buf_add_char(&from, '\0'); // the very next string
    }
    if (span_order(buf_view(&from), q->prefix) < 0) {
        buf_clear(&from);
        buf_add_span(&from, q->prefix);
    }
    return keytree_cursor_seek(c, root, buf_view(&from), error);
}

// Shows what the cursor stands on as an item, and moves it behind that.
static enum err step(struct keytree_cursor *c, uint64_t root, const struct listing_query *q,
                     void (*item)(void *ctx, const struct listing_item *item), void *ctx,
                     struct listing_page *page, struct error *error)
{
    AUTO_BUF struct buf behind = {0};
    struct span key = {c->key, c->key_len};
    struct span prefix = rolled_up(q, key);
    struct listing_item it = {.is_prefix = prefix.len > 0, .name = prefix.len > 0 ? prefix : key};
    if (!it.is_prefix)
        TRY(record_decode(c->value, &it.record, error));
    item(ctx, &it);
    page->count++;
    page->last_is_prefix = it.is_prefix;
    buf_clear(&page->last);
    buf_add_span(&page->last, it.name);
    if (!it.is_prefix)
        return keytree_cursor_next(c, error);
    if (successor(prefix, &behind))
        return keytree_cursor_seek(c, root, buf_view(&behind), error);
    c->valid = false;
    return OK;
}

enum err listing_run(struct catalog_txn *txn, uint64_t root, const struct listing_query *q,
                     void (*item)(void *ctx, const struct listing_item *item), void *ctx,
                     struct listing_page *page, struct error *error)
{
    struct keytree_cursor c;
    *page = (struct listing_page){0};
    if (q->max == 0)
        return OK;
    catalog_cursor_init(&c, txn);
    enum err err = start(&c, root, q, error);
    while (err == OK && c.valid && starts_with((struct span){c.key, c.key_len}, q->prefix)) {
        if (page->count == q->max) {
            page->truncated = true;
            break;
        }
        err = step(&c, root, q, item, ctx, page, error);
    }
    keytree_cursor_release(&c);
    return err;
}
