#include "worker/tally.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const phase_names[PHASE_COUNT] = {"queue", "fetch", "decode", "infer",
                                                     "publish"};

static void label_text(const char *from, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s", from[0] != '\0' ? from : "none");
    for (char *c = out; *c != '\0'; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            *c = '_';
}

static struct tally_model *model_of(struct tally *t, const char *model)
{
    char name[sizeof t->models[0].name];
    label_text(model, name, sizeof name);
    for (size_t i = 0; i < t->model_count; i++)
        if (strcmp(t->models[i].name, name) == 0)
            return &t->models[i];
    if (t->model_count == TALLY_MODELS_MAX)
        return &t->models[TALLY_MODELS_MAX - 1];
    struct tally_model *m = &t->models[t->model_count++];
    memcpy(m->name, name, sizeof name);
    for (int i = 0; i < PHASE_COUNT; i++)
        m->phases[i] = metrics_histogram(
            &t->phases, "smelt_worker_phase_seconds",
            arena_printf(&t->labels, "model=\"%s\",phase=\"%s\"", m->name, phase_names[i]),
            "Time of a job by phase.");
    return m;
}

void tally_release(struct tally *t)
{
    metrics_release(&t->phases);
    arena_release(&t->labels);
    free(t->child_jobs);
    *t = (struct tally){0};
}

void tally_phase(struct tally *t, const char *model, enum phase phase, double ms)
{
    if (ms >= 0)
        metric_observe(model_of(t, model)->phases[phase], ms / 1000);
}

void tally_job(struct tally *t, const char *model, enum job_status status)
{
    model_of(t, model)->jobs[status]++;
}

void tally_child(struct tally *t, size_t child)
{
    if (child >= t->child_count) {
        uint64_t *jobs = realloc(t->child_jobs, (child + 1) * sizeof *jobs);
        CHECK(jobs != NULL);
        memset(jobs + t->child_count, 0, (child + 1 - t->child_count) * sizeof *jobs);
        t->child_jobs = jobs;
        t->child_count = child + 1;
    }
    t->child_jobs[child]++;
}

void tally_attempt(struct tally *t, const char *reason)
{
    size_t i = 0;
    while (i < t->reason_count && strcmp(t->reasons[i].name, reason) != 0)
        i++;
    if (i == t->reason_count && t->reason_count < TALLY_REASONS_MAX)
        label_text(reason, t->reasons[t->reason_count++].name, sizeof t->reasons[0].name);
    t->reasons[i < TALLY_REASONS_MAX ? i : TALLY_REASONS_MAX - 1].count++;
}

static void write_head(const char *name, const char *help, struct buf *out)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
}

void tally_write(const struct tally *t, struct buf *out)
{
    metrics_write(&t->phases, out);
    write_head("smelt_worker_model_jobs_total", "Jobs with a result, by model.", out);
    for (size_t i = 0; i < t->model_count; i++)
        for (int s = JOB_SUCCEEDED; s <= JOB_CANCELLED; s++)
            buf_printf(out, "smelt_worker_model_jobs_total{model=\"%s\",status=\"%s\"} %llu\n",
                       t->models[i].name, job_status_name((enum job_status)s),
                       (unsigned long long)t->models[i].jobs[s]);
    write_head("smelt_worker_child_answers_total", "Answers of the child in each slot.", out);
    for (size_t i = 0; i < t->child_count; i++)
        buf_printf(out, "smelt_worker_child_answers_total{child=\"%zu\"} %llu\n", i,
                   (unsigned long long)t->child_jobs[i]);
    write_head("smelt_worker_attempts_failed_total", "Attempts that failed, by reason.", out);
    for (size_t i = 0; i < t->reason_count; i++)
        buf_printf(out, "smelt_worker_attempts_failed_total{reason=\"%s\"} %llu\n",
                   t->reasons[i].name, (unsigned long long)t->reasons[i].count);
}
