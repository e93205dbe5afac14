#include "job/reply_url.h"

#include "job/job.h"

#include <string.h>

enum { QUEUE_NAME_BYTES_MAX = 80 };

bool reply_url(const char *queue_url, const char *reply_to, struct buf *out)
{
    const char *name = strrchr(reply_to, '/'), *end = strrchr(queue_url, '/');
    name = name != NULL ? name + 1 : reply_to;
    if (end == NULL || !span_starts(span_from(name), JOB_REPLIES_PREFIX) ||
        strlen(name) > QUEUE_NAME_BYTES_MAX || !job_id_valid(span_from(name)))
        return false;
    buf_add(out, queue_url, (size_t)(end + 1 - queue_url));
    buf_add_text(out, name);
    return true;
}
