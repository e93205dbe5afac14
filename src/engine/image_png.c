// PNG by libspng: row by row; interlaced pictures as a whole. Colour profiles and gamma are
// ignored.
#include "base/limits.h"
#include "engine/image_decoder.h"

#include <spng.h>
#include <stdlib.h>
#include <string.h>

static enum err png_failed(int code, struct error *error)
{
    switch (code) {
    case SPNG_IO_EOF:
    case SPNG_EIDAT_TOO_SHORT:
        return fail(error, ERR_FORMAT, 0,
                    "the PNG ends in the middle of the picture (truncated upload?): send it again");
    case SPNG_EMEM:
        return fail(error, ERR_NOMEM, 0, "no memory for the PNG's decoder");
    case SPNG_ECHUNK_LIMITS:
        return fail(error, ERR_LIMIT, 0,
                    "the PNG carries more than %d MiB of text and profiles: save it without them",
                    IMAGE_METADATA_BYTES_MAX >> 20);
    default:
        return fail(error, ERR_FORMAT, 0, "the PNG is damaged (%s): send it again or save it anew",
                    spng_strerror(code));
    }
}

#define TRY_PNG(call)                                                                              \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != 0)                                                                            \
            return png_failed(code_, error);                                                       \
    } while (0)

struct png_rows {
    spng_ctx *ctx;
    int width, height;
    enum png_kind { PNG_RGB, PNG_RGBA, PNG_GREY16 } kind; // what the library is asked for
    bool interlaced;
    uint8_t *pixels;  // one row, or all of them when interlaced
    uint8_t *clipped; // PNG_GREY16: one row of RGB
};

static const struct {
    size_t pixel_bytes;
    int format; // an enum spng_format
    int flags;
} png_kinds[] = {
    [PNG_RGB] = {3, SPNG_FMT_RGB8, 0},
    [PNG_RGBA] = {4, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS},
    [PNG_GREY16] = {2, SPNG_FMT_PNG, 0}, // samples in the processor's byte order
};

// Pillow's way with 16 bits: they are not divided, all above 255 is white.
static void row_from_grey16(const uint8_t *grey, int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++, grey += 2, rgb += 3) {
        uint16_t v;
        memcpy(&v, grey, 2);
        rgb[0] = rgb[1] = rgb[2] = (uint8_t)(v < 255 ? v : 255);
    }
}

static void png_emit(const struct png_rows *p, int y, uint8_t *row, const struct image_sink *sink)
{
    if (p->kind == PNG_RGBA)
        image_row_over_white(row, p->width, row);
    if (p->kind == PNG_GREY16)
        row_from_grey16(row, p->width, p->clipped);
    sink->row(sink->ctx, y, p->kind == PNG_GREY16 ? p->clipped : row);
}

static enum err png_interlaced(struct png_rows *p, const struct image_sink *sink,
                               struct error *error)
{
    size_t row_bytes = (size_t)p->width * png_kinds[p->kind].pixel_bytes;
    size_t bytes = row_bytes * (size_t)p->height;
    if (bytes > IMAGE_DECODE_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0,
                    "an interlaced PNG of %d x %d pixels needs more than %d MiB to decode: save it "
                    "without interlacing",
                    p->width, p->height, IMAGE_DECODE_BYTES_MAX >> 20);
    p->pixels = malloc(bytes);
    if (p->pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the PNG's %zu bytes of pixels", bytes);
    TRY(sink->begin(sink->ctx, p->width, p->height, error));
    TRY_PNG(spng_decode_image(p->ctx, p->pixels, bytes, (int)png_kinds[p->kind].format,
                              png_kinds[p->kind].flags));
    for (int y = 0; y < p->height; y++) {
        TRY(stop_check(sink->stop, IMAGE_STOPPED, error));
        png_emit(p, y, p->pixels + (size_t)y * row_bytes, sink);
    }
    return OK;
}

static enum err png_progressive(struct png_rows *p, const struct image_sink *sink,
                                struct error *error)
{
    size_t row_bytes = (size_t)p->width * png_kinds[p->kind].pixel_bytes;
    p->pixels = malloc(row_bytes);
    if (p->pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a row of the PNG");
    TRY(sink->begin(sink->ctx, p->width, p->height, error));
    TRY_PNG(spng_decode_image(p->ctx, NULL, 0, (int)png_kinds[p->kind].format,
                              SPNG_DECODE_PROGRESSIVE | png_kinds[p->kind].flags));
    for (int y = 0; y < p->height; y++) {
        TRY(stop_check(sink->stop, IMAGE_STOPPED, error));
        int code = spng_decode_row(p->ctx, p->pixels, row_bytes);
        if (code != 0 && !(code == SPNG_EOI && y == p->height - 1))
            return png_failed(code, error);
        png_emit(p, y, p->pixels, sink);
    }
    return OK;
}

static enum png_kind png_kind_of(const struct spng_ihdr *header, bool transparent,
                                 enum image_rgb rgb)
{
    enum { GREY = 0, GREY_ALPHA = 4, RGB_ALPHA = 6 };
    if (rgb == IMAGE_AS_PILLOW)
        return header->color_type == GREY && header->bit_depth == 16 ? PNG_GREY16 : PNG_RGB;
    bool alpha = transparent || header->color_type == GREY_ALPHA || header->color_type == RGB_ALPHA;
    return alpha ? PNG_RGBA : PNG_RGB;
}

static enum err png_decode(struct png_rows *p, struct span bytes, const struct image_info *info,
                           const struct image_sink *sink, struct error *error)
{
    TRY_PNG(spng_set_crc_action(p->ctx, SPNG_CRC_ERROR, SPNG_CRC_ERROR));
    TRY_PNG(spng_set_image_limits(p->ctx, IMAGE_SIDE_MAX, IMAGE_SIDE_MAX));
    TRY_PNG(spng_set_chunk_limits(p->ctx, IMAGE_METADATA_BYTES_MAX, IMAGE_METADATA_BYTES_MAX));
    TRY_PNG(spng_set_png_buffer(p->ctx, bytes.data, bytes.len));
    struct spng_ihdr header;
    TRY_PNG(spng_get_ihdr(p->ctx, &header));
    TRY(image_check_size(info, header.width, header.height, error));
    struct spng_trns transparent;
    int code = spng_get_trns(p->ctx, &transparent);
    if (code != 0 && code != SPNG_ECHUNKAVAIL)
        return png_failed(code, error);
    p->width = info->width;
    p->height = info->height;
    p->kind = png_kind_of(&header, code == 0, sink->rgb);
    if (p->kind == PNG_GREY16) {
        p->clipped = malloc((size_t)p->width * 3);
        if (p->clipped == NULL)
            return fail(error, ERR_NOMEM, 0, "no memory for a row of the PNG");
    }
    p->interlaced = header.interlace_method != 0;
    TRY(p->interlaced ? png_interlaced(p, sink, error) : png_progressive(p, sink, error));
    TRY_PNG(spng_decode_chunks(p->ctx)); // to the end: the last checksum, and that there is an end
    return OK;
}

enum err image_png_rows(struct span bytes, const struct image_info *info,
                        const struct image_sink *sink, struct error *error)
{
    struct png_rows p = {.ctx = spng_ctx_new(0)};
    if (p.ctx == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the PNG's decoder");
    enum err err = png_decode(&p, bytes, info, sink, error);
    spng_ctx_free(p.ctx);
    free(p.pixels);
    free(p.clipped);
    return err;
}
