// The experiment's cases for one n, seen from outside. First each alone: how long it takes to
// start, its memory, and what happens when one of its workers crashes. Then all arrangements side
// by side, one of them running and the others stopped, taking turns: whatever else the machine does
// disturbs all alike.
#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "cli/bench_processes.h"
#include "cli/experiment.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_S_MAX = 300,
    SAMPLES_MAX = 1 << 20,
    SETTLE_MS = 300,
    TURN_MS_MIN = 200,
    TURNS_MIN = 2
};

struct seen { // a worker, by its events
    bool ready;
    int64_t begun_us; // of the picture in hand; 0: none
    int64_t first_us; // its first answer since it was ready; 0: none yet
    pid_t pid;
};

struct running { // one case
    const struct experiment_setup *setup;
    enum experiment_arm arm;
    int n, workers;
    int event_fds[2];
    pid_t pid; // 0: none
    int pid_fd;
    struct seen seen[EXPERIMENT_N_MAX];
    int64_t turn_from_us; // pictures begun before are no sample of the latency
    long answers;         // since this was set to 0
    int lost;             // likewise: pictures in hand of workers that died
    float *latencies_ms;  // [SAMPLES_MAX]
    long sample_count;
    double rate_sum, rate_square_sum; // over turns
};

// --- the process ---

static enum err spawn(struct running *c, struct error *error)
{
    char arm[8], n[8];
    snprintf(arm, sizeof arm, "%d", (int)c->arm);
    snprintf(n, sizeof n, "%d", c->n);
    const char *models = c->setup->models;
    const char *argv[] = {"smelt",
                          "experiment-case",
                          "--arm",
                          arm,
                          "--n",
                          n,
                          "--fd",
                          "3",
                          "--model",
                          c->setup->model,
                          "--samples",
                          c->setup->samples,
                          models != NULL ? "--models" : NULL,
                          models,
                          NULL};
    const struct process_fd fds[] = {{c->event_fds[1], 3}};
    TRY(process_spawn(argv, fds, 1, &c->pid, error));
    c->pid_fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    return c->pid_fd >= 0 ? OK : fail(error, ERR_IO, errno, "watch the measured process");
}

static void reap(struct running *c)
{
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    c->pid = 0;
    fd_close(&c->pid_fd);
}

static enum err running_open(struct running *c, const struct experiment_setup *setup,
                             enum experiment_arm arm, int n, struct error *error)
{
    CHECK(n <= EXPERIMENT_N_MAX);
    *c = (struct running){.setup = setup,
                          .arm = arm,
                          .n = n,
                          .workers = arm == ARM_COMPUTE_THREADS ? 1 : n,
                          .event_fds = {-1, -1},
                          .pid_fd = -1,
                          .latencies_ms = calloc(SAMPLES_MAX, sizeof(float))};
    CHECK(c->latencies_ms != NULL);
    if (pipe2(c->event_fds, O_CLOEXEC) != 0 || fcntl(c->event_fds[0], F_SETFL, O_NONBLOCK) != 0)
        return fail(error, ERR_IO, errno, "make a pipe");
    return spawn(c, error);
}

static void running_close(struct running *c)
{
    if (c->pid > 0) { // it leads its group; its children die with it
        kill(c->pid, SIGKILL);
        reap(c);
    }
    if (c->latencies_ms != NULL) {
        fd_close(&c->event_fds[0]);
        fd_close(&c->event_fds[1]);
    }
    free(c->latencies_ms);
    c->latencies_ms = NULL;
}

// --- its events ---

static void take_end(struct running *c, struct seen *s, int64_t at_us)
{
    if (s->first_us == 0)
        s->first_us = at_us;
    if (s->begun_us >= c->turn_from_us && c->sample_count < SAMPLES_MAX)
        c->latencies_ms[c->sample_count++] = (float)(at_us - s->begun_us) / 1000;
    c->answers++;
    s->begun_us = 0;
}

static void take_event(struct running *c, const struct experiment_event *e)
{
    if (e->worker >= (uint32_t)c->workers)
        return;
    struct seen *s = &c->seen[e->worker];
    if (e->kind == EVENT_READY) {
        c->lost += s->begun_us != 0; // of the worker that was here before
        *s = (struct seen){.ready = true, .pid = (pid_t)e->pid};
    } else if (e->kind == EVENT_BEGIN) {
        s->begun_us = e->at_us;
    } else if (e->kind == EVENT_END) {
        take_end(c, s, e->at_us);
    }
}

// Some of the events that are there; false when there are none.
static bool take_events(struct running *c)
{
    struct experiment_event events[256];
    ssize_t got = read(c->event_fds[0], events, sizeof events);
    for (ssize_t i = 0; i < got / (ssize_t)sizeof *events; i++)
        take_event(c, &events[i]);
    return got > 0;
}

// Waits for events until until_us at most. *died: the case has ended (and is not reaped yet).
static void attend(struct running *c, int64_t until_us, bool *died)
{
    struct pollfd polled[] = {{.fd = c->event_fds[0], .events = POLLIN},
                              {.fd = c->pid_fd, .events = POLLIN}};
    int64_t left_ms = (until_us - clock_monotonic_us() + 999) / 1000;
    *died = false;
    if (poll(polled, 2, left_ms > 0 ? (int)left_ms : 0) < 0)
        return;
    if (polled[0].revents != 0)
        take_events(c);
    *died = polled[1].revents != 0;
}

static enum err died_by_itself(const struct running *c, struct error *error)
{
    return fail(error, ERR_INTERNAL, 0,
                "the measured process ended by itself (arrangement '%s', n = %d); if it said why, "
                "that stands above",
                experiment_arms[c->arm].name, c->n);
}

static enum err run_until(struct running *c, int64_t until_us, struct error *error)
{
    while (clock_monotonic_us() < until_us) {
        bool died;
        attend(c, until_us, &died);
        if (died)
            return died_by_itself(c, error);
    }
    return OK;
}

static bool all_answer(const struct running *c)
{
    for (int i = 0; i < c->workers; i++)
        if (!c->seen[i].ready || c->seen[i].first_us == 0)
            return false;
    return true;
}

static enum err wait_for_all(struct running *c, struct error *error)
{
    int64_t until_us = clock_monotonic_us() + START_S_MAX * INT64_C(1000000);
    while (!all_answer(c)) {
        bool died;
        attend(c, until_us, &died);
        if (died)
            return died_by_itself(c, error);
        if (clock_monotonic_us() >= until_us)
            return fail(error, ERR_TIMEOUT, 0,
                        "the workers did not answer within %d s (arrangement '%s', n = %d)",
                        START_S_MAX, experiment_arms[c->arm].name, c->n);
    }
    return OK;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double percentile(struct running *c, double share)
{
    qsort(c->latencies_ms, (size_t)c->sample_count, sizeof *c->latencies_ms, by_value);
    long at = (long)(share * (double)c->sample_count);
    return c->sample_count > 0 ? (double)c->latencies_ms[at < c->sample_count ? at : at - 1] : 0;
}

// --- alone: start, memory, crash ---

// All that worked in the process is gone with it; the same again from the start.
static enum err start_again(struct running *c, struct error *error)
{
    reap(c);
    while (take_events(c)) // what it said last
        continue;
    for (int i = 0; i < c->workers; i++) {
        c->lost += c->seen[i].begun_us != 0;
        c->seen[i] = (struct seen){0};
    }
    return spawn(c, error);
}

// The signal of a bad memory access for one worker; then until it, or its successor, is told of.
static enum err crash(struct running *c, struct error *error)
{
    bool died = false, alone = c->arm == ARM_PROCESSES;
    pid_t victim = alone ? c->seen[0].pid : c->pid;
    int64_t until_us = clock_monotonic_us() + START_S_MAX * INT64_C(1000000);
    if (kill(victim, SIGSEGV) != 0)
        return fail(error, ERR_IO, errno, "crash a worker");
    while (!died && !(alone && c->seen[0].pid != victim) && clock_monotonic_us() < until_us)
        attend(c, until_us, &died);
    if (alone)
        return died ? died_by_itself(c, error) : OK;
    return died ? start_again(c, error)
                : fail(error, ERR_TIMEOUT, 0, "the crashed process did not end");
}

static enum err measure_crash(struct running *c, struct experiment_row *row, struct error *error)
{
    while (take_events(c))
        continue;
    c->lost = 0;
    c->answers = 0;
    int64_t crashed_us = clock_monotonic_us(), back_us = crashed_us;
    TRY(crash(c, error));
    TRY(wait_for_all(c, error));
    for (int i = 0; i < c->workers; i++)
        if (c->seen[i].first_us > back_us)
            back_us = c->seen[i].first_us;
    row->crash_lost = c->lost;
    row->crash_back_ms = (double)(back_us - crashed_us) / 1000;
    row->crash_missed = -(double)c->answers; // what the rate promises is added when it is known
    return OK;
}

static enum err measure_alone(struct running *c, struct experiment_row *row, struct error *error)
{
    int64_t begin_us = clock_monotonic_us();
    struct bench_memory memory;
    TRY(wait_for_all(c, error));
    row->start_ms = (double)(clock_monotonic_us() - begin_us) / 1000;
    TRY(run_until(c, clock_monotonic_us() + SETTLE_MS * 1000, error));
    bench_memory_of_children(c->pid, &memory); // the sum is there whatever it returns
    row->pss_mb = memory.all_pss_mb;
    row->p50_ms = percentile(c, 0.5); // for the length of a turn
    row->p99_ms = percentile(c, 0.99);
    return measure_crash(c, row, error);
}

// --- side by side: rate, latency, processor time ---

static enum err one_turn(struct running *c, int64_t turn_us, struct error *error)
{
    c->answers = 0;
    c->turn_from_us = clock_monotonic_us();
    kill(-c->pid, SIGCONT);
    TRY(run_until(c, c->turn_from_us + turn_us, error));
    kill(-c->pid, SIGSTOP);
    double seconds = (double)(clock_monotonic_us() - c->turn_from_us) / 1e6;
    while (take_events(c))
        continue;
    double rate = (double)c->answers / seconds;
    c->rate_sum += rate;
    c->rate_square_sum += rate * rate;
    return OK;
}

// Every second round goes backwards.
static enum err take_turns(struct running cases[ARM_COUNT], int turns, int64_t turn_us,
                           struct error *error)
{
    for (int turn = 0; turn < turns; turn++)
        for (int i = 0; i < ARM_COUNT; i++)
            TRY(one_turn(&cases[turn % 2 == 0 ? i : ARM_COUNT - 1 - i], turn_us, error));
    return OK;
}

static void fill_row(struct running *c, int turns, double cpu_s, double seconds,
                     struct experiment_row *row)
{
    double mean = c->rate_sum / turns;
    double variance = (c->rate_square_sum - c->rate_sum * mean) / (turns - 1);
    double pictures = mean * seconds;
    row->turns = turns;
    row->pictures = lround(pictures);
    row->pictures_per_s = mean;
    row->noise = mean > 0 ? sqrt(fmax(variance, 0) / turns) / mean : 0;
    row->cpu_ms = pictures > 0 ? cpu_s * 1000 / pictures : 0;
    if (c->sample_count > 0) { // else no picture fitted into a turn: as it was alone
        row->p50_ms = percentile(c, 0.5);
        row->p99_ms = percentile(c, 0.99);
    }
    row->crash_missed = fmax(0, row->crash_missed + mean * row->crash_back_ms / 1000);
}

static enum err start_stopped(struct running cases[ARM_COUNT], const struct experiment_setup *setup,
                              int n, struct error *error)
{
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        struct running *c = &cases[arm];
        TRY(running_open(c, setup, (enum experiment_arm)arm, n, error));
        TRY(wait_for_all(c, error));
        kill(-c->pid, SIGSTOP);
        c->sample_count = 0;
    }
    return OK;
}

// Processor time of the whole machine so far, s.
static double machine_cpu_s(void)
{
    AUTO_BUF struct buf text = {0};
    struct error ignored;
    unsigned long long user, nice, system, irq, softirq, steal;
    if (file_read("/proc/stat", 16 << 20, &text, &ignored) != OK ||
        sscanf(text.data, "cpu %llu %llu %llu %*u %*u %llu %llu %llu", &user, &nice, &system, &irq,
               &softirq, &steal) != 6)
        return 0;
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

static enum err measure_side_by_side(struct running cases[ARM_COUNT],
                                     const struct experiment_setup *setup, int n,
                                     struct experiment_row rows[ARM_COUNT], struct error *error)
{
    double before_s[ARM_COUNT], slowest_ms = 0;
    for (int arm = 0; arm < ARM_COUNT; arm++)
        slowest_ms = fmax(slowest_ms, rows[arm].p50_ms);
    double turn_ms = fmax(TURN_MS_MIN, 5 * slowest_ms);
    int turns = (int)fmax(TURNS_MIN, (double)setup->seconds * 1000 / turn_ms);
    TRY(start_stopped(cases, setup, n, error));
    for (int arm = 0; arm < ARM_COUNT; arm++)
        before_s[arm] = bench_cpu_of_children(cases[arm].pid).all_s;
    double machine_s = machine_cpu_s(), own_s = 0, seconds = turns * turn_ms / 1000;
    int64_t begin_us = clock_monotonic_us();
    TRY(take_turns(cases, turns, (int64_t)(turn_ms * 1000), error));
    double passed_s = (double)(clock_monotonic_us() - begin_us) / 1e6;
    machine_s = machine_cpu_s() - machine_s;
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        double cpu_s = bench_cpu_of_children(cases[arm].pid).all_s - before_s[arm];
        own_s += cpu_s;
        fill_row(&cases[arm], turns, cpu_s, seconds, &rows[arm]);
    }
    for (int arm = 0; arm < ARM_COUNT; arm++)
        rows[arm].others = fmax(0, machine_s - own_s) / passed_s;
    return OK;
}

enum err experiment_measure(const struct experiment_setup *setup, int n,
                            struct experiment_row rows[ARM_COUNT], struct error *error)
{
    struct running *cases = calloc(ARM_COUNT, sizeof *cases);
    enum err err = OK;
    CHECK(cases != NULL);
    for (int arm = 0; arm < ARM_COUNT && err == OK; arm++) {
        rows[arm] = (struct experiment_row){.arm = (enum experiment_arm)arm, .n = n};
        err = running_open(&cases[arm], setup, (enum experiment_arm)arm, n, error);
        if (err == OK)
            err = measure_alone(&cases[arm], &rows[arm], error);
        running_close(&cases[arm]);
    }
    if (err == OK)
        err = measure_side_by_side(cases, setup, n, rows, error);
    for (int arm = 0; arm < ARM_COUNT; arm++)
        running_close(&cases[arm]);
    free(cases);
    return err;
}
