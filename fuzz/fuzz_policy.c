// Policies: each is refused with a reason, or answers every question, the same one twice.
#include "base/check.h"
#include "sqs/policy.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const peers[] = {"", "127.0.0.1", "2001:db8::1", "203.0.113.9"};
    struct fault fault;
    json_t *policy = NULL;
    if (size > 8192)
        return 0;
    enum sqs_code code = policy_parse((struct span){(const char *)data, size}, &policy, &fault);
    CHECK((code == SQS_OK) == (policy != NULL));
    if (code != SQS_OK) {
        CHECK(code == fault.code && fault.message[0] != '\0');
        return 0;
    }
    CHECK(json_array_size(json_object_get(policy, "Statement")) <= POLICY_STATEMENTS_MAX);
    for (size_t i = 0; i < 8; i++) {
        const struct policy_request request = {.account = i < 4 ? "000000000000" : "111122223333",
                                               .user = i % 2 == 0 ? "" : "bob",
                                               .action = "SendMessage",
                                               .resource = "arn:aws:sqs:us-east-1:000000000000:a",
                                               .peer = peers[i % 4]};
        CHECK(policy_decide(policy, &request) == policy_decide(policy, &request));
    }
    json_decref(policy);
    return 0;
}
