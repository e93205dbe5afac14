#include "s3/keytree.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *txn;
static uint64_t next_node = 100;

static void open_env(void)
{
    char dir[] = "/tmp/keytreeXXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(mdb_env_create(&env), 0);
    mdb_env_set_mapsize(env, 1u << 30);
    ck_assert_int_eq(mdb_env_open(env, dir, MDB_NOSYNC, 0600), 0);
    char name[64];
    const char *files[] = {"data.mdb", "lock.mdb"};
    for (int i = 0; i < 2; i++) { // gone when the process ends
        snprintf(name, sizeof name, "%s/%s", dir, files[i]);
        unlink(name);
    }
    rmdir(dir);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
}

static void close_env(void)
{
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

static void put(uint64_t root, struct span key, const char *value)
{
    ck_assert_int_eq(keytree_put(txn, dbi, root, key, span_from(value), &next_node, NULL), OK);
}

// A key of `len` bytes: 'p' … then the text.
static struct span long_key(char *out, size_t len, const char *tail)
{
    size_t tail_len = strlen(tail);
    memset(out, 'p', len);
    memcpy(out + len - tail_len, tail, tail_len);
    return (struct span){out, len};
}

START_TEST(short_and_long_keys_are_found_and_deleted)
{
    static const size_t lens[] = {1, 2, 499, 500, 501, 502, 999, 1000, 1001, 1023, 1024};
    char bytes[S3_KEY_BYTES_MAX];
    struct span value;
    open_env();
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
        put(1, long_key(bytes, lens[i], "x"), "value");
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct span key = long_key(bytes, lens[i], "x");
        ck_assert_int_eq(keytree_get(txn, dbi, 1, key, &value, NULL), OK);
        ck_assert_int_eq(keytree_get(txn, dbi, 2, key, &value, NULL), ERR_NOT_FOUND);
        key = long_key(bytes, lens[i], "y");
        ck_assert_int_eq(keytree_get(txn, dbi, 1, key, &value, NULL), ERR_NOT_FOUND);
        ck_assert_int_eq(keytree_delete(txn, dbi, 1, key, NULL), ERR_NOT_FOUND);
    }
    char too_long[S3_KEY_BYTES_MAX + 1];
    ck_assert_int_eq(
        keytree_get(txn, dbi, 1, long_key(too_long, sizeof too_long, "x"), &value, NULL),
        ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct span key = long_key(bytes, lens[i], "x");
        ck_assert_int_eq(keytree_delete(txn, dbi, 1, key, NULL), OK);
        ck_assert_int_eq(keytree_get(txn, dbi, 1, key, &value, NULL), ERR_NOT_FOUND);
    }
    bool empty;
    ck_assert_int_eq(keytree_empty(txn, dbi, 1, &empty, NULL), OK);
    ck_assert(empty);
    MDB_stat stat; // no node was left behind
    mdb_stat(txn, dbi, &stat);
    ck_assert_uint_eq(stat.ms_entries, 0);
    close_env();
}
END_TEST

// --- against a sorted array ---

enum { KEYS = 3000 };
struct model_key {
    size_t len;
    char bytes[S3_KEY_BYTES_MAX];
    bool there;
};
static struct model_key model[KEYS];

static int model_compare(const void *a, const void *b)
{
    const struct model_key *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->bytes, y->bytes, len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

// Few different bytes at few places and lengths around the segment's: many shared prefixes.
static void model_make(unsigned seed)
{
    static const size_t around[] = {1,   5,    498,  499,  500,  501, 503,
                                    998, 1000, 1001, 1004, 1022, 1024};
    srand(seed);
    size_t count = 0;
    memset(model, 0, sizeof model);
    while (count < KEYS) {
        struct model_key *k = &model[count];
        k->len = around[(size_t)rand() % (sizeof around / sizeof around[0])];
        memset(k->bytes, 'm', sizeof k->bytes);
        for (int i = 0; i < 3; i++)
            k->bytes[(size_t)rand() % k->len] = "\x01\xff"[rand() % 2];
        for (size_t i = 0; i < 3 && i < k->len; i++)
            k->bytes[k->len - 1 - i] = (char)('a' + rand() % 4);
        count++;
    }
    qsort(model, KEYS, sizeof model[0], model_compare);
    size_t unique = 1; // equal ones are made absent for ever
    for (size_t i = 1; i < KEYS; i++)
        if (model_compare(&model[i], &model[unique - 1]) != 0)
            model[unique++] = model[i];
    for (; unique < KEYS; unique++)
        model[unique].len = 0;
}

static struct span model_span(const struct model_key *k)
{
    return (struct span){k->bytes, k->len};
}

static void check_order(void)
{
    struct keytree_cursor c;
    keytree_cursor_init(&c, txn, dbi);
    ck_assert_int_eq(keytree_cursor_seek(&c, 7, SPAN(""), NULL), OK);
    for (size_t i = 0; i < KEYS; i++) {
        if (!model[i].there)
            continue;
        ck_assert(c.valid);
        ck_assert(span_equal((struct span){c.key, c.key_len}, model_span(&model[i])));
        ck_assert(span_equal(c.value, SPAN("v")));
        ck_assert_int_eq(keytree_cursor_next(&c, NULL), OK);
    }
    ck_assert(!c.valid);
    for (size_t i = 0; i < KEYS && model[i].len > 0; i += 7) { // seek to each, there or not
        size_t want = i;
        while (want < KEYS && !model[want].there)
            want++;
        ck_assert_int_eq(keytree_cursor_seek(&c, 7, model_span(&model[i]), NULL), OK);
        ck_assert_int_eq(c.valid, want < KEYS);
        if (c.valid)
            ck_assert(span_equal((struct span){c.key, c.key_len}, model_span(&model[want])));
    }
    keytree_cursor_release(&c);
}

START_TEST(order_is_that_of_bytes_with_many_long_keys)
{
    open_env();
    put(6, SPAN("\xff\xff"), "a neighbour");
    put(8, SPAN(""), "a neighbour");
    model_make(3);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < KEYS && model[i].len > 0; i++) {
            if (rand() % 2 == 0)
                continue;
            if (model[i].there)
                ck_assert_int_eq(keytree_delete(txn, dbi, 7, model_span(&model[i]), NULL), OK);
            else
                put(7, model_span(&model[i]), "v");
            model[i].there = !model[i].there;
        }
        check_order();
    }
    for (size_t i = 0; i < KEYS; i++) {
        if (model[i].there)
            ck_assert_int_eq(keytree_delete(txn, dbi, 7, model_span(&model[i]), NULL), OK);
        model[i].there = false;
    }
    check_order();
    MDB_stat stat;
    mdb_stat(txn, dbi, &stat);
    ck_assert_uint_eq(stat.ms_entries, 2); // the neighbours
    close_env();
}
END_TEST

START_TEST(seek_longer_than_any_key)
{
    char bytes[S3_KEY_BYTES_MAX + 100];
    struct keytree_cursor c;
    open_env();
    put(1, long_key(bytes, 1024, "a"), "first");
    put(1, long_key(bytes, 1024, "b"), "second");
    keytree_cursor_init(&c, txn, dbi);
    memset(bytes, 'p', sizeof bytes);
    bytes[1023] = 'a';
    ck_assert_int_eq(keytree_cursor_seek(&c, 1, (struct span){bytes, sizeof bytes}, NULL), OK);
    ck_assert(c.valid && span_equal(c.value, SPAN("second")));
    ck_assert_int_eq(keytree_cursor_next(&c, NULL), OK);
    ck_assert(!c.valid);
    bytes[1023] = 'b';
    ck_assert_int_eq(keytree_cursor_seek(&c, 1, (struct span){bytes, 1025}, NULL), OK);
    ck_assert(!c.valid);
    keytree_cursor_release(&c);
    close_env();
}
END_TEST

SUITE_MAIN("keytree", short_and_long_keys_are_found_and_deleted,
           order_is_that_of_bytes_with_many_long_keys, seek_longer_than_any_key)
