// JPEG by libjpeg-turbo, row by row: baseline, progressive, grey, CMYK and YCCK.
#include "base/limits.h"
#include "engine/image_decoder.h"

#include <setjmp.h>
#include <stdio.h> // jpeglib.h needs it before it
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape; // every error inside the library ends here
    bool at_end;    // the library has asked for bytes behind the last one
    bool several_scans;
    enum err err;
    struct error *error;
    const struct stop *stop;
    uint8_t *samples; // one row as the library gives it, CMYK or RGB
};

// ---- errors -----------------------------------------------------------------------------------

_Noreturn static void jpeg_leave(struct jpeg_reader *r, enum err err)
{
    r->err = err;
    longjmp(r->escape, 1);
}

static enum err jpeg_cut_short(struct jpeg_reader *r)
{
    return fail(r->error, ERR_FORMAT, 0,
                "the JPEG ends in the middle of the picture (truncated upload?): send it again");
}

static enum err jpeg_damaged(struct jpeg_reader *r)
{
    char text[JMSG_LENGTH_MAX];
    r->cinfo.err->format_message((j_common_ptr)&r->cinfo, text);
    return fail(r->error, ERR_FORMAT, 0, "the JPEG is damaged (%s): send it again or save it anew",
                text);
}

static enum err jpeg_rare(struct jpeg_reader *r)
{
    char text[JMSG_LENGTH_MAX];
    r->cinfo.err->format_message((j_common_ptr)&r->cinfo, text);
    return fail(r->error, ERR_UNSUPPORTED, 0,
                "the JPEG is of a rare kind (%s): save it as an ordinary JPEG", text);
}

_Noreturn static void on_error(j_common_ptr cinfo)
{
    struct jpeg_reader *r = cinfo->client_data;
    switch (cinfo->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
        jpeg_leave(r, fail(r->error, ERR_NOMEM, 0, "no memory for the JPEG's decoder"));
    case JERR_NO_BACKING_STORE:
        jpeg_leave(r,
                   fail(r->error, ERR_LIMIT, 0,
                        "this progressive JPEG needs more than %d MiB to decode: send it smaller, "
                        "or saved as baseline JPEG",
                        IMAGE_DECODE_BYTES_MAX >> 20));
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_ARITH_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_COMPONENT_COUNT:
    case JERR_WIDTH_OVERFLOW:
        jpeg_leave(r, jpeg_rare(r));
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY:
        jpeg_leave(r, jpeg_cut_short(r));
    default:
        jpeg_leave(r, r->at_end ? jpeg_cut_short(r) : jpeg_damaged(r));
    }
}

// The library repairs what it can and warns. Grey or invented pixels are no picture: where pixels
// are missing we stop. A baseline JPEG that lacks nothing but its end marker is whole and is taken.
static void on_message(j_common_ptr cinfo, int level)
{
    struct jpeg_reader *r = cinfo->client_data;
    if (level >= 0)
        return;
    switch (cinfo->err->msg_code) {
    case JWRN_JPEG_EOF:
        r->at_end = true;
        if (r->several_scans)
            jpeg_leave(r, jpeg_cut_short(r));
        break;
    case JWRN_HIT_MARKER:
        jpeg_leave(r, r->at_end ? jpeg_cut_short(r) : jpeg_damaged(r));
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        jpeg_leave(r, jpeg_damaged(r));
    default: // extraneous bytes, unknown versions: harmless
        break;
    }
}

// Comes for each row of the picture, and of blocks where a progressive JPEG's coefficients are
// read.
static void on_progress(j_common_ptr cinfo)
{
    struct jpeg_reader *r = cinfo->client_data;
    enum err err = stop_check(r->stop, IMAGE_STOPPED, r->error);
    if (err != OK)
        jpeg_leave(r, err);
    if (r->cinfo.input_scan_number > IMAGE_SCANS_MAX)
        jpeg_leave(r, fail(r->error, ERR_LIMIT, 0,
                           "the JPEG has more than %d scans (pictures have about 10): save it anew",
                           IMAGE_SCANS_MAX));
}

// ---- rows -------------------------------------------------------------------------------------

// Adobe's programs write CMYK inverted (255 = no ink), and all others follow them.
static void row_from_cmyk(const uint8_t *cmyk, int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        uint8_t k = cmyk[3];
        rgb[0] = image_mul255(cmyk[0], k);
        rgb[1] = image_mul255(cmyk[1], k);
        rgb[2] = image_mul255(cmyk[2], k);
    }
}

static void read_rows(struct jpeg_reader *r, const struct image_sink *sink)
{
    struct jpeg_decompress_struct *cinfo = &r->cinfo;
    int width = (int)cinfo->output_width;
    while (cinfo->output_scanline < cinfo->output_height) {
        int y = (int)cinfo->output_scanline;
        JSAMPROW row = r->samples;
        jpeg_read_scanlines(cinfo, &row, 1);
        if (cinfo->out_color_space == JCS_CMYK)
            row_from_cmyk(r->samples, width, r->samples);
        sink->row(sink->ctx, y, r->samples);
    }
}

static void read_picture(struct jpeg_reader *r, struct span bytes, const struct image_info *info,
                         const struct image_sink *sink)
{
    struct jpeg_decompress_struct *cinfo = &r->cinfo;
    if (setjmp(r->escape) != 0)
        return;
    jpeg_create_decompress(cinfo);
    cinfo->progress = &r->progress;
    cinfo->mem->max_memory_to_use = IMAGE_DECODE_BYTES_MAX;
    jpeg_mem_src(cinfo, (const unsigned char *)bytes.data, bytes.len);
    jpeg_read_header(cinfo, TRUE);
    r->err = image_check_size(info, cinfo->image_width, cinfo->image_height, r->error);
    if (r->err != OK)
        return;
    r->several_scans = jpeg_has_multiple_scans(cinfo);
    bool inks = cinfo->jpeg_color_space == JCS_CMYK || cinfo->jpeg_color_space == JCS_YCCK;
    cinfo->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    cinfo->scale_num = 1; // of each 8 x 8 block only the low frequencies are turned into pixels
    cinfo->scale_denom = (unsigned)sink->reduce;
    jpeg_start_decompress(cinfo);
    r->samples = malloc((size_t)cinfo->output_width * 4);
    if (r->samples == NULL)
        jpeg_leave(r, fail(r->error, ERR_NOMEM, 0, "no memory for a row of the JPEG"));
    r->err = sink->begin(sink->ctx, (int)cinfo->output_width, (int)cinfo->output_height, r->error);
    if (r->err == OK)
        read_rows(r, sink);
}

enum err image_jpeg_rows(struct span bytes, const struct image_info *info,
                         const struct image_sink *sink, struct error *error)
{
    struct jpeg_reader r = {.error = error, .stop = sink->stop};
    r.cinfo.client_data = &r;
    r.cinfo.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    r.progress.progress_monitor = on_progress;
    read_picture(&r, bytes, info, sink);
    jpeg_destroy_decompress(&r.cinfo);
    free(r.samples);
    return r.err;
}
