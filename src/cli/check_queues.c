// smelt check: the queues' journal.
#include "base/check.h"
#include "base/clock.h"
#include "cli/check.h"
#include "cli/text_table.h"
#include "sqs/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 100 };

struct look {
    struct check *check;
    struct queues *queues;
    struct text_table table;
    struct journal_inspection inspection;
    int64_t now_ms;
    enum err err; // of dumping
    struct error error;
};

static void on_damage(void *ctx, const struct journal_damage *d)
{
    struct look *l = ctx;
    check_damage(l->check, "sqs", d->file, (int64_t)d->at, (int64_t)d->bytes, d->text);
}

// --- the report ---

static void report_segments(struct look *l)
{
    static const char *const heads[] = {"SEGMENT",     ">RECORDS", ">BYTES", ">LIVE",
                                        ">LIVE BYTES", "STATE",    NULL};
    struct text_table t;
    AUTO_BUF struct buf text = {0};
    text_table_init(&t, heads);
    for (size_t i = 0; i < l->inspection.segment_count; i++) {
        const struct journal_segment_look *s = &l->inspection.segments[i];
        char name[16], state[64];
        uint64_t live;
        int64_t live_bytes;
        journal_segment_live(queues_journal(l->queues), s->id, &live, &live_bytes);
        snprintf(name, sizeof name, "%08x.seg", s->id);
        snprintf(state, sizeof state, "%s",
                 s->missing ? "MISSING"
                 : s->spare ? "unused"
                 : s->full  ? "full"
                            : "open");
        if (s->bad_bytes > 0)
            snprintf(state, sizeof state, "DAMAGED, %u bytes", s->bad_bytes);
        else if (s->torn_bytes > 0)
            snprintf(state, sizeof state, "torn tail of %u bytes", s->torn_bytes);
        text_table_add(&t, name);
        text_table_add_number(&t, s->records);
        text_table_add_number(&t, s->bytes);
        text_table_add_number(&t, (int64_t)live);
        text_table_add_number(&t, live_bytes);
        text_table_add(&t, state);
        check_json(l->check,
                   json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "part", "sqs", "segment",
                             name, "records", (json_int_t)s->records, "bytes", (json_int_t)s->bytes,
                             "live", (json_int_t)live, "live_bytes", (json_int_t)live_bytes,
                             "bad_bytes", (json_int_t)s->bad_bytes, "torn_bytes",
                             (json_int_t)s->torn_bytes, "missing", s->missing));
    }
    text_table_write(&t, 0, &text);
    check_say(l->check, "%s", text.data);
    text_table_release(&t);
}

static bool report_queue(void *ctx, struct queue *q)
{
    struct look *l = ctx;
    struct queue_info info;
    char age[32] = "-";
    queue_info(l->queues, q, &info);
    if (info.oldest_ms > 0)
        text_age((l->now_ms - info.oldest_ms) / 1000, age);
    text_table_add(&l->table, info.name);
    text_table_add_number(&l->table, (int64_t)info.visible);
    text_table_add_number(&l->table, (int64_t)info.in_flight);
    text_table_add_number(&l->table, (int64_t)info.delayed);
    text_table_add(&l->table, age);
    check_json(l->check,
               json_pack("{s:s,s:s,s:I,s:I,s:I}", "part", "sqs", "queue", info.name, "visible",
                         (json_int_t)info.visible, "in_flight", (json_int_t)info.in_flight,
                         "delayed", (json_int_t)info.delayed));
    return true;
}

static void report(struct look *l)
{
    static const char *const heads[] = {"QUEUE",    ">VISIBLE", ">IN FLIGHT",
                                        ">DELAYED", ">OLDEST",  NULL};
    AUTO_BUF struct buf text = {0};
    report_segments(l);
    if (l->inspection.leftovers > 0)
        check_say(l->check, "%zu unused files, which the next start removes\n",
                  l->inspection.leftovers);
    text_table_init(&l->table, heads);
    queues_each(l->queues, (struct span){NULL, 0}, report_queue, l);
    text_table_write(&l->table, 0, &text);
    if (l->table.count > l->table.columns)
        check_say(l->check, "%s", text.data);
    else
        check_say(l->check, "no queues\n");
    text_table_release(&l->table);
    if (l->inspection.damages > 0)
        check_say(l->check,
                  "The counts are those before the first damage. A server refuses to start "
                  "on this; --dump --skip-bad\nprints all messages that can be read.\n");
}

// --- the messages: pages of PeekMessages, answered here ---

static enum err read_page(struct look *l, const char *queue, const char *token, json_t **out)
{
    struct arena arena = {0};
    struct sqs_call call = {.queues = l->queues,
                            .arena = &arena,
                            .in = {.action = ACTION_PEEK,
                                   .arena = &arena,
                                   .queue_url = span_from(queue),
                                   .next_token = span_from(token),
                                   .max_results = {true, PAGE_MAX}},
                            .now_ms = 0, // nothing is too old to be saved
                            .json = true,
                            .host = SPAN("localhost"),
                            .region = "us-east-1",
                            .sender = ""};
    enum err err = OK;
    if (sqs_call_run(&call) == SQS_OK) {
        sqs_call_end(&call, "check");
        *out = json_loadb(call.out.out.data, call.out.out.len, 0, NULL);
        if (*out == NULL)
            err = fail(&l->error, ERR_CORRUPT, 0, "queue %s: a message cannot be written as JSON",
                       queue);
    } else {
        err = fail(&l->error, ERR_CORRUPT, 0, "queue %s: %.400s", queue, call.fault.message);
    }
    reply_release(&call.out);
    arena_release(&arena);
    return err;
}

static bool dump_queue(void *ctx, struct queue *q)
{
    struct look *l = ctx;
    struct queue_info info;
    char token[200] = "";
    queue_info(l->queues, q, &info);
    do {
        json_t *page = NULL, *message;
        size_t i;
        l->err = read_page(l, info.name, token, &page);
        json_array_foreach(json_object_get(page, "Messages"), i, message)
        {
            json_object_set_new(message, "Queue", json_string(info.name));
            json_dumpf(message, stdout, JSON_COMPACT);
            printf("\n");
        }
        const char *next = json_string_value(json_object_get(page, "NextToken"));
        snprintf(token, sizeof token, "%s", next != NULL ? next : "");
        json_decref(page);
    } while (l->err == OK && token[0] != '\0');
    return l->err == OK;
}

static void dump(struct look *l)
{
    const struct options *o = l->check->options;
    if (o->argument_count < 2) {
        queues_each(l->queues, (struct span){NULL, 0}, dump_queue, l);
        return;
    }
    struct queue *q = queue_find(l->queues, span_from(o->arguments[1]));
    if (q != NULL)
        dump_queue(l, q);
    else
        l->err =
            fail(&l->error, ERR_NOT_FOUND, 0, "there is no queue '%.80s' in it", o->arguments[1]);
}

enum err check_queues(struct check *c, const char *dir, struct error *error)
{
    struct look l = {.check = c};
    l.inspection = (struct journal_inspection){
        .skip_bad = options_on(c->options, "skip-bad"), .on_damage = on_damage, .ctx = &l};
    const struct queues_config config = {.dir = dir,
                                         .wall_ms = clock_wall_ms(),
                                         .monotonic_ms = clock_monotonic_ms(),
                                         .ctx = &l,
                                         .inspection = &l.inspection};
    check_say(c, "queues in %s\n", dir);
    enum err err = queues_open(&config, &l.queues, error);
    if (err != OK) {
        free(l.inspection.segments);
        return err;
    }
    l.now_ms = queues_time(l.queues, config.monotonic_ms);
    if (options_on(c->options, "dump"))
        dump(&l);
    else
        report(&l);
    queues_close(l.queues);
    free(l.inspection.segments);
    if (l.err != OK)
        *error = l.error;
    return l.err;
}
