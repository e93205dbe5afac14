// Ops: the table of operators. An operator is one entry: what it is called, in which opsets our
// reading of it is right, which attributes it may carry, how shapes follow, the plain kernel (the
// oracle), and how oneDNN does it.
#pragma once

#include "engine/graph.h"

struct lowering; // kernels.h

enum op_kind { // what passes.c looks for
    OP_OTHER,
    OP_CONV,
    OP_GEMM,
    OP_MATMUL,
    OP_BATCH_NORM,
    OP_UNARY,
    OP_BINARY,
    OP_MAX_POOL,
    OP_AVERAGE_POOL,
    OP_REDUCE_MEAN,
    OP_PAD,
    OP_TRANSPOSE,
    OP_RESHAPE,  // the same elements in the same order
    OP_IDENTITY, // the same tensor
    OP_QUANTIZE,
    OP_DEQUANTIZE,
};

// Reads attributes and constant inputs into n->params and sets type and shape of the first output.
typedef enum err op_shape(struct graph *g, struct node *n, struct error *error);
// Computes out from in; in[i].data is NULL where an optional input is left out.
typedef void op_plain(const struct node *n, const struct tensor *in, const struct tensor *out);
typedef enum err op_lower(struct lowering *l, const struct node *n, struct error *error);

struct op {
    const char *name;
    enum op_kind kind;
    int since, until; // opsets
    int inputs_min, inputs_max;
    const char *attributes; // "name:k …" with k an attribute_kind
    op_shape *shape;
    op_plain *plain;
    op_lower *lower; // NULL: the plain kernel runs
};

// NULL: unknown in this opset.
const struct op *op_find(const char *name, int opset);
const struct op *op_table(size_t *count);
// An operator that passes make, whatever the opset: "Swish", "Gelu", … NULL: no such one.
const struct op *op_fused(const char *name);

// Attributes of a node, or the default.
int64_t attr_int(const struct node *n, const char *name, int64_t otherwise);
float attr_float(const struct node *n, const char *name, float otherwise);
const char *attr_string(const struct node *n, const char *name, const char *otherwise);
const struct attribute *attr_find(const struct node *n, const char *name); // NULL: not there
// Counts of inputs, names and kinds of attributes against the table.
enum err op_check(const struct op *op, const struct node *n, struct error *error) MUST_CHECK;
