// The engine: an ONNX network made ready once, run many times on one thread.
//
// Life: engine_load (reads, checks, folds, fuses, lays out, packs: everything that can be done
// before a picture comes) → fork as often as wanted → engine_context_new in each process (the
// arena: the only private memory) → engine_run, which allocates nothing.
//
// A struct engine is read-only after loading: processes forked from its owner share its pages.
#pragma once

#include "base/buf.h"

#include <stdatomic.h>
#include <stdbool.h>

struct engine;
struct engine_context;

enum { ENGINE_RANK_MAX = 8 };

struct engine_shape {
    int rank;
    int64_t dims[ENGINE_RANK_MAX]; // the batch dimension is fixed to 1
};

// Reads an ONNX file. Errors: ERR_NOT_FOUND, ERR_FORMAT (truncated, lying: what and where),
// ERR_UNSUPPORTED (names the operator, its node and the opset), ERR_LIMIT.
enum err engine_load(const char *onnx_path, struct engine **out, struct error *error) MUST_CHECK;

// Height and width of the input where the file leaves them open; 0, 0: open axes are refused.
struct engine_size {
    int height, width;
};

struct quantization; // quantization.h
struct engine_options {
    const struct quantization *int8; // what runs in integers; NULL: nothing
    bool watched;                    // for engine_watch; more memory
    struct engine_size open;         // what open axes of the input are
    bool logits;                     // without the Softmax at the model's end, if there is one
    // OpenMP threads that compute each layer together; 0: one. Above one only for processes that
    // never fork afterwards: those threads are not in the child, which would wait for them.
    int threads;
};
// ERR_FORMAT also: *int8 names tensors that the model lacks.
enum err engine_load_with(const char *onnx_path, const struct engine_options *options,
                          struct engine **out, struct error *error) MUST_CHECK;
void engine_free(struct engine *e); // NULL allowed; after its contexts

const struct engine_shape *engine_input_shape(const struct engine *e);  // e.g. {4, {1,3,299,299}}
const struct engine_shape *engine_output_shape(const struct engine *e); // e.g. {2, {1,1000}}
size_t engine_input_floats(const struct engine *e);
size_t engine_output_floats(const struct engine *e);
// What the output's numbers are, as far as the file's last operators tell: between 0 and 1 each
// (Softmax over all of them, Sigmoid), or still to go through a softmax (a matrix, LogSoftmax).
enum engine_scores { ENGINE_SCORES_UNKNOWN, ENGINE_SCORES_PROBABILITIES, ENGINE_SCORES_LOGITS };
enum engine_scores engine_scores(const struct engine *e);
const char *engine_precision(const struct engine *e); // "fp32", "int8"
double engine_gflop(const struct engine *e);        // multiply and add counted as two, one picture
size_t engine_weight_bytes(const struct engine *e); // packed weights, shared by all processes
size_t engine_arena_bytes(const struct engine *e);  // private memory of one context

// ERR_NOMEM only.
enum err engine_context_new(const struct engine *e, struct engine_context **out,
                            struct error *error) MUST_CHECK;
// The same with the caller's memory for the arena: engine_arena_bytes or more, 64-byte aligned, as
// long as the context. Contexts that never run at the same time may share it.
enum err engine_context_new_in(const struct engine *e, void *arena, struct engine_context **out,
                               struct error *error) MUST_CHECK;
// The number of each step is stored in *step before it runs, for who looks from outside. NULL: no
// longer.
void engine_context_trace(struct engine_context *c, atomic_int *step);
void engine_context_free(struct engine_context *c);

// One picture: input in the model's own layout (engine_input_shape), output likewise.
// Between layers *cancel (may be NULL) is looked at and, when deadline_ms > 0, the monotonic clock
// (base/clock.h): ERR_CANCELLED, ERR_TIMEOUT. Allocates nothing.
enum err engine_run(struct engine_context *c, const float *input, float *output,
                    const atomic_int *cancel, int64_t deadline_ms, struct error *error) MUST_CHECK;

// One picture; shows the input and every layer's result as row-major floats while it is there.
// value: its number in the graph that onnx_read_file and passes_run make of the file.
typedef enum err engine_watcher(void *context, int value, const float *data, size_t count,
                                struct error *error);
enum err engine_watch(struct engine_context *c, const float *input, engine_watcher *watcher,
                      void *context, struct error *error) MUST_CHECK;

// The same through the plain C kernels, unfused, in the file's own order: the oracle of the tests.
// Allocates as it likes; slow.
enum err engine_run_reference(const char *onnx_path, const float *input, float *output,
                              struct error *error) MUST_CHECK;

// What one step of a loaded model is, for people. Strings: as long as the engine.
struct engine_step {
    const char *node, *op, *kernel;
    int64_t ns; // of this one run
};
size_t engine_step_count(const struct engine *e);
// A step of the loaded model: what it makes, what it reads and writes. Strings: as long as the
// engine.
struct engine_layer {
    const char *node;      // its name in the file; "" for a change of layout
    const char *op;        // ONNX's name, of the last operator that went into it; or "reorder"
    const char *kernel;    // oneDNN's name of the implementation; "plain": our own
    const char *precision; // "fp32", "int8"
    struct engine_shape output;
    double flop;          // of convolutions and matrices; multiply and add are two
    size_t weight_bytes;  // read, shared by all processes
    size_t data_bytes;    // of the arena, read and written
    int64_t arena_offset; // of its result, bytes
};
// layers: engine_step_count entries.
void engine_layers(const struct engine *e, struct engine_layer *layers);
// engine_run with a look at the clock around each step; steps has engine_step_count entries.
enum err engine_profile(struct engine_context *c, const float *input, float *output,
                        struct engine_step *steps, struct error *error) MUST_CHECK;
