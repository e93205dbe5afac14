#include "cli/handler_name.h"

#include "job/job.h"

#include <string.h>

static bool is_program(struct span word, struct span name)
{
    static const char *const others[] = {"sh",   "bash", "dash", "env",  "exec", "nice",
                                         "node", "perl", "ruby", "java", "uv",   "run"};
    if (word.len == 0 || word.data[0] == '-' || memchr(word.data, '=', word.len) != NULL ||
        span_starts(name, "python"))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (span_is(name, others[i]))
            return false;
    return true;
}

static struct span file_name(struct span path)
{
    const char *slash = path.len > 0 ? memrchr(path.data, '/', path.len) : NULL;
    if (slash == NULL)
        return path;
    return (struct span){slash + 1, (size_t)(path.data + path.len - slash - 1)};
}

static struct span from_command(const char *command)
{
    struct span rest = span_from(command), name = {0};
    while (rest.len > 0) {
        struct span word = span_cut(rest, ' ', &rest);
        name = file_name(word);
        if (is_program(word, name))
            break;
    }
    const char *dot = name.len > 1 ? memrchr(name.data + 1, '.', name.len - 1) : NULL;
    if (dot != NULL)
        name.len = (size_t)(dot - name.data);
    return name;
}

enum err handler_name_find(const char *command, const char *given, struct arena *arena,
                           const char **name, struct error *error)
{
    struct span found = given != NULL ? span_from(given) : from_command(command);
    if (span_trim(span_from(command)).len == 0)
        return fail(error, ERR_ARGUMENT, 0, "--exec names no program");
    if (!job_id_valid(found))
        return fail(error, ERR_ARGUMENT, 0,
                    "'%.*s' cannot be the name of a handler; give one of A-Z a-z 0-9 _ . - with "
                    "--exec-name",
                    (int)(found.len < 100 ? found.len : 100), found.len > 0 ? found.data : "");
    *name = arena_copy(arena, found);
    return OK;
}
