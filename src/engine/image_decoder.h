// What the three decoders have in common: they turn a picture into rows of 8-bit RGB, from the top,
// as stored (not oriented), and hold as little of it at once as the format allows.
#pragma once

#include "engine/image.h"

// Takes the rows. `begin` is called once, before the first row, when the library has read the
// header and agreed on the size: here memory is allocated. That size is the picture's, or, where
// the decoder can, the picture's divided by `reduce` and rounded up.
struct image_sink {
    void *ctx;
    enum image_rgb rgb;
    int reduce; // 1, 2, 4, 8: how much smaller a picture the sink can do with
    enum err (*begin)(void *ctx, int width, int height, struct error *error);
    void (*row)(void *ctx, int y, const uint8_t *rgb); // width * 3 bytes, valid during the call
    const struct stop *stop;                           // the decoder looks at it before each row
};
#define IMAGE_STOPPED "the decoding of the picture" // stop_check's word for it

// info: as image_probe gave it (checked against the limits). Each error names the format and what
// to do: ERR_FORMAT (truncated, damaged), ERR_UNSUPPORTED (a rare kind), ERR_LIMIT, ERR_NOMEM, or
// what begin or the stop returned. All rows have come when OK is returned; some may have when it is
// not.
enum err image_jpeg_rows(struct span bytes, const struct image_info *info,
                         const struct image_sink *sink, struct error *error) MUST_CHECK;
enum err image_png_rows(struct span bytes, const struct image_info *info,
                        const struct image_sink *sink, struct error *error) MUST_CHECK;
enum err image_webp_rows(struct span bytes, const struct image_info *info,
                         const struct image_sink *sink, struct error *error) MUST_CHECK;

// ERR_FORMAT when the library read another size than image_probe: a picture made to deceive.
enum err image_check_size(const struct image_info *info, uint64_t width, uint64_t height,
                          struct error *error) MUST_CHECK;

// a * b / 255, rounded to nearest, for a, b in 0..255.
static inline uint8_t image_mul255(uint8_t a, uint8_t b)
{
    uint32_t t = (uint32_t)a * b + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

// Pixels of RGBA laid over white. out may be rgba itself.
void image_row_over_white(const uint8_t *rgba, int width, uint8_t *out);
