// Kernels: a graph becomes a program of oneDNN primitives, with weights packed and layouts chosen,
// and a program runs in contexts. All that knows oneDNN is kernels*.c: Debian 12 has version 2.6,
// 3.x differs.
//
// A program is read-only once compiled and may be shared by threads and forked processes; what a
// run writes lies in its context. No code is generated after program_compile.
#pragma once

#include "engine/ops.h"

#include <stdatomic.h>

struct program;
struct program_context;

// The graph may be freed afterwards. ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM.
enum err program_compile(struct graph *g, struct program **out, struct error *error) MUST_CHECK;
void program_free(struct program *p); // NULL allowed
size_t program_weight_bytes(const struct program *p);
size_t program_arena_bytes(const struct program *p);
bool program_has_int8(const struct program *p); // some layer's weights are integers

// arena: the caller's memory, NULL: one of its own.
enum err program_context_new(const struct program *p, void *arena, struct program_context **out,
                             struct error *error) MUST_CHECK;
void program_context_trace(struct program_context *c, atomic_int *step);
void program_context_free(struct program_context *c); // NULL allowed
enum err program_run(struct program_context *c, const float *input, float *output,
                     const atomic_int *cancel, int64_t deadline_ms, struct error *error) MUST_CHECK;

// Of a watched graph: see engine_watch.
enum err program_watch(struct program_context *c, const float *input, engine_watcher *watcher,
                       void *context, struct error *error) MUST_CHECK;

size_t program_step_count(const struct program *p);
void program_layers(const struct program *p, struct engine_layer *layers);
enum err program_profile(struct program_context *c, const float *input, float *output,
                         struct engine_step *steps, struct error *error) MUST_CHECK;

// Lowerings for the operator table. ERR_UNSUPPORTED with nothing emitted: the plain kernel runs.
op_lower lower_conv, lower_pool, lower_batch_norm, lower_unary, lower_binary, lower_concat;
op_lower lower_gemm, lower_matmul, lower_softmax, lower_reduce, lower_reshape, lower_transpose;
op_lower lower_slice, lower_gather, lower_layer_norm, lower_instance_norm, lower_lrn, lower_resize,
    lower_variadic;
// Whether oneDNN computes it inside another primitive.
bool activation_fuses(const struct activation *a);
