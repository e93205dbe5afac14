#include "aws/redrive_policy.h"

#include "base/limits.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *redrive_policy_read(const char *policy, char out[QUEUE_NAME_SIZE], int *max_receives)
{
    json_t *root = policy != NULL ? json_loads(policy, 0, NULL) : NULL;
    const char *arn = json_string_value(json_object_get(root, "deadLetterTargetArn"));
    const json_t *count = json_object_get(root, "maxReceiveCount");
    const char *colon = arn != NULL ? strrchr(arn, ':') : NULL; // arn:aws:sqs:REGION:ACCOUNT:NAME
    long value = json_is_string(count) ? strtol(json_string_value(count), NULL, 10)
                                       : (long)json_integer_value(count);
    snprintf(out, QUEUE_NAME_SIZE, "%s", colon != NULL ? colon + 1 : "");
    *max_receives = value >= 1 && value <= SQS_RECEIVE_COUNT_MAX ? (int)value : 0;
    json_decref(root);
    return out;
}
