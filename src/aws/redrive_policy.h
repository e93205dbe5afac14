// A queue's redrive policy, {"deadLetterTargetArn":"…","maxReceiveCount":3}, as SQS servers tell
// it. Pure.
#pragma once

enum { QUEUE_NAME_SIZE = 81 }; // with its 0

// Name of the dead-letter queue, into out, which is returned: "" if policy (may be NULL) names
// none. *max_receives: 0 if that is missing or nonsense; some servers write it as text.
const char *redrive_policy_read(const char *policy, char out[QUEUE_NAME_SIZE], int *max_receives);
