#include "worker/package_watch.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    NAMES_MAX = 2 * WORKER_MODELS_MAX,
    FOLDERS_MAX = 2 * (3 * WORKER_MODELS_MAX + 16), // twice: old and new ones, during a reset
    // files written or renamed; a file that is being written says so at its end only
    EVENTS = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF |
             IN_MOVE_SELF | IN_CREATE
};

struct folder {
    int wd;
    bool any;    // every name in it counts, not only those of packages
    bool wanted; // since the last reset
};

struct package_watch {
    struct loop *loop;
    int fd; // -1: none
    struct watch watch;
    struct timer settle;
    int64_t first_ms; // of the changes not told yet; 0: none
    char *search_path, *given;
    char *names[NAMES_MAX]; // of packages' folders and files
    size_t name_count;
    struct folder folders[FOLDERS_MAX];
    size_t folder_count;
    void (*on_change)(void *ctx);
    void *ctx;
};

static char *copy(struct span s)
{
    char *text = strndup(s.data != NULL ? s.data : "", s.len);
    CHECK(text != NULL);
    return text;
}

static void add_name(struct package_watch *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *at = strrchr(name, '@'); // demo@int8
    struct span s = {name, at != NULL ? (size_t)(at - name) : strlen(name)};
    if (s.len > 0 && w->name_count < NAMES_MAX)
        w->names[w->name_count++] = copy(s);
}

static void add_folder(struct package_watch *w, const char *path, bool any)
{
    if (w->folder_count == FOLDERS_MAX)
        return;
    int wd = inotify_add_watch(w->fd, path, EVENTS | IN_ONLYDIR);
    if (wd < 0)
        return;
    for (size_t i = 0; i < w->folder_count; i++)
        if (w->folders[i].wd == wd) { // the same by another way, or from before
            w->folders[i].any = any || (w->folders[i].wanted && w->folders[i].any);
            w->folders[i].wanted = true;
            return;
        }
    w->folders[w->folder_count++] = (struct folder){wd, any, true};
}

// A package's folder, and the one that holds it; of a bare file only its folder.
static void add_package(struct package_watch *w, const char *path)
{
    char *parent = copy(span_from(path));
    size_t len = strlen(parent);
    while (len > 1 && parent[len - 1] == '/')
        parent[--len] = '\0';
    add_folder(w, parent, true); // fails for a file, as it should
    add_name(w, parent);
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = '\0';
    add_folder(w, slash != NULL ? parent : ".", false);
    free(parent);
}

static bool counts(const struct package_watch *w, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0)
        return true;
    // a file's creation is followed by its closing; a folder's is not
    if ((event->mask & IN_CREATE) != 0 && (event->mask & IN_ISDIR) == 0)
        return false;
    bool any = false;
    for (size_t i = 0; i < w->folder_count; i++)
        any |= w->folders[i].wd == event->wd && w->folders[i].any;
    if (any)
        return (event->mask & IN_IGNORED) == 0;
    for (size_t i = 0; event->len > 0 && i < w->name_count; i++)
        if (strcmp(w->names[i], event->name) == 0)
            return true;
    return false;
}

static void on_settled(void *ctx)
{
    struct package_watch *w = ctx;
    w->first_ms = 0;
    w->on_change(w->ctx);
}

static void on_events(void *ctx, uint32_t events)
{
    struct package_watch *w = ctx;
    _Alignas(struct inotify_event) char bytes[8192];
    bool changed = false;
    (void)events;
    ssize_t got = read(w->fd, bytes, sizeof bytes);
    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *event = (const void *)(bytes + at);
        changed |= counts(w, event);
        at += (ssize_t)(sizeof *event + event->len);
    }
    if (!changed)
        return;
    int64_t now = loop_now_ms(w->loop);
    if (w->first_ms == 0)
        w->first_ms = now;
    int64_t last = w->first_ms + WORKER_SETTLE_MS_MAX;
    int64_t at = now + WORKER_SETTLE_MS < last ? now + WORKER_SETTLE_MS : last;
    loop_timer_set(w->loop, &w->settle, at, on_settled, w);
}

static void forget_names(struct package_watch *w)
{
    while (w->name_count > 0)
        free(w->names[--w->name_count]);
}

static bool open_watch(struct package_watch *w)
{
    struct error error;
    if (w->fd >= 0)
        return true;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd >= 0 &&
        loop_watch_add(w->loop, &w->watch, w->fd, EPOLLIN, on_events, w, &error) == OK)
        return true;
    log_event(LOG_WARN, "packages_unwatched", "why=\"no inotify; SIGHUP looks for changes\"");
    fd_close(&w->fd);
    return false;
}

static void drop_unwanted(struct package_watch *w)
{
    for (size_t i = 0; i < w->folder_count;) {
        if (w->folders[i].wanted) {
            i++;
            continue;
        }
        inotify_rm_watch(w->fd, w->folders[i].wd);
        w->folders[i] = w->folders[--w->folder_count];
    }
}

// Folders that are watched already stay so all the time: what changed since somebody looked at them
// is told after this, too.
void package_watch_reset(struct package_watch *w, const char *const *packages, size_t count)
{
    if (!open_watch(w))
        return;
    forget_names(w);
    for (size_t i = 0; i < w->folder_count; i++)
        w->folders[i].wanted = false;
    for (struct span rest = span_from(w->given); rest.len > 0;) {
        char *name = copy(span_cut(rest, ',', &rest));
        add_name(w, name);
        free(name);
    }
    for (size_t i = 0; i < count; i++)
        add_package(w, packages[i]);
    for (struct span rest = span_from(w->search_path); rest.len > 0;) {
        char *folder = copy(span_cut(rest, ':', &rest));
        add_folder(w, folder, false);
        free(folder);
    }
    drop_unwanted(w);
}

struct package_watch *package_watch_new(struct loop *loop, const char *search_path,
                                        const char *names, void (*on_change)(void *ctx), void *ctx)
{
    struct package_watch *w = calloc(1, sizeof *w);
    CHECK(w != NULL);
    *w = (struct package_watch){.loop = loop, .fd = -1, .on_change = on_change, .ctx = ctx};
    w->search_path = copy(span_from(search_path));
    w->given = copy(span_from(names));
    return w;
}

void package_watch_free(struct package_watch *w)
{
    if (w == NULL)
        return;
    loop_timer_cancel(w->loop, &w->settle);
    forget_names(w);
    loop_watch_remove(w->loop, &w->watch);
    fd_close(&w->fd);
    free(w->search_path);
    free(w->given);
    free(w);
}
