// Loaded into the real process (LD_PRELOAD): CLOCK_BOOTTIME is SMELT_LATER_S seconds ahead, and the wall clock
// SMELT_WALL_S, so that a process which is started again finds that time has passed, or a clock that was set.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static long later_s, wall_s;

__attribute__((constructor)) static void start(void)
{
    const char *later = getenv("SMELT_LATER_S"), *wall = getenv("SMELT_WALL_S");
    later_s = later != NULL ? atol(later) : 0;
    wall_s = wall != NULL ? atol(wall) : 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    t->tv_sec += id == CLOCK_BOOTTIME ? later_s : id == CLOCK_REALTIME ? wall_s : 0;
    return result;
}
