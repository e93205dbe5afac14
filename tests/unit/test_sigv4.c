#include "aws/sigv4.h"

#include "base/digest.h"
#include "base/random.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct golden {
    const char *name, *service, *method, *path, *query, *payload_hash;
    struct {
        const char *name, *value;
    } headers[10];
};
#include "sigv4_golden.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TOKEN "a/session+token==with~marks"
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int64_t ms_of(int year, int month, int day, int hour, int minute)
{
    struct tm t = {.tm_year = year - 1900,
                   .tm_mon = month - 1,
                   .tm_mday = day,
                   .tm_hour = hour,
                   .tm_min = minute};
    return (int64_t)timegm(&t) * 1000;
}

static struct keyring *keyring_of_file(const char *text)
{
    char path[] = "/tmp/smelt-test-XXXXXX";
    struct keyring *k = NULL;
    struct error error = {0};
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_msg(keyring_open(path, &k, &error) == OK, "%s", error.msg);
    unlink(path);
    return k;
}

static struct keyring *golden_keyring(void)
{
    return keyring_of_file("[default]\naws_access_key_id=AKIDEXAMPLE\n"
                           "aws_secret_access_key=" SECRET "\n[with token]\n"
                           "aws_access_key_id=AKIDTOKEN\naws_secret_access_key=token/secret+key\n"
                           "aws_session_token=" TOKEN "\n");
}

struct attempt {
    struct arena arena;
    struct sigv4_request request;
    struct http_header headers[16];
    struct sigv4_identity identity;
    const char *message;
};

static void golden_load(struct attempt *a, const struct golden *g)
{
    *a = (struct attempt){.request = {.method = span_from(g->method),
                                      .path = span_from(g->path),
                                      .query = span_from(g->query),
                                      .headers = a->headers,
                                      .payload_hash = span_from(g->payload_hash)}};
    while (g->headers[a->request.header_count].name != NULL) {
        size_t i = a->request.header_count++;
        a->headers[i] = (struct http_header){span_from(g->headers[i].name),
                                             span_trim(span_from(g->headers[i].value))};
    }
}

static enum sigv4_verdict check(struct keyring *k, const char *service, struct attempt *a,
                                int64_t now)
{
    a->message = NULL;
    enum sigv4_verdict v =
        sigv4_verify(k, service, &a->request, now, &a->arena, &a->identity, &a->message);
    ck_assert((v == SIGV4_OK) == (a->identity.access_key != NULL));
    ck_assert((v == SIGV4_OK) == (a->message == NULL));
    return v;
}

START_TEST(botocore_signatures_are_accepted)
{
    struct keyring *k = golden_keyring();
    int64_t now = ms_of(2026, 1, 31, 12, 0);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        const struct golden *g = &golden[i];
        struct attempt a;
        golden_load(&a, g);
        enum sigv4_verdict v = check(k, g->service, &a, now);
        ck_assert_msg(v == SIGV4_OK, "%s: %d %s", g->name, v, a.message);
        ck_assert(a.identity.presigned == (strstr(g->name, "presigned") != NULL));
        ck_assert_str_eq(a.identity.region, g->service[1] == '3' ? "eu-central-1" : "us-east-1");
        ck_assert_str_eq(a.identity.amz_date, "20260131T120000Z");
        ck_assert_uint_eq(strlen(a.identity.signature), 64);
        arena_release(&a.arena);
    }
    keyring_free(k);
}
END_TEST

// Every byte that counts, changed by one bit, makes a signature bad.
START_TEST(any_changed_byte_is_refused)
{
    struct keyring *k = golden_keyring();
    int64_t now = ms_of(2026, 1, 31, 12, 0);
    int tried = 0;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        const struct golden *g = &golden[i];
        struct attempt a;
        golden_load(&a, g);
        struct span *parts[40];
        size_t n = 0;
        parts[n++] = &a.request.method;
        parts[n++] = &a.request.path;
        parts[n++] = &a.request.query;
        for (size_t h = 0; h < a.request.header_count; h++)
            parts[n++] = &a.headers[h].value;
        if (strstr(g->name, "presigned") != NULL) // botocore signs only the host there
            n = 4;
        for (size_t p = 0; p < n; p++) {
            struct span original = *parts[p];
            for (size_t at = 0; at < original.len; at++) {
                char was = original.data[at];
                bool normalised =
                    p == 1 && (strcmp(g->path, "/") == 0 || strstr(g->path, "//./") != NULL);
                if (was == ' ' || was == '\t' || normalised)
                    continue;
                char *copy = arena_copy(&a.arena, original);
                copy[at] = (char)(copy[at] ^ 1);
                *parts[p] = (struct span){copy, original.len};
                enum sigv4_verdict v = check(k, g->service, &a, now);
                ck_assert_msg(v != SIGV4_OK, "%s: part %zu byte %zu", g->name, p, at);
                tried++;
                *parts[p] = original;
            }
        }
        arena_release(&a.arena);
    }
    ck_assert_int_gt(tried, 5000);
    keyring_free(k);
}
END_TEST

// --- published examples ---

struct example {
    const char *name, *service, *method, *path, *query, *payload_hash, *signature;
    struct http_header headers[6];
    size_t header_count;
    int64_t at_ms;
};

static void expect_signature(const struct example *e, const char *access_key,
                             const char *secret_key)
{
    AUTO_ARENA struct arena arena = {0};
    struct sigv4_key key = {access_key, secret_key, NULL};
    struct sigv4_scope scope = {"us-east-1", e->service};
    struct sigv4_request request = {.method = span_from(e->method),
                                    .path = span_from(e->path),
                                    .query = span_from(e->query),
                                    .headers = e->headers,
                                    .header_count = e->header_count,
                                    .payload_hash = span_from(e->payload_hash)};
    struct sigv4_signed made;
    sigv4_sign(&key, &scope, &request, e->at_ms, &arena, &made);
    const char *signature = strstr(made.authorization, "Signature=");
    ck_assert_ptr_nonnull(signature);
    ck_assert_msg(strcmp(signature + 10, e->signature) == 0, "%s: %s", e->name, made.authorization);
}

#define H(name, value)                                                                             \
    {                                                                                              \
        SPAN(name), SPAN(value)                                                                    \
    }
#define HOST H("Host", "example.amazonaws.com")

// The vectors of the "AWS Signature Version 4 test suite": 2015-08-30T12:36:00Z, service "service".
START_TEST(published_test_suite)
{
    const int64_t at = ms_of(2015, 8, 30, 12, 36);
    const struct example cases[] = {
        {"get-vanilla",
         "service",
         "GET",
         "/",
         "",
         EMPTY_HASH,
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
         {HOST},
         1,
         at},
        {"get-vanilla-query-order-key-case",
         "service",
         "GET",
         "/",
         "Param2=value2&Param1=value1",
         EMPTY_HASH,
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
         {HOST},
         1,
         at},
        {"get-unreserved",
         "service",
         "GET",
         "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
         "",
         EMPTY_HASH,
         "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
         {HOST},
         1,
         at},
        {"get-utf8",
         "service",
         "GET",
         "/\xe1\x88\xb4",
         "",
         EMPTY_HASH,
         "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
         {HOST},
         1,
         at},
        {"get-vanilla-utf8-query",
         "service",
         "GET",
         "/",
         "\xe1\x88\xb4=bar",
         EMPTY_HASH,
         "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
         {HOST},
         1,
         at},
        {"get-relative-relative",
         "service",
         "GET",
         "/example1/example2/../..",
         "",
         EMPTY_HASH,
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
         {HOST},
         1,
         at},
        {"get-slashes",
         "service",
         "GET",
         "//example//",
         "",
         EMPTY_HASH,
         "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
         {HOST},
         1,
         at},
        {"get-header-key-duplicate",
         "service",
         "GET",
         "/",
         "",
         EMPTY_HASH,
         "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
         {HOST, H("My-Header1", "value2"), H("My-Header1", "value2"), H("My-Header1", "value1")},
         4,
         at},
        {"get-header-value-trim",
         "service",
         "GET",
         "/",
         "",
         EMPTY_HASH,
         "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
         {HOST, H("My-Header1", " value1"), H("My-Header2", " \"a   b   c\"")},
         3,
         at},
        {"post-vanilla",
         "service",
         "POST",
         "/",
         "",
         EMPTY_HASH,
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
         {HOST},
         1,
         at},
        {"post-vanilla-query",
         "service",
         "POST",
         "/",
         "Param1=value1",
         EMPTY_HASH,
         "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
         {HOST},
         1,
         at},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_signature(&cases[i], "AKIDEXAMPLE", SECRET);
}
END_TEST

// "Signature Calculations for the Authorization Header", S3 API reference: 2013-05-24T00:00:00Z.
START_TEST(published_s3_examples)
{
    const int64_t at = ms_of(2013, 5, 24, 0, 0);
    const char *secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const char *put_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
#define BUCKET H("Host", "examplebucket.s3.amazonaws.com")
    const struct example cases[] = {
        {"GET object",
         "s3",
         "GET",
         "/test.txt",
         "",
         EMPTY_HASH,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
         {BUCKET, H("Range", "bytes=0-9")},
         2,
         at},
        {"PUT object",
         "s3",
         "PUT",
         "/test%24file.text",
         "",
         put_hash,
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
         {BUCKET, H("Date", "Fri, 24 May 2013 00:00:00 GMT"),
          H("x-amz-storage-class", "REDUCED_REDUNDANCY")},
         3,
         at},
        {"GET lifecycle",
         "s3",
         "GET",
         "/",
         "lifecycle",
         EMPTY_HASH,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
         {BUCKET},
         1,
         at},
        {"GET listing",
         "s3",
         "GET",
         "/",
         "max-keys=2&prefix=J",
         EMPTY_HASH,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
         {BUCKET},
         1,
         at},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_signature(&cases[i], "AKIAIOSFODNN7EXAMPLE", secret);

    AUTO_ARENA struct arena arena = {0};
    struct sigv4_key key = {"AKIAIOSFODNN7EXAMPLE", secret, NULL};
    struct sigv4_scope scope = {"us-east-1", "s3"};
    const char *url;
    ck_assert_int_eq(sigv4_presign(&key, &scope, "GET",
                                   "https://examplebucket.s3.amazonaws.com/test.txt", at, 86400,
                                   &arena, &url, NULL),
                     OK);
    ck_assert_ptr_nonnull(strstr(
        url, "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
    ck_assert_ptr_nonnull(strstr(
        url, "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524"
             "%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"));
    struct error error;
    ck_assert_int_eq(
        sigv4_presign(&key, &scope, "GET", "http://h/", at, 604801, &arena, &url, &error),
        ERR_ARGUMENT);
    ck_assert_int_eq(
        sigv4_presign(&key, &scope, "GET", "http://h/?a=%x", at, 5, &arena, &url, &error),
        ERR_ARGUMENT);
}
END_TEST

// --- verdicts ---

static const struct golden *golden_named(const char *name)
{
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        if (strcmp(golden[i].name, name) == 0)
            return &golden[i];
    ck_abort_msg("no golden request '%s'", name);
    return NULL;
}

static void replace(struct attempt *a, struct span *in, const char *from, const char *to)
{
    const char *at = memmem(in->data, in->len, from, strlen(from));
    ck_assert_ptr_nonnull(at);
    size_t before = (size_t)(at - in->data), after = in->len - before - strlen(from);
    char *text = arena_printf(&a->arena, "%.*s%s%.*s", (int)before, in->data, to, (int)after,
                              at + strlen(from));
    *in = span_from(text);
}

static struct span *authorization(struct attempt *a)
{
    return &a->headers[a->request.header_count - 1].value;
}

static void expect_header_verdict(struct keyring *k, const char *from, const char *to,
                                  enum sigv4_verdict wanted)
{
    struct attempt a;
    golden_load(&a, golden_named("sqs send"));
    replace(&a, authorization(&a), from, to);
    enum sigv4_verdict v = check(k, "sqs", &a, ms_of(2026, 1, 31, 12, 0));
    ck_assert_msg(v == wanted, "'%s' for '%s': %d, %s", to, from, v, a.message);
    arena_release(&a.arena);
}

START_TEST(header_verdicts)
{
    struct keyring *k = golden_keyring();
    expect_header_verdict(k, "AKIDEXAMPLE", "AKIDEXAMPLF", SIGV4_UNKNOWN_KEY);
    expect_header_verdict(k, "AKIDEXAMPLE", "", SIGV4_MALFORMED);
    expect_header_verdict(k, "AKIDEXAMPLE", "a/b", SIGV4_UNKNOWN_KEY);
    expect_header_verdict(k, "Signature=16", "Signature=17", SIGV4_MISMATCH);
    expect_header_verdict(k, "Signature=16", "Signature=1", SIGV4_MALFORMED);
    expect_header_verdict(k, "Signature=16", "Signature=xx", SIGV4_MALFORMED);
    expect_header_verdict(k, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", SIGV4_MALFORMED);
    expect_header_verdict(k, "AWS4-HMAC-SHA256 Credential", "AWS AKID:", SIGV4_MALFORMED);
    expect_header_verdict(k, "us-east-1/sqs", "us-east-1/s3", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "aws4_request", "aws5_request", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "/20260131/", "/20260130/", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "us-east-1", "", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "us-east-1", "us:east", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "us-east-1", "us\xff", SIGV4_WRONG_SCOPE);
    expect_header_verdict(k, "us-east-1", "eu-west-9", SIGV4_MISMATCH);
    expect_header_verdict(k, "content-type;host;", "content-type;", SIGV4_MALFORMED);
    expect_header_verdict(k, ";x-amz-target", "", SIGV4_MALFORMED);
    expect_header_verdict(k, ";x-amzn-query-mode", "", SIGV4_MISMATCH);
    expect_header_verdict(k, "host;", "Host;", SIGV4_MALFORMED);
    expect_header_verdict(k, "SignedHeaders=", "Signedheaders=", SIGV4_MALFORMED);
    expect_header_verdict(k, ", SignedHeaders=", ",SignedHeaders=", SIGV4_OK);
    expect_header_verdict(k, ", Signature=", " ,  Signature=", SIGV4_OK);

    struct attempt a; // no date, no signature
    golden_load(&a, golden_named("sqs send"));
    a.headers[4].name = SPAN("X-Other");
    ck_assert_int_eq(check(k, "sqs", &a, ms_of(2026, 1, 31, 12, 0)), SIGV4_MALFORMED);
    a.request.header_count = 4;
    ck_assert_int_eq(check(k, "sqs", &a, ms_of(2026, 1, 31, 12, 0)), SIGV4_MISSING);
    arena_release(&a.arena);
    keyring_free(k);
}
END_TEST

START_TEST(clocks)
{
    struct keyring *k = golden_keyring();
    int64_t at = ms_of(2026, 1, 31, 12, 0), window = 15 * 60 * 1000;
    struct attempt a;
    golden_load(&a, golden_named("s3 plain"));
    ck_assert_int_eq(check(k, "s3", &a, at + window), SIGV4_OK);
    ck_assert_int_eq(check(k, "s3", &a, at + window + 1), SIGV4_SKEWED);
    ck_assert_int_eq(check(k, "s3", &a, at - window), SIGV4_OK);
    ck_assert_int_eq(check(k, "s3", &a, at - window - 1), SIGV4_SKEWED);
    arena_release(&a.arena);
    golden_load(&a, golden_named("s3 presigned")); // 3600 s
    ck_assert_int_eq(check(k, "s3", &a, at + 3600000), SIGV4_OK);
    ck_assert_int_eq(check(k, "s3", &a, at + 3600001), SIGV4_EXPIRED);
    ck_assert_int_eq(check(k, "s3", &a, at - window - 1), SIGV4_SKEWED);
    arena_release(&a.arena);
    static const char *const bad[] = {"20260131T120000",  "20261331T120000Z", "20260132T120000Z",
                                      "20260131T126000Z", "20260131T250000Z", "2026-01-31T12:00",
                                      "20260131 120000Z", "20260131T12000-Z"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        golden_load(&a, golden_named("s3 plain"));
        a.headers[1].value = span_from(bad[i]);
        enum sigv4_verdict v = check(k, "s3", &a, at);
        ck_assert_msg(v == SIGV4_MALFORMED || v == SIGV4_SKEWED, "%s: %d", bad[i], v);
        arena_release(&a.arena);
    }
    keyring_free(k);
}
END_TEST

START_TEST(presigned_verdicts)
{
    static const struct {
        const char *from, *to;
        enum sigv4_verdict wanted;
    } cases[] = {
        {"Expires=3600", "Expires=3601", SIGV4_MISMATCH},
        {"Expires=3600", "Expires=0", SIGV4_MALFORMED},
        {"Expires=3600", "Expires=604801", SIGV4_MALFORMED},
        {"Expires=3600", "Expires=-1", SIGV4_MALFORMED},
        {"Expires=3600", "Expires=", SIGV4_MALFORMED},
        {"X-Amz-Expires=3600&", "", SIGV4_MALFORMED},
        {"AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", SIGV4_MALFORMED},
        {"X-Amz-Date=20260131T120000Z&", "", SIGV4_MALFORMED},
        {"SignedHeaders=host", "SignedHeaders=", SIGV4_MALFORMED},
        {"AKIDEXAMPLE", "NOBODY", SIGV4_UNKNOWN_KEY},
        {"%2Fs3%2F", "%2Fsqs%2F", SIGV4_WRONG_SCOPE},
        {"X-Amz-Signature=", "X-Amz-Signature=%", SIGV4_MALFORMED},
        {"X-Amz-Algorithm", "x=%zz&X-Amz-Algorithm", SIGV4_MISMATCH},
    };
    struct keyring *k = golden_keyring();
    struct attempt a;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        golden_load(&a, golden_named("s3 presigned"));
        replace(&a, &a.request.query, cases[i].from, cases[i].to);
        enum sigv4_verdict v = check(k, "s3", &a, ms_of(2026, 1, 31, 12, 1));
        ck_assert_msg(v == cases[i].wanted, "'%s': %d %s", cases[i].to, v, a.message);
        arena_release(&a.arena);
    }
    golden_load(&a, golden_named("s3 presigned")); // a header that nobody signed
    a.headers[a.request.header_count++] = (struct http_header)H("x-amz-acl", "public-read");
    ck_assert_int_eq(check(k, "s3", &a, ms_of(2026, 1, 31, 12, 1)), SIGV4_MALFORMED);
    ck_assert_ptr_nonnull(strstr(a.message, "x-amz-acl"));
    arena_release(&a.arena);
    golden_load(&a, golden_named("s3 presigned")); // the hash may be left to the verifier
    a.request.payload_hash = SPAN("");
    ck_assert_int_eq(check(k, "s3", &a, ms_of(2026, 1, 31, 12, 1)), SIGV4_OK);
    arena_release(&a.arena);
    golden_load(&a, golden_named("s3 put"));
    a.request.payload_hash = SPAN("");
    ck_assert_int_eq(check(k, "s3", &a, ms_of(2026, 1, 31, 12, 1)), SIGV4_OK);
    arena_release(&a.arena);
    keyring_free(k);
}
END_TEST

START_TEST(session_tokens)
{
    struct keyring *k = golden_keyring();
    struct attempt a;
    struct sigv4_key key = {"AKIDTOKEN", "token/secret+key", "another"};
    struct sigv4_scope scope = {"r", "s3"};
    struct sigv4_signed made;
    for (int i = 0; i < 3; i++) { // a wrong token, none where one is needed, one too many
        if (i == 1)
            key.session_token = NULL;
        if (i == 2)
            key = (struct sigv4_key){"AKIDEXAMPLE", SECRET, "any"};
        a = (struct attempt){.request = {.method = SPAN("GET"),
                                         .path = SPAN("/x"),
                                         .headers = a.headers,
                                         .header_count = 1,
                                         .payload_hash = SPAN("UNSIGNED-PAYLOAD")}};
        a.headers[0] = (struct http_header)H("host", "h");
        sigv4_sign(&key, &scope, &a.request, 1000000000000, &a.arena, &made);
        a.headers[1] = (struct http_header){SPAN("Authorization"), span_from(made.authorization)};
        a.headers[2] = (struct http_header){SPAN("X-Amz-Date"), span_from(made.amz_date)};
        a.headers[3] = (struct http_header)H("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD");
        a.headers[4] =
            (struct http_header){SPAN("X-Amz-Security-Token"), span_from(made.security_token)};
        a.request.header_count = made.security_token != NULL ? 5 : 4;
        ck_assert_int_eq(check(k, "s3", &a, 1000000000000), SIGV4_BAD_TOKEN);
        arena_release(&a.arena);
    }
    keyring_free(k);
}
END_TEST

// What we sign and presign ourselves, we accept: many keys, regions, days (the cache of derived
// keys overflows), paths and queries.
START_TEST(signed_here_is_accepted_here)
{
    struct keyring *k = keyring_new_single("ME", "my secret");
    struct sigv4_key key = {"ME", "my secret", NULL};
    for (int i = 0; i < 200; i++) {
        AUTO_ARENA struct arena arena = {0};
        struct attempt a = {0};
        const char *region = arena_printf(&arena, "region-%d", i % 13);
        int64_t now = ms_of(2026, 1, 1 + i % 28, i % 24, i % 60);
        struct sigv4_scope scope = {region, i % 2 == 0 ? "s3" : "sqs"};
        a.headers[0] = (struct http_header)H("Host", "h:1");
        a.headers[1] = (struct http_header)H("X-Amz-Meta-A", "  x  y ");
        a.headers[2] = (struct http_header)H("x-amz-meta-a", "z");
        a.request =
            (struct sigv4_request){.method = SPAN("PUT"),
                                   .path = i % 3 == 0 ? SPAN("/") : SPAN("/a/%2F/..//b c"),
                                   .query = i % 5 == 0 ? SPAN("") : SPAN("b&a=%41+&a=&&=x"),
                                   .headers = a.headers,
                                   .header_count = 3,
                                   .payload_hash = SPAN("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")};
        struct sigv4_signed made;
        sigv4_sign(&key, &scope, &a.request, now, &arena, &made);
        a.headers[3] = (struct http_header){SPAN("authorization"), span_from(made.authorization)};
        a.headers[4] = (struct http_header){SPAN("X-AMZ-DATE"), span_from(made.amz_date)};
        a.headers[5] =
            (struct http_header){SPAN("x-amz-content-sha256"), span_from(made.content_sha256)};
        a.request.header_count = made.content_sha256 != NULL ? 6 : 5;
        ck_assert_msg(check(k, scope.service, &a, now) == SIGV4_OK, "%d: %s", i, a.message);
        arena_release(&a.arena);
    }
    keyring_free(k);
}
END_TEST

// A client that escapes less than it signs (curl and hand-written ones).
START_TEST(s3_path_signed_in_its_encoded_form)
{
    struct keyring *k = keyring_new_single("ME", "s");
    struct sigv4_key key = {"ME", "s", NULL};
    struct sigv4_scope scope = {"r", "s3"};
    struct attempt a = {.request = {.method = SPAN("GET"),
                                    .path = SPAN("/b/a%28b%29%2B%3A"),
                                    .headers = a.headers,
                                    .header_count = 1,
                                    .payload_hash = SPAN("UNSIGNED-PAYLOAD")}};
    struct sigv4_signed made;
    a.headers[0] = (struct http_header)H("host", "h");
    sigv4_sign(&key, &scope, &a.request, 1000000000000, &a.arena, &made);
    a.headers[1] = (struct http_header){SPAN("Authorization"), span_from(made.authorization)};
    a.headers[2] = (struct http_header){SPAN("X-Amz-Date"), span_from(made.amz_date)};
    a.headers[3] = (struct http_header)H("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD");
    a.request.header_count = 4;
    a.request.path = SPAN("/b/a(b)+:");
    ck_assert_int_eq(check(k, "s3", &a, 1000000000000), SIGV4_OK);
    a.request.path = SPAN("/b/a(b) :");
    ck_assert_int_eq(check(k, "s3", &a, 1000000000000), SIGV4_MISMATCH);
    arena_release(&a.arena);
    keyring_free(k);
}
END_TEST

// Not a test of speed: the figure is printed for people. (An assertion costs more than what is
// measured.)
START_TEST(what_a_verification_costs)
{
    struct keyring *k = golden_keyring();
    static char body[512];
    enum { ROUNDS = 2000 };
    struct timespec from, to;
    struct attempt a;
    int good = 0;
    golden_load(&a, golden_named("sqs send"));
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t hash[SHA256_BYTES];
        char hex[65];
        digest_sha256((struct span){body, sizeof body}, hash);
        hex_encode(hash, sizeof hash, hex);
        good += hex[64] == '\0' && sigv4_verify(k, "sqs", &a.request, ms_of(2026, 1, 31, 12, 0),
                                                &a.arena, &a.identity, &a.message) == SIGV4_OK;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    ck_assert_int_eq(good, ROUNDS);
    double us = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
    printf("# verification with the hash of a 512-byte body: %.1f us\n", us / ROUNDS);
    arena_release(&a.arena);
    keyring_free(k);
}
END_TEST

SUITE_MAIN("sigv4", botocore_signatures_are_accepted, any_changed_byte_is_refused,
           published_test_suite, published_s3_examples, header_verdicts, clocks, presigned_verdicts,
           session_tokens, signed_here_is_accepted_here, s3_path_signed_in_its_encoded_form,
           what_a_verification_costs)
