// Access keys that a server knows, with the signing keys derived for them.
#include "aws/credentials.h"
#include "aws/sigv4_internal.h"
#include "base/check.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    SIGNING_KEYS_KEPT = 8, // of an access key: yesterday's and today's of some regions
    KEYRING_KEYS_MAX = 1000,
};

struct signing_key {
    struct signing_key_id id;
    uint8_t key[SHA256_BYTES];
};

struct keyring_entry {
    struct credentials credentials;
    char user[64];
    struct signing_key kept[SIGNING_KEYS_KEPT];
    size_t kept_count, kept_next;
};

struct keyring {
    struct keyring_entry **entries; // the first belongs to unknown keys
    size_t count;
    struct buf scratch;
};

static struct keyring_entry *entry_add(struct keyring *k, const struct credentials *credentials)
{
    struct keyring_entry *e = calloc(1, sizeof *e);
    // NOLINTNEXTLINE(bugprone-sizeof-expression): pointers, so that entries stay where they are
    k->entries = realloc(k->entries, (k->count + 1) * sizeof k->entries[0]);
    CHECK(e != NULL && k->entries != NULL);
    e->credentials = *credentials;
    k->entries[k->count++] = e;
    return e;
}

static struct keyring *keyring_new(void)
{
    struct keyring *k = calloc(1, sizeof *k);
    CHECK(k != NULL);
    struct credentials nobody = {0};
    random_text(nobody.secret_key, 40);
    entry_add(k, &nobody);
    return k;
}

static enum err add_profile(void *ctx, const char *profile, const struct credentials *credentials,
                            struct error *error)
{
    struct keyring *k = ctx;
    if (k->count > KEYRING_KEYS_MAX)
        return fail(error, ERR_LIMIT, 0, "there are over %d keys; [%s] is one too many",
                    KEYRING_KEYS_MAX, profile);
    bool root = strcmp(profile, "default") == 0;
    uint64_t number;
    struct span account = span_from(credentials->account);
    if (account.len > 0 && (account.len != 12 || !span_to_u64(account, 999999999999u, &number)))
        return fail(error, ERR_FORMAT, 0, "aws_account_id in [%s] must be 12 digits, not '%s'",
                    profile, credentials->account);
    struct keyring_entry *e = entry_add(k, credentials);
    if (strlen(profile) >= sizeof e->user)
        return fail(error, ERR_LIMIT, 0, "the name of [%s] is longer than %zu characters", profile,
                    sizeof e->user - 1);
    strcpy(e->user, root ? "" : profile);
    if (account.len == 0)
        strcpy(e->credentials.account, AWS_ACCOUNT);
    return OK;
}

enum err keyring_open(const char *credentials_file, struct keyring **out, struct error *error)
{
    TRY(credentials_check_private(credentials_file, error));
    struct keyring *k = keyring_new();
    enum err err = credentials_each(credentials_file, add_profile, k, error);
    if (err == OK && k->count == 1)
        err = fail(error, ERR_NOT_FOUND, 0, "'%s' holds no access key", credentials_file);
    if (err != OK) {
        keyring_free(k);
        return err;
    }
    *out = k;
    return OK;
}

struct keyring *keyring_new_single(const char *access_key, const char *secret_key)
{
    struct credentials one = {0};
    CHECK(strlen(access_key) < sizeof one.access_key && strlen(secret_key) < sizeof one.secret_key);
    strcpy(one.access_key, access_key);
    strcpy(one.secret_key, secret_key);
    strcpy(one.account, AWS_ACCOUNT);
    struct keyring *k = keyring_new();
    entry_add(k, &one);
    explicit_bzero(&one, sizeof one);
    return k;
}

void keyring_free(struct keyring *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->count; i++) {
        explicit_bzero(k->entries[i], sizeof *k->entries[i]);
        free(k->entries[i]);
    }
    free(k->entries);
    buf_release(&k->scratch);
    free(k);
}

struct keyring_entry *keyring_find(struct keyring *k, struct span access_key, bool *known)
{
    for (size_t i = 1; i < k->count; i++)
        if (span_is(access_key, k->entries[i]->credentials.access_key)) {
            *known = true;
            return k->entries[i];
        }
    *known = false;
    return k->entries[0];
}

const uint8_t *keyring_signing_key(struct keyring_entry *e, const struct signing_key_id *id)
{
    for (size_t i = 0; i < e->kept_count; i++) {
        const struct signing_key_id *other = &e->kept[i].id;
        if (strcmp(other->date, id->date) == 0 && strcmp(other->region, id->region) == 0 &&
            strcmp(other->service, id->service) == 0)
            return e->kept[i].key;
    }
    struct signing_key *slot = &e->kept[e->kept_next];
    e->kept_next = (e->kept_next + 1) % SIGNING_KEYS_KEPT;
    if (e->kept_count < SIGNING_KEYS_KEPT)
        e->kept_count++;
    slot->id = *id;
    signing_key_derive(e->credentials.secret_key, id, slot->key);
    return slot->key;
}

const char *keyring_access_key(const struct keyring_entry *e)
{
    return e->credentials.access_key;
}

const char *keyring_account(const struct keyring_entry *e)
{
    return e->credentials.account;
}

const char *keyring_user(const struct keyring_entry *e)
{
    return e->user;
}

const char *keyring_session_token(const struct keyring_entry *e)
{
    return e->credentials.session_token;
}

struct buf *keyring_scratch(struct keyring *k)
{
    buf_clear(&k->scratch);
    return &k->scratch;
}
