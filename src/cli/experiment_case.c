// smelt experiment-case: the process that is measured. It works until it is killed.
#include "base/check.h"
#include "base/clock.h"
#include "cli/bench_bare.h"
#include "cli/commands.h"
#include "cli/experiment.h"
#include "cli/options.h"
#include "engine/package.h"
#include "engine/quantization.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option table[] = {
    {"arm", "N", NULL, NULL},
    {"n", "N", NULL, NULL},
    {"model", "M", NULL, NULL},
    {"models", "DIRS", NULL, NULL},
    {"samples", "DIR", NULL, NULL},
    {"fd", "FD", NULL, NULL},
    {0},
};

struct trial {
    enum experiment_arm arm;
    int n, event_fd;
    struct package *package;
    struct engine *engine;
    struct bench_files files;
    pthread_mutex_t lock; // ARM_LOCKED_THREADS
};

struct worker {
    struct trial *trial;
    uint32_t index;
    struct engine_context *context;
    float *input, *output;
};

static _Noreturn void die(const struct error *error)
{
    fprintf(stderr, "smelt: experiment: %s\n", error->msg);
    _exit(1);
}

static void tell(const struct worker *w, enum experiment_event_kind kind)
{
    const struct experiment_event event = {kind, w->index, clock_monotonic_us(), getpid()};
    if (write(w->trial->event_fd, &event, sizeof event) != (ssize_t)sizeof event)
        _exit(1); // nobody measures any more
}

static enum err answer(struct worker *w, size_t number, struct error *error)
{
    const struct trial *t = w->trial;
    struct span picture = buf_view(&t->files.contents[number % t->files.count]);
    TRY(image_read_tensor(picture, &t->package->preprocess, NULL, w->input, NULL, error));
    return engine_run(w->context, w->input, w->output, NULL, 0, error);
}

// Everything a worker needs of its own, and one picture, which touches all of it.
static void prepare(struct worker *w)
{
    struct error error = {0};
    const struct engine *engine = w->trial->engine;
    if (engine_context_new(engine, &w->context, &error) != OK)
        die(&error);
    w->input = calloc(engine_input_floats(engine), sizeof *w->input);
    w->output = calloc(engine_output_floats(engine), sizeof *w->output);
    CHECK(w->input != NULL && w->output != NULL);
    if (answer(w, w->index, &error) != OK)
        die(&error);
}

static _Noreturn void work(struct worker *w)
{
    struct error error = {0};
    struct trial *t = w->trial;
    bool locked = t->arm == ARM_LOCKED_THREADS;
    tell(w, EVENT_READY);
    for (size_t i = w->index;; i++) {
        tell(w, EVENT_BEGIN);
        if (locked)
            CHECK(pthread_mutex_lock(&t->lock) == 0);
        if (answer(w, i, &error) != OK)
            die(&error);
        if (locked)
            CHECK(pthread_mutex_unlock(&t->lock) == 0);
        tell(w, EVENT_END);
    }
}

static void *thread_main(void *worker)
{
    prepare(worker);
    work(worker);
}

static _Noreturn void run_threads(struct trial *t, struct worker *workers, int count)
{
    pthread_t threads[EXPERIMENT_N_MAX];
    (void)t;
    for (int i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, thread_main, &workers[i]) != 0)
            die(&(struct error){.msg = "a thread cannot be started"});
    thread_main(&workers[0]);
    abort(); // not reached
}

// Like the pool's zygote: one context is made and used before the fork, and inherited.
static _Noreturn void run_processes(struct trial *t, struct worker *workers)
{
    pid_t pids[EXPERIMENT_N_MAX] = {0}, self = getpid();
    int status = 0;
    prepare(&workers[0]);
    malloc_trim(0);
    for (int i = 0; i < t->n; i++)
        workers[i] = (struct worker){t, (uint32_t)i, workers[0].context, workers[0].input,
                                     workers[0].output};
    for (;;) {
        for (int i = 0; i < t->n; i++) {
            if (pids[i] != 0)
                continue;
            pids[i] = fork();
            if (pids[i] == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self)
                    _exit(1);
                work(&workers[i]);
            }
            if (pids[i] < 0)
                die(&(struct error){.msg = "a process cannot be forked"});
        }
        pid_t gone = wait(&status);
        if (gone < 0 && errno == EINTR)
            continue;
        if (WIFEXITED(status))
            _exit(1); // it said why
        for (int i = 0; i < t->n; i++)
            if (pids[i] == gone)
                pids[i] = 0;
    }
}

static enum err load(struct trial *t, const struct options *o, struct error *error)
{
    AUTO_BUF struct buf search = {0};
    struct quantization q = {0};
    struct engine_options options = {.threads = t->arm == ARM_COMPUTE_THREADS ? t->n : 1};
    package_search_path(options_get(o, "models"), &search);
    TRY(bench_files_find(&t->files, options_get(o, "samples"), error));
    TRY(package_open(options_get(o, "model"), search.data, &t->package, error));
    options.open = preprocess_size(&t->package->preprocess);
    if (t->package->int8_path != NULL) {
        TRY(package_quantization(t->package, &q, error));
        options.int8 = &q;
    }
    enum err err = engine_load_with(t->package->model_path, &options, &t->engine, error);
    quantization_release(&q);
    TRY(err);
    return package_fit(t->package, engine_input_shape(t->engine), engine_output_floats(t->engine),
                       error);
}

int experiment_case_main(int argc, char **argv)
{
    static struct worker workers[EXPERIMENT_N_MAX];
    static struct trial t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct options o;
    struct error error = {0};
    long arm, n, fd;
    int code = options_parse(&o, table, "smelt experiment-case",
                             "Internal: `smelt experiment` starts it.", argc, argv);
    if (code >= 0)
        return code;
    if (!options_int(&o, "arm", 0, ARM_COUNT - 1, &arm) ||
        !options_int(&o, "n", 1, EXPERIMENT_N_MAX, &n) || !options_int(&o, "fd", 3, 1023, &fd) ||
        options_get(&o, "model") == NULL || options_get(&o, "samples") == NULL)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); // it will be crashed on purpose
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    t.arm = (enum experiment_arm)arm;
    t.n = (int)n;
    t.event_fd = (int)fd;
    for (uint32_t i = 0; i < EXPERIMENT_N_MAX; i++)
        workers[i] = (struct worker){.trial = &t, .index = i};
    if (load(&t, &o, &error) != OK)
        die(&error);
    malloc_trim(0);
    if (t.arm == ARM_PROCESSES)
        run_processes(&t, workers);
    run_threads(&t, workers, t.arm == ARM_COMPUTE_THREADS ? 1 : t.n);
}
