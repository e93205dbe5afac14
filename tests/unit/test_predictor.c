// The predictor on the model that ships: it must give what its training script computed
// (golden.json).
#include "base/clock.h"
#include "base/text.h"
#include "engine/predictor.h"

#include "pictures.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static struct predictor *demo_open(void)
{
    struct predictor *p;
    struct error error;
    ck_assert_msg(predictor_open("models/demo", "", &p, &error) == OK, "%s", error.msg);
    return p;
}

static void sample_load(const char *name, struct buf *out)
{
    char path[200];
    struct error error;
    snprintf(path, sizeof path, "samples/%s", name);
    ck_assert_msg(file_read(path, 1 << 24, out, &error) == OK, "%s", error.msg);
}

static void check_golden(struct predictor *p, const char *name, json_t *golden)
{
    AUTO_BUF struct buf file = {0};
    struct prediction_result r;
    struct error error;
    sample_load(name, &file);
    ck_assert_msg(predictor_run(p, buf_view(&file), NULL, 0, &r, &error) == OK, "%s", error.msg);
    const struct package *package = predictor_package(p);
    json_t *top = json_object_get(golden, "top");
    ck_assert_uint_eq(json_array_size(top), r.top_count);
    for (size_t i = 0; i < r.top_count; i++) {
        const char *label = json_string_value(json_array_get(json_array_get(top, i), 0));
        double score = json_number_value(json_array_get(json_array_get(top, i), 1));
        ck_assert_msg(fabs(score - (double)r.top[i].score) < 2e-4, "%s: %s %g instead of %g", name,
                      label, (double)r.top[i].score, score);
        if (score > 1e-3) // below, the order of near equals may differ
            ck_assert_str_eq(package->labels[r.top[i].index], label);
    }
    ck_assert_str_eq(package->groups[0].name, "dog");
    double dog = json_number_value(json_object_get(golden, "dog"));
    ck_assert(fabs(dog - (double)r.groups[0].score) < 2e-4);
    ck_assert_int_eq(r.groups[0].present, strncmp(name, "dog-", 4) == 0);
}

START_TEST(demo_model_gives_the_golden_answers)
{
    json_error_t reason;
    json_t *golden = json_load_file("models/demo/golden.json", 0, &reason);
    ck_assert_msg(golden != NULL && json_object_size(golden) >= 2, "%s", reason.text);
    struct predictor *p = demo_open();
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    const char *name;
    json_t *value;
    json_object_foreach(golden, name, value) check_golden(p, name, value);
    predictor_free(p);
    json_decref(golden);
}
END_TEST

START_TEST(every_sample_is_answered_right)
{
    struct predictor *p = demo_open();
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    for (int i = 0; i < 10; i++) {
        AUTO_BUF struct buf file = {0};
        struct prediction_result r;
        char name[40];
        snprintf(name, sizeof name, "%s-%d.jpg", i % 2 ? "dog" : "nodog", i / 2 + 1);
        sample_load(name, &file);
        ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
        ck_assert_int_eq(r.groups[0].present, i % 2);
        ck_assert(r.decode_us >= 0 && r.infer_us > 0 && r.width > 0 && r.height > 0);
    }
    predictor_free(p);
}
END_TEST

START_TEST(result_is_json_that_others_can_read)
{
    struct predictor *p = demo_open();
    AUTO_BUF struct buf file = {0}, text = {0};
    struct prediction_result r;
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    sample_load("dog-1.jpg", &file);
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
    predictor_write_json(p, &r, &text);
    json_t *result = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(result);
    json_t *predictions = json_object_get(result, "predictions");
    ck_assert_uint_eq(json_array_size(predictions), (size_t)predictor_package(p)->top_k);
    double before = 1.0;
    for (size_t i = 0; i < json_array_size(predictions); i++) {
        json_t *one = json_array_get(predictions, i);
        double score = json_number_value(json_object_get(one, "score"));
        ck_assert(json_is_string(json_object_get(one, "label")) && score <= before && score >= 0);
        ck_assert(json_is_integer(json_object_get(one, "index")));
        before = score;
    }
    json_t *dog = json_object_get(json_object_get(result, "groups"), "dog");
    ck_assert(json_is_true(json_object_get(dog, "present")));
    ck_assert(json_number_value(json_object_get(dog, "score")) > 0.5);
    json_decref(result);
    predictor_free(p);
}
END_TEST

START_TEST(a_bad_picture_costs_only_itself)
{
    struct predictor *p = demo_open();
    AUTO_BUF struct buf file = {0};
    struct prediction_result r;
    struct error error = {0};
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    sample_load("dog-1.jpg", &file);
    struct span half = {file.data, file.len / 2};
    ck_assert_int_eq(predictor_run(p, half, NULL, 0, &r, &error), ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "truncated upload?"));
    ck_assert_int_eq(predictor_run(p, (struct span){NULL, 0}, NULL, 0, &r, &error), ERR_FORMAT);
    atomic_int cancel = 1;
    ck_assert_int_eq(predictor_run(p, buf_view(&file), &cancel, 0, &r, &error), ERR_CANCELLED);
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 1, &r, &error), ERR_TIMEOUT);
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, &error), OK);
    ck_assert(r.groups[0].present);
    predictor_free(p);
}
END_TEST

// As the worker does: opened once, prepared and run in forked children; all give the same bits.
START_TEST(forked_processes_give_the_same_bits)
{
    enum { CHILDREN = 3 };
    struct predictor *p = demo_open();
    AUTO_BUF struct buf file = {0};
    sample_load("nodog-2.jpg", &file);
    int pipes[CHILDREN][2];
    struct prediction first[5];
    for (int i = 0; i < CHILDREN; i++) {
        ck_assert_int_eq(pipe(pipes[i]), 0);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            struct prediction_result r;
            bool good = predictor_prepare(p, NULL) == OK &&
                        predictor_run(p, buf_view(&file), NULL, 0, &r, NULL) == OK &&
                        write(pipes[i][1], r.top, sizeof first) == (ssize_t)sizeof first;
            _exit(good ? 0 : 1);
        }
        int status;
        struct prediction got[5];
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_int_eq(read(pipes[i][0], i == 0 ? first : got, sizeof first), sizeof first);
        if (i > 0)
            ck_assert_mem_eq(first, got, sizeof first);
    }
    predictor_free(p);
}
END_TEST

// Loaded anew, after other pictures, with other memory: the same picture, the same bits.
START_TEST(every_run_of_every_load_gives_the_same_bits)
{
    enum { LOADS = 3, RUNS = 3, TOP = 5 };
    AUTO_BUF struct buf file = {0}, other = {0};
    struct prediction first[TOP];
    sample_load("dog-3.jpg", &file);
    sample_load("nodog-1.jpg", &other);
    for (int i = 0; i < LOADS; i++) {
        struct predictor *p = demo_open();
        struct prediction_result r;
        void *moved = malloc((size_t)(i + 1) * 1000 + 24);
        ck_assert_int_eq(predictor_prepare(p, NULL), OK);
        for (int k = 0; k < RUNS; k++) {
            if (k + i > 0)
                ck_assert_int_eq(predictor_run(p, buf_view(&other), NULL, 0, &r, NULL), OK);
            ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
            if (i + k == 0)
                memcpy(first, r.top, sizeof first);
            ck_assert_mem_eq(first, r.top, sizeof first);
        }
        free(moved);
        predictor_free(p);
    }
}
END_TEST

static atomic_int alarmed;

static void on_alarm(int signal)
{
    (void)signal;
    atomic_store(&alarmed, 1);
}

// Asked to stop when it has begun; and the next answer is as if nothing had been.
START_TEST(a_run_stops_between_layers)
{
    struct predictor *p = demo_open();
    AUTO_BUF struct buf file = {0};
    struct prediction_result r;
    struct prediction best;
    struct error error;
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    sample_load("dog-1.jpg", &file);
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
    best = r.top[0];
    signal(SIGALRM, on_alarm);
    int stopped = 0;
    for (int64_t us = 100; stopped < 3 && us < r.decode_us + r.infer_us + 100000; us += 100) {
        struct itimerval timer = {.it_value = {us / 1000000, us % 1000000}};
        atomic_store(&alarmed, 0);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
        bool early = atomic_load(&alarmed) != 0;
        enum err err = predictor_run(p, buf_view(&file), &alarmed, 0, &r, &error);
        setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
        ck_assert(err == OK || err == ERR_CANCELLED);
        stopped += err == ERR_CANCELLED && !early;
    }
    ck_assert_int_eq(stopped, 3);
    atomic_store(&alarmed, 1); // or before it has begun
    ck_assert_int_eq(predictor_run(p, buf_view(&file), &alarmed, 0, &r, &error), ERR_CANCELLED);
    ck_assert_ptr_nonnull(strstr(error.msg, "decoding"));
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
    ck_assert_mem_eq(&best, &r.top[0], sizeof best);
    predictor_free(p);
}
END_TEST

START_TEST(a_run_past_its_deadline_stops)
{
    struct predictor *p = demo_open();
    AUTO_BUF struct buf file = {0};
    struct prediction_result r;
    struct error error;
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    sample_load("dog-1.jpg", &file);
    // the deadline comes while it decodes or in the first millisecond after: the clock is read
    // between layers, so that it has begun and stops
    int stopped = 0;
    for (int i = 0; i < 1000 && stopped == 0; i++) {
        int64_t begin_ms = clock_monotonic_ms();
        enum err err = predictor_run(p, buf_view(&file), NULL, begin_ms + 1, &r, &error);
        ck_assert(err == OK || err == ERR_TIMEOUT);
        stopped += err == ERR_TIMEOUT;
    }
    ck_assert_int_eq(stopped, 1);
    ck_assert_int_eq(
        predictor_run(p, buf_view(&file), NULL, clock_monotonic_ms() + 60000, &r, NULL), OK);
    ck_assert(r.groups[0].present);
    predictor_free(p);
}
END_TEST

// The network without its package: the same scores under names of classes.
START_TEST(bare_model_file_works_with_defaults)
{
    struct predictor *p, *demo = demo_open();
    AUTO_BUF struct buf file = {0};
    struct prediction_result r;
    struct error error;
    ck_assert_msg(predictor_open("models/demo/model.onnx", "", &p, &error) == OK, "%s", error.msg);
    ck_assert(!predictor_package(p)->softmax);
    ck_assert_int_eq(predictor_package(p)->preprocess.width,
                     predictor_package(demo)->preprocess.width);
    ck_assert_int_eq(predictor_prepare(p, NULL), OK);
    ck_assert_int_eq(predictor_prepare(demo, NULL), OK);
    sample_load("dog-2.jpg", &file);
    ck_assert_int_eq(predictor_run(p, buf_view(&file), NULL, 0, &r, NULL), OK);
    struct prediction best = r.top[0];
    ck_assert_int_eq(predictor_run(demo, buf_view(&file), NULL, 0, &r, NULL), OK);
    ck_assert_int_eq(best.index, r.top[0].index);
    ck_assert_float_eq(best.score, r.top[0].score);
    char label[30];
    snprintf(label, sizeof label, "class %d", best.index);
    ck_assert_str_eq(predictor_package(p)->labels[best.index], label);
    predictor_free(p);
    predictor_free(demo);
}
END_TEST

SUITE_MAIN("predictor", demo_model_gives_the_golden_answers, every_sample_is_answered_right,
           result_is_json_that_others_can_read, a_bad_picture_costs_only_itself,
           forked_processes_give_the_same_bits, every_run_of_every_load_gives_the_same_bits,
           a_run_stops_between_layers, a_run_past_its_deadline_stops,
           bare_model_file_works_with_defaults)
