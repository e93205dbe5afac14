#include "gateway/intake.h"

#include "base/text.h"
#include "gateway/multipart.h"
#include "gateway/rest.h"

#include <jansson.h>
#include <string.h>

enum { REFERENCE_BYTES_MAX = 16 << 10 };

// The media type of a Content-Type, without parameters.
static struct span media_type(struct span content_type)
{
    struct span rest;
    return span_trim(span_cut(content_type, ';', &rest));
}

bool intake_takes(struct span content_type)
{
    struct span type = media_type(content_type);
    // the last but two: what curl --data-binary says of any bytes
    return type.len == 0 || span_starts_nocase(type, "image/") ||
           span_is_nocase(type, "application/octet-stream") ||
           span_is_nocase(type, "binary/octet-stream") ||
           span_is_nocase(type, "application/x-www-form-urlencoded") ||
           span_is_nocase(type, "multipart/form-data") || span_is_nocase(type, "application/json");
}

// A word of "model, wait, expires".
static bool is_listed(struct span name, const char *list)
{
    for (struct span word, rest = span_from(list); rest.len > 0;) {
        word = span_cut(rest, ' ', &rest);
        if (word.len > 0 && word.data[word.len - 1] == ',')
            word.len--;
        if (word.len == name.len && memcmp(word.data, name.data, name.len) == 0)
            return true;
    }
    return false;
}

bool intake_query(struct http_request *r, const char *known)
{
    for (struct span rest = r->query; rest.len > 0;) {
        struct span value, name = span_cut(span_cut(rest, '&', &rest), '=', &value);
        if (name.len > 0 && !is_listed(name, known)) {
            rest_reply_error(r, 400, "argument", "the parameter '%.*s' is unknown; there are: %s",
                             (int)(name.len < 64 ? name.len : 64), name.data, known);
            return false;
        }
    }
    return true;
}

bool intake_wait(struct http_request *r, int *wait_s)
{
    struct span text;
    uint64_t value = 0;
    if (http_request_query(r, "wait", &text) && !span_to_u64(text, GATEWAY_WAIT_S_MAX, &value)) {
        rest_reply_error(
            r, 400, "argument",
            "wait must be a whole number of seconds from 0 to %d; ask again for longer",
            GATEWAY_WAIT_S_MAX);
        return false;
    }
    *wait_s = (int)value;
    return true;
}

// expires=S of the query; 0: not given. False: the request was answered with an error.
static bool intake_expires(struct http_request *r, int *expires_s)
{
    struct span text;
    uint64_t value = 0;
    if (http_request_query(r, "expires", &text) &&
        (!span_to_u64(text, GATEWAY_EXPIRES_S_MAX, &value) || value == 0)) {
        rest_reply_error(r, 400, "argument",
                         "expires must be a whole number of seconds from 1 to %d: a job that is "
                         "not done by then is not done at all",
                         GATEWAY_EXPIRES_S_MAX);
        return false;
    }
    *expires_s = (int)value;
    return true;
}

// What the picture seems to be: only a label for whoever looks into the bucket, the child that
// decodes finds out itself.
static const char *guess_type(struct span bytes)
{
    if (span_starts(bytes, "\xff\xd8\xff"))
        return "image/jpeg";
    if (span_starts(bytes, "\x89PNG\r\n\x1a\n"))
        return "image/png";
    if (bytes.len >= 12 && span_starts(bytes, "RIFF") && memcmp(bytes.data + 8, "WEBP", 4) == 0)
        return "image/webp";
    return "application/octet-stream";
}

static bool take_picture(struct visit *v, struct span bytes)
{
    if (bytes.len == 0) {
        visit_answer_error(v, 400, "empty",
                           "there is no picture in the request; send the bytes of a JPEG, PNG or "
                           "WebP file as the body, or a form with the field 'file'");
        return false;
    }
    if (bytes.len > IMAGE_BYTES_MAX) {
        visit_answer_error(
            v, 413, "too_large",
            "the picture has %zu bytes, the limit is %d (%d MiB); send a smaller one", bytes.len,
            IMAGE_BYTES_MAX, IMAGE_BYTES_MAX >> 20);
        return false;
    }
    v->stored = bytes;
    v->content_type = guess_type(bytes);
    return true;
}

// --- multipart/form-data: one field 'file', and 'model' if wanted ---

static bool take_form(struct visit *v, struct span content_type)
{
    struct multipart form;
    struct multipart_part part;
    struct error error;
    struct span file = {0};
    bool found, file_seen = false;
    enum err err = multipart_begin(&form, content_type, buf_view(&v->body), &error);
    while (err == OK && (err = multipart_next(&form, &part, &found, &error)) == OK && found) {
        if (span_is(part.name, "model") && !part.has_filename) {
            v->model = arena_copy(&v->request->arena, part.data);
        } else if (!span_is(part.name, "file")) {
            visit_answer_error(v, 400, "argument",
                               "the form has a field '%.*s'; 'file' (the picture) and 'model' are "
                               "understood",
                               (int)(part.name.len < 64 ? part.name.len : 64), part.name.data);
            return false;
        } else if (file_seen) {
            visit_answer_error(v, 400, "argument",
                               "the form has several pictures; each one is a job: send them in "
                               "requests of their own");
            return false;
        } else {
            file = part.data;
            file_seen = true;
        }
    }
    if (err != OK) {
        visit_answer_error(v, 400, "format", "%s", error.msg);
        return false;
    }
    return take_picture(v, file);
}

// --- JSON: {"input":{"bucket","key"},"model"} ---

static bool bucket_is_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 3 && len <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

static const char *read_reference(struct visit *v, json_t *root)
{
    const char *name, *bucket, *key;
    json_t *value, *input = json_object_get(root, "input");
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "input") != 0 && strcmp(name, "model") != 0)
            return arena_printf(
                &v->request->arena,
                "the field '%.64s' is unknown; \"input\" and \"model\" are understood", name);
    }
    value = json_object_get(root, "model");
    if (value != NULL && !json_is_string(value))
        return "\"model\" must be a string";
    if (value != NULL)
        v->model = arena_copy(&v->request->arena, span_from(json_string_value(value)));
    bucket = json_string_value(json_object_get(input, "bucket"));
    key = json_string_value(json_object_get(input, "key"));
    if (bucket == NULL || key == NULL || json_object_size(input) != 2)
        return "\"input\" must be an object with the two strings \"bucket\" and \"key\"";
    if (!bucket_is_valid(bucket))
        return "\"bucket\" is not a bucket's name (3 to 63 of a-z 0-9 . -)";
    if (key[0] == '\0' || strlen(key) > S3_KEY_BYTES_MAX)
        return "\"key\" must have 1 to 1024 bytes";
    v->bucket = arena_copy(&v->request->arena, span_from(bucket));
    v->key = arena_copy(&v->request->arena, span_from(key));
    return NULL;
}

static bool take_reference(struct visit *v)
{
    struct span text = buf_view(&v->body);
    json_error_t why;
    if (text.len > REFERENCE_BYTES_MAX) {
        visit_answer_error(v, 413, "too_large", "a JSON body may have %d bytes, this one has %zu",
                           REFERENCE_BYTES_MAX, text.len);
        return false;
    }
    json_t *root =
        json_loadb(text.len > 0 ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        visit_answer_error(v, 400, "format", "the body is not a JSON object: %.160s",
                           root == NULL ? why.text : "it is something else");
        json_decref(root);
        return false;
    }
    const char *wrong = read_reference(v, root);
    json_decref(root);
    if (wrong != NULL) {
        visit_answer_error(v, 400, "argument", "%s", wrong);
    } else if (!job_bucket_allowed(v->g->config.bucket_allow, JOB_BUCKET, v->bucket)) {
        wrong = "bucket";
        visit_answer_error(v, 403, "denied",
                           "pictures are not taken from the bucket '%s' here; --bucket-allow names "
                           "those that are",
                           v->bucket);
    }
    v->stored = text;
    v->content_type = "application/json";
    return wrong == NULL;
}

// --- the model ---

static bool choose_model(struct visit *v)
{
    const struct gateway_config *config = &v->g->config;
    struct span query;
    if (http_request_query(v->request, "model", &query))
        v->model = arena_copy(&v->request->arena, query);
    if (v->model == NULL || v->model[0] == '\0')
        v->model = arena_copy(&v->request->arena, span_from(config->models[0].name));
    AUTO_BUF struct buf names = {0};
    for (size_t i = 0; i < config->model_count; i++) {
        const char *given = config->models[i].given;
        if (strcmp(config->models[i].name, v->model) == 0 ||
            (given != NULL && strcmp(given, v->model) == 0))
            return true;
        buf_printf(&names, "%s%s", i == 0 ? "" : ", ", config->models[i].name);
    }
    visit_answer_error(v, 404, "unknown_model", "there is no model '%.64s' here; there is: %s",
                       v->model, names.data);
    return false;
}

bool intake_read(struct visit *v)
{
    struct span content_type = http_request_header(v->request, "Content-Type");
    struct span type = media_type(content_type);
    if (!intake_query(v->request, "model, wait, expires") || !intake_wait(v->request, &v->wait_s) ||
        !intake_expires(v->request, &v->expires_s)) {
        v->answered = true;
        return false;
    }
    bool taken = span_is_nocase(type, "multipart/form-data") ? take_form(v, content_type)
                 : span_is_nocase(type, "application/json")  ? take_reference(v)
                                                             : take_picture(v, buf_view(&v->body));
    return taken && choose_model(v);
}
