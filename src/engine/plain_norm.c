// Plain kernels that normalize and quantize.
#include "engine/plain.h"

#include <math.h>

// y = (x - mean) / sqrt(variance + epsilon), over count elements; scale and shift may be NULL, and
// each number of theirs counts for `each` elements.
static void normalize(const float *x, float *y, int64_t count, float epsilon, const float *scale,
                      const float *shift, int64_t each)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double k = 1 / sqrt(squares / (double)count + (double)epsilon);
    for (int64_t i = 0; i < count; i++) {
        double s = scale != NULL ? (double)scale[i / each] : 1;
        double t = shift != NULL ? (double)shift[i / each] : 0;
        y[i] = (float)(((double)x[i] - mean) * k * s + t);
    }
}

// in: x, scale of the normalized axes, shift of the same or left out
void plain_layer_norm(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t inner = 1, count = shape_count(&out->shape);
    for (int i = n->params.norm.axis; i < out->shape.rank; i++)
        inner *= out->shape.dims[i];
    for (int64_t i = 0; i < count; i += inner)
        normalize((const float *)in->data + i, (float *)out->data + i, inner,
                  n->params.norm.epsilon, in[1].data, n->input_count > 2 ? in[2].data : NULL, 1);
}

// in: x[N][C]…, scale[C], shift[C]; each plane is normalized by itself
void plain_instance_norm(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t channels = out->shape.dims[1], planes = out->shape.dims[0] * channels;
    int64_t plane = shape_count(&out->shape) / planes;
    for (int64_t p = 0; p < planes; p++)
        normalize((const float *)in->data + p * plane, (float *)out->data + p * plane, plane,
                  n->params.norm.epsilon, (const float *)in[1].data + p % channels,
                  (const float *)in[2].data + p % channels, plane);
}

// y = x / (bias + alpha / size * (sum of squares of the channels around))^beta
void plain_lrn(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t channels = out->shape.dims[1], plane = 1, size = n->params.lrn.size;
    const float *x = in->data;
    for (int i = 2; i < out->shape.rank; i++)
        plane *= out->shape.dims[i];
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / plane % channels, first = c - (size - 1) / 2, last = c + size / 2;
        double sum = 0;
        for (int64_t k = first < 0 ? 0 : first; k <= last && k < channels; k++) {
            double v = (double)x[i + (k - c) * plane];
            sum += v * v;
        }
        double base = (double)n->params.lrn.bias + (double)n->params.lrn.alpha * sum / (double)size;
        ((float *)out->data)[i] = (float)((double)x[i] / pow(base, (double)n->params.lrn.beta));
    }
}

// What scale and zero point of each element are: one number, or one for each place along the axis.
struct quantization {
    const float *scale;
    const int64_t *zero;
    int64_t inner, size; // elements behind the axis; of the axis
};

static struct quantization quantization(const struct node *n, const struct tensor *in)
{
    struct quantization q = {.scale = in[1].data, .inner = 1, .size = shape_count(&in[1].shape)};
    q.zero = n->input_count > 2 ? in[2].data : NULL;
    for (int i = n->params.quantize.axis + 1; i < in->shape.rank; i++)
        q.inner *= in->shape.dims[i];
    return q;
}

void plain_quantize(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct quantization q = quantization(n, in);
    const float *x = in->data;
    float *y = out->data, low = n->params.quantize.low, high = n->params.quantize.high;
    int64_t count = shape_count(&out->shape);
    for (int64_t start = 0; start < count; start += q.inner) {
        int64_t k = q.size == 1 ? 0 : start / q.inner % q.size;
        float scale = q.scale[k], zero = q.zero != NULL ? (float)q.zero[k] : 0;
        for (int64_t i = start; i < start + q.inner; i++)
            y[i] = fminf(fmaxf(rintf(x[i] / scale) + zero, low), high);
    }
}

void plain_dequantize(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct quantization q = quantization(n, in);
    float *y = out->data;
    int64_t count = shape_count(&out->shape);
    for (int64_t start = 0; start < count; start += q.inner) {
        int64_t k = q.size == 1 ? 0 : start / q.inner % q.size;
        int64_t zero = q.zero != NULL ? q.zero[k] : 0;
        for (int64_t i = start; i < start + q.inner; i++)
            y[i] = q.scale[k] * (in->dtype == DTYPE_I64
                                     ? (float)(((const int64_t *)in->data)[i] - zero)
                                     : ((const float *)in->data)[i] - (float)zero);
    }
}
