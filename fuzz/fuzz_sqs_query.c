// Query requests: lists are ordered by their numbers, no number is there twice, nothing grows
// beyond its limit.
#include "base/check.h"
#include "base/text.h"
#include "sqs/sqs_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct sqs_request request = {.arena = &arena};
    struct fault fault;
    struct span given, all = {(const char *)data, size}, body;
    struct span query = span_cut(all, '\n', &body);
    enum sqs_code code = request_from_query(body, query, &request, &given, &fault);
    CHECK(code == SQS_OK || (code == fault.code && fault.message[0] != '\0'));
    CHECK(request.entries.count <= REQUEST_LIST_MAX);
    for (size_t i = 1; i < request.entries.count; i++)
        CHECK(request.entries.items[i].index > request.entries.items[i - 1].index);
    for (size_t i = 0; i < request.attributes.count; i++)
        CHECK(utf8_valid(request.attributes.items[i].value));
    arena_release(&arena);
    return 0;
}
