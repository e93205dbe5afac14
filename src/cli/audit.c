#include "cli/audit.h"

#include "base/check.h"
#include "cli/queue_messages.h"

#include <stdlib.h>
#include <string.h>

// --- jobs that were met ---

static void meet(struct audit *a, const char *id, unsigned place)
{
    if (a->count == a->cap) {
        a->cap = a->cap == 0 ? 1024 : 2 * a->cap;
        a->jobs = realloc(a->jobs, a->cap * sizeof *a->jobs);
        CHECK(a->jobs != NULL);
    }
    a->jobs[a->count++] = (struct audit_job){.id = id, .places = place};
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct audit_job *)a)->id, ((const struct audit_job *)b)->id);
}

// One entry for each id.
static void merge(struct audit *a)
{
    size_t kept = 0;
    if (a->count > 0)
        qsort(a->jobs, a->count, sizeof *a->jobs, by_id);
    for (size_t i = 0; i < a->count; i++)
        if (kept > 0 && strcmp(a->jobs[kept - 1].id, a->jobs[i].id) == 0)
            a->jobs[kept - 1].places |= a->jobs[i].places;
        else
            a->jobs[kept++] = a->jobs[i];
    a->count = kept;
}

const struct audit_job *audit_find(const struct audit *a, const char *id)
{
    const struct audit_job key = {.id = id};
    return a->count > 0 ? bsearch(&key, a->jobs, a->count, sizeof *a->jobs, by_id) : NULL;
}

bool audit_has_no_home(const struct audit_job *job)
{
    return job->places == AUDIT_PICTURE;
}

static enum err check_room(const struct audit *a, struct error *error)
{
    if (a->c->interrupted)
        return fail(error, ERR_CANCELLED, 0, "stopped");
    if (a->count >= AUDIT_JOBS_MAX)
        return fail(error, ERR_LIMIT, 0, "more than %d jobs: the audit's limit", AUDIT_JOBS_MAX);
    return OK;
}

// --- the store ---

struct page {
    struct audit *a;
    const char *prefix, *ending;
    unsigned place;
    bool running;
    char *token; // of the next page; NULL: there is none
    struct error error;
};

static void on_page(void *ctx, const struct aws_result *r, const struct s3_listing *listing)
{
    struct page *p = ctx;
    size_t prefix = strlen(p->prefix), ending = strlen(p->ending);
    p->running = false;
    p->error = r->error;
    p->error.code = r->err;
    free(p->token);
    p->token = listing->next_token != NULL ? strdup(listing->next_token) : NULL;
    for (size_t i = 0; i < listing->count; i++) {
        struct span id = listing->objects[i].key;
        if (id.len <= prefix + ending || memcmp(id.data + id.len - ending, p->ending, ending) != 0)
            continue;
        id.data += prefix;
        id.len -= prefix + ending;
        if (job_id_valid(id)) // else it is none of ours
            meet(p->a, arena_copy(&p->a->arena, id), p->place);
    }
    loop_stop(p->a->c->loop);
}

static enum err list_keys(struct audit *a, const char *prefix, const char *ending, unsigned place,
                          struct error *error)
{
    struct page p = {.a = a, .prefix = prefix, .ending = ending, .place = place};
    enum err err = OK;
    do {
        err = check_room(a, error);
        if (err != OK)
            break;
        p.running = true;
        s3_list(a->s3, a->bucket, prefix, p.token, on_page, &p);
        while (p.running && err == OK)
            err = loop_run(a->c->loop, error);
        if (err == OK && p.error.code != OK) {
            *error = p.error;
            err = fail_context(error, p.error.code, "list s3://%.80s/%s", a->bucket, prefix);
        }
    } while (err == OK && p.token != NULL);
    free(p.token);
    return err;
}

// --- the queues ---

struct looking { // at one queue's messages
    struct audit *a;
    bool dead;
};

static bool on_message(void *ctx, json_t *message)
{
    struct looking *l = ctx;
    struct audit *a = l->a;
    struct job *jobs;
    size_t count = 0;
    struct error ignored;
    const char *body = json_string_value(json_object_get(message, "Body"));
    const char *state = json_string_value(json_object_get(message, "State"));
    unsigned place = l->dead                                           ? AUDIT_DEAD
                     : state != NULL && strcmp(state, "inflight") == 0 ? AUDIT_IN_FLIGHT
                                                                       : AUDIT_VISIBLE;
    enum err err = job_decode(span_from(body), &a->arena, &jobs, &count, &ignored);
    a->not_jobs += err != OK && (count == 0 || jobs[0].kind == JOB_S3_EVENT);
    for (size_t i = 0; i < count; i++) // of a bad message with a readable id, too
        meet(a, jobs[i].id, place);
    return check_room(a, &ignored) == OK;
}

static enum err look_at_queue(struct audit *a, const char *url, bool dead, struct error *error)
{
    struct looking looking = {a, dead};
    json_t *attributes = NULL;
    TRY(queue_attributes(a->c, url, &attributes, error));
    int64_t count = queue_number(attributes, "ApproximateNumberOfMessages") +
                    queue_number(attributes, "ApproximateNumberOfMessagesNotVisible") +
                    queue_number(attributes, "ApproximateNumberOfMessagesDelayed");
    json_decref(attributes);
    if (dead)
        a->dead_letters += count;
    else
        a->messages += count;
    enum err err = a->peeks ? queue_peek(a->c, url, SIZE_MAX, on_message, &looking, error) : OK;
    if (err == ERR_UNSUPPORTED) {
        a->peeks = false;
        err = OK;
    }
    TRY(err);
    return check_room(a, error);
}

static enum err dead_letter_queue(struct audit *a, const char *url, struct buf *out,
                                  struct error *error)
{
    json_t *attributes = NULL;
    char name[QUEUE_NAME_SIZE];
    int max_receives;
    TRY(queue_attributes(a->c, url, &attributes, error));
    queue_dead_letters(attributes, name, &max_receives);
    json_decref(attributes);
    return name[0] != '\0' ? queue_find_url(a->c, name, out, error) : OK;
}

// All jobs queues, then their dead-letter queues: a message moves that way by itself.
static enum err look_at_queues(struct audit *a, struct error *error)
{
    AUTO_ARENA struct arena arena = {0};
    const char *urls[AUDIT_QUEUES_MAX];
    size_t count = 0;
    for (struct span rest = span_from(a->queues); rest.len > 0;) {
        AUTO_BUF struct buf url = {0};
        struct span part = span_trim(span_cut(rest, ',', &rest)), weight;
        bool is_url = memchr(part.data, '/', part.len) != NULL;
        const char *name = arena_copy(&arena, is_url ? part : span_cut(part, ':', &weight));
        if (part.len == 0)
            continue;
        if (count == AUDIT_QUEUES_MAX)
            return fail(error, ERR_LIMIT, 0, "more than %d queues", AUDIT_QUEUES_MAX);
        TRY(queue_find_url(a->c, name, &url, error));
        urls[count++] = arena_copy(&arena, buf_view(&url));
    }
    for (size_t i = 0; i < count; i++)
        TRY(look_at_queue(a, urls[i], false, error));
    for (size_t i = 0; i < count; i++) {
        AUTO_BUF struct buf url = {0};
        TRY(dead_letter_queue(a, urls[i], &url, error));
        if (url.len > 0)
            TRY(look_at_queue(a, url.data, true, error));
    }
    return count > 0 ? OK : fail(error, ERR_ARGUMENT, 0, "--queue names no queue");
}

// --- a look ---

static void keep_statuses(struct audit *a, const struct audit *before)
{
    for (size_t i = 0; i < a->count; i++) {
        struct audit_job *job = &a->jobs[i];
        const struct audit_job *old = audit_find(before, job->id);
        if (!(job->places & AUDIT_RESULT) || old == NULL || !old->known)
            continue;
        job->known = true; // a result never changes
        job->status = old->status;
        job->places |= old->places & AUDIT_UNREADABLE;
    }
}

enum err audit_look(struct audit *a, struct error *error)
{
    struct audit before = *a;
    a->arena = (struct arena){0};
    a->jobs = NULL;
    a->count = a->cap = a->not_jobs = 0;
    a->messages = a->dead_letters = 0;
    a->peeks = true;
    enum err err = list_keys(a, JOB_INBOX_PREFIX, "", AUDIT_PICTURE, error);
    if (err == OK)
        err = look_at_queues(a, error);
    if (err == OK)
        err = list_keys(a, JOB_RESULTS_PREFIX, ".json", AUDIT_RESULT, error);
    merge(a);
    keep_statuses(a, &before);
    audit_release(&before);
    TRY(err);
    return audit_read_results(a, error);
}

void audit_release(struct audit *a)
{
    free(a->jobs);
    arena_release(&a->arena);
    a->jobs = NULL;
    a->count = a->cap = 0;
}
