// Graph: a network as nodes in order of computation over values of known type and shape. Made by
// onnx.c, checked and constant-folded by graph_infer, simplified by passes.c, lowered by kernels.c.
// Pure: no I/O. What belongs to a graph lives in its pool.
#pragma once

#include "engine/engine.h"
#include "engine/pool.h"

#include <stdbool.h>

enum dtype { DTYPE_F32, DTYPE_I64 }; // what a file holds otherwise is widened when read
enum stored { STORED_WIDE, STORED_INT8, STORED_UINT8 }; // bytes, where quantization depends on them

// Dense, row-major. data NULL: not known before a picture comes, or an optional input left out.
struct tensor {
    enum dtype dtype;
    enum stored stored; // of constants; and of floats that are the whole numbers of such bytes
    struct engine_shape shape;
    void *data;
};

// How a tensor is rounded to bytes: x = scale (byte - zero).
struct quant {
    float scale; // 0: it is not
    int zero;    // 0..255: the byte that means 0
};

// A constant that is whole numbers times a scale, or times one for each place along an axis.
struct grid {
    const float *scales; // NULL: it is not
    int64_t count;       // 1, or the axis' size
    int axis;
};

struct value {
    const char *name;
    struct tensor t; // data set: a constant
    struct grid grid;
    struct quant quant;
    bool rounded; // the file rounds it as quant says: readers see what its bytes hold
    int producer; // node that makes it; -1: the graph's input, or a constant
    int readers;  // inputs of live nodes, and 1 for being the graph's output
    bool shaped;  // t.dtype and t.shape are known
};

enum attribute_kind {
    ATTR_INT = 'i',
    ATTR_FLOAT = 'f',
    ATTR_STRING = 's',
    ATTR_INTS = 'I',
    ATTR_FLOATS = 'F',
    ATTR_TENSOR = 't',
    ATTR_OTHER = '?',
};

struct attribute {
    const char *name;
    enum attribute_kind kind;
    int64_t i;
    float f;
    const char *s;
    const int64_t *ints;
    const float *floats;
    size_t count; // of ints or floats
    struct tensor t;
};

enum { SPATIAL_MAX = 3 };

// Conv and pools, per spatial axis. A window that reaches beyond input + pads (ceil_mode) sees
// nothing there.
struct window {
    int rank;
    int64_t kernel[SPATIAL_MAX], stride[SPATIAL_MAX], dilation[SPATIAL_MAX];
    int64_t before[SPATIAL_MAX], after[SPATIAL_MAX]; // padding
    int64_t groups;
    bool count_pads; // AveragePool: the divisor counts padding
};

enum unary { // y =
    UNARY_NONE,
    UNARY_RELU,
    UNARY_LEAKY_RELU, // x < 0 ? alpha x : x
    UNARY_CLIP,       // min(max(x, alpha), beta)
    UNARY_SIGMOID,
    UNARY_HARD_SIGMOID, // min(max(alpha x + beta, 0), 1)
    UNARY_HARD_SWISH,   // x min(max(x / 6 + 0.5, 0), 1)
    UNARY_TANH,
    UNARY_EXP,
    UNARY_SQRT,
    UNARY_NEG,
    UNARY_SWISH, // x sigmoid(alpha x)
    UNARY_GELU,  // x (1 + erf(x / sqrt 2)) / 2
    UNARY_GELU_TANH,
    UNARY_ERF,
    UNARY_ELU,      // x < 0 ? alpha (exp(x) - 1) : x
    UNARY_SELU,     // beta (x < 0 ? alpha (exp(x) - 1) : x)
    UNARY_SOFTPLUS, // log(1 + exp(x))
    UNARY_SOFTSIGN, // x / (1 + |x|)
    UNARY_MISH,     // x tanh(log(1 + exp(x)))
    UNARY_ABS,
    UNARY_LOG,
    UNARY_POW, // x to the beta
    UNARY_RECIPROCAL,
    UNARY_FLOOR,
    UNARY_CEIL,
    UNARY_ROUND, // half to even
    UNARY_SIGN,
};

struct activation {
    enum unary kind;
    float alpha, beta;
};

enum binary {
    BINARY_ADD,
    BINARY_SUB,
    BINARY_MUL,
    BINARY_DIV,
    BINARY_MAX,
    BINARY_MIN,
    BINARY_POW,
    BINARY_PRELU, // a < 0 ? a b : a
    // of these the result is 0 or 1, an integer
    BINARY_EQUAL,
    BINARY_LESS,
    BINARY_LESS_EQUAL,
    BINARY_GREATER,
    BINARY_GREATER_EQUAL,
    BINARY_AND,
    BINARY_OR,
};

enum reduce { REDUCE_MEAN, REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_L1, REDUCE_L2 };

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC };
enum resize_place {   // which place x of the input an output position o looks at; s: the scale
    PLACE_HALF_PIXEL, // (o + 0.5) / s - 0.5
    PLACE_HALF_PIXEL_PYTORCH, // the same, but 0 where the output has one element
    PLACE_ALIGN_CORNERS,      // o (in - 1) / (out - 1)
    PLACE_ASYMMETRIC,         // o / s
    PLACE_HALF_PIXEL_NEAREST, // (o + 0.5) / s
};
enum resize_round { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, ROUND_FLOOR, ROUND_CEIL };
enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE };

// What an operator's attributes and constant inputs say, read once by its shape function.
union params {
    struct window window;
    struct activation unary;
    enum binary binary;
    struct {
        int begin, end; // the axes worked along: Softmax [begin, end); Concat, Gather begin
    } axis;
    int permutation[ENGINE_RANK_MAX];
    struct {
        int64_t before[ENGINE_RANK_MAX], after[ENGINE_RANK_MAX];
        float value;
        enum pad_mode mode;
    } pad;
    struct {
        int64_t start[ENGINE_RANK_MAX], step[ENGINE_RANK_MAX];
    } slice;
    struct {
        bool axes[ENGINE_RANK_MAX]; // of the input
        enum reduce kind;
    } reduce;
    struct {
        enum resize_mode mode;
        enum resize_place place;
        enum resize_round round;
        bool exclude_outside; // cubic: taps beyond the edge weigh nothing, instead of repeating it
        float cubic;
        float scale[ENGINE_RANK_MAX];
    } resize;
    struct {
        int axis; // LayerNormalization: this one and all behind it
        float epsilon;
    } norm;
    struct {
        int64_t size;
        float alpha, beta, bias;
    } lrn;
    struct {
        int axis;
        float low, high; // of the quantized type
    } quantize;
    struct {
        int64_t block;
        bool columns_first; // DepthToSpace: DCR
    } depth;
    struct {
        float alpha, beta;
        bool transpose_a, transpose_b;
    } gemm;
    struct {
        bool to_bool;
        enum stored stored; // bytes: what does not fit wraps around
    } cast;
    float epsilon;
    const struct attribute *constant;
};

struct op;

struct node {
    const struct op *op; // set by graph_infer
    const char *op_type, *domain, *name;
    struct attribute *attributes;
    int attribute_count;
    int *inputs, *outputs; // values; -1: left out
    int input_count, output_count;
    int part, parts; // a Split is read as one node for each of its results
    union params params;
    bool dead; // nobody reads it, or a pass took it into another node
    bool int8; // computed in integers, see quantization.h

    // What passes.c took in, computed after the operator itself, in this order.
    int sum;                      // value of the same shape that is added; -1: none
    struct activation activation; // UNARY_NONE: none
};

struct graph {
    struct pool pool;
    struct value *values;
    int value_count, value_cap;
    struct node *nodes;
    int node_count;
    int opset;
    int input, output; // values
    bool watched;      // program_watch will want to see every value
    int threads;       // that compute one step together, at compile time and in runs; 0: one
    bool quantized;    // the file itself rounds tensors: passes_quantized.c
    size_t fold_work;  // elements read and written for constant folding
    double flop;       // of Conv, Gemm, MatMul; multiply and add are two
};

struct graph *graph_new(size_t limit_bytes); // NULL: no memory
void graph_free(struct graph *g);            // NULL allowed

// A new value, or -1: no room (see value_cap) or memory.
int graph_value_add(struct graph *g, const char *name);
// A new constant; its data is not set. NULL: no memory.
struct value *graph_constant_add(struct graph *g, const char *name, const struct engine_shape *s,
                                 int *index);
static inline const struct tensor *node_input(const struct graph *g, const struct node *n, int k)
{
    return &g->values[n->inputs[k]].t;
}
static inline struct tensor *node_output(const struct graph *g, const struct node *n)
{
    return &g->values[n->outputs[0]].t;
}
// A constant input of n as tensor, or NULL: left out, or not constant.
const struct tensor *graph_constant(const struct graph *g, const struct node *n, int input);
// The producer of value v if it is of this kind (enum op_kind) and alive; else NULL. Also NULL
// where v is rounded: what reads bytes cannot be merged with what makes them.
struct node *graph_producer(struct graph *g, int v, int kind);

// What the output's numbers are. Of a graph as read, before passes_run.
enum engine_scores graph_scores(const struct graph *g);
// Where the graph ends with a Softmax, it ends before it from now on.
void graph_drop_softmax(struct graph *g);
// Marks nodes that the output does not need as dead and counts readers.
void graph_count_readers(struct graph *g);
// Finds each live node's operator, then types and shapes from input to output; computes what
// depends on constants only. ERR_UNSUPPORTED names operator, node and opset before any other work.
enum err graph_infer(struct graph *g, struct error *error) MUST_CHECK;
// Multiplications and additions of a Conv, Gemm or MatMul; 0 for others.
double graph_node_flop(const struct graph *g, const struct node *n);

// Number of elements; -1 when it is over MODEL_ELEMENTS_MAX or a dimension is negative.
int64_t shape_count(const struct engine_shape *s);
bool shape_equal(const struct engine_shape *a, const struct engine_shape *b);
const char *shape_text(const struct engine_shape *s, char out[128]); // "1x3x299x299"
size_t dtype_bytes(enum dtype t);

// Fills error with "node 'name' (Op): …".
enum err node_fail(const struct node *n, enum err code, struct error *error, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
