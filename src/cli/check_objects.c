// smelt check: the objects.
#include "cli/check.h"

#include "s3/store_check.h"

static void on_damage(void *ctx, const char *where, const char *text)
{
    check_damage(ctx, "s3", where, -1, 0, text);
}

static void on_orphan(void *ctx, const char *file, uint64_t bytes)
{
    const struct check *c = ctx;
    check_say(c, "  left over: %s, %llu bytes (the next start removes it)\n", file,
              (unsigned long long)bytes);
    check_json(
        c, json_pack("{s:s,s:s,s:I}", "part", "s3", "orphan", file, "bytes", (json_int_t)bytes));
}

enum err check_objects(struct check *c, const char *dir, struct error *error)
{
    struct store_check s = {.deep = options_on(c->options, "deep"),
                            .on_damage = on_damage,
                            .on_orphan = on_orphan,
                            .ctx = c};
    check_say(c, "objects in %s\n", dir);
    enum err err = store_check_run(&s, dir, error);
    if (err == ERR_NOT_FOUND) {
        check_say(c, "no catalog, so no objects\n");
        return OK;
    }
    if (err != OK)
        return err;
    check_say(c, "%llu buckets, %llu objects with %llu bytes, %llu body files%s\n",
              (unsigned long long)s.buckets, (unsigned long long)s.objects,
              (unsigned long long)s.bytes, (unsigned long long)s.files,
              s.deep ? ", every byte read" : " (--deep also reads their bytes)");
    check_json(c, json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:b}", "part", "s3", "buckets",
                            (json_int_t)s.buckets, "objects", (json_int_t)s.objects, "bytes",
                            (json_int_t)s.bytes, "files", (json_int_t)s.files, "orphans",
                            (json_int_t)s.orphans, "deep", s.deep));
    return OK;
}
