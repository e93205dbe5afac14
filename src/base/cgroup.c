#include "base/cgroup.h"

#include "base/buf.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 64 << 10 };

// The file's text; "" if there is none.
static void read_text(struct buf *out, const char *folder, const char *name)
{
    AUTO_BUF struct buf path = {0};
    struct error ignored;
    buf_printf(&path, "%s/%s", folder, name);
    buf_clear(out);
    if (file_read(path.data, TEXT_BYTES_MAX, out, &ignored) != OK || out->data == NULL)
        buf_add_text(out, ""); // no limit that we could know
}

// "max", "-1" and unreadable ones are 0: none.
static uint64_t read_number(const char *folder, const char *name)
{
    AUTO_BUF struct buf text = {0};
    uint64_t value = 0;
    read_text(&text, folder, name);
    struct span rest;
    if (!span_to_u64(span_trim(span_cut(buf_view(&text), '\n', &rest)), UINT64_MAX, &value))
        return 0;
    // version 1 writes a page-aligned number near 2^63 where there is no limit
    return value >= (UINT64_C(1) << 60) ? 0 : value;
}

// "NAME NUMBER" lines, as memory.stat has them.
static uint64_t read_stat(const char *folder, const char *name)
{
    AUTO_BUF struct buf text = {0};
    read_text(&text, folder, "memory.stat");
    for (struct span rest = buf_view(&text), value; rest.len > 0;) {
        struct span key = span_cut(span_cut(rest, '\n', &rest), ' ', &value);
        uint64_t number;
        if (span_is(key, name) && span_to_u64(value, UINT64_MAX, &number))
            return number;
    }
    return 0;
}

static void note_cpus(struct cgroup_limits *out, double quota, double period)
{
    if (quota > 0 && period > 0 && (out->cpus == 0 || quota / period < out->cpus))
        out->cpus = quota / period;
}

static void note_memory(struct cgroup_limits *out, uint64_t limit, uint64_t used, uint64_t cache)
{
    used -= cache < used ? cache : used;
    if (limit == 0 || (out->memory_bytes > 0 && limit >= out->memory_bytes))
        return;
    out->memory_bytes = limit;
    out->memory_used = used;
}

static void note_cpu_folder(const char *folder, struct cgroup_limits *out)
{
    AUTO_BUF struct buf text = {0};
    double quota = 0, period = 0;
    read_text(&text, folder, "cpu.max");
    if (sscanf(text.data, "%lf %lf", &quota, &period) == 2)
        note_cpus(out, quota, period);
    // version 1; -1 is no quota
    note_cpus(out, (double)read_number(folder, "cpu.cfs_quota_us"),
              (double)read_number(folder, "cpu.cfs_period_us"));
}

static void note_memory_folder(const char *folder, struct cgroup_limits *out)
{
    note_memory(out, read_number(folder, "memory.max"), read_number(folder, "memory.current"),
                read_stat(folder, "inactive_file"));
    note_memory(out, read_number(folder, "memory.high"), read_number(folder, "memory.current"),
                read_stat(folder, "inactive_file"));
    note_memory(out, read_number(folder, "memory.limit_in_bytes"),
                read_number(folder, "memory.usage_in_bytes"),
                read_stat(folder, "total_inactive_file"));
}

// From the group itself up to the controller's root. In a container that sees its own group as the
// root, path does not exist there and the root is all.
static void walk_up(const char *base, struct span path,
                    void (*note)(const char *folder, struct cgroup_limits *out),
                    struct cgroup_limits *out)
{
    AUTO_BUF struct buf folder = {0};
    buf_printf(&folder, "%s%.*s", base, (int)path.len, path.data);
    size_t base_len = strlen(base);
    while (folder.len > base_len) {
        note(folder.data, out);
        char *slash = strrchr(folder.data, '/');
        folder.len = (size_t)(slash - folder.data);
        *slash = '\0';
    }
    note(base, out);
}

static bool has_controller(struct span list, const char *name)
{
    while (list.len > 0)
        if (span_is(span_cut(list, ',', &list), name))
            return true;
    return false;
}

void cgroup_read(const char *root, struct cgroup_limits *out)
{
    AUTO_BUF struct buf text = {0}, proc = {0};
    *out = (struct cgroup_limits){0};
    buf_printf(&proc, "%s/proc/self", root);
    read_text(&text, proc.data, "cgroup");
    for (struct span rest = buf_view(&text); rest.len > 0;) {
        struct span path, line = span_cut(rest, '\n', &rest);
        span_cut(line, ':', &line); // the hierarchy's number
        struct span controllers = span_cut(line, ':', &path);
        AUTO_BUF struct buf base = {0};
        buf_printf(&base, "%s/sys/fs/cgroup", root);
        if (path.len == 0 || path.data[0] != '/')
            continue;
        if (controllers.len == 0) { // version 2
            walk_up(base.data, path, note_cpu_folder, out);
            walk_up(base.data, path, note_memory_folder, out);
            continue;
        }
        buf_printf(&base, "/%.*s", (int)controllers.len, controllers.data);
        if (has_controller(controllers, "cpu"))
            walk_up(base.data, path, note_cpu_folder, out);
        if (has_controller(controllers, "memory"))
            walk_up(base.data, path, note_memory_folder, out);
    }
}

uint64_t cgroup_memory_left(const char *root, const struct cgroup_limits *limits)
{
    AUTO_BUF struct buf text = {0}, proc = {0};
    unsigned long long kib = 0;
    buf_printf(&proc, "%s/proc", root);
    read_text(&text, proc.data, "meminfo");
    const char *line = strstr(text.data, "MemAvailable:");
    if (line != NULL && sscanf(line, "MemAvailable: %llu", &kib) != 1)
        kib = 0;
    uint64_t left = (uint64_t)kib << 10;
    if (limits->memory_bytes > 0) {
        uint64_t here = limits->memory_bytes > limits->memory_used
                            ? limits->memory_bytes - limits->memory_used
                            : 1; // nothing, but known
        left = left == 0 || here < left ? here : left;
    }
    return left;
}
