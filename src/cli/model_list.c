// smelt model list: the packages that --model finds by name.
#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/model.h"
#include "cli/options.h"
#include "cli/pool_state.h"
#include "engine/package.h"
#include "engine/package_default.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTED_MAX = 1000 };

struct listing {
    char *names[LISTED_MAX]; // of folders, as a search meets them: a later one of the same name is
                             // hidden
    char *folders[LISTED_MAX];
    size_t count;
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool listed(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->names[i], name) == 0)
            return true;
    return false;
}

static void add_folder(struct listing *l, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        AUTO_BUF struct buf json = {0}, path = {0};
        buf_printf(&path, "%s/%s", folder, name);
        buf_printf(&json, "%s/smelt.json", path.data);
        if (name[0] != '.' && l->count < LISTED_MAX && !listed(l, name) &&
            access(json.data, F_OK) == 0) {
            l->names[l->count] = strdup(name);
            CHECK(l->names[l->count] != NULL);
            l->folders[l->count++] = buf_take(&path, NULL);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void print_json(const struct package *p, bool is_default)
{
    AUTO_BUF struct buf line = {0};
    buf_add_text(&line, "{\"name\":");
    json_escape(span_from(p->name), &line);
    buf_add_text(&line, ",\"version\":");
    json_escape(span_from(p->version), &line);
    buf_add_text(&line, ",\"description\":");
    json_escape(span_from(p->description), &line);
    if (utf8_valid(span_from(p->folder))) {
        buf_add_text(&line, ",\"folder\":");
        json_escape(span_from(p->folder), &line);
    }
    if (p->preprocess.width > 0)
        buf_printf(&line, ",\"width\":%d,\"height\":%d", p->preprocess.width, p->preprocess.height);
    buf_printf(&line, ",\"sha256\":\"%s\",\"default\":%s}", p->sha256,
               is_default ? "true" : "false");
    puts(line.data);
}

static void print_row(const struct package *p, bool is_default)
{
    char size[32] = "-";
    if (p->preprocess.width > 0)
        snprintf(size, sizeof size, "%dx%d", p->preprocess.width, p->preprocess.height);
    printf("%c %-20s %-8s %-9s %.12s  %s\n", is_default ? '*' : ' ', p->name, p->version, size,
           p->sha256, p->description);
}

// Returns the exit code: 1 when a package is broken.
static int print_all(const struct listing *l, const char *default_name, bool json)
{
    int status = 0;
    if (!json && l->count > 0)
        printf("  %-20s %-8s %-9s %-12s  %s\n", "NAME", "VERSION", "INPUT", "SHA-256", "");
    for (size_t i = 0; i < l->count; i++) {
        struct package *p;
        struct error error;
        if (package_open(l->folders[i], "", &p, &error) != OK) {
            fprintf(stderr, "smelt: %s\n", error.msg);
            status = 1;
            continue;
        }
        bool is_default = strcmp(l->names[i], default_name) == 0;
        if (json)
            print_json(p, is_default);
        else
            print_row(p, is_default);
        package_free(p);
    }
    return status;
}

// What the pool of this data directory made of the packages.
static void print_pool(const char *data, bool json)
{
    AUTO_ARENA struct arena arena = {0};
    struct pool_state state;
    struct error error;
    if (pool_state_read(data, &arena, &state, &error) != OK) {
        if (error.code != ERR_NOT_FOUND)
            fprintf(stderr, "smelt: %s\n", error.msg);
        return;
    }
    if (json) {
        printf("{\"pool\":%s}\n", state.json);
        return;
    }
    printf("\nThe pool of %s (generation %d):\n", data, state.generation);
    for (size_t i = 0; i < state.count; i++)
        printf("  serves %-13s %-18s %.12s\n", state.serving[i].name, state.serving[i].precision,
               state.serving[i].sha256);
    if (state.refused[0] != '\0')
        printf("! refused %s: %s\n", state.refused_at, state.refused);
}

static int list(const char *folders, bool json)
{
    AUTO_BUF struct buf search_path = {0};
    struct listing l = {0};
    package_search_path(folders, &search_path);
    for (struct span rest = buf_view(&search_path); rest.len > 0;) {
        struct span part = span_cut(rest, ':', &rest);
        AUTO_BUF struct buf folder = {0};
        buf_add_span(&folder, part);
        if (part.len > 0)
            add_folder(&l, folder.data);
    }
    if (l.count == 0)
        fprintf(stderr, "smelt: no packages in %s\n", search_path.data);
    int status = print_all(&l, package_default_name(search_path.data), json);
    for (size_t i = 0; i < l.count; i++) {
        free(l.names[i]);
        free(l.folders[i]);
    }
    return status;
}

static const struct option table[] = {
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"data", "DIR", "smelt-data", "of a pool on this machine: what it serves and what it refused"},
    {"json", NULL, NULL, "one JSON line per package, and one of the pool, if there is one"},
    {0},
};

int model_list_main(int argc, char **argv)
{
    struct options o;
    int status = options_parse(&o, table, "smelt model list [options]",
                               "Lists the model packages of this machine; * is the one used when "
                               "none is named.",
                               argc, argv);
    if (status >= 0)
        return status;
    if (o.argument_count > 0) {
        fprintf(stderr, "smelt: list takes no arguments; see smelt model inspect\n");
        status = 2;
    } else {
        status = list(options_get(&o, "models"), options_on(&o, "json"));
        print_pool(options_get(&o, "data"), options_on(&o, "json"));
    }
    options_release(&o);
    return status;
}
