// Plain kernels that look through a window: Conv, the pools. And BatchNormalization.
#include "engine/plain.h"

#include <math.h>

// One axis of a window; axes that a tensor lacks have size 1, so that there are always three.
struct axis {
    int64_t in, out, kernel, stride, dilation, before, after;
};

static void read_axes(const struct node *n, const struct tensor *in, const struct tensor *out,
                      struct axis axes[SPATIAL_MAX])
{
    const struct window *w = &n->params.window;
    int missing = SPATIAL_MAX - w->rank;
    for (int i = 0; i < SPATIAL_MAX; i++)
        axes[i] = i < missing ? (struct axis){1, 1, 1, 1, 1, 0, 0}
                              : (struct axis){in->shape.dims[2 + i - missing],
                                              out->shape.dims[2 + i - missing],
                                              w->kernel[i - missing],
                                              w->stride[i - missing],
                                              w->dilation[i - missing],
                                              w->before[i - missing],
                                              w->after[i - missing]};
}

// The taps of the window at output position `out` that lie inside the input: [*first, *end).
static int64_t taps(const struct axis *a, int64_t out, int64_t *first, int64_t *end)
{
    int64_t start = out * a->stride - a->before; // input position of tap 0
    *first = start >= 0 ? 0 : (-start + a->dilation - 1) / a->dilation;
    *end = a->kernel;
    if (start + (a->kernel - 1) * a->dilation >= a->in)
        *end = a->in > start ? (a->in - start + a->dilation - 1) / a->dilation : 0;
    return start;
}

// Sum over one plane: input in[d][h][w] under weights[kd][kh][kw] at output position o[3].
static double window_dot(const struct axis a[SPATIAL_MAX], const float *in, const float *weights,
                         const int64_t o[SPATIAL_MAX])
{
    int64_t s[3], first[3], end[3];
    double sum = 0;
    for (int i = 0; i < 3; i++)
        s[i] = taps(&a[i], o[i], &first[i], &end[i]);
    for (int64_t z = first[0]; z < end[0]; z++)
        for (int64_t y = first[1]; y < end[1]; y++)
            for (int64_t x = first[2]; x < end[2]; x++)
                sum +=
                    (double)weights[(z * a[1].kernel + y) * a[2].kernel + x] *
                    (double)in[((s[0] + z * a[0].dilation) * a[1].in + s[1] + y * a[1].dilation) *
                                   a[2].in +
                               s[2] + x * a[2].dilation];
    return sum;
}

// in[0] x[N][C][spatial], in[1] weights[O][C/groups][kernel], in[2] bias[O]; out y[N][O][spatial]
void plain_conv(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct axis a[SPATIAL_MAX];
    read_axes(n, &in[0], out, a);
    const float *x = in[0].data, *weights = in[1].data;
    const float *bias = n->input_count > 2 ? in[2].data : NULL;
    float *y = out->data;
    int64_t outs = out->shape.dims[1], outs_per_group = outs / n->params.window.groups;
    int64_t ins = in[0].shape.dims[1], ins_per_group = in[1].shape.dims[1];
    int64_t plane = a[0].in * a[1].in * a[2].in, taps_all = a[0].kernel * a[1].kernel * a[2].kernel;
    for (int64_t no = 0; no < out->shape.dims[0] * outs; no++) {
        int64_t o = no % outs, batch = no / outs, group = o / outs_per_group;
        const float *planes = x + (batch * ins + group * ins_per_group) * plane;
        int64_t at[3];
        for (at[0] = 0; at[0] < a[0].out; at[0]++)
            for (at[1] = 0; at[1] < a[1].out; at[1]++)
                for (at[2] = 0; at[2] < a[2].out; at[2]++) {
                    double sum = bias != NULL ? (double)bias[o] : 0;
                    for (int64_t c = 0; c < ins_per_group; c++)
                        sum += window_dot(a, planes + c * plane,
                                          weights + (o * ins_per_group + c) * taps_all, at);
                    *y++ = (float)sum;
                }
    }
}

// What a pool makes of one window of a plane.
static float pool_max(const struct node *n, const struct axis a[SPATIAL_MAX], const float *in,
                      const int64_t o[SPATIAL_MAX])
{
    int64_t s[3], first[3], end[3];
    float max = -INFINITY;
    (void)n;
    for (int i = 0; i < 3; i++)
        s[i] = taps(&a[i], o[i], &first[i], &end[i]);
    for (int64_t z = first[0]; z < end[0]; z++)
        for (int64_t y = first[1]; y < end[1]; y++)
            for (int64_t x = first[2]; x < end[2]; x++) {
                float v =
                    in[((s[0] + z * a[0].dilation) * a[1].in + s[1] + y * a[1].dilation) * a[2].in +
                       s[2] + x * a[2].dilation];
                max = v > max ? v : max;
            }
    return max;
}

static float pool_average(const struct node *n, const struct axis a[SPATIAL_MAX], const float *in,
                          const int64_t o[SPATIAL_MAX])
{
    int64_t s[3], first[3], end[3], count = 1;
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        s[i] = taps(&a[i], o[i], &first[i], &end[i]);
        int64_t inside = end[i] - first[i], padded = 0;
        for (int64_t k = 0; k < a[i].kernel; k++)
            padded += s[i] + k * a[i].dilation < a[i].in + a[i].after;
        count *= n->params.window.count_pads ? padded : inside;
    }
    for (int64_t z = first[0]; z < end[0]; z++)
        for (int64_t y = first[1]; y < end[1]; y++)
            for (int64_t x = first[2]; x < end[2]; x++)
                sum += (double)
                    in[((s[0] + z * a[0].dilation) * a[1].in + s[1] + y * a[1].dilation) * a[2].in +
                       s[2] + x * a[2].dilation];
    return count > 0 ? (float)(sum / (double)count) : 0;
}

static void pool(const struct node *n, const struct tensor *in, const struct tensor *out,
                 float (*reduce)(const struct node *, const struct axis[SPATIAL_MAX], const float *,
                                 const int64_t[SPATIAL_MAX]))
{
    struct axis a[SPATIAL_MAX];
    read_axes(n, &in[0], out, a);
    const float *x = in[0].data;
    float *y = out->data;
    int64_t planes = in[0].shape.dims[0] * in[0].shape.dims[1], at[3];
    for (int64_t p = 0; p < planes; p++, x += a[0].in * a[1].in * a[2].in)
        for (at[0] = 0; at[0] < a[0].out; at[0]++)
            for (at[1] = 0; at[1] < a[1].out; at[1]++)
                for (at[2] = 0; at[2] < a[2].out; at[2]++)
                    *y++ = reduce(n, a, x, at);
}

void plain_max_pool(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    pool(n, in, out, pool_max);
}

void plain_average_pool(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    pool(n, in, out, pool_average);
}

// in: x[N][C]…, scale[C], shift[C], mean[C], variance[C]
void plain_batch_norm(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    const float *x = in[0].data, *scale = in[1].data, *shift = in[2].data, *mean = in[3].data,
                *variance = in[4].data;
    float *y = out->data;
    int64_t channels = in[0].shape.dims[1], plane = 1;
    for (int i = 2; i < in[0].shape.rank; i++)
        plane *= in[0].shape.dims[i];
    for (int64_t p = 0; p < in[0].shape.dims[0] * channels; p++) {
        int64_t c = p % channels;
        double k = (double)scale[c] / sqrt((double)variance[c] + (double)n->params.epsilon);
        for (int64_t i = 0; i < plane; i++)
            *y++ = (float)(((double)*x++ - (double)mean[c]) * k + (double)shift[c]);
    }
}
