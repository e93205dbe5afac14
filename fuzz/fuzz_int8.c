// int8.json: an error with a text, or scales that a network can be given, and that write themselves
// the same again.
#include "base/check.h"
#include "engine/quantization.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct quantization q, again;
    struct error error = {0};
    if (quantization_parse((struct span){(const char *)data, size}, &q, &error) != OK) {
        CHECK(error.msg[0] != '\0' && q.tensors == NULL && q.layers == NULL);
        return 0;
    }
    CHECK(strlen(q.model_sha256) == 64);
    for (size_t i = 0; i < q.tensor_count; i++) {
        struct quant t = q.tensors[i].quant;
        CHECK(t.scale > 0 && isfinite(t.scale) && isfinite(1 / t.scale));
        CHECK(t.zero >= 0 && t.zero <= 255);
    }
    AUTO_BUF struct buf text = {0}, second = {0};
    quantization_write(&q, &text);
    CHECK(quantization_parse(buf_view(&text), &again, &error) == OK);
    CHECK(again.tensor_count == q.tensor_count && again.layer_count == q.layer_count);
    quantization_write(&again, &second);
    CHECK(text.len == second.len && memcmp(text.data, second.data, text.len) == 0);
    quantization_release(&q);
    quantization_release(&again);
    return 0;
}
