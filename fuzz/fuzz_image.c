// Pictures: whatever the bytes, an error with a text, or a whole picture; and the two ways to read
// one (decode, then resize; or both at once) agree on which. More seeds: tests/pictures.
#include "base/check.h"
#include "engine/image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { SIDE = 7, PIXELS_MAX = 1 << 18 }; // larger ones only cost time
    struct span bytes = {(const char *)data, size};
    struct image_info info;
    struct error error = {0};
    if (image_probe(bytes, &info, &error) != OK) {
        CHECK(error.msg[0] != '\0');
        return 0;
    }
    CHECK(info.width > 0 && info.height > 0 && info.orientation >= 1 && info.orientation <= 8);
    if ((int64_t)info.width * info.height > PIXELS_MAX)
        return 0;
    struct preprocess p = {.width = SIDE,
                           .height = SIDE - 2,
                           .resize = (enum image_resize)(size % 3),
                           .filter = (enum image_filter)(size % 2),
                           .orient = true,
                           .rgb = (enum image_rgb)(size / 2 % 2),
                           .fast = size / 4 % 2 != 0,
                           .std = {1, 1, 1}};
    float tensor[3 * SIDE * (SIDE - 2)];
    struct image image = {0};
    enum err streamed = image_read_tensor(bytes, &p, NULL, tensor, NULL, &error);
    enum err decoded = image_decode(bytes, true, &image, NULL);
    CHECK(streamed == decoded && (decoded == OK || error.msg[0] != '\0'));
    for (int i = 0; decoded == OK && i < 3 * SIDE * (SIDE - 2); i++)
        CHECK(tensor[i] >= 0.0f && tensor[i] <= 255.0f);
    if (decoded == OK)
        image_release(&image);
    return 0;
}
