// Quantize: makes an int8 quantization of a network from pictures (post-training, calibrated), by
// trying what loses least. Files are only read.
#pragma once

#include "engine/calibrate.h"
#include "engine/quantization.h"

struct quantize_options {
    bool quick;              // the whole range, every layer: no trials (for benches)
    struct engine_size open; // see engine_options
    // NULL, or told what is going on, for people; done of total, both 0 where that is not known
    void (*progress)(void *context, const char *what, size_t done, size_t total);
    void *context;
};

// One layer that computes with weights, or passes bytes on.
struct quantize_layer {
    char *result, *op;
    bool int8;
    double gflop;
    // Signal to noise in dB, NAN where there is none: of its weights, of its result when that is
    // rounded, of its result in the int8 network as a whole against the fp32 network.
    double weights_db, rounding_db, running_db;
    double cosine; // of the latter two
};

// How near the int8 network is to the fp32 network, over the calibration pictures, before Softmax.
struct quantize_score {
    double noise;     // power of the difference by power of the fp32 result
    double cosine;    // mean
    double agreement; // share of pictures with the same highest number
    double cpu_ms;    // of a picture, the fastest
};

struct quantize_trial {
    const char *what;
    struct quantize_score score;
    bool taken;
};

enum { QUANTIZE_TRIALS_MAX = 16 };

struct quantize_report {
    struct quantize_layer *layers;
    size_t layer_count;
    struct quantize_trial trials[QUANTIZE_TRIALS_MAX];
    size_t trial_count;
    struct quantize_score score;
    double fp32_cpu_ms;
};
void quantize_report_release(struct quantize_report *r);

// inputs: [count][engine_input_floats], count > 0. *out (without model_sha256) and *report are the
// caller's to release, also after a failure. ERR_UNSUPPORTED: nothing in the network can be int8,
// or it gives no numbers.
enum err quantize_model(const char *onnx_path, const float *inputs, size_t count,
                        const struct quantize_options *options, struct quantization *out,
                        struct quantize_report *report, struct error *error) MUST_CHECK;

// ---- inside: quantize_select.c, quantize_report.c ---------------------------------------------

// What computes in integers: per node, and whose results are bytes: per value.
struct selection {
    bool *nodes;  // [node_count]
    bool *values; // [value_count]
};
// keep[node]: stays fp32. ERR_NOMEM.
enum err selection_make(const struct graph *g, const bool *keep, struct selection *out,
                        struct error *error) MUST_CHECK;
void selection_release(struct selection *s);
// The quantization of a selection; histograms: [value_count], NULL where nothing was seen.
void selection_quantize(const struct graph *g, const struct selection *s,
                        struct histogram *const *histograms, enum clipping clipping,
                        struct quantization *out);
// Fills report->layers.
enum err quantize_describe(const char *onnx_path, const struct graph *g,
                           struct histogram *const *histograms, const struct quantization *q,
                           const float *inputs, size_t count, struct quantize_report *report,
                           struct error *error) MUST_CHECK;
