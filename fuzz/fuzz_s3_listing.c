// A store's listing: what is read has its keys, and a next page only where the listing says so.
#include "aws/s3_listing.h"
#include "base/check.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena arena = {0};
    struct s3_listing page = {0};
    struct error error;
    if (s3_listing_read((struct span){(const char *)data, size}, &arena, &page, &error) != OK)
        return 0;
    CHECK(page.count <= S3_LIST_MAX);
    for (size_t i = 0; i < page.count; i++)
        CHECK(page.objects[i].key.len > 0 && page.objects[i].modified != NULL);
    CHECK(page.next_token == NULL || page.next_token[0] != '\0');
    return 0;
}
