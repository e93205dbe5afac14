// Jobs as people read them: "A dog: poodle, 97 %".
#pragma once

#include "base/buf.h"

// Appends one sentence that says what became of the job (the JSON of a gateway's answer). False: it
// failed, or the text is no job.
bool job_print(struct span job_json, struct buf *out);
// Appends {"file":NAME, and the job's own members}. name: any bytes.
void job_print_json(const char *name, struct span job_json, struct buf *out);
// Appends {"file":NAME,"error":{…}} for a picture that did not become a job.
void job_print_error_json(const char *name, const struct error *error, struct buf *out);
