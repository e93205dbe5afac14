#include "engine/plain.h"

#include "engine/plain_walk.h"

#include <math.h>
#include <string.h>

static float activate_rare(const struct activation *a, float x)
{
    const float root_half = 0.70710678118654752f, root_two_over_pi = 0.79788456080286536f;
    switch (a->kind) {
    case UNARY_SWISH:
        return x / (1 + expf(-a->alpha * x));
    case UNARY_GELU:
        return 0.5f * x * (1 + erff(x * root_half));
    case UNARY_GELU_TANH:
        return 0.5f * x * (1 + tanhf(root_two_over_pi * (x + 0.044715f * x * x * x)));
    case UNARY_ERF:
        return erff(x);
    case UNARY_ELU:
        return x < 0 ? a->alpha * expm1f(x) : x;
    case UNARY_SELU:
        return a->beta * (x < 0 ? a->alpha * expm1f(x) : x);
    case UNARY_SOFTPLUS:
        return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
    case UNARY_SOFTSIGN:
        return x / (1 + fabsf(x));
    case UNARY_MISH:
        return x * tanhf(fmaxf(x, 0) + log1pf(expf(-fabsf(x))));
    case UNARY_ABS:
        return fabsf(x);
    case UNARY_LOG:
        return logf(x);
    case UNARY_POW:
        return powf(x, a->beta);
    case UNARY_RECIPROCAL:
        return 1 / x;
    case UNARY_FLOOR:
        return floorf(x);
    case UNARY_CEIL:
        return ceilf(x);
    case UNARY_ROUND:
        return rintf(x);
    case UNARY_SIGN:
        return x > 0 ? 1 : x < 0 ? -1 : x;
    default:
        return x;
    }
}

float plain_activate(const struct activation *a, float x)
{
    switch (a->kind) {
    case UNARY_NONE:
        return x;
    case UNARY_RELU:
        return x > 0 ? x : 0;
    case UNARY_LEAKY_RELU:
        return x < 0 ? a->alpha * x : x;
    case UNARY_CLIP:
        return fminf(fmaxf(x, a->alpha), a->beta);
    case UNARY_SIGMOID:
        return 1 / (1 + expf(-x));
    case UNARY_HARD_SIGMOID:
        return fminf(fmaxf(a->alpha * x + a->beta, 0), 1);
    case UNARY_HARD_SWISH:
        return x * fminf(fmaxf(x / 6 + 0.5f, 0), 1);
    case UNARY_TANH:
        return tanhf(x);
    case UNARY_EXP:
        return expf(x);
    case UNARY_SQRT:
        return sqrtf(x);
    case UNARY_NEG:
        return -x;
    default:
        return activate_rare(a, x);
    }
}

void plain_unary(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++)
        ((float *)out->data)[i] = plain_activate(&n->params.unary, ((const float *)in->data)[i]);
}

static float binary_float(enum binary kind, float a, float b)
{
    switch (kind) {
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return a / b;
    case BINARY_MAX:
        return isnan(a) || a > b ? a : b;
    case BINARY_MIN:
        return isnan(a) || a < b ? a : b;
    case BINARY_PRELU:
        return a < 0 ? a * b : a;
    default:
        return a + b;
    }
}

// Wraps on overflow, like the machines that exporters run on; x / 0 is 0.
static int64_t binary_int(enum binary kind, int64_t a, int64_t b)
{
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    switch (kind) {
    case BINARY_ADD:
        return (int64_t)(ua + ub);
    case BINARY_SUB:
        return (int64_t)(ua - ub);
    case BINARY_MUL:
        return (int64_t)(ua * ub);
    case BINARY_DIV:
        return b == 0 ? 0 : b == -1 ? (int64_t)(0 - ua) : a / b;
    case BINARY_MAX:
        return a > b ? a : b;
    case BINARY_MIN:
        return a < b ? a : b;
    default:
        return 0;
    }
}

void plain_binary(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk a = walk_broadcast(&in[0].shape, &out->shape);
    struct walk b = walk_broadcast(&in[1].shape, &out->shape);
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++, walk_next(&a), walk_next(&b)) {
        if (out->dtype == DTYPE_F32)
            ((float *)out->data)[i] =
                binary_float(n->params.binary, ((const float *)in[0].data)[a.offset],
                             ((const float *)in[1].data)[b.offset]);
        else
            ((int64_t *)out->data)[i] =
                binary_int(n->params.binary, ((const int64_t *)in[0].data)[a.offset],
                           ((const int64_t *)in[1].data)[b.offset]);
    }
}

// Toward zero; what does not fit becomes the nearest end of the range, not-a-number 0.
static int64_t float_to_int(float x)
{
    if (isnan(x))
        return 0;
    return x >= 0x1p63f ? INT64_MAX : x <= -0x1p63f ? INT64_MIN : (int64_t)x;
}

static int64_t cast_int(const struct node *n, int64_t x)
{
    if (n->params.cast.to_bool)
        return x != 0;
    return n->params.cast.stored == STORED_UINT8  ? (uint8_t)x
           : n->params.cast.stored == STORED_INT8 ? (int8_t)x
                                                  : x;
}

void plain_cast(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t count = shape_count(&out->shape);
    if (out->dtype == DTYPE_F32 && in->dtype == DTYPE_F32) {
        plain_copy(n, in, out);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (out->dtype == DTYPE_F32) {
            ((float *)out->data)[i] = (float)((const int64_t *)in->data)[i];
        } else if (in->dtype == DTYPE_I64) {
            ((int64_t *)out->data)[i] = cast_int(n, ((const int64_t *)in->data)[i]);
        } else {
            float x = ((const float *)in->data)[i];
            ((int64_t *)out->data)[i] =
                n->params.cast.to_bool ? x != 0 : cast_int(n, float_to_int(x));
        }
    }
}

void plain_copy(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    (void)n;
    memcpy(out->data, in[0].data, (size_t)shape_count(&out->shape) * dtype_bytes(out->dtype));
}

// y[M][N] = alpha a[M][K] b[K][N] + beta c, a and b possibly stored transposed
void plain_gemm(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    const float *a = in[0].data, *b = in[1].data;
    const float *c = n->input_count > 2 ? in[2].data : NULL;
    float *y = out->data;
    bool ta = n->params.gemm.transpose_a, tb = n->params.gemm.transpose_b;
    // a MatMul that became a Gemm may have more axes: all but the last are rows
    int64_t columns = out->shape.dims[out->shape.rank - 1];
    int64_t rows = columns > 0 ? shape_count(&out->shape) / columns : 0;
    int64_t inner = in[0].shape.dims[ta ? 0 : in[0].shape.rank - 1];
    struct walk at_c = c != NULL ? walk_broadcast(&in[2].shape, &out->shape) : (struct walk){0};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++)
                sum += (double)a[ta ? k * rows + i : i * inner + k] *
                       (double)b[tb ? j * inner + k : k * columns + j];
            sum *= (double)n->params.gemm.alpha;
            if (c != NULL) {
                sum += (double)n->params.gemm.beta * (double)c[at_c.offset];
                walk_next(&at_c);
            }
            *y++ = (float)sum;
        }
}

// y[…][M][N] = a[…][M][K] b[…][K][N]; the leading axes broadcast
void plain_matmul(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    (void)n;
    int rank = out->shape.rank, ra = in[0].shape.rank, rb = in[1].shape.rank;
    int64_t rows = out->shape.dims[rank - 2], columns = out->shape.dims[rank - 1];
    int64_t inner = in[0].shape.dims[ra - 1];
    struct engine_shape batch = out->shape, batch_a = in[0].shape, batch_b = in[1].shape;
    batch.rank -= 2;
    batch_a.rank = ra - 2;
    batch_b.rank = rb - 2;
    struct walk at_a = walk_broadcast(&batch_a, &batch), at_b = walk_broadcast(&batch_b, &batch);
    float *y = out->data;
    int64_t batches = shape_count(&batch);
    for (int64_t p = 0; p < batches; p++, walk_next(&at_a), walk_next(&at_b)) {
        const float *a = (const float *)in[0].data + at_a.offset * rows * inner;
        const float *b = (const float *)in[1].data + at_b.offset * inner * columns;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                double sum = 0;
                for (int64_t k = 0; k < inner; k++)
                    sum += (double)a[i * inner + k] * (double)b[k * columns + j];
                *y++ = (float)sum;
            }
    }
}

void plain_softmax(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t outer = 1, size = 1, inner = 1;
    bool logarithm = n->op->name[0] == 'L'; // LogSoftmax
    for (int i = 0; i < out->shape.rank; i++)
        *(i < n->params.axis.begin ? &outer
          : i < n->params.axis.end ? &size
                                   : &inner) *= out->shape.dims[i];
    for (int64_t p = 0; p < outer * inner; p++) {
        const float *x = (const float *)in->data + p / inner * size * inner + p % inner;
        float *y = (float *)out->data + p / inner * size * inner + p % inner;
        float max = -INFINITY;
        double sum = 0;
        for (int64_t i = 0; i < size; i++)
            max = x[i * inner] > max ? x[i * inner] : max;
        for (int64_t i = 0; i < size; i++)
            sum += exp((double)x[i * inner] - (double)max);
        for (int64_t i = 0; i < size; i++)
            y[i * inner] = logarithm ? (float)((double)x[i * inner] - (double)max - log(sum))
                                     : (float)(exp((double)x[i * inner] - (double)max) / sum);
    }
}

// sum so far with one more; the first one starts it.
static double reduce_step(enum reduce kind, double sum, double x, bool first)
{
    switch (kind) {
    case REDUCE_MAX:
        return first || x > sum || isnan(x) ? x : sum;
    case REDUCE_MIN:
        return first || x < sum || isnan(x) ? x : sum;
    case REDUCE_PROD:
        return first ? x : sum * x;
    case REDUCE_L1:
        return sum + fabs(x);
    case REDUCE_L2:
        return sum + x * x;
    default:
        return sum + x;
    }
}

void plain_reduce(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    // a walk over what is kept, and for each of its places a walk over what is reduced
    struct walk kept = {0}, reduced = {0};
    int64_t stride[ENGINE_RANK_MAX];
    dense_strides(&in->shape, stride);
    for (int i = 0; i < in->shape.rank; i++) {
        struct walk *w = n->params.reduce.axes[i] ? &reduced : &kept;
        w->stride[w->shape.rank] = stride[i];
        w->shape.dims[w->shape.rank++] = in->shape.dims[i];
    }
    int64_t count = shape_count(&reduced.shape), places = shape_count(&kept.shape);
    for (int64_t i = 0; i < places; i++, walk_next(&kept)) {
        double sum = 0;
        for (int64_t k = 0; k < count; k++, walk_next(&reduced))
            sum = reduce_step(n->params.reduce.kind, sum,
                              (double)((const float *)in->data)[kept.offset + reduced.offset],
                              k == 0);
        if (n->params.reduce.kind == REDUCE_MEAN)
            sum /= (double)count;
        ((float *)out->data)[i] = (float)(n->params.reduce.kind == REDUCE_L2 ? sqrt(sum) : sum);
    }
}

void plain_concat(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int axis = n->params.axis.begin;
    int64_t outer = 1;
    for (int i = 0; i < axis; i++)
        outer *= out->shape.dims[i];
    size_t row = 0, done = 0; // bytes of one outer element of out; written of it so far
    if (outer == 0)
        return;
    row = (size_t)(shape_count(&out->shape) / outer) * dtype_bytes(out->dtype);
    for (int k = 0; k < n->input_count; k++) {
        size_t piece = (size_t)(shape_count(&in[k].shape) / outer) * dtype_bytes(out->dtype);
        for (int64_t i = 0; i < outer && piece > 0; i++)
            memcpy((char *)out->data + (size_t)i * row + done,
                   (const char *)in[k].data + (size_t)i * piece, piece);
        done += piece;
    }
}

void plain_transpose(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk w = {.shape = out->shape};
    int64_t stride[ENGINE_RANK_MAX];
    dense_strides(&in->shape, stride);
    for (int i = 0; i < out->shape.rank; i++)
        w.stride[i] = stride[n->params.permutation[i]];
    copy_walk(&w, in, out);
}

// Which element of the input a place of the padded output repeats.
static int64_t pad_source(const struct node *n, const struct engine_shape *in, const struct walk *w)
{
    int64_t offset = 0;
    for (int k = 0; k < in->rank; k++) {
        int64_t at = w->at[k] - n->params.pad.before[k], last = in->dims[k] - 1;
        if (n->params.pad.mode == PAD_REFLECT)
            at = at < 0 ? -at : at > last ? 2 * last - at : at;
        else
            at = at < 0 ? 0 : at > last ? last : at;
        offset += at * w->stride[k];
    }
    return offset;
}

void plain_pad(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    const int64_t *before = n->params.pad.before;
    struct walk w = {.shape = out->shape};
    dense_strides(&in->shape, w.stride);
    for (int i = 0; i < out->shape.rank; i++)
        w.offset -= before[i] * w.stride[i];
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++, walk_next(&w)) {
        if (n->params.pad.mode != PAD_CONSTANT) {
            ((float *)out->data)[i] = ((const float *)in->data)[pad_source(n, &in->shape, &w)];
            continue;
        }
        bool inside = true;
        for (int k = 0; k < out->shape.rank && inside; k++)
            inside = w.at[k] >= before[k] && w.at[k] < before[k] + in->shape.dims[k];
        ((float *)out->data)[i] =
            inside ? ((const float *)in->data)[w.offset] : n->params.pad.value;
    }
}

void plain_gather(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int axis = n->params.axis.begin;
    int64_t outer = 1, inner = 1, size = in[0].shape.dims[axis];
    for (int i = 0; i < in[0].shape.rank; i++)
        *(i < axis ? &outer : &inner) *= i == axis ? 1 : in[0].shape.dims[i];
    int64_t count = shape_count(&in[1].shape);
    size_t row = (size_t)inner * dtype_bytes(out->dtype);
    for (int64_t i = 0; i < outer; i++)
        for (int64_t k = 0; k < count; k++) {
            int64_t at = ((const int64_t *)in[1].data)[k];
            at = at < 0 ? at + size : at;
            memcpy((char *)out->data + (size_t)(i * count + k) * row,
                   (const char *)in[0].data + (size_t)(i * size + at) * row, row);
        }
}

void plain_slice(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk w = {.shape = out->shape};
    dense_strides(&in->shape, w.stride);
    for (int i = 0; i < out->shape.rank; i++) {
        w.offset += n->params.slice.start[i] * w.stride[i];
        w.stride[i] *= n->params.slice.step[i];
    }
    copy_walk(&w, in, out);
}

void plain_expand(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    (void)n;
    struct walk w = walk_broadcast(&in->shape, &out->shape);
    copy_walk(&w, in, out);
}

void plain_shape(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    for (int i = n->params.axis.begin; i < n->params.axis.end; i++)
        ((int64_t *)out->data)[i - n->params.axis.begin] = in->shape.dims[i];
}

void plain_constant(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    const struct attribute *a = n->params.constant;
    (void)in;
    if (a->kind == ATTR_INT)
        *(int64_t *)out->data = a->i;
    else if (a->kind == ATTR_FLOAT)
        *(float *)out->data = a->f;
    else
        memcpy(out->data,
               a->kind == ATTR_INTS     ? (const void *)a->ints
               : a->kind == ATTR_FLOATS ? (const void *)a->floats
                                        : a->t.data,
               (size_t)shape_count(&out->shape) * dtype_bytes(out->dtype));
}

void plain_constant_of_shape(const struct node *n, const struct tensor *in,
                             const struct tensor *out)
{
    const struct attribute *a = n->params.constant;
    (void)in;
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++) {
        if (out->dtype == DTYPE_F32)
            ((float *)out->data)[i] = a != NULL ? *(const float *)a->t.data : 0;
        else
            ((int64_t *)out->data)[i] = *(const int64_t *)a->t.data;
    }
}
