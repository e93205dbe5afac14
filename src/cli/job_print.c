#include "cli/job_print.h"

#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static bool is_vowel(char c)
{
    return c != '\0' && strchr("aeiouAEIOU", c) != NULL;
}

// "A dog: " or "No dog here: "; nothing for a model without groups.
static void add_groups(json_t *groups, struct buf *out)
{
    const char *name;
    json_t *group;
    size_t present = 0, count = 0;
    json_object_foreach(groups, name, group)
    {
        count++;
        if (!json_is_true(json_object_get(group, "present")))
            continue;
        const char *article = is_vowel(name[0]) ? "an" : "a";
        if (present++ == 0)
            buf_printf(out, "%c%s %s", 'A', article + 1, name);
        else
            buf_printf(out, " and %s %s", article, name);
    }
    if (present > 0)
        buf_add_text(out, ": ");
    if (present > 0 || count == 0)
        return;
    const char *before = "No ";
    json_object_foreach(groups, name, group)
    {
        buf_printf(out, "%s%s", before, name);
        before = " or ";
    }
    buf_add_text(out, " here: ");
}

// What a program of the user's answered: of any form, in one line.
static void add_object(const json_t *result, struct buf *out)
{
    char *text = json_dumps(result, JSON_COMPACT);
    buf_add_text(out, text != NULL ? text : "{}");
    free(text);
}

bool job_print(struct span job_json, struct buf *out)
{
    json_t *root = json_loadb(job_json.len > 0 ? job_json.data : "", job_json.len, 0, NULL);
    const char *status = text_of(root, "status");
    bool good = true;
    if (strcmp(status, "succeeded") == 0) {
        json_t *result = json_object_get(root, "result");
        json_t *best = json_array_get(json_object_get(result, "predictions"), 0);
        add_groups(json_object_get(result, "groups"), out);
        double percent = 100.0 * json_number_value(json_object_get(best, "score"));
        if (best == NULL)
            add_object(result, out);
        else
            buf_printf(out, "%s, %.0f %%", text_of(best, "label"),
                       percent < 100 && percent > 99 ? 99.0 : percent);
    } else if (strcmp(status, "queued") == 0) {
        buf_printf(out, "queued as %s; `smelt result %s --wait 30` shows the answer",
                   text_of(root, "id"), text_of(root, "id"));
    } else if (root != NULL) {
        const json_t *error = json_object_get(root, "error");
        buf_printf(out, "%s: %s", status, text_of(error, "message"));
        good = false;
    } else {
        buf_add_text(out, "the answer is no JSON");
        good = false;
    }
    json_decref(root);
    return good;
}

static void begin(const char *name, struct buf *out)
{
    AUTO_BUF struct buf escaped = {0};
    struct span file = span_from(name);
    if (!utf8_valid(file)) { // JSON cannot hold it
        url_encode(file, true, &escaped);
        file = buf_view(&escaped);
    }
    buf_add_text(out, "{\"file\":");
    json_escape(file, out);
    buf_add_char(out, ',');
}

void job_print_json(const char *name, struct span job_json, struct buf *out)
{
    begin(name, out);
    if (job_json.len > 0) // behind its opening brace
        buf_add(out, job_json.data + 1, job_json.len - 1);
}

void job_print_error_json(const char *name, const struct error *error, struct buf *out)
{
    AUTO_BUF struct buf clean = {0};
    for (const char *c = error->msg; *c != '\0'; c++)
        buf_add_char(&clean, (unsigned char)*c < 0x80 ? *c : '?');
    begin(name, out);
    buf_printf(out, "\"error\":{\"code\":\"%s\",\"message\":", err_name(error->code));
    json_escape(buf_view(&clean), out);
    buf_add_text(out, "}}");
}
