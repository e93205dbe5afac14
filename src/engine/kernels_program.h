// The inside of a program, shared by kernels.c (building and running) and kernels_ops.c (what each
// operator becomes). Nobody else includes this.
#pragma once

#include "engine/activations.h"
#include "engine/kernels.h"
#include "engine/plan.h"

#include <dnnl.h>

enum where { NOWHERE, IN_ARENA, IN_WEIGHTS };

// Where data lie: in a buffer of the arena, or at an offset of the packed weights.
struct place {
    enum where where;
    int buffer;
    size_t offset;
};

// A tensor as a step sees it.
struct operand {
    int arg; // DNNL_ARG_…; for plain kernels: input index, or -1 the output
    struct place place;
    dnnl_memory_desc_t md;
    dnnl_memory_t shared; // IN_WEIGHTS: made once, for all contexts
};

struct step {
    const char *name, *op, *kernel;
    dnnl_primitive_t primitive;  // or
    activation_kernel *activate; // our own, from the first operand to the second; or
    struct activation activation;
    const uint8_t *table; // activation_of_bytes, likewise; or
    struct operand *operands;
    int operand_count;
    struct node *node;         // whose plain kernel runs
    struct engine_shape shape; // of the result
    double flop;
    struct tensor *tensors; // [operand_count] shapes for the plain kernel
};

// Where value `value` of the graph can be seen: what is here after this many steps.
struct watch {
    int value;
    size_t after;
    struct operand operand;
    struct quant quant;
    struct engine_shape shape;
};

struct program {
    struct pool pool; // what steps point to
    dnnl_engine_t engine;
    struct step *steps;
    size_t step_count, step_cap;
    struct plan_buffer *buffers;
    size_t buffer_count, buffer_cap;
    char *weights; // one mapping
    size_t weight_bytes, arena_bytes;
    struct operand input, output;
    size_t input_bytes, output_bytes;
    int threads;           // that compute a step together; oneDNN wants the number at creation too
    struct watch *watches; // for graphs that are watched
    size_t watch_count, watch_cap;
};

struct weight { // to be packed
    const void *data;
    dnnl_memory_desc_t from, to;
    size_t offset;
};

struct layout { // of a value
    dnnl_memory_desc_t md;
    struct place place;
    bool view; // a piece of something larger: strides with gaps
};

struct lowering {
    struct program *program;
    struct graph *graph;
    int node;               // being lowered
    struct layout *layouts; // [value_count]
    struct layout *copies;  // [value_count] the same in one other layout, if somebody wanted that
    int *last_reader;       // [value_count] node; INT_MAX for the output, -1: none
    int *buffer_until;      // [buffer_cap] last node that reads something in the buffer
    struct weight *weights;
    size_t weight_count, weight_cap;
    int channel_block; // images lie as [N][C/block][…][block]; 0: as oneDNN likes best
};

// A reorder that, where bytes become floats or floats bytes, does so as q says.
enum err describe_reorder(dnnl_engine_t engine, const dnnl_memory_desc_t *from,
                          const dnnl_memory_desc_t *to, struct quant q, dnnl_primitive_desc_t *out,
                          struct error *error);

// ERR_UNSUPPORTED for what oneDNN does not implement, ERR_NOMEM, else ERR_INTERNAL.
enum err dnnl_fail(dnnl_status_t status, const char *what, struct error *error);
#define DNNL_TRY(call)                                                                             \
    do {                                                                                           \
        dnnl_status_t status_ = (call);                                                            \
        if (status_ != dnnl_success)                                                               \
            return dnnl_fail(status_, #call, error);                                               \
    } while (0)

enum err no_memory(struct error *error);
// Makes room in an array for one more entry of `size` bytes. False: no memory.
bool grow(void *array, size_t count, size_t *cap, size_t size);

// Row-major with this shape (a scalar is a tensor of one axis), or with strides of a permutation.
enum err md_plain(const struct engine_shape *s, dnnl_memory_desc_t *out, struct error *error);

// A layout of its own for these dims: the order of axes and the blocks of another, no gaps.
dnnl_memory_desc_t md_like(const dnnl_memory_desc_t *other, const dnnl_dims_t dims);

// A tensor of floats in the arena or the weights: value v as it lies but without gaps (want NULL),
// or reordered to *want.
enum err operand_of(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                    struct operand *out, struct error *error);
enum err operand_plain(struct lowering *l, int v, int arg, struct operand *out,
                       struct error *error);
// The same for a *want with other axes than v's shape, such as rows for all axes but the last: then
// row-major, seen with those.
enum err operand_as(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                    struct operand *out, struct error *error);
// The same as bytes; a value that was computed as floats is rounded.
enum err operand_bytes(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                       struct operand *out, struct error *error);
// Data (of type from->data_type) to be packed as md `to`; must live as long as the graph.
enum err operand_weight(struct lowering *l, const void *data, const dnnl_memory_desc_t *from,
                        const dnnl_memory_desc_t *to, int arg, struct operand *out,
                        struct error *error);
// A new place for value v with this layout.
enum err operand_new(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *md,
                     struct operand *out, struct error *error);
// The place of n's result with layout md: that of x where this is allowed, x lies so and nobody
// reads it later; else a new one.
enum err operand_result(struct lowering *l, const struct node *n, const struct operand *x,
                        bool in_place, const dnnl_memory_desc_t *md, struct operand *out,
                        struct error *error);
// Value v lies where x does (in place, or a view).
void value_is(struct lowering *l, int v, const struct operand *x, const dnnl_memory_desc_t *md);
// Nobody reads what lies at x after the node being lowered.
bool may_overwrite(const struct lowering *l, const struct operand *x);
// The step that is made next uses the buffer there.
void buffer_used(struct lowering *l, const struct place *place);
// Emits a step from a descriptor of an operation if `so_far` is OK; else `so_far` is returned.
// Takes over pd. Adds the scratchpad.
enum err emit_if(enum err so_far, struct lowering *l, const struct node *n,
                 dnnl_primitive_desc_t pd, const struct operand *operands, int count,
                 struct error *error);
// Copies x into a new buffer with layout md, of the same type.
enum err emit_copy(struct lowering *l, const struct operand *x, const dnnl_memory_desc_t *md,
                   struct operand *out, struct error *error);

// What kernels_*.c that lower operators share; defined in kernels_ops.c.
// A primitive descriptor of n from a descriptor of its operation.
enum err describe(struct lowering *l, const struct node *n, const_dnnl_op_desc_t desc,
                  dnnl_primitive_desc_t *out, struct error *error);
// Emits a primitive with one source and one result; in place where that is allowed. Takes over pd.
enum err emit_single(struct lowering *l, const struct node *n, dnnl_primitive_desc_t pd,
                     const struct operand *src, bool in_place, struct error *error);
// The same from a descriptor of n's operation.
enum err emit_simple(struct lowering *l, const struct node *n, const_dnnl_op_desc_t desc,
                     const struct operand *src, bool in_place, struct error *error);
// x's layout seen with leading axes of 1 up to `rank`.
enum err with_rank(const struct operand *x, int rank, dnnl_memory_desc_t *out, struct error *error);
enum err md_any(const struct engine_shape *s, dnnl_memory_desc_t *out, struct error *error);

// ---- shared by the lowerings in floats (kernels_ops.c) and in bytes (kernels_int8.c) ----------

// A window in oneDNN's terms: dilation counts the gaps; what ceil_mode adds is padding behind.
struct window_dims {
    dnnl_dims_t kernel, stride, dilation, before, after;
};
struct window_dims window_dims(const struct window *w, const struct engine_shape *x,
                               const struct engine_shape *y);
// A convolution's weights with an axis for the groups, if it has any.
struct engine_shape weights_shape(const struct engine_shape *k, int64_t groups);
// Adds an activation (UNARY_NONE: nothing) to what a primitive does to its result.
dnnl_status_t activation_append(dnnl_post_ops_t ops, const struct activation *a);
// Whether a kernel of ours does it behind a primitive that computes in floats; emit_activation adds
// that.
bool activation_apart(const struct activation *a);
enum err emit_activation(struct lowering *l, const struct node *n, struct error *error);
// From bytes x to bytes: the activation of what they mean, rounded as `out` says.
enum err emit_table(struct lowering *l, const struct node *n, const struct operand *x,
                    struct quant in, struct quant out, struct error *error);
const dnnl_memory_desc_t *query(const_dnnl_primitive_desc_t pd, dnnl_query_t what);
bool same_place(const struct operand *a, const struct operand *b);
bool is_reference(const_dnnl_primitive_desc_t pd); // slow

// n with n->int8 set. ERR_UNSUPPORTED with nothing emitted: it is computed in floats.
enum err lower_int8(struct lowering *l, const struct node *n, struct error *error);
