#include "worker/exec_frame.h"

#include "base/log.h"

#include <jansson.h>
#include <string.h>

static const char *const words[] = {"ready", "result", "failed", "retry"};
enum { WORD_COUNT = sizeof words / sizeof words[0] };

static enum err no_frame(struct span bytes, struct error *error)
{
    char text[61], quoted[200];
    size_t len = bytes.len < sizeof text - 1 ? bytes.len : sizeof text - 1;
    for (size_t i = 0; i < len; i++) // log_quote wants a string
        text[i] = bytes.data[i] != '\0' ? bytes.data[i] : '?';
    text[len] = '\0';
    return fail(error, ERR_FORMAT, 0,
                "standard output is for answers alone (\"ready\", \"result BYTES\", \"failed "
                "BYTES\", \"retry BYTES\"), and it wrote %s",
                log_quote(text, quoted, sizeof quoted));
}

static enum err head_read(struct span line, struct span all, enum exec_word *word, size_t *bytes,
                          struct error *error)
{
    struct span count;
    struct span name = span_cut(line, ' ', &count);
    uint64_t value = 0;
    int i = 0;
    while (i < WORD_COUNT && !span_is(name, words[i]))
        i++;
    if (i == WORD_COUNT)
        return no_frame(all, error);
    *word = (enum exec_word)i;
    bool has_count = span_to_u64(count, UINT64_MAX, &value);
    if (*word == EXEC_READY ? name.len != line.len : !has_count)
        return no_frame(all, error);
    if (value > WORKER_ANSWER_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0,
                    "it announced an answer of %llu bytes (\"%s\"); the limit is %d",
                    (unsigned long long)value, words[i], WORKER_ANSWER_BYTES_MAX);
    *bytes = (size_t)value;
    return OK;
}

static enum err check_object(struct span text, struct error *error)
{
    json_error_t why;
    json_t *root =
        json_loadb(text.len > 0 ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &why);
    bool object = json_is_object(root);
    bool parsed = root != NULL;
    json_decref(root);
    if (!parsed)
        return fail(error, ERR_FORMAT, 0, "its result is not JSON: %.160s at byte %d", why.text,
                    why.position);
    return object ? OK : fail(error, ERR_FORMAT, 0, "its result is JSON, but not an object");
}

enum err exec_answer_read(struct span bytes, struct exec_answer *out, size_t *used,
                          struct error *error)
{
    *used = 0;
    size_t look = bytes.len < EXEC_HEAD_BYTES_MAX ? bytes.len : EXEC_HEAD_BYTES_MAX;
    const char *end = look > 0 ? memchr(bytes.data, '\n', look) : NULL;
    if (end == NULL)
        return look < EXEC_HEAD_BYTES_MAX ? OK : no_frame(bytes, error);
    size_t head = (size_t)(end - bytes.data), length = 0;
    TRY(head_read((struct span){bytes.data, head}, bytes, &out->word, &length, error));
    if (bytes.len - head - 1 < length)
        return OK;
    out->text = (struct span){end + 1, length};
    if (out->word == EXEC_RESULT)
        TRY(check_object(out->text, error));
    *used = head + 1 + length;
    return OK;
}

void exec_job_write(struct span json, size_t picture_bytes, struct buf *out)
{
    buf_printf(out, "job %zu %zu\n", json.len, picture_bytes);
    buf_add_span(out, json);
}
