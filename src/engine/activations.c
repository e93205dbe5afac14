#include "engine/activations.h"

#if defined(__x86_64__)
#include <immintrin.h>

// x / (1 + 2^t), t = -alpha x / ln 2. 2^t is 2^round(t), exactly, times a polynomial of what
// remains, -0.5 … 0.5, fitted for the least relative error (7.5e-8). t is held to where 2^t is a
// normal number.
__attribute__((target("avx512f"))) static void swish_avx512(const float *x, float *y, size_t count,
                                                            const struct activation *a)
{
    const __m512 factor = _mm512_set1_ps(-1.44269504f * a->alpha), one = _mm512_set1_ps(1);
    const __m512 low = _mm512_set1_ps(-126), high = _mm512_set1_ps(126);
    const __m512 c0 = _mm512_set1_ps(1.0000001f), c1 = _mm512_set1_ps(0.69314694f);
    const __m512 c2 = _mm512_set1_ps(0.2402212f), c3 = _mm512_set1_ps(0.055507135f);
    const __m512 c4 = _mm512_set1_ps(0.009675541f), c5 = _mm512_set1_ps(0.001327647f);
    for (size_t i = 0; i < count; i += 16) {
        size_t left = count - i;
        __mmask16 lanes = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        __m512 t = _mm512_max_ps(_mm512_min_ps(_mm512_mul_ps(v, factor), high), low);
        __m512 whole = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m512 rest = _mm512_sub_ps(t, whole);
        __m512 e = _mm512_fmadd_ps(_mm512_fmadd_ps(c5, rest, c4), rest, c3);
        e = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(e, rest, c2), rest, c1), rest, c0);
        e = _mm512_add_ps(_mm512_scalef_ps(e, whole), one);
        _mm512_mask_storeu_ps(y + i, lanes, _mm512_div_ps(v, e));
    }
}

// 64 bytes at a time, from two tables of 128.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) static size_t
look_up_vbmi(const uint8_t *x, uint8_t *y, size_t count, const uint8_t *table)
{
    const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
    const __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
    size_t i = 0;
    for (; i + 64 <= count; i += 64) {
        __m512i v = _mm512_loadu_si512(x + i);
        __m512i low = _mm512_permutex2var_epi8(a, v, b), high = _mm512_permutex2var_epi8(c, v, d);
        _mm512_storeu_si512(y + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
    }
    return i;
}
#endif

void activation_of_bytes(const uint8_t *x, uint8_t *y, size_t count, const uint8_t table[256])
{
    size_t i = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vbmi"))
        i = look_up_vbmi(x, y, count, table);
#endif
    for (; i < count; i++)
        y[i] = table[x[i]];
}

activation_kernel *activation_kernel_best(const struct activation *a)
{
#if defined(__x86_64__)
    if (a->kind == UNARY_SWISH && __builtin_cpu_supports("avx512f"))
        return swish_avx512;
#endif
    (void)a;
    return NULL;
}
