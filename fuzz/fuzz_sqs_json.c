// JSON requests: whatever is accepted, jansson accepts too (but for numbers beyond its range);
// texts stay inside bounds.
#include "base/check.h"
#include "sqs/sqs_request.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct sqs_request request = {.arena = &arena};
    struct fault fault;
    struct span body = {(const char *)data, size};
    enum sqs_code code = request_from_json(body, &request, &fault);
    if (code == SQS_OK && size > 0) {
        json_error_t error;
        json_t *root = json_loadb(body.data, body.len, JSON_ALLOW_NUL, &error);
        CHECK(root != NULL || json_error_code(&error) == json_error_numeric_overflow);
        json_decref(root);
    }
    CHECK(code == SQS_OK || (code == fault.code && fault.message[0] != '\0'));
    CHECK(request.entries.count <= REQUEST_LIST_MAX);
    arena_release(&arena);
    return 0;
}
