#include "cli/bench_processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 4096 };

struct process {
    pid_t pid, parent;
    double cpu_s;
    bool ours;
};

// Parent and processor time (s).
static pid_t read_stat(pid_t pid, double *cpu_s)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *behind_name = strrchr(text, ')');
    int parent = 0;
    unsigned long user, system;
    if (behind_name == NULL ||
        sscanf(behind_name + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &parent,
               &user, &system) != 3)
        return 0;
    *cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return (pid_t)parent;
}

// To the nanosecond: the clock ticks of read_stat do not show a process that runs for less than ten
// milliseconds. Of a process that is gone, they stay.
static void read_cpu_clock(pid_t pid, double *cpu_s)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0)
        *cpu_s = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static size_t list_processes(struct process *all)
{
    DIR *dir = opendir("/proc");
    size_t count = 0;
    if (dir == NULL)
        return 0;
    for (struct dirent *entry; count < PROCESSES_MAX && (entry = readdir(dir)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0)
            continue;
        struct process *process = &all[count++];
        *process = (struct process){.pid = pid};
        process->parent = read_stat(pid, &process->cpu_s);
    }
    closedir(dir);
    return count;
}

static bool is_ours(const struct process *all, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].pid == pid)
            return all[i].ours;
    return false;
}

// Marks the descendants of root.
static void mark(struct process *all, size_t count, pid_t root)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++)
            if (!all[i].ours && (all[i].pid == root || is_ours(all, count, all[i].parent)))
                all[i].ours = more = true;
    }
}

static bool read_memory(pid_t pid, double *private_mb, double *pss_mb)
{
    char path[64], line[256];
    long value, private_kb = 0, pss_kb = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &value) == 1)
            private_kb += value;
        if (sscanf(line, "Pss: %ld", &value) == 1)
            pss_kb = value;
    }
    fclose(file);
    *private_mb = (double)private_kb / 1024;
    *pss_mb = (double)pss_kb / 1024;
    return pss_kb >= 0;
}

// Is it a `smelt COMMAND`?
static bool runs(pid_t pid, const char *command)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *second = memchr(text, '\0', len);
    return second != NULL && strcmp(second + 1, command) == 0;
}

// A child carries its zygote's command line.
static bool computes(const struct process *process)
{
    return runs(process->pid, "zygote") && runs(process->parent, "zygote");
}

bool bench_memory_of_children(pid_t supervisor, struct bench_memory *out)
{
    static struct process all[PROCESSES_MAX];
    size_t count = list_processes(all);
    *out = (struct bench_memory){0};
    mark(all, count, supervisor);
    for (size_t i = 0; i < count; i++) {
        double private_mb, pss_mb;
        if (!all[i].ours || !read_memory(all[i].pid, &private_mb, &pss_mb))
            continue;
        out->all_pss_mb += pss_mb;
        if (!computes(&all[i]))
            continue;
        out->children++;
        if (private_mb > out->private_mb) {
            out->private_mb = private_mb;
            out->pss_mb = pss_mb;
        }
    }
    return out->children > 0;
}

struct bench_cpu bench_cpu_of_children(pid_t supervisor)
{
    static const char *const commands[BENCH_ROLES] = {"sqs", "s3", "gateway", "worker"};
    static struct process all[PROCESSES_MAX];
    struct bench_cpu cpu = {0};
    size_t count = list_processes(all);
    mark(all, count, supervisor);
    for (size_t i = 0; i < count; i++) {
        if (!all[i].ours)
            continue;
        read_cpu_clock(all[i].pid, &all[i].cpu_s);
        cpu.all_s += all[i].cpu_s;
        if (computes(&all[i]))
            cpu.children_s += all[i].cpu_s;
        for (int role = 0; role < BENCH_ROLES; role++)
            if (runs(all[i].pid, commands[role]))
                cpu.roles_s[role] += all[i].cpu_s;
    }
    return cpu;
}

pid_t bench_nth_child(pid_t supervisor, int n)
{
    static struct process all[PROCESSES_MAX];
    size_t count = list_processes(all);
    mark(all, count, supervisor);
    for (size_t i = 0; i < count; i++)
        if (all[i].ours && computes(&all[i]) && n-- == 0)
            return all[i].pid;
    return 0;
}
