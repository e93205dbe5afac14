// WebP by libwebp: still pictures, lossy and lossless. The library gives a picture only as a whole.
#include "base/limits.h"
#include "engine/image_decoder.h"

#include <stdlib.h>
#include <webp/decode.h>

static enum err webp_failed(VP8StatusCode status, struct error *error)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return fail(error, ERR_NOMEM, 0, "no memory for the WebP's decoder");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return fail(
            error, ERR_FORMAT, 0,
            "the WebP ends in the middle of the picture (truncated upload?): send it again");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return fail(error, ERR_UNSUPPORTED, 0,
                    "the WebP is of a rare kind: save it as an ordinary WebP, JPEG or PNG");
    default:
        return fail(error, ERR_FORMAT, 0, "the WebP is damaged: send it again or save it anew");
    }
}

static enum err webp_check(const WebPBitstreamFeatures *f, const struct image_info *info,
                           struct error *error)
{
    enum { LOSSLESS = 2 };
    if (f->has_animation)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "this WebP is animated; smelt reads still pictures: send one of its frames");
    TRY(image_check_size(info, (uint64_t)f->width, (uint64_t)f->height, error));
    // lossless pictures are held once more inside the library, as 32-bit pixels
    size_t pixel_bytes = (f->has_alpha ? 4u : 3u) + (f->format == LOSSLESS ? 4u : 0u);
    if ((size_t)f->width * (size_t)f->height * pixel_bytes > IMAGE_DECODE_BYTES_MAX)
        return fail(
            error, ERR_LIMIT, 0,
            "a WebP of %d x %d pixels of this kind needs more than %d MiB to decode: send it "
            "smaller or as JPEG",
            f->width, f->height, IMAGE_DECODE_BYTES_MAX >> 20);
    return OK;
}

static enum err webp_decode(struct span bytes, WebPDecoderConfig *config, uint8_t **pixels,
                            const struct image_sink *sink, struct error *error)
{
    int width = config->input.width, height = config->input.height;
    bool alpha = config->input.has_alpha != 0 && sink->rgb == IMAGE_OVER_WHITE;
    size_t row_bytes = (size_t)width * (alpha ? 4 : 3);
    *pixels = malloc(row_bytes * (size_t)height);
    if (*pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the WebP's pixels");
    TRY(sink->begin(sink->ctx, width, height, error));
    config->output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config->output.is_external_memory = 1;
    config->output.u.RGBA = (WebPRGBABuffer){
        .rgba = *pixels, .stride = (int)row_bytes, .size = row_bytes * (size_t)height};
    VP8StatusCode status = WebPDecode((const uint8_t *)bytes.data, bytes.len, config);
    if (status != VP8_STATUS_OK)
        return webp_failed(status, error);
    for (int y = 0; y < height; y++) {
        TRY(stop_check(sink->stop, IMAGE_STOPPED, error));
        uint8_t *row = *pixels + (size_t)y * row_bytes;
        if (alpha)
            image_row_over_white(row, width, row);
        sink->row(sink->ctx, y, row);
    }
    return OK;
}

enum err image_webp_rows(struct span bytes, const struct image_info *info,
                         const struct image_sink *sink, struct error *error)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return fail(error, ERR_INTERNAL, 0, "libwebp is of another version than its headers");
    VP8StatusCode status = WebPGetFeatures((const uint8_t *)bytes.data, bytes.len, &config.input);
    if (status != VP8_STATUS_OK)
        return webp_failed(status, error);
    TRY(webp_check(&config.input, info, error));
    uint8_t *pixels = NULL;
    enum err err = webp_decode(bytes, &config, &pixels, sink, error);
    free(pixels);
    return err;
}
