// The proof of a zygote: a child is forked, as any child, and answers one job for each model, as
// any job: the package's sample picture, or one made here. What would break jobs breaks this first.
#pragma once

#include "worker/model_set.h"
#include "worker/sandbox.h"

// *child_bytes: what the child had for itself afterwards (0: the kernel does not tell).
enum err proof_run(struct model_set *models, const struct sandbox *sandbox, uint64_t *child_bytes,
                   struct error *error) MUST_CHECK;
uint64_t proof_resident_bytes(void); // of this process
