#include "s3/listing.h"

#include "suite.h"
#include "temp_dir.h"

static char dir_path[64];
static struct catalog *catalog;
static struct catalog_txn *txn;
static struct bucket bucket;

static void open_catalog(const char *const *keys)
{
    uint64_t run;
    AUTO_BUF struct buf bytes = {0};
    struct object_record record = {.size_bytes = 2, .body = SPAN("xy")};
    temp_dir_make(dir_path);
    ck_assert_int_eq(catalog_open(dir_path, 0, &catalog, &run, NULL), OK);
    ck_assert_int_eq(catalog_begin(catalog, true, &txn, NULL), OK);
    ck_assert_int_eq(catalog_bucket_create(txn, "neighbour", 1, NULL), OK);
    ck_assert_int_eq(catalog_bucket_create(txn, "bucket", 1, NULL), OK);
    ck_assert_int_eq(catalog_bucket_create(txn, "other", 1, NULL), OK);
    record_encode(&record, &bytes);
    const char *const around[] = {"neighbour", "other"};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(catalog_bucket_get(txn, around[i], &bucket, NULL), OK);
        ck_assert_int_eq(
            catalog_object_put(txn, bucket.root, SPAN("stray"), buf_view(&bytes), NULL), OK);
    }
    ck_assert_int_eq(catalog_bucket_get(txn, "bucket", &bucket, NULL), OK);
    for (; *keys != NULL; keys++)
        ck_assert_int_eq(
            catalog_object_put(txn, bucket.root, span_from(*keys), buf_view(&bytes), NULL), OK);
}

static void close_catalog(void)
{
    catalog_abort(txn);
    catalog_close(catalog);
    temp_dir_remove(dir_path);
}

static void note(void *ctx, const struct listing_item *item)
{
    struct buf *out = ctx;
    if (out->len > 0)
        buf_add_char(out, ' ');
    buf_add_span(out, item->name);
    buf_add_text(out, item->is_prefix ? "*" : "");
    if (!item->is_prefix)
        ck_assert_uint_eq(item->record.size_bytes, 2);
}

// The page as text: keys, common prefixes with a star, "…" if there is more.
static const char *list(const char *prefix, const char *delimiter, const char *after, size_t max)
{
    static struct buf out;
    const struct listing_query q = {.prefix = span_from(prefix),
                                    .delimiter = span_from(delimiter),
                                    .after = span_from(after),
                                    .max = max};
    struct listing_page page;
    buf_clear(&out);
    ck_assert_int_eq(listing_run(txn, bucket.root, &q, note, &out, &page, NULL), OK);
    if (page.truncated)
        buf_add_text(&out, " …");
    listing_page_release(&page);
    return out.data != NULL ? out.data : "";
}

static const char *const keys[] = {"a",    "a/",  "a/b",    "a/c/d", "a/c/e",    "ab",
                                   "b//c", "b/x", "photos", "zebra", "\xc3\xa4", NULL};

START_TEST(prefixes_and_delimiters)
{
    open_catalog(keys);
    ck_assert_str_eq(list("", "", "", 100),
                     "a a/ a/b a/c/d a/c/e ab b//c b/x photos zebra \xc3\xa4");
    ck_assert_str_eq(list("a/", "", "", 100), "a/ a/b a/c/d a/c/e");
    ck_assert_str_eq(list("", "/", "", 100), "a a/* ab b/* photos zebra \xc3\xa4");
    ck_assert_str_eq(list("a/", "/", "", 100), "a/ a/b a/c/*");
    ck_assert_str_eq(list("b/", "/", "", 100), "b//* b/x");
    ck_assert_str_eq(list("b", "//", "", 100), "b//* b/x");
    ck_assert_str_eq(list("a/c/d", "/", "", 100), "a/c/d");
    ck_assert_str_eq(list("a/c/d", "d", "", 100), "a/c/d"); // the delimiter is in the prefix
    ck_assert_str_eq(list("", "b", "", 100), "a a/ a/b* a/c/d a/c/e ab* b* photos zeb* \xc3\xa4");
    ck_assert_str_eq(list("nothing", "/", "", 100), "");
    ck_assert_str_eq(list("\xff", "", "", 100), "");
    ck_assert_str_eq(list("", "", "", 0), "");
    close_catalog();
}
END_TEST

START_TEST(after_and_max)
{
    open_catalog(keys);
    ck_assert_str_eq(list("", "", "a/b", 3), "a/c/d a/c/e ab …");
    ck_assert_str_eq(list("", "", "a/bb", 2), "a/c/d a/c/e …");
    ck_assert_str_eq(list("", "", "zebra", 1), "\xc3\xa4");
    ck_assert_str_eq(list("", "", "\xc3\xa4", 1), "");
    ck_assert_str_eq(list("b", "", "a", 100), "b//c b/x"); // after stands before the prefix
    ck_assert_str_eq(list("a/", "", "b", 100), "");
    ck_assert_str_eq(list("", "/", "a/b", 2), "a/* ab …"); // a/c/d is behind a/b: rolled up
    ck_assert_str_eq(list("", "/", "", 7), "a a/* ab b/* photos zebra \xc3\xa4");
    ck_assert_str_eq(list("", "/", "", 6), "a a/* ab b/* photos zebra …");
    close_catalog();
}
END_TEST

// Whatever the page size, the pages put together are the whole list.
START_TEST(pages_make_the_whole)
{
    static const char *const delimiters[] = {"", "/", "b", "//"};
    open_catalog(keys);
    for (size_t d = 0; d < 4; d++)
        for (size_t max = 1; max < 13; max++) {
            AUTO_BUF struct buf all = {0}, after = {0};
            struct listing_query q = {.delimiter = span_from(delimiters[d]), .max = max};
            for (int pages = 0;; pages++) {
                struct listing_page page;
                ck_assert_int_lt(pages, 20);
                ck_assert_int_eq(listing_run(txn, bucket.root, &q, note, &all, &page, NULL), OK);
                ck_assert(page.truncated ? page.count == max : page.count <= max);
                buf_clear(&after);
                buf_add_span(&after, buf_view(&page.last));
                q.after = buf_view(&after);
                q.after_is_prefix = page.last_is_prefix;
                bool more = page.truncated;
                listing_page_release(&page);
                if (!more)
                    break;
            }
            ck_assert_str_eq(all.data, list("", delimiters[d], "", 1000));
        }
    close_catalog();
}
END_TEST

SUITE_MAIN("listing", prefixes_and_delimiters, after_and_max, pages_make_the_whole)
