#include "cli/peak.h"

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>

// Twelve chains: more than latency times units, few enough for the registers.
#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { CHAIN_COUNT = 12, ROUNDS = 100000 };

#define START512(i) __m512 a##i = _mm512_set1_ps((float)i);
#define START256(i) __m256 a##i = _mm256_set1_ps((float)i);
#define FMA512(i) a##i = _mm512_fmadd_ps(a##i, b, c);
#define FMA256(i) a##i = _mm256_fmadd_ps(a##i, b, c);
#define KEEP(i) __asm__ volatile("" : "+v"(a##i)); // the compiler may not shorten the chain
#define KEEP_YMM(i) __asm__ volatile("" : "+x"(a##i));

__attribute__((target("avx512f"), noinline)) static double run_avx512(void)
{
    CHAINS(START512)
    __m512 b = _mm512_set1_ps(0.9f), c = _mm512_set1_ps(0.1f);
    for (int i = 0; i < ROUNDS; i++) {
        CHAINS(FMA512)
        CHAINS(KEEP)
    }
    return 2.0 * 16 * CHAIN_COUNT * ROUNDS;
}

__attribute__((target("avx2,fma"), noinline)) static double run_avx2(void)
{
    CHAINS(START256)
    __m256 b = _mm256_set1_ps(0.9f), c = _mm256_set1_ps(0.1f);
    for (int i = 0; i < ROUNDS; i++) {
        CHAINS(FMA256)
        CHAINS(KEEP_YMM)
    }
    return 2.0 * 8 * CHAIN_COUNT * ROUNDS;
}

#define START_VNNI512(i) __m512i a##i = _mm512_set1_epi32(i);
#define DOT512(i) a##i = _mm512_dpbusd_epi32(a##i, b, c);

// Four products of bytes and their sum in each lane of 32 bits.
__attribute__((target("avx512f,avx512vnni"), noinline)) static double run_vnni512(void)
{
    CHAINS(START_VNNI512)
    __m512i b = _mm512_set1_epi32(0x01010101), c = _mm512_set1_epi32(0x01ff01ff);
    for (int i = 0; i < ROUNDS; i++) {
        CHAINS(DOT512)
        CHAINS(KEEP)
    }
    return 2.0 * 64 * CHAIN_COUNT * ROUNDS;
}

static double (*int8_kernel(void))(void)
{
    return __builtin_cpu_supports("avx512vnni") ? run_vnni512 : 0;
}

const char *peak_int8_name(void)
{
    return int8_kernel() != 0 ? "avx512-vnni" : "none";
}

static double (*kernel(void))(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return run_avx512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? run_avx2 : 0;
}

const char *peak_fma_name(void)
{
    return kernel() == run_avx512 ? "avx512" : kernel() == run_avx2 ? "avx2" : "none";
}
#else
static double (*kernel(void))(void)
{
    return 0;
}

static double (*int8_kernel(void))(void)
{
    return 0;
}

const char *peak_int8_name(void)
{
    return "none";
}

const char *peak_fma_name(void)
{
    return "none";
}
#endif

static double measure(double (*run)(void))
{
    enum { WINDOW_NS = 4000000 };
    struct timespec start, now;
    double flop = 0;
    int64_t ns = 0;
    if (run == 0)
        return 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    while (ns < WINDOW_NS) {
        flop += run();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        ns = (int64_t)(now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec;
    }
    return flop / (double)ns;
}

double peak_fma_gflops(void)
{
    return measure(kernel());
}

double peak_int8_gops(void)
{
    return measure(int8_kernel());
}
