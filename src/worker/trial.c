#include "worker/trial.h"

#include "base/digest.h"

void trial_begun(struct trial *t)
{
    if (++t->begun < WORKER_TRIAL_JOBS)
        return;
    t->begun /= 2;
    t->bad /= 2;
}

void trial_bad(struct trial *t, struct span picture)
{
    uint64_t digest = (uint64_t)picture.len << 32 | digest_crc32c(0, picture.data, picture.len);
    uint32_t kept = t->noted < WORKER_TRIAL_PICTURES ? t->noted : WORKER_TRIAL_PICTURES;
    for (uint32_t i = 0; i < kept; i++)
        if (t->pictures[i] == digest)
            return;
    t->pictures[t->noted++ % WORKER_TRIAL_PICTURES] = digest;
    t->bad++;
}

bool trial_failed(const struct trial *t, const struct trial *before)
{
    uint64_t bad = t->bad, begun = t->begun;
    if (bad < WORKER_TRIAL_BAD || bad * 100 <= begun * WORKER_TRIAL_BAD_PERCENT)
        return false;
    // more than twice the share that the one before had
    return before == NULL || before->begun == 0 ||
           bad * before->begun > 2 * (uint64_t)before->bad * begun;
}
