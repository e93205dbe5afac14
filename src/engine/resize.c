#include "engine/resize.h"

#include "base/check.h"
#include "engine/image_header.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct resize {
    struct resize_axis along, across; // the rows; both in the picture's stored order
    const struct resize_kernels *kernels;
    uint8_t *ring;          // [ring_rows][row_bytes] narrowed rows, row y at y % ring_rows
    const uint8_t **window; // [across.taps] pointers into it
    uint8_t *mixed;         // one row of the result, 8 bits
    int ring_rows;
    size_t row_bytes;
    int next; // row of the result that comes next
    // where the pixel i of the result's row o goes: out[at + o * across_step + i * along_step]
    float *out;
    ptrdiff_t at, along_step, across_step, channel_step;
    bool grey;
    int source[3];       // channel of the picture that the network's channel c shows
    float level[3][256]; // what v becomes in the network's channel c
};

// A part of the picture (oriented, in pixels) and the place in the tensor that shows it.
struct frame {
    float x0, y0, x1, y1;
    int left, top, width, height;
};

// A picture of w x h and a tensor of W x H with equal sides' ratio show all; else center_crop cuts
// the longer side at both ends, letterbox leaves bars. Arithmetic as in Pillow's ImageOps.fit and
// pad.
static struct frame frame_choose(const struct preprocess *p, int width, int height)
{
    struct frame f = {0, 0, (float)width, (float)height, 0, 0, p->width, p->height};
    double ratio = (double)width / height, wanted = (double)p->width / p->height;
    if (p->resize == IMAGE_CENTER_CROP && ratio > wanted) {
        double shown = wanted * height, left = (width - shown) * 0.5;
        f.x0 = (float)left;
        f.x1 = (float)(left + shown);
    } else if (p->resize == IMAGE_CENTER_CROP && ratio < wanted) {
        double shown = width / wanted, top = (height - shown) * 0.5;
        f.y0 = (float)top;
        f.y1 = (float)(top + shown);
    } else if (p->resize == IMAGE_LETTERBOX && ratio > wanted) {
        f.height = (int)nearbyint((double)height / width * p->width);
    } else if (p->resize == IMAGE_LETTERBOX && ratio < wanted) {
        f.width = (int)nearbyint(ratio * p->height);
    }
    f.width = f.width < 1 ? 1 : f.width;
    f.height = f.height < 1 ? 1 : f.height;
    f.left = (int)nearbyint((p->width - f.width) * 0.5);
    f.top = (int)nearbyint((p->height - f.height) * 0.5);
    f.x1 = f.x1 > (float)width ? (float)width : f.x1;
    f.y1 = f.y1 > (float)height ? (float)height : f.y1;
    return f;
}

static void place_init(struct resize *r, const struct preprocess *p, const struct frame *f,
                       struct image_turn turn)
{
    ptrdiff_t pixel = p->layout == IMAGE_NCHW ? 1 : preprocess_channels(p), line = pixel * p->width;
    r->channel_step = p->layout == IMAGE_NCHW ? (ptrdiff_t)p->width * p->height : 1;
    r->at = f->top * line + f->left * pixel;
    r->along_step = turn.turned ? line : pixel;
    r->across_step = turn.turned ? pixel : line;
    if (turn.back_along) {
        r->at += r->along_step * (r->along.out - 1);
        r->along_step = -r->along_step;
    }
    if (turn.back_across) {
        r->at += r->across_step * (r->across.out - 1);
        r->across_step = -r->across_step;
    }
    r->grey = p->grey;
    for (int c = 0; c < 3; c++) {
        r->source[c] = p->bgr ? 2 - c : c;
        for (int v = 0; v < 256; v++)
            r->level[c][v] = p->scale == IMAGE_DIVIDE_FIRST
                                 ? (float)v / p->std[c] - p->mean[c] / p->std[c]
                                 : ((float)v - p->mean[c]) / p->std[c];
    }
}

// One axis of the stored picture: `size` pixels, of which shown0..shown1 (oriented) become `out`.
// The last reduced sample may stand for fewer pixels than the others: its end is beyond `size`.
static enum err axis_init(struct resize_axis *a, int size, int reduce, float shown0, float shown1,
                          int out, enum image_filter filter, bool mirrored, struct error *error)
{
    int in = (size + reduce - 1) / reduce;
    float scale = (float)reduce, beyond = (float)in - (float)size / scale;
    float from = shown0 / scale, to = shown1 / scale;
    if (mirrored) { // the surplus stands first
        from += beyond;
        to += beyond;
    }
    return resize_axis_init(a, in, from, to < (float)in ? to : (float)in, out, filter, mirrored,
                            error);
}

static enum err axes_init(struct resize *r, const struct preprocess *p, int width, int height,
                          int reduce, const struct frame *f, struct image_turn turn,
                          struct error *error)
{
    if (turn.turned) {
        TRY(axis_init(&r->along, width, reduce, f->y0, f->y1, f->height, p->filter, turn.back_along,
                      error));
        return axis_init(&r->across, height, reduce, f->x0, f->x1, f->width, p->filter,
                         turn.back_across, error);
    }
    TRY(axis_init(&r->along, width, reduce, f->x0, f->x1, f->width, p->filter, turn.back_along,
                  error));
    return axis_init(&r->across, height, reduce, f->y0, f->y1, f->height, p->filter,
                     turn.back_across, error);
}

int resize_reduction(const struct preprocess *p, int width, int height, int orientation)
{
    bool turned = image_turn_of(orientation).turned;
    struct frame f = frame_choose(p, turned ? height : width, turned ? width : height);
    for (int reduce = 8; p->fast && reduce > 1; reduce /= 2) {
        float needed = 2.0f * (float)reduce;
        if (f.x1 - f.x0 >= needed * (float)f.width && f.y1 - f.y0 >= needed * (float)f.height)
            return reduce;
    }
    return 1;
}

enum err resize_new(const struct preprocess *p, int width, int height, int reduce, int orientation,
                    float *out, struct resize **resize, struct error *error)
{
    CHECK(orientation >= 1 && orientation <= 8 && p->width > 0 && p->height > 0 && reduce > 0);
    struct image_turn turn = image_turn_of(orientation);
    struct frame f = frame_choose(p, turn.turned ? height : width, turn.turned ? width : height);
    struct resize *r = calloc(1, sizeof *r);
    if (r == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a resize");
    enum err err = axes_init(r, p, width, height, reduce, &f, turn, error);
    if (err != OK) {
        resize_free(r);
        return err;
    }
    for (int i = 0; i < r->across.out; i++)
        r->ring_rows = r->across.count[i] > r->ring_rows ? r->across.count[i] : r->ring_rows;
    r->row_bytes = (size_t)r->along.out * 3 + 1; // narrow() writes one byte behind
    r->ring = malloc((size_t)r->ring_rows * r->row_bytes);
    r->window = calloc((size_t)r->ring_rows, sizeof *r->window);
    r->mixed = malloc(r->row_bytes);
    if (r->ring == NULL || r->window == NULL || r->mixed == NULL) {
        resize_free(r);
        return fail(error, ERR_NOMEM, 0, "no memory for a resize from %d x %d", width, height);
    }
    r->kernels = resize_kernels_best();
    r->out = out;
    place_init(r, p, &f, turn);
    if (p->resize == IMAGE_LETTERBOX)
        memset(out, 0,
               sizeof(float) * (size_t)preprocess_channels(p) * (size_t)p->width *
                   (size_t)p->height); // the bars: the mean colour
    *resize = r;
    return OK;
}

void resize_free(struct resize *r)
{
    if (r == NULL)
        return;
    resize_axis_release(&r->along);
    resize_axis_release(&r->across);
    free(r->ring);
    free(r->window);
    free(r->mixed);
    free(r);
}

// Luma of ITU-R BT.601 in 16-bit fractions, rounded as Pillow does.
static void emit_grey(struct resize *r, int o)
{
    const uint8_t *rgb = r->mixed;
    float *to = r->out + r->at + o * r->across_step;
    for (int i = 0; i < r->along.out; i++, rgb += 3, to += r->along_step)
        *to = r->level[0][(rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16];
}

static void resize_emit(struct resize *r, int o)
{
    if (r->grey) {
        emit_grey(r, o);
        return;
    }
    for (int c = 0; c < 3; c++) {
        const uint8_t *from = r->mixed + r->source[c];
        const float *level = r->level[c];
        float *to = r->out + r->at + o * r->across_step + c * r->channel_step;
        for (int i = 0; i < r->along.out; i++, from += 3, to += r->along_step)
            *to = level[*from];
    }
}

void resize_row(struct resize *r, int y, const uint8_t *rgb)
{
    const struct resize_axis *a = &r->across;
    if (r->next == a->out || y < a->first[r->next])
        return;
    r->kernels->narrow(&r->along, rgb, r->ring + (size_t)(y % r->ring_rows) * r->row_bytes);
    for (; r->next < a->out && y == a->first[r->next] + a->count[r->next] - 1; r->next++) {
        int o = r->next;
        for (int t = 0; t < a->count[o]; t++)
            r->window[t] = r->ring + (size_t)((a->first[o] + t) % r->ring_rows) * r->row_bytes;
        r->kernels->mix(r->window, a->weights + (size_t)o * (size_t)a->taps, a->count[o],
                        r->along.out * 3, r->mixed);
        resize_emit(r, o);
    }
}
