#include "job/job.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/text.h"
#include "base/trace.h"
#include "job/json_time.h"

#include <jansson.h>
#include <string.h>

static void json_free(json_t **value)
{
    json_decref(*value);
}
#define AUTO_JSON __attribute__((cleanup(json_free)))

bool job_id_valid(struct span id)
{
    if (id.len == 0 || id.len > JOB_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '.' || c == '-'))
            return false;
    }
    return true;
}

void job_id_make(char out[37])
{
    random_uuid(out);
}

bool job_bucket_allowed(const char *list, const char *own, const char *bucket)
{
    struct span rest = span_from(list != NULL ? list : "");
    bool allowed = strcmp(bucket, own) == 0;
    while (rest.len > 0 && !allowed) {
        struct span name = span_trim(span_cut(rest, ',', &rest));
        bool begins = name.len > 0 && name.data[name.len - 1] == '*';
        allowed = begins ? strncmp(bucket, name.data, name.len - 1) == 0 : span_is(name, bucket);
    }
    return allowed;
}

// A bucket's name as S3 has allowed it at any time: letters, digits, dots, dashes, underscores.
static bool bucket_valid(const char *name)
{
    size_t len = strlen(name);
    if (len < 3 || len > 255)
        return false;
    struct span rest = {name, len};
    while (rest.len > 0) { // the id's alphabet, but longer
        struct span piece = {rest.data, rest.len < JOB_ID_BYTES_MAX ? rest.len : JOB_ID_BYTES_MAX};
        if (!job_id_valid(piece))
            return false;
        rest.data += piece.len;
        rest.len -= piece.len;
    }
    return true;
}

static enum err set_object(struct job *job, struct arena *arena, struct span bucket,
                           struct span key, struct error *error)
{
    job->bucket = arena_copy(arena, bucket);
    job->key = arena_copy(arena, key);
    if (!bucket_valid(job->bucket))
        return fail(error, ERR_FORMAT, 0, "'%.70s' is not the name of a bucket", job->bucket);
    if (key.len == 0 || key.len > S3_KEY_BYTES_MAX)
        return fail(error, ERR_FORMAT, 0, "the object's key has %zu bytes, it must have 1 to %d",
                    key.len, S3_KEY_BYTES_MAX);
    if (memchr(key.data, '\0', key.len) != NULL || !utf8_valid(key))
        return fail(error, ERR_FORMAT, 0, "the object's key is not UTF-8 text");
    return OK;
}

// A member that is a string or absent (then ""); anything else is an error.
static enum err text_member(const json_t *object, const char *name, size_t bytes_max,
                            struct arena *arena, const char **out, struct error *error)
{
    const json_t *value = json_object_get(object, name);
    *out = "";
    if (value == NULL || json_is_null(value))
        return OK;
    if (!json_is_string(value))
        return fail(error, ERR_FORMAT, 0, "\"%s\" must be a string", name);
    struct span text = {json_string_value(value), json_string_length(value)};
    if (text.len > bytes_max)
        return fail(error, ERR_FORMAT, 0, "\"%s\" has %zu bytes, the limit is %zu", name, text.len,
                    bytes_max);
    *out = arena_copy(arena, text);
    return OK;
}

static enum err id_member(const json_t *object, const char *name, struct arena *arena,
                          const char **out, struct error *error)
{
    const json_t *value = json_object_get(object, name);
    const char *id;
    if (json_is_integer(value))
        id = arena_printf(arena, "%lld", (long long)json_integer_value(value));
    else if (json_is_string(value))
        id = arena_copy(arena, span_from(json_string_value(value)));
    else
        return fail(error, ERR_FORMAT, 0, "\"%s\" is missing or not a string", name);
    if (!job_id_valid(span_from(id)))
        return fail(error, ERR_FORMAT, 0,
                    "\"%s\" '%.40s' cannot name a result: use 1 to %d of A-Z a-z 0-9 _ . -", name,
                    id, JOB_ID_BYTES_MAX);
    *out = id;
    return OK;
}

static enum err decode_native(const json_t *root, struct arena *arena, struct job *job,
                              struct error *error)
{
    job->kind = JOB_NATIVE;
    TRY(id_member(root, "id", arena, &job->id, error));
    const json_t *version = json_object_get(root, "v");
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return fail(error, ERR_FORMAT, 0, "\"v\" must be 1, the only version of job messages");
    TRY(text_member(root, "model", JOB_NAME_BYTES_MAX, arena, &job->model, error));
    TRY(text_member(root, "reply_to", JOB_URL_BYTES_MAX, arena, &job->reply_to, error));
    TRY(text_member(root, "trace_id", JOB_NAME_BYTES_MAX, arena, &job->trace, error));
    if (!trace_valid(span_from(job->trace)))
        job->trace = ""; // no reason to refuse a job
    TRY(json_time_member(root, "submitted_at", &job->submitted_ms, error));
    TRY(json_time_member(root, "expires_at", &job->expires_ms, error));
    job->repeated = json_is_true(json_object_get(root, "repeated"));
    const json_t *input = json_object_get(root, "input");
    const json_t *bucket = json_object_get(input, "bucket"), *key = json_object_get(input, "key");
    if (!json_is_string(bucket) || !json_is_string(key))
        return fail(error, ERR_FORMAT, 0,
                    "\"input\" must be an object with the strings \"bucket\" and \"key\"");
    return set_object(job, arena, span_from(json_string_value(bucket)),
                      span_from(json_string_value(key)), error);
}

static enum err decode_plain(const json_t *root, struct arena *arena, struct job *job,
                             struct error *error)
{
    job->kind = JOB_PLAIN;
    TRY(id_member(root, "ImageId", arena, &job->id, error));
    const char *path;
    TRY(text_member(root, "ImagePath", S3_KEY_BYTES_MAX + 300, arena, &path, error));
    struct span text = span_from(path), key;
    if (!span_starts(text, "s3://"))
        return fail(error, ERR_FORMAT, 0,
                    "\"ImagePath\" '%.60s' is not of the form s3://bucket/key", path);
    text.data += 5;
    text.len -= 5;
    struct span bucket = span_cut(text, '/', &key);
    return set_object(job, arena, bucket, key, error);
}

// The same event gives the same id however often it is delivered: of bucket, key, and what tells
// apart the writes of one key.
static const char *event_id(const struct job *job, const json_t *object, struct arena *arena)
{
    static const char *const names[] = {"versionId", "sequencer", "eTag"};
    AUTO_BUF struct buf all = {0};
    buf_add(&all, job->bucket, strlen(job->bucket) + 1);
    buf_add(&all, job->key, strlen(job->key) + 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = json_string_value(json_object_get(object, names[i]));
        buf_add_span(&all, span_from(value));
        buf_add_char(&all, '\0');
    }
    uint8_t sha[SHA256_BYTES];
    char hex[33];
    digest_sha256(buf_view(&all), sha);
    hex_encode(sha, 16, hex);
    return arena_printf(arena, "s3-%s", hex);
}

// One record of an event; *made says whether it is a job (an object was created).
static enum err decode_record(const json_t *record, struct arena *arena, struct job *job,
                              bool *made, struct error *error)
{
    const char *name = json_string_value(json_object_get(record, "eventName"));
    struct span event = span_from(name);
    *made = span_starts(event, "ObjectCreated:") || span_starts(event, "s3:ObjectCreated:");
    if (!*made)
        return name != NULL ? OK : fail(error, ERR_FORMAT, 0, "a record without \"eventName\"");
    job->kind = JOB_S3_EVENT;
    const json_t *s3 = json_object_get(record, "s3");
    const json_t *object = json_object_get(s3, "object");
    const char *bucket = json_string_value(json_object_get(json_object_get(s3, "bucket"), "name"));
    const char *key = json_string_value(json_object_get(object, "key"));
    if (bucket == NULL || key == NULL)
        return fail(error, ERR_FORMAT, 0,
                    "a record without \"s3\": {\"bucket\": {\"name\"}, \"object\": {\"key\"}}");
    AUTO_BUF struct buf decoded = {0};
    if (!url_decode(span_from(key), true, &decoded))
        return fail(error, ERR_FORMAT, 0, "the key '%.60s' of a record is not URL-encoded", key);
    TRY(set_object(job, arena, span_from(bucket), buf_view(&decoded), error));
    job->id = event_id(job, object, arena);
    return json_time_member(record, "eventTime", &job->submitted_ms, error);
}

static void job_clear(struct job *job)
{
    *job =
        (struct job){.id = "", .model = "", .bucket = "", .key = "", .trace = "", .reply_to = ""};
}

static enum err decode_event(const json_t *records, struct arena *arena, struct job **jobs,
                             size_t *count, struct error *error)
{
    size_t total = json_array_size(records);
    if (total > JOB_RECORDS_MAX)
        return fail(error, ERR_FORMAT, 0, "%zu records in one event, the limit is %d", total,
                    JOB_RECORDS_MAX);
    struct job *list = arena_alloc(arena, (total + 1) * sizeof *list);
    enum err result = OK; // the first bad record's
    size_t used = 0;
    for (size_t i = 0; i < total; i++) {
        bool made;
        job_clear(&list[used]);
        enum err err = decode_record(json_array_get(records, i), arena, &list[used], &made,
                                     result == OK ? error : NULL);
        if (err == OK)
            used += made;
        else if (result == OK)
            result = err;
    }
    *jobs = list;
    *count = used;
    return result;
}

static enum err decode_one(enum err decode(const json_t *, struct arena *, struct job *,
                                           struct error *),
                           const json_t *root, struct arena *arena, struct job **jobs,
                           size_t *count, struct error *error)
{
    struct job *job = arena_alloc(arena, sizeof *job);
    job_clear(job);
    enum err err = decode(root, arena, job, error);
    *jobs = job;
    *count = job->id[0] != '\0';
    if (err != OK) {
        const char *id = job->id;
        job_clear(job);
        job->id = id;
    }
    return err;
}

// `wrapped`: the text came out of an SNS notification, which is never wrapped twice.
static enum err decode_text(struct span message, bool wrapped, struct arena *arena,
                            struct job **jobs, size_t *count, struct error *error);

static enum err decode_root(const json_t *root, bool wrapped, struct arena *arena,
                            struct job **jobs, size_t *count, struct error *error)
{
    if (json_is_array(json_object_get(root, "Records")))
        return decode_event(json_object_get(root, "Records"), arena, jobs, count, error);
    const char *event = json_string_value(json_object_get(root, "Event"));
    if (event != NULL && strcmp(event, "s3:TestEvent") == 0)
        return OK;
    const char *inner = json_string_value(json_object_get(root, "Message"));
    if (!wrapped && inner != NULL && json_object_get(root, "TopicArn") != NULL)
        return decode_text(span_from(inner), true, arena, jobs, count, error);
    if (json_object_get(root, "ImagePath") != NULL)
        return decode_one(decode_plain, root, arena, jobs, count, error);
    if (json_object_get(root, "v") != NULL || json_object_get(root, "input") != NULL)
        return decode_one(decode_native, root, arena, jobs, count, error);
    return fail(error, ERR_FORMAT, 0,
                "not a job: expected {\"v\":1,\"id\",\"input\"}, an S3 event or "
                "{\"ImagePath\",\"ImageId\"}");
}

static enum err decode_text(struct span message, bool wrapped, struct arena *arena,
                            struct job **jobs, size_t *count, struct error *error)
{
    json_error_t why;
    AUTO_JSON json_t *root = json_loadb(message.data != NULL ? message.data : "", message.len,
                                        JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return fail(error, ERR_FORMAT, 0, "not JSON: %.160s at byte %d", why.text, why.position);
    if (!json_is_object(root))
        return fail(error, ERR_FORMAT, 0, "a job message must be a JSON object");
    return decode_root(root, wrapped, arena, jobs, count, error);
}

enum err job_decode(struct span message, struct arena *arena, struct job **jobs, size_t *count,
                    struct error *error)
{
    *jobs = NULL;
    *count = 0;
    if (message.len > SQS_MESSAGE_BYTES_MAX)
        return fail(error, ERR_FORMAT, 0, "%zu bytes, the limit is %d", message.len,
                    SQS_MESSAGE_BYTES_MAX);
    return decode_text(message, false, arena, jobs, count, error);
}

void job_encode(const struct job *job, struct buf *out)
{
    buf_add_text(out, "{\"v\":1,\"id\":");
    json_escape(span_from(job->id), out);
    buf_add_text(out, ",\"model\":");
    json_escape(span_from(job->model), out);
    buf_add_text(out, ",\"input\":{\"bucket\":");
    json_escape(span_from(job->bucket), out);
    buf_add_text(out, ",\"key\":");
    json_escape(span_from(job->key), out);
    buf_add_char(out, '}');
    if (job->reply_to != NULL && job->reply_to[0] != '\0') {
        buf_add_text(out, ",\"reply_to\":");
        json_escape(span_from(job->reply_to), out);
    }
    if (job->trace != NULL && job->trace[0] != '\0') {
        buf_add_text(out, ",\"trace_id\":");
        json_escape(span_from(job->trace), out);
    }
    json_time_write("submitted_at", job->submitted_ms, out);
    json_time_write("expires_at", job->expires_ms, out);
    if (job->repeated)
        buf_add_text(out, ",\"repeated\":true");
    buf_add_char(out, '}');
}
