#include "base/cgroup.h"

#include "base/file.h"
#include "base/limits.h"

#include "suite.h"
#include "temp_dir.h"

#include <sys/stat.h>

static char root[64];

static void put(const char *path, const char *text)
{
    AUTO_BUF struct buf full = {0};
    buf_printf(&full, "%s/%s", root, path);
    for (char *slash = full.data + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL;
         slash++) {
        *slash = '\0';
        mkdir(full.data, 0755);
        *slash = '/';
    }
    FILE *file = fopen(full.data, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(version_2_the_tightest_of_all_groups_above_counts)
{
    temp_dir_make(root);
    struct cgroup_limits limits;
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/meminfo", "MemTotal: 9999999 kB\nMemAvailable:   4000000 kB\n");
    put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put("sys/fs/cgroup/a/b/memory.current", "500000000\n");
    put("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 100000000\n");
    put("sys/fs/cgroup/a/memory.max", "max\n");
    cgroup_read(root, &limits);
    ck_assert_double_eq_tol(limits.cpus, 1.5, 1e-9);
    ck_assert_uint_eq(limits.memory_bytes, 1073741824);
    ck_assert_uint_eq(limits.memory_used, 400000000);
    ck_assert_uint_eq(cgroup_memory_left(root, &limits), 1073741824 - 400000000);
    put("sys/fs/cgroup/a/memory.high", "800000000\n");
    put("sys/fs/cgroup/a/memory.current", "900000000\n");
    cgroup_read(root, &limits);
    ck_assert_uint_eq(limits.memory_bytes, 800000000);
    ck_assert_uint_eq(cgroup_memory_left(root, &limits), 1); // nothing, but known
    temp_dir_remove(root);
}
END_TEST

START_TEST(version_2_in_a_container_whose_group_looks_like_the_root)
{
    temp_dir_make(root);
    struct cgroup_limits limits;
    put("proc/self/cgroup", "0::/../../somewhere\n");
    put("proc/meminfo", "MemAvailable: 1000 kB\n");
    put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    put("sys/fs/cgroup/memory.max", "max\n");
    cgroup_read(root, &limits);
    ck_assert_double_eq_tol(limits.cpus, 0.5, 1e-9);
    ck_assert_uint_eq(limits.memory_bytes, 0);
    ck_assert_uint_eq(cgroup_memory_left(root, &limits), 1000 << 10);
    temp_dir_remove(root);
}
END_TEST

START_TEST(version_1)
{
    temp_dir_make(root);
    struct cgroup_limits limits;
    put("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x\n1:name=systemd:/y\n");
    put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "200000\n");
    put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3000000\n");
    put("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1000000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    cgroup_read(root, &limits);
    ck_assert_double_eq_tol(limits.cpus, 2, 1e-9);
    ck_assert_uint_eq(limits.memory_bytes, 3000000);
    ck_assert_uint_eq(cgroup_memory_left(root, &limits), 2000000);
    temp_dir_remove(root);
}
END_TEST

START_TEST(what_is_missing_or_odd_does_not_limit)
{
    temp_dir_make(root);
    struct cgroup_limits limits;
    cgroup_read(root, &limits);
    ck_assert(limits.cpus == 0 && limits.memory_bytes == 0);
    ck_assert_uint_eq(cgroup_memory_left(root, &limits), 0);
    put("proc/self/cgroup", "::\n0:\nnonsense\n0::relative\n0::/a\n");
    put("sys/fs/cgroup/a/cpu.max", "nonsense\n");
    put("sys/fs/cgroup/a/memory.max", "12x\n");
    cgroup_read(root, &limits);
    ck_assert(limits.cpus == 0 && limits.memory_bytes == 0);
    cgroup_read("", &limits); // the real one: whatever it says, it ends
    temp_dir_remove(root);
}
END_TEST

SUITE_MAIN("cgroup", version_2_the_tightest_of_all_groups_above_counts,
           version_2_in_a_container_whose_group_looks_like_the_root, version_1,
           what_is_missing_or_odd_does_not_limit)
