// PNG by libspng: row by row; interlaced pictures as a whole. Colour profiles and gamma are
// ignored.
#include "base/limits.h"
#include "engine/image_decoder.h"

#include <spng.h>
#include <stdlib.h>

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
    bool alpha, interlaced;
    uint8_t *pixels; // one row, or all of them when interlaced
};

static void png_emit(const struct png_rows *p, int y, uint8_t *row, const struct image_sink *sink)
{
    if (p->alpha)
        image_row_over_white(row, p->width, row);
    sink->row(sink->ctx, y, row);
}

static enum err png_interlaced(struct png_rows *p, const struct image_sink *sink,
                               struct error *error)
{
    size_t row_bytes = (size_t)p->width * (p->alpha ? 4 : 3), bytes = row_bytes * (size_t)p->height;
    if (bytes > IMAGE_DECODE_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0,
                    "an interlaced PNG of %d x %d pixels needs more than %d MiB to decode: save it "
                    "without interlacing",
                    p->width, p->height, IMAGE_DECODE_BYTES_MAX >> 20);
    p->pixels = malloc(bytes);
    if (p->pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the PNG's %zu bytes of pixels", bytes);
    TRY(sink->begin(sink->ctx, p->width, p->height, error));
    TRY_PNG(spng_decode_image(p->ctx, p->pixels, bytes, p->alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8,
                              p->alpha ? SPNG_DECODE_TRNS : 0));
    for (int y = 0; y < p->height; y++)
        png_emit(p, y, p->pixels + (size_t)y * row_bytes, sink);
    return OK;
}

static enum err png_progressive(struct png_rows *p, const struct image_sink *sink,
                                struct error *error)
{
    size_t row_bytes = (size_t)p->width * (p->alpha ? 4 : 3);
    p->pixels = malloc(row_bytes);
    if (p->pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a row of the PNG");
    TRY(sink->begin(sink->ctx, p->width, p->height, error));
    TRY_PNG(spng_decode_image(p->ctx, NULL, 0, p->alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8,
                              SPNG_DECODE_PROGRESSIVE | (p->alpha ? SPNG_DECODE_TRNS : 0)));
    for (int y = 0; y < p->height; y++) {
        int code = spng_decode_row(p->ctx, p->pixels, row_bytes);
        if (code != 0 && !(code == SPNG_EOI && y == p->height - 1))
            return png_failed(code, error);
        png_emit(p, y, p->pixels, sink);
    }
    return OK;
}

static enum err png_decode(struct png_rows *p, struct span bytes, const struct image_info *info,
                           const struct image_sink *sink, struct error *error)
{
    enum { GREY_ALPHA = 4, RGB_ALPHA = 6 };
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
    p->alpha = code == 0 || header.color_type == GREY_ALPHA || header.color_type == RGB_ALPHA;
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
    return err;
}
