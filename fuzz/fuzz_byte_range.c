// The Range header: whatever it says, what is sent lies inside the object. Input: 8 bytes of size,
// then the header's value.
#include "base/check.h"
#include "s3/byte_range.h"
#include "s3/preconditions.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t object_bytes, first, last;
    int64_t date;
    if (size < sizeof object_bytes)
        return 0;
    memcpy(&object_bytes, data, sizeof object_bytes);
    struct span text = {(const char *)data + sizeof object_bytes, size - sizeof object_bytes};
    if (byte_range_parse(text, object_bytes, &first, &last) == RANGE_PART)
        CHECK(first <= last && last < object_bytes);
    (void)http_date_parse(text, &date); // other header values that are read by hand
    (void)etag_list_has(text, "\"5d41402abc4b2a76b9719d911017c592\"");
    return 0;
}
