// The job's result as JSON: written by workers and gateways, read by both and by the tools.
#include "base/text.h"
#include "job/job.h"
#include "job/json_time.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_names[] = {"queued", "succeeded", "failed", "expired", "cancelled"};
enum { STATUS_COUNT = sizeof status_names / sizeof status_names[0] };

static const char *const timing_names[] = {"queued", "fetched", "decoded", "inferred", "total"};
enum { TIMING_COUNT = sizeof timing_names / sizeof timing_names[0] };

const char *job_status_name(enum job_status s)
{
    return status_names[s];
}

bool job_status_parse(struct span text, enum job_status *out)
{
    for (int i = 0; i < STATUS_COUNT; i++)
        if (span_is(text, status_names[i])) {
            *out = (enum job_status)i;
            return true;
        }
    return false;
}

static void add_text(const char *name, const char *value, struct buf *out)
{
    buf_printf(out, ",\"%s\":", name);
    json_escape(span_from(value), out);
}

// A message for people may quote foreign bytes, cut anywhere: what is not UTF-8 becomes '?'.
static void add_message(const char *value, struct buf *out)
{
    AUTO_BUF struct buf clean = {0};
    struct span text = span_from(value);
    if (!utf8_valid(text)) {
        for (size_t i = 0; i < text.len; i++)
            buf_add_char(&clean, (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?');
        text = buf_view(&clean);
    }
    buf_add_text(out, ",\"message\":");
    json_escape(text, out);
}

// The members of job_timing in the order of timing_names.
static void timing_members(struct job_timing *t, double *out[TIMING_COUNT])
{
    out[0] = &t->queued;
    out[1] = &t->fetched;
    out[2] = &t->decoded;
    out[3] = &t->inferred;
    out[4] = &t->total;
}

static void add_timing(struct job_timing timing, struct buf *out)
{
    double *values[TIMING_COUNT];
    const char *comma = "";
    timing_members(&timing, values);
    buf_add_text(out, ",\"timing_ms\":{");
    for (int i = 0; i < TIMING_COUNT; i++)
        if (*values[i] >= 0 && isfinite(*values[i])) {
            buf_printf(out, "%s\"%s\":%.3f", comma, timing_names[i], *values[i]);
            comma = ",";
        }
    buf_add_char(out, '}');
}

void job_result_encode(const struct job_result *r, struct buf *out)
{
    buf_add_text(out, "{\"id\":");
    json_escape(span_from(r->id), out);
    add_text("status", job_status_name(r->status), out);
    if (r->trace != NULL && r->trace[0] != '\0')
        add_text("trace_id", r->trace, out);
    add_text("model", r->model, out);
    if (r->model_sha256 != NULL && r->model_sha256[0] != '\0')
        add_text("model_sha256", r->model_sha256, out);
    if (r->precision != NULL && r->precision[0] != '\0')
        add_text("precision", r->precision, out);
    if (r->preprocessing != NULL && r->preprocessing[0] != '\0')
        add_text("preprocessing", r->preprocessing, out);
    if (r->status == JOB_SUCCEEDED) {
        buf_add_text(out, ",\"result\":");
        buf_add_span(out, r->result_json);
    } else if (r->error_code != NULL && r->error_code[0] != '\0') {
        buf_add_text(out, ",\"error\":{\"code\":");
        json_escape(span_from(r->error_code), out);
        add_message(r->error_message, out);
        buf_add_char(out, '}');
    }
    add_timing(r->timing, out);
    if (r->bucket != NULL && r->bucket[0] != '\0') {
        buf_add_text(out, ",\"input\":{\"bucket\":");
        json_escape(span_from(r->bucket), out);
        add_text("key", r->key, out);
        buf_add_char(out, '}');
    }
    buf_printf(out, ",\"attempts\":%d", r->attempts);
    if (r->dead_letter.queue != NULL && r->dead_letter.queue[0] != '\0') {
        buf_add_text(out, ",\"dead_letter\":{\"queue\":");
        json_escape(span_from(r->dead_letter.queue), out);
        add_text("message_id", r->dead_letter.message_id, out);
        json_time_write("sent_at", r->dead_letter.sent_ms, out);
        buf_add_char(out, '}');
    }
    json_time_write("submitted_at", r->submitted_ms, out);
    json_time_write("finished_at", r->finished_ms, out);
    buf_add_char(out, '}');
}

static const char *text_of(const json_t *object, const char *name, struct arena *arena)
{
    return arena_copy(arena, span_from(json_string_value(json_object_get(object, name))));
}

static void read_timing(const json_t *object, struct job_timing *out)
{
    double *values[TIMING_COUNT];
    timing_members(out, values);
    for (int i = 0; i < TIMING_COUNT; i++) {
        const json_t *value = json_object_get(object, timing_names[i]);
        *values[i] = json_is_number(value) ? json_number_value(value) : -1;
    }
}

static enum err read_outcome(const json_t *root, struct arena *arena, struct job_result *out,
                             struct error *error)
{
    const json_t *result = json_object_get(root, "result"), *why = json_object_get(root, "error");
    out->error_code = text_of(why, "code", arena);
    out->error_message = text_of(why, "message", arena);
    if (out->status != JOB_SUCCEEDED)
        return OK;
    if (!json_is_object(result))
        return fail(error, ERR_FORMAT, 0, "a result that succeeded without the object \"result\"");
    // nine digits: every float comes back as it was, and 0.97 stays 0.97
    char *text = json_dumps(result, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (text == NULL)
        return fail(error, ERR_FORMAT, 0, "\"result\" cannot be written again");
    out->result_json = arena_copy_span(arena, span_from(text));
    free(text);
    return OK;
}

static enum err read_result(const json_t *root, struct arena *arena, struct job_result *out,
                            struct error *error)
{
    out->id = text_of(root, "id", arena);
    if (!job_id_valid(span_from(out->id)))
        return fail(error, ERR_FORMAT, 0, "a result without a valid \"id\"");
    const char *status = json_string_value(json_object_get(root, "status"));
    if (!job_status_parse(span_from(status), &out->status))
        return fail(error, ERR_FORMAT, 0, "a result with the unknown status '%.20s'",
                    status != NULL ? status : "");
    TRY(read_outcome(root, arena, out, error));
    out->trace = text_of(root, "trace_id", arena);
    out->model = text_of(root, "model", arena);
    out->model_sha256 = text_of(root, "model_sha256", arena);
    out->precision = text_of(root, "precision", arena);
    out->preprocessing = text_of(root, "preprocessing", arena);
    const json_t *input = json_object_get(root, "input");
    out->bucket = text_of(input, "bucket", arena);
    out->key = text_of(input, "key", arena);
    read_timing(json_object_get(root, "timing_ms"), &out->timing);
    const json_t *letter = json_object_get(root, "dead_letter");
    out->dead_letter.queue = text_of(letter, "queue", arena);
    out->dead_letter.message_id = text_of(letter, "message_id", arena);
    if (letter != NULL)
        TRY(json_time_member(letter, "sent_at", &out->dead_letter.sent_ms, error));
    json_int_t attempts = json_integer_value(json_object_get(root, "attempts"));
    out->attempts = attempts < 0 || attempts > 1000000 ? 0 : (int)attempts;
    TRY(json_time_member(root, "submitted_at", &out->submitted_ms, error));
    return json_time_member(root, "finished_at", &out->finished_ms, error);
}

bool job_result_is_outlived(const struct job_result *r, const char *message_id, int64_t sent_ms,
                            int receive_count)
{
    if (r->dead_letter.queue[0] == '\0')
        return false;
    return strcmp(r->dead_letter.message_id, message_id) == 0
               ? receive_count < r->attempts || sent_ms > r->dead_letter.sent_ms
               : sent_ms > r->dead_letter.sent_ms;
}

enum err job_result_decode(struct span text, struct arena *arena, struct job_result *out,
                           struct error *error)
{
    if (text.len > JOB_RESULT_BYTES_MAX)
        return fail(error, ERR_FORMAT, 0, "a result of %zu bytes, the limit is %d", text.len,
                    JOB_RESULT_BYTES_MAX);
    json_error_t why;
    json_t *root =
        json_loadb(text.data != NULL ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return fail(error, ERR_FORMAT, 0, "a result that is not JSON: %.160s at byte %d", why.text,
                    why.position);
    memset(out, 0, sizeof *out);
    enum err err = read_result(root, arena, out, error);
    json_decref(root);
    return err;
}
