#include "cli/served_models.h"

#include "base/check.h"
#include "base/log.h"
#include "cli/pool_state.h"
#include "engine/package.h"
#include "worker/crew.h"
#include "worker/package_watch.h"

#include <stdlib.h>
#include <string.h>

enum { MODELS_MAX = 64 };

struct reading {
    struct arena arena;
    struct gateway_model models[MODELS_MAX];
    const char *places[MODELS_MAX]; // of the packages that are here
    size_t count, place_count;
};

struct served_models {
    const char *list, *search_path, *data;
    struct reading *now;
    struct package_watch *watch;
    void (*on_change)(void *ctx);
    void *ctx;
};

// Each is a package on this machine, or only the name of one that the workers have.
static enum err read_one(const struct served_models *s, struct reading *r, struct span part,
                         struct error *error)
{
    struct package *package;
    struct error why;
    const char *given = arena_copy(&r->arena, part);
    if (r->count == MODELS_MAX)
        return fail(error, ERR_LIMIT, 0, "--model names more than %d models", MODELS_MAX);
    struct gateway_model *model = &r->models[r->count++];
    *model = (struct gateway_model){.name = given, .description = "", .given = given};
    if (package_open(given, s->search_path, &package, &why) != OK) {
        if (why.code == ERR_NOT_FOUND && strchr(given, '/') == NULL)
            return OK;
        return fail(error, why.code, 0, "%s", why.msg);
    }
    model->name = arena_copy(&r->arena, span_from(package->name));
    model->description = arena_copy(&r->arena, span_from(package->description));
    r->places[r->place_count++] = arena_copy(&r->arena, span_from(package_place(package)));
    package_free(package);
    return OK;
}

// The pool knows best: it may have refused what is in the packages now. Its list is in the order of
// --model, if it was given the same one.
static void ask_pool(const struct served_models *s, struct reading *r)
{
    struct pool_state state;
    struct error error;
    if (s->data == NULL || pool_state_read(s->data, &r->arena, &state, &error) != OK ||
        strcmp(state.model, s->list) != 0 || state.count != r->count)
        return;
    for (size_t i = 0; i < state.count; i++) {
        struct gateway_model *model = &r->models[i];
        if (strcmp(model->name, state.serving[i].name) != 0)
            *model = (struct gateway_model){state.serving[i].name, "", model->given};
    }
}

static void reading_free(struct reading *r)
{
    if (r != NULL)
        arena_release(&r->arena);
    free(r);
}

static enum err read_all(const struct served_models *s, struct reading **out, struct error *error)
{
    struct reading *r = calloc(1, sizeof *r);
    enum err err = OK;
    CHECK(r != NULL);
    for (struct span rest = span_from(s->list); err == OK && rest.len > 0;) {
        struct span part = span_trim(span_cut(rest, ',', &rest));
        if (part.len > 0)
            err = read_one(s, r, part, error);
    }
    if (err == OK && r->count == 0)
        err = fail(error, ERR_ARGUMENT, 0, "--model names no model");
    if (err != OK) {
        reading_free(r);
        return err;
    }
    ask_pool(s, r);
    *out = r;
    return OK;
}

static bool is_same(const struct reading *a, const struct reading *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->models[i].name, b->models[i].name) == 0 &&
               strcmp(a->models[i].description, b->models[i].description) == 0;
    return same;
}

static void on_files(void *ctx)
{
    struct served_models *s = ctx;
    struct reading *before = s->now, *now;
    struct error error;
    char text[600];
    if (read_all(s, &now, &error) != OK) { // a package that is half there: the list stays
        log_event(LOG_WARN, "models_unread", "why=%s", log_quote(error.msg, text, sizeof text));
        package_watch_reset(s->watch, before->places, before->place_count);
        return;
    }
    s->now = now;
    package_watch_reset(s->watch, now->places, now->place_count);
    if (!is_same(before, now)) {
        log_event(LOG_INFO, "models_changed", "first=%s count=%zu", now->models[0].name,
                  now->count);
        s->on_change(s->ctx);
    } else {
        // the gateway has the list before
        s->now = before;
        before = now;
    }
    reading_free(before);
}

enum err served_models_open(struct loop *loop, const char *list, const char *search_path,
                            const char *data, void (*on_change)(void *ctx), void *ctx,
                            struct served_models **out, struct error *error)
{
    struct served_models *s = calloc(1, sizeof *s);
    AUTO_BUF struct buf folders = {0}, names = {0};
    CHECK(s != NULL);
    *s = (struct served_models){
        .list = list, .search_path = search_path, .data = data, .on_change = on_change, .ctx = ctx};
    enum err err = read_all(s, &s->now, error);
    if (err != OK) {
        served_models_close(s);
        return err;
    }
    buf_printf(&folders, "%s:%s", search_path, data != NULL ? data : "");
    buf_printf(&names, "%s," CREW_STATE_FILE, list);
    s->watch = package_watch_new(loop, folders.data, names.data, on_files, s);
    package_watch_reset(s->watch, s->now->places, s->now->place_count);
    *out = s;
    return OK;
}

void served_models_close(struct served_models *s)
{
    if (s == NULL)
        return;
    package_watch_free(s->watch);
    reading_free(s->now);
    free(s);
}

const struct gateway_model *served_models_list(const struct served_models *s, size_t *count)
{
    *count = s->now->count;
    return s->now->models;
}
