// What a program handler writes: an answer lies inside the bytes, and reading it again says the
// same.
#include "base/check.h"
#include "worker/exec_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span all = {(const char *)data, size};
    struct exec_answer answer = {0}, again = {0};
    struct error error;
    size_t used, used_again;
    if (exec_answer_read(all, &answer, &used, &error) != OK || used == 0)
        return 0;
    CHECK(used <= size && answer.text.len <= WORKER_ANSWER_BYTES_MAX);
    CHECK(answer.text.data >= all.data && answer.text.data + answer.text.len == all.data + used);
    CHECK(exec_answer_read((struct span){all.data, used}, &again, &used_again, &error) == OK);
    CHECK(used_again == used && again.word == answer.word);
    return 0;
}
