#include "aws/aws_client_internal.h"

#include "aws/endpoint.h"
#include "aws/sigv4.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    HOMES_MAX = 64, // buckets in other regions than the configured one
    ATTEMPTS_MAX = 4,
    ATTEMPT_TIMEOUT_MS = 30000,
    // full jitter: a retry comes after a random part of base * 2^(attempt - 1)
    RETRY_BASE_MS = 50,
    RETRY_BASE_THROTTLED_MS = 500,
    RETRY_DELAY_MS_MAX = 20000,
    // A service that is down gets a fifth of the calls again and no flood: a retry takes tokens, a
    // success gives one.
    RETRY_TOKENS_MAX = 500,
    RETRY_TOKENS = 5,
    SKEW_TOLERATED_MS = 4 * 60 * 1000, // services allow 15 minutes; below this the clock is not it
};

struct aws_client {
    struct loop *loop;
    struct http_client *http;
    char service[16];
    struct aws_place place;
    char prefix[64];         // path of the endpoint, "" mostly
    bool amazons;            // no endpoint was configured
    struct aws_place *homes; // of buckets in other regions
    size_t home_count;
    struct keys *keys; // NULL: credentials
    struct credentials credentials;
    int attempts_max;
    int retry_tokens;
    int64_t clock_offset_ms;        // service's clock - ours
    struct aws_call calls;          // list head
    char trace[TRACE_AMAZON_BYTES]; // of the next call; "" none
};

// --- endpoint and region ---

static enum err set_region(struct aws_client *c, const char *given, struct error *error)
{
    AUTO_BUF struct buf region = {0};
    TRY(aws_region_find(given, &region, error));
    snprintf(c->place.region, sizeof c->place.region, "%s", region.data);
    return OK;
}

static void place_set(struct aws_place *place, const struct url *url)
{
    AUTO_BUF struct buf host = {0};
    url_host_header(url, &host);
    snprintf(place->host, sizeof place->host, "%s", host.data);
    snprintf(place->base, sizeof place->base, "%s://%.290s", url->https ? "https" : "http",
             place->host);
}

static enum err set_endpoint(struct aws_client *c, const char *given, struct error *error)
{
    struct url url;
    AUTO_BUF struct buf endpoint = {0};
    TRY(aws_endpoint_find(c->service, given, c->place.region, &endpoint, &c->amazons, error));
    enum err err = url_parse(endpoint.data, &url, error);
    if (err != OK)
        return fail_context(error, err, "endpoint of %s", c->service);
    size_t prefix_len = url.path.len;
    while (prefix_len > 0 && url.path.data[prefix_len - 1] == '/')
        prefix_len--;
    if (url.query.len > 0 || prefix_len >= sizeof c->prefix)
        return fail(error, ERR_ARGUMENT, 0,
                    "endpoint of %s: '%.200s' has a query or a path too long; "
                    "give http://HOST:PORT",
                    c->service, endpoint.data);
    snprintf(c->prefix, sizeof c->prefix, "%.*s", (int)prefix_len, url.path.data);
    place_set(&c->place, &url);
    return OK;
}

enum err aws_client_new(const struct aws_client_config *config, struct aws_client **out,
                        struct error *error)
{
    CHECK(strlen(config->service) < sizeof((struct aws_client *)0)->service);
    struct aws_client *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->loop = config->loop;
    c->http = config->http;
    strcpy(c->service, config->service);
    c->keys = config->keys;
    c->credentials = config->credentials;
    c->attempts_max = config->attempts_max > 0 ? config->attempts_max : ATTEMPTS_MAX;
    c->retry_tokens = RETRY_TOKENS_MAX;
    c->calls.prev = c->calls.next = &c->calls;
    enum err err = set_region(c, config->region, error);
    if (err == OK)
        err = set_endpoint(c, config->endpoint, error);
    if (err != OK) {
        aws_client_free(c);
        return err;
    }
    *out = c;
    return OK;
}

void aws_client_free(struct aws_client *c)
{
    if (c == NULL)
        return;
    while (c->calls.next != &c->calls)
        aws_call_cancel(c->calls.next); // NOLINT(clang-analyzer-unix.Malloc): each leaves the list
    explicit_bzero(&c->credentials, sizeof c->credentials);
    free(c->homes);
    free(c);
}

void aws_client_trace(struct aws_client *c, const char *trace_id)
{
    if (trace_valid(span_from(trace_id)))
        trace_to_amazon(trace_id, c->trace);
}

const char *aws_client_region(const struct aws_client *c)
{
    return c->place.region;
}

// --- buckets elsewhere ---

// Path style: the first part of the path.
static struct span bucket_of(const struct aws_call *call)
{
    size_t skip = strlen(call->client->prefix) + 1;
    struct span rest = buf_view(&call->path);
    if (strcmp(call->client->service, "s3") != 0 || rest.len <= skip)
        return SPAN("");
    rest = (struct span){rest.data + skip, rest.len - skip};
    return span_cut(rest, '/', &rest);
}

static struct aws_place *place_of(struct aws_call *call)
{
    struct aws_client *c = call->client;
    struct span bucket = c->home_count > 0 ? bucket_of(call) : SPAN("");
    for (size_t i = 0; bucket.len > 0 && i < c->home_count; i++)
        if (span_is(bucket, c->homes[i].bucket))
            return &c->homes[i];
    return &c->place;
}

// S3 says that the bucket is in another region: from now on it is asked there, and Amazon at its
// door there. False: nothing is learnt by trying again.
static bool learn_home(struct aws_call *call, const struct http_response *response)
{
    struct aws_client *c = call->client;
    struct aws_place *home = place_of(call);
    struct span bucket = bucket_of(call);
    char region[sizeof home->region];
    if (call->redirected || bucket.len == 0 || bucket.len >= sizeof home->bucket ||
        !aws_error_region(response, region, sizeof region) || strcmp(region, home->region) == 0)
        return false;
    if (home == &c->place) {
        if (c->home_count == HOMES_MAX)
            return false;
        // NOLINTNEXTLINE(bugprone-suspicious-realloc-usage): CHECKed
        c->homes = realloc(c->homes, (c->home_count + 1) * sizeof *c->homes);
        CHECK(c->homes != NULL);
        home = &c->homes[c->home_count++];
        *home = c->place;
        memcpy(home->bucket, bucket.data, bucket.len);
        home->bucket[bucket.len] = '\0';
    }
    strcpy(home->region, region);
    if (c->amazons) {
        AUTO_BUF struct buf endpoint = {0};
        struct url url;
        aws_endpoint_of_amazon(c->service, region, &endpoint);
        if (url_parse(endpoint.data, &url, NULL) == OK)
            place_set(home, &url);
    }
    call->redirected = true;
    log_event(LOG_INFO, "bucket_elsewhere", "bucket=%s region=%s", home->bucket, region);
    return true;
}

// --- the end of a call ---

static void call_end(struct aws_call *call, const struct aws_result *result,
                     const struct http_response *response)
{
    call->prev->next = call->next;
    call->next->prev = call->prev;
    loop_timer_cancel(call->client->loop, &call->timer);
    keys_wait_cancel(&call->keys_wait);
    call->finish(call, result, response);
    buf_release(&call->path);
    buf_release(&call->query);
    buf_release(&call->body_owned);
    arena_release(&call->arena);
    free(call);
}

static void call_fail(struct aws_call *call, const struct error *error)
{
    struct aws_result result = {.err = error->code, .error = *error};
    call_end(call, &result, NULL);
}

void aws_call_cancel(struct aws_call *call)
{
    if (call->http != NULL) {
        http_call_cancel(call->http); // on_answer ends the call
        return;
    }
    struct error error = {0};
    fail(&error, ERR_CANCELLED, 0, "the request to %s was cancelled", call->client->place.host);
    call_fail(call, &error);
}

// --- attempts ---

static void attempt_start(void *ctx);

// The service's clock from its Date header, if ours is far from it.
static bool correct_clock(struct aws_client *c, const struct aws_result *result,
                          const struct http_response *response)
{
    char date[64];
    struct tm t = {0};
    struct span header = http_response_header(response, "date");
    if (!aws_error_is_skew(result) || header.len == 0 || header.len >= sizeof date)
        return false;
    memcpy(date, header.data, header.len);
    date[header.len] = '\0';
    if (strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &t) == NULL)
        return false;
    int64_t offset_ms = (int64_t)timegm(&t) * 1000 - clock_wall_ms();
    if (llabs(offset_ms - c->clock_offset_ms) < SKEW_TOLERATED_MS)
        return false;
    c->clock_offset_ms = offset_ms;
    log_event(LOG_WARN, "clock_corrected", "service=%s host=%s offset_s=%lld", c->service,
              c->place.host, (long long)(offset_ms / 1000));
    return true;
}

static bool may_retry(struct aws_call *call, const struct aws_result *result)
{
    struct aws_client *c = call->client;
    int attempts_max = call->long_poll && c->attempts_max > 2 ? 2 : c->attempts_max;
    bool passing = result->err == ERR_NET || result->err == ERR_TIMEOUT ||
                   result->err == ERR_UNAVAILABLE || result->err == ERR_THROTTLED ||
                   strcmp(result->code, "ConditionalRequestConflict") == 0 ||
                   strcmp(result->code, "OperationAborted") == 0;
    if (!passing || call->attempt >= attempts_max || c->retry_tokens < RETRY_TOKENS ||
        (call->long_poll && result->err == ERR_TIMEOUT))
        return false;
    c->retry_tokens -= RETRY_TOKENS;
    return true;
}

static int64_t retry_delay_ms(const struct aws_call *call, const struct aws_result *result,
                              const struct http_response *response)
{
    uint64_t after_s = 0;
    int64_t most = result->err == ERR_THROTTLED ? RETRY_BASE_THROTTLED_MS : RETRY_BASE_MS;
    for (int i = 1; i < call->attempt && most < RETRY_DELAY_MS_MAX; i++)
        most *= 2;
    if (most > RETRY_DELAY_MS_MAX)
        most = RETRY_DELAY_MS_MAX;
    int64_t delay = (int64_t)(random_u64() % (uint64_t)(most + 1));
    if (response->err == OK &&
        span_to_u64(http_response_header(response, "retry-after"), RETRY_DELAY_MS_MAX / 1000,
                    &after_s) &&
        (int64_t)after_s * 1000 > delay)
        delay = (int64_t)after_s * 1000;
    return delay;
}

static void on_answer(void *ctx, const struct http_response *response)
{
    struct aws_call *call = ctx;
    struct aws_client *c = call->client;
    struct aws_result result = {.status = response->status};
    call->http = NULL;
    if (response->err != OK) {
        result.err = response->err;
        result.error = response->error;
    } else if (response->status / 100 != 2) {
        aws_error_read(place_of(call)->host, response, &result);
        // "503 Slow Down" has many names; one of a service that is down is no harm
        call->throttles += result.err == ERR_THROTTLED || response->status == 503;
    }
    result.throttles = call->throttles;
    if (result.err == OK) {
        if (c->retry_tokens < RETRY_TOKENS_MAX)
            c->retry_tokens++;
        call_end(call, &result, response);
        return;
    }
    int64_t delay_ms;
    if (response->err == OK && c->keys != NULL && !call->rekeyed && aws_error_is_key(&result) &&
        keys_refused(c->keys, call->keys_generation)) {
        call->rekeyed = true;
        delay_ms = 0;
    } else if (response->err == OK && learn_home(call, response)) {
        delay_ms = 0;
    } else if (response->err == OK && call->attempt < c->attempts_max &&
               correct_clock(c, &result, response)) {
        delay_ms = 0;
    } else if (may_retry(call, &result)) {
        delay_ms = retry_delay_ms(call, &result, response);
    } else {
        call_end(call, &result, response->err == OK ? response : NULL);
        return;
    }
    log_event(LOG_DEBUG, "request_retried", "service=%s attempt=%d delay_ms=%lld error=\"%s\"",
              c->service, call->attempt, (long long)delay_ms, result.error.msg);
    loop_timer_set(c->loop, &call->timer, loop_now_ms(c->loop) + delay_ms, attempt_start, call);
}

// Signs for the time of this attempt. headers: the call's, then the signature's.
static size_t sign(struct aws_call *call, const struct credentials *credentials,
                   struct http_call_header *headers)
{
    struct aws_client *c = call->client;
    const struct aws_place *place = place_of(call);
    struct http_header to_sign[AWS_CALL_HEADERS_MAX + 1];
    struct sigv4_signed made;
    size_t n = 0;
    memcpy(headers, call->headers, call->header_count * sizeof *headers);
    if (credentials->access_key[0] == '\0')
        return call->header_count; // anonymous
    for (; n < call->header_count; n++)
        to_sign[n] = (struct http_header){span_from(headers[n].name), span_from(headers[n].value)};
    to_sign[n] = (struct http_header){SPAN("host"), span_from(place->host)};
    struct sigv4_key key = {credentials->access_key, credentials->secret_key,
                            credentials->session_token};
    struct sigv4_scope scope = {place->region, c->service};
    struct sigv4_request request = {.method = span_from(call->method),
                                    .path = buf_view(&call->path),
                                    .query = buf_view(&call->query),
                                    .headers = to_sign,
                                    .header_count = n + 1,
                                    .payload_hash = span_from(call->payload_hash)};
    sigv4_sign(&key, &scope, &request, clock_wall_ms() + c->clock_offset_ms, &call->arena, &made);
    headers[n++] = (struct http_call_header){"Authorization", made.authorization};
    headers[n++] = (struct http_call_header){"X-Amz-Date", made.amz_date};
    if (made.content_sha256 != NULL)
        headers[n++] = (struct http_call_header){"X-Amz-Content-Sha256", made.content_sha256};
    if (made.security_token != NULL)
        headers[n++] = (struct http_call_header){"X-Amz-Security-Token", made.security_token};
    return n;
}

// No keys are no verdict on what was asked for: it may work later.
static void on_keys(void *ctx, const struct error *error)
{
    struct aws_call *call = ctx;
    struct aws_result result = {.err = ERR_UNAVAILABLE};
    if (error == NULL) {
        attempt_start(call);
        return;
    }
    result.error = *error;
    result.error.code = ERR_UNAVAILABLE;
    call_end(call, &result, NULL);
}

static void attempt_start(void *ctx)
{
    struct aws_call *call = ctx;
    struct aws_client *c = call->client;
    struct http_call_header headers[AWS_CALL_HEADERS_MAX + 5];
    AUTO_BUF struct buf url = {0};
    const struct credentials *credentials = c->keys != NULL ? keys_now(c->keys) : &c->credentials;
    if (credentials == NULL) {
        keys_wait(c->keys, &call->keys_wait, on_keys, call);
        return;
    }
    call->keys_generation = c->keys != NULL ? keys_generation(c->keys) : 0;
    call->attempt++;
    buf_add_text(&url, place_of(call)->base);
    buf_add_span(&url, buf_view(&call->path));
    if (call->query.len > 0)
        buf_printf(&url, "?%s", call->query.data);
    size_t count = sign(call, credentials, headers);
    if (call->trace[0] != '\0')
        headers[count++] = (struct http_call_header){"X-Amzn-Trace-Id", call->trace};
    struct http_call_spec spec = {
        .method = call->method,
        .url = url.data,
        .headers = headers,
        .header_count = count,
        .body = call->body,
        .body_fd = -1,
        .timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : ATTEMPT_TIMEOUT_MS,
        .response_limit_bytes = call->response_limit_bytes,
    };
    call->http = http_client_start(c->http, &spec, on_answer, call);
}

static void on_refused(void *ctx)
{
    struct aws_call *call = ctx;
    call_fail(call, &call->refused);
}

void aws_call_header(struct aws_call *call, const char *name, const char *value)
{
    CHECK(call->header_count < AWS_CALL_HEADERS_MAX);
    call->headers[call->header_count++] = (struct http_call_header){
        arena_copy(&call->arena, span_from(name)), arena_copy(&call->arena, span_from(value))};
}

void aws_call_start(struct aws_client *c, struct aws_call *call)
{
    AUTO_BUF struct buf path = {0};
    call->client = c;
    memcpy(call->trace, c->trace, sizeof call->trace);
    c->trace[0] = '\0';
    call->prev = c->calls.prev;
    call->next = &c->calls;
    call->prev->next = call->next->prev = call;
    if (call->refused.code != OK) {
        loop_timer_set(c->loop, &call->timer, loop_now_ms(c->loop), on_refused, call);
        return;
    }
    buf_add_text(&path, c->prefix);
    buf_add_span(&path, buf_view(&call->path));
    buf_clear(&call->path);
    buf_add_span(&call->path, buf_view(&path));
    if (strcmp(c->service, "s3") == 0 && strncmp(c->place.base, "https:", 6) == 0 &&
        call->body.len > 0) {
        strcpy(call->payload_hash,
               "UNSIGNED-PAYLOAD"); // TLS guards the bytes, and they are read once
    } else if (call->payload_hash[0] == '\0') {
        uint8_t hash[SHA256_BYTES];
        digest_sha256(call->body, hash);
        hex_encode(hash, sizeof hash, call->payload_hash);
    }
    attempt_start(call);
}
