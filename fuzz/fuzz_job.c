// Property: what job_decode takes, job_encode writes so that it decodes to the same job; what
// job_result_decode and tell_decode take survives another round.
#include "base/check.h"
#include "job/job.h"
#include "job/tell.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_job(const struct job *job)
{
    AUTO_BUF struct buf text = {0};
    AUTO_ARENA struct arena arena = {0};
    struct job *again;
    size_t count;
    CHECK(job_id_valid(span_from(job->id)));
    job_encode(job, &text);
    CHECK(job_decode(buf_view(&text), &arena, &again, &count, NULL) == OK && count == 1);
    CHECK(strcmp(job->id, again->id) == 0 && strcmp(job->model, again->model) == 0);
    CHECK(strcmp(job->bucket, again->bucket) == 0 && strcmp(job->key, again->key) == 0);
    CHECK(strcmp(job->reply_to, again->reply_to) == 0);
    CHECK(job->submitted_ms == again->submitted_ms && job->expires_ms == again->expires_ms);
}

static void check_result(const struct job_result *r)
{
    AUTO_BUF struct buf text = {0};
    AUTO_ARENA struct arena arena = {0};
    struct job_result again;
    job_result_encode(r, &text);
    if (text.len > JOB_RESULT_BYTES_MAX)
        return;
    CHECK(job_result_decode(buf_view(&text), &arena, &again, NULL) == OK);
    CHECK(strcmp(r->id, again.id) == 0 && r->status == again.status);
    CHECK(span_equal(r->result_json, again.result_json) && r->attempts == again.attempts);
}

static void check_tell(const struct tell *t)
{
    AUTO_BUF struct buf text = {0};
    AUTO_ARENA struct arena arena = {0};
    struct tell again;
    CHECK(job_id_valid(span_from(t->id)));
    tell_encode(t, &text);
    CHECK(tell_decode(buf_view(&text), &arena, &again, NULL) == OK);
    CHECK(strcmp(t->id, again.id) == 0 && strcmp(t->reply_to, again.reply_to) == 0);
    CHECK(t->expires_ms == again.expires_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = {(const char *)data, size};
    AUTO_ARENA struct arena arena = {0};
    struct error error = {0};
    struct job *jobs;
    struct job_result result;
    struct tell tell;
    size_t count;
    if (job_decode(text, &arena, &jobs, &count, &error) == OK)
        for (size_t i = 0; i < count; i++)
            check_job(&jobs[i]);
    else
        CHECK(error.msg[0] != '\0' && count <= 1);
    if (job_result_decode(text, &arena, &result, NULL) == OK)
        check_result(&result);
    if (tell_decode(text, &arena, &tell, NULL) == OK)
        check_tell(&tell);
    return 0;
}
