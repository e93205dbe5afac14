#include "aws/profile.h"

#include "aws/ini.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROFILE_FILE_BYTES_MAX = 1 << 20 };

const char *environment_value(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

bool environment_is_true(const char *name)
{
    return span_is_nocase(span_from(environment_value(name)), "true");
}

// --- reading ---

struct search { // NULL: any
    const char *section, *parent, *name;
    struct span found;
    bool there;
};

// Runs through a whole file: of several lines that match the last counts, as everywhere.
static enum err search_file(const struct profile *p, int file, struct search *s,
                            struct error *error)
{
    struct ini ini = {.path = p->paths[file], .rest = buf_view(&p->texts[file])};
    for (bool more = true;;) {
        TRY(ini_next(&ini, &more, error));
        if (!more)
            return OK;
        if (s->section == NULL || !span_is(ini.section, s->section))
            continue;
        if (s->name != NULL &&
            (!span_is_nocase(ini.name, s->name) || !span_is_nocase(ini.parent, s->parent)))
            continue;
        s->there = true;
        s->found = ini.value;
    }
}

static enum err open_file(struct profile *p, int file, const char *variable, const char *name,
                          struct error *error)
{
    const char *given = environment_value(variable), *home = environment_value("HOME");
    p->paths[file] = given != NULL  ? given
                     : home != NULL ? arena_printf(&p->arena, "%s/.aws/%s", home, name)
                                    : "";
    struct error why = {0};
    enum err err = p->paths[file][0] == '\0'
                       ? OK
                       : file_read(p->paths[file], PROFILE_FILE_BYTES_MAX, &p->texts[file], &why);
    if (err != OK && err != ERR_NOT_FOUND)
        return fail(error, err, 0, "%s", why.msg);
    struct search all = {0};
    return search_file(p, file, &all, error);
}

// Both files have been read to their ends: nothing can fail now.
static struct search search_both(const struct profile *p, const char *section, const char *parent,
                                 const char *name)
{
    for (int file = 0; file < 2; file++) {
        struct search s = {.section = section, .parent = parent, .name = name};
        if (search_file(p, file, &s, NULL) == OK && s.there && (name == NULL || s.found.len > 0))
            return s;
    }
    return (struct search){0};
}

// Is there a [section] in one of the files? section: a profile's name.
static bool profile_has(const struct profile *p, const char *section)
{
    return search_both(p, section, NULL, NULL).there;
}

enum err profile_open(struct profile *p, struct error *error)
{
    *p = (struct profile){.name = environment_value("AWS_PROFILE")};
    if (p->name == NULL)
        p->name = environment_value("AWS_DEFAULT_PROFILE");
    p->named = p->name != NULL;
    if (p->name == NULL)
        p->name = "default";
    TRY(open_file(p, 0, "AWS_SHARED_CREDENTIALS_FILE", "credentials", error));
    TRY(open_file(p, 1, "AWS_CONFIG_FILE", "config", error));
    if (p->named && !profile_has(p, p->name))
        return fail(error, ERR_NOT_FOUND, 0,
                    "AWS_PROFILE is '%.80s': there is no such profile in '%.150s' and '%.150s'",
                    p->name, p->paths[0], p->paths[1]);
    return OK;
}

void profile_release(struct profile *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->texts[i].data != NULL)
            explicit_bzero(p->texts[i].data, p->texts[i].cap);
        buf_release(&p->texts[i]);
    }
    arena_release(&p->arena);
}

// --- asking ---

const char *profile_value_below(struct profile *p, const char *section, const char *parent,
                                const char *name)
{
    struct search s = search_both(p, section, parent, name);
    return s.there && memchr(s.found.data, '\0', s.found.len) == NULL
               ? arena_copy(&p->arena, s.found)
               : NULL;
}

const char *profile_value(struct profile *p, const char *section, const char *name)
{
    return profile_value_below(p, section, "", name);
}
