// What a loaded model promises: no allocation of its own while running, no threads, stopping,
// sharing between processes, the same bits each time.
#include "engine/engine.h"

#include "base/clock.h"
#include "onnx_builder.h"
#include "suite.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

// malloc of the whole process, libraries too, goes through here and is counted while `counting`.
static bool counting;
#ifndef SANITIZED
static struct {
    size_t own, library, largest; // calls from this program; from shared libraries
    long live;                    // not freed yet
} counts;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *p, size_t size);
void *aligned_alloc(size_t align, size_t size);
int posix_memalign(void **out, size_t align, size_t size);
void free(void *p);

static void count(void *caller, size_t size)
{
    extern char __executable_start, etext;
    if (!counting)
        return;
    if ((char *)caller >= &__executable_start && (char *)caller < &etext)
        counts.own++;
    else
        counts.library++;
    counts.largest = size > counts.largest ? size : counts.largest;
    counts.live++;
}

void *malloc(size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0), n * size);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_realloc(p, size);
}
void *aligned_alloc(size_t align, size_t size)
{
    count(__builtin_return_address(0), size);
    return __libc_memalign(align, size);
}
int posix_memalign(void **out, size_t align, size_t size)
{
    count(__builtin_return_address(0), size);
    *out = __libc_memalign(align, size);
    return *out != NULL ? 0 : 12;
}
void free(void *p)
{
    if (counting && p != NULL)
        counts.live--;
    __libc_free(p);
}
#endif

// A network with every kind of step: convolutions, a residual, pools, plain kernels, a softmax.
static const char *build(void)
{
    model_begin(13, 4, (int64_t[]){1, 3, 33, 35});
    model_floats("w1", 4, (int64_t[]){24, 3, 3, 3}, 0.3f, 0);
    model_floats("w2", 4, (int64_t[]){24, 1, 3, 3}, 0.3f, 0);
    model_floats("w3", 4, (int64_t[]){24, 24, 1, 1}, 0.3f, 0);
    model_floats("w4", 4, (int64_t[]){24, 24, 1, 1}, 0.3f, 0);
    Onnx__NodeProto *n = model_node("Conv", "x w1", "a");
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    model_node("Relu", "a", "b");
    n = model_node("Conv", "b w2", "c");
    node_int(n, "group", 24);
    node_ints(n, "pads", 4, (int64_t[]){1, 1, 1, 1});
    model_node("Conv", "c w3", "d");
    model_node("Add", "d b", "e");
    n = model_node("MaxPool", "e", "f");
    node_ints(n, "kernel_shape", 2, (int64_t[]){3, 3});
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    node_text(n, "auto_pad", "SAME_UPPER");
    model_node("Erf", "f", "g"); // no oneDNN kernel: runs plain
    model_node("Conv", "g w4", "h");
    model_node("GlobalAveragePool", "h", "i");
    model_node("Flatten", "i", "j");
    model_floats("fw", 2, (int64_t[]){24, 10}, 1, 0);
    model_node("MatMul", "j fw", "k");
    model_node("Softmax", "k", "y");
    AUTO_BUF struct buf bytes = model_pack();
    return memory_file(buf_view(&bytes));
}

static struct engine *engine;
static struct engine_context *context;
static float input[3 * 33 * 35], output[10];

static void load(void)
{
    struct error error = {0};
    ck_assert_msg(engine_load(build(), &engine, &error) == OK, "%s", error.msg);
    ck_assert_uint_eq(engine_input_floats(engine), sizeof input / sizeof *input);
    ck_assert_uint_eq(engine_output_floats(engine), 10);
    ck_assert_int_eq(engine_input_shape(engine)->rank, 4);
    ck_assert_int_eq(engine_output_shape(engine)->dims[1], 10);
    ck_assert_int_eq(engine_context_new(engine, &context, &error), OK);
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        input[i] = noise();
}

static size_t thread_count(void)
{
    size_t threads = 0;
    DIR *dir = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        threads++;
    closedir(dir);
    return threads - 2; // without . and ..
}

// Our code allocates nothing. oneDNN's C interface makes a map of the arguments for each call,
// small pieces that it frees again at once: they are counted here so that growth is noticed.
START_TEST(a_run_allocates_nothing)
{
    load();
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    counting = true;
    for (int i = 0; i < 10; i++)
        if (engine_run(context, input, output, NULL, 0, NULL) != OK)
            abort();
    counting = false;
#ifndef SANITIZED
    ck_assert_uint_eq(counts.own, 0);
    ck_assert_int_eq(counts.live, 0);
    ck_assert_uint_le(counts.largest, 1024);
    ck_assert_uint_le(counts.library, 10 * engine_step_count(engine) * 16);
    ck_assert_uint_gt(counts.library, 0); // else the counting is broken
#endif
}
END_TEST

void omp_set_num_threads(int threads); // in libgomp, which oneDNN brings

START_TEST(no_thread_is_ever_made)
{
    omp_set_num_threads(4); // as an environment variable would have it
    load();
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    ck_assert_uint_eq(thread_count(), 1);
}
END_TEST

START_TEST(same_picture_same_bits)
{
    float again[10];
    load();
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    for (int i = 0; i < 5; i++) {
        memset(again, 0, sizeof again);
        ck_assert_int_eq(engine_run(context, input, again, NULL, 0, NULL), OK);
        ck_assert_mem_eq(again, output, sizeof again);
    }
    engine_context_free(context);
    ck_assert_int_eq(engine_context_new(engine, &context, NULL), OK);
    ck_assert_int_eq(engine_run(context, input, again, NULL, 0, NULL), OK);
    ck_assert_mem_eq(again, output, sizeof again);
    engine_context_free(context);
    engine_free(engine);
}
END_TEST

START_TEST(forked_processes_share_a_model)
{
    enum { CHILDREN = 4 };
    load();
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct engine_context *own;
            float result[10];
            bool good = engine_context_new(engine, &own, NULL) == OK &&
                        engine_run(own, input, result, NULL, 0, NULL) == OK &&
                        memcmp(result, output, sizeof result) == 0 && thread_count() == 1;
            _exit(good ? 0 : 1);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
}
END_TEST

static void *run_in_thread(void *arg)
{
    struct engine_context *own;
    float *result = arg;
    if (engine_context_new(engine, &own, NULL) != OK)
        return NULL;
    for (int i = 0; i < 20; i++)
        if (engine_run(own, input, result, NULL, 0, NULL) != OK)
            return NULL;
    engine_context_free(own);
    return arg;
}

START_TEST(threads_share_a_model)
{
    enum { THREADS = 3 };
    float results[THREADS][10];
    pthread_t threads[THREADS];
    load();
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_in_thread, results[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_ptr_nonnull(result);
        ck_assert_mem_eq(results[i], output, sizeof output);
    }
}
END_TEST

START_TEST(a_run_stops_when_told)
{
    struct error error = {0};
    atomic_int cancel = 0;
    load();
    ck_assert_int_eq(
        engine_run(context, input, output, &cancel, clock_monotonic_ms() + 60000, &error), OK);
    cancel = 1;
    ck_assert_int_eq(engine_run(context, input, output, &cancel, 0, &error), ERR_CANCELLED);
    ck_assert_int_eq(engine_run(context, input, output, NULL, clock_monotonic_ms() - 1, &error),
                     ERR_TIMEOUT);
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, &error), OK); // nothing is broken
}
END_TEST

START_TEST(profile_runs_the_same)
{
    float again[10];
    load();
    struct engine_step *steps = calloc(engine_step_count(engine), sizeof *steps);
    ck_assert_int_eq(engine_run(context, input, output, NULL, 0, NULL), OK);
    ck_assert_int_eq(engine_profile(context, input, again, steps, NULL), OK);
    ck_assert_mem_eq(again, output, sizeof again);
    ck_assert_double_gt(engine_gflop(engine), 1e-4);
    bool plain = false;
    for (size_t i = 0; i < engine_step_count(engine); i++)
        plain = plain || strcmp(steps[i].kernel, "plain") == 0;
    ck_assert(plain);
    free(steps);
}
END_TEST

START_TEST(missing_file)
{
    struct error error;
    struct engine *e;
    ck_assert_int_eq(engine_load("/nowhere/model.onnx", &e, &error), ERR_NOT_FOUND);
    ck_assert_ptr_null(e);
    ck_assert_ptr_nonnull(strstr(error.msg, "/nowhere/model.onnx"));
    engine_free(NULL);
    engine_context_free(NULL);
}
END_TEST

SUITE_MAIN("engine", a_run_allocates_nothing, no_thread_is_ever_made, same_picture_same_bits,
           forked_processes_share_a_model, threads_share_a_model, a_run_stops_when_told,
           profile_runs_the_same, missing_file)
