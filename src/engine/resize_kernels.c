// The two inner loops of a resize, plain and with AVX2: the same results, bit for bit.
#include "engine/resize.h"

#include <string.h>

#define HALF (1 << (RESIZE_WEIGHT_BITS - 1))

static inline uint8_t to_byte(int32_t sum)
{
    int32_t v = (sum + HALF) >> RESIZE_WEIGHT_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

// ---- plain: the oracle, and what other processors run -----------------------------------------

static void narrow_one(const struct resize_axis *a, int i, const uint8_t *row, uint8_t *out)
{
    const int32_t *weights = a->weights + (size_t)i * (size_t)a->taps;
    const uint8_t *p = row + (size_t)a->first[i] * 3;
    int32_t sum[3] = {0, 0, 0};
    for (int t = 0; t < a->count[i]; t++, p += 3)
        for (int c = 0; c < 3; c++)
            sum[c] += weights[t] * p[c];
    for (int c = 0; c < 3; c++)
        out[3 * i + c] = to_byte(sum[c]);
}

static void narrow_plain(const struct resize_axis *a, const uint8_t *row, uint8_t *out)
{
    for (int i = 0; i < a->out; i++)
        narrow_one(a, i, row, out);
}

static void mix_from(int i, const uint8_t *const *rows, const int32_t *weights, int count, int len,
                     uint8_t *out)
{
    for (; i < len; i++) {
        int32_t sum = 0;
        for (int t = 0; t < count; t++)
            sum += weights[t] * rows[t][i];
        out[i] = to_byte(sum);
    }
}

static void mix_plain(const uint8_t *const *rows, const int32_t *weights, int count, int len,
                      uint8_t *out)
{
    mix_from(0, rows, weights, count, len, out);
}

const struct resize_kernels *resize_kernels_plain(void)
{
    static const struct resize_kernels plain = {narrow_plain, mix_plain};
    return &plain;
}

// ---- AVX2 -------------------------------------------------------------------------------------

#if defined(__x86_64__)
#include <immintrin.h>

// Four pixels a step: a byte shuffle pairs r0 r1 | g0 g1 | b0 b1 | 0 0 and r2 r3 | … as 16-bit
// numbers, and two multiply-adds take the high and low halves of the weights. Exact: low sums stay
// below 2^22 * 255, as each low part is at most its weight.
__attribute__((target("avx2"))) static void narrow_avx2(const struct resize_axis *a,
                                                        const uint8_t *row, uint8_t *out)
{
    const __m256i pairs =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                         -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    for (int i = 0; i < a->out; i++) {
        int steps = (a->count[i] + 3) / 4;
        if (a->first[i] * 3 + steps * 12 + 4 > a->in * 3) { // would read behind the row
            narrow_one(a, i, row, out);
            continue;
        }
        const uint8_t *p = row + (size_t)a->first[i] * 3;
        const int16_t *high = a->high + (size_t)i * (size_t)a->taps;
        const int16_t *low = a->low + (size_t)i * (size_t)a->taps;
        __m256i sum_high = _mm256_setzero_si256(), sum_low = _mm256_setzero_si256();
        for (int t = 0; t < steps; t++, p += 12, high += 4, low += 4) {
            __m256i px =
                _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
            px = _mm256_shuffle_epi8(px, pairs);
            __m128i h = _mm_loadl_epi64((const __m128i *)(const void *)high);
            __m128i l = _mm_loadl_epi64((const __m128i *)(const void *)low);
            __m256i h8 = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(h), spread);
            __m256i l8 = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(l), spread);
            sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(px, h8));
            sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(px, l8));
        }
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sum_high, RESIZE_LOW_BITS), sum_low);
        __m128i rgb = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        rgb = _mm_srai_epi32(_mm_add_epi32(rgb, _mm_set1_epi32(HALF)), RESIZE_WEIGHT_BITS);
        rgb = _mm_packus_epi16(_mm_packs_epi32(rgb, rgb), rgb);
        int32_t bytes = _mm_cvtsi128_si32(rgb);
        memcpy(out + (size_t)i * 3, &bytes, 4); // the fourth is written over by the next
    }
}

__attribute__((target("avx2"))) static void
mix_avx2(const uint8_t *const *rows, const int32_t *weights, int count, int len, uint8_t *out)
{
    int i = 0;
    for (; i + 16 <= len; i += 16) {
        __m256i a = _mm256_set1_epi32(HALF), b = a;
        for (int t = 0; t < count; t++) {
            __m256i w = _mm256_set1_epi32(weights[t]);
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(rows[t] + i));
            a = _mm256_add_epi32(a, _mm256_mullo_epi32(w, _mm256_cvtepu8_epi32(v)));
            b = _mm256_add_epi32(b,
                                 _mm256_mullo_epi32(w, _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))));
        }
        a = _mm256_srai_epi32(a, RESIZE_WEIGHT_BITS);
        b = _mm256_srai_epi32(b, RESIZE_WEIGHT_BITS);
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(void *)(out + i), bytes);
    }
    mix_from(i, rows, weights, count, len, out);
}
#endif

const struct resize_kernels *resize_kernels_best(void)
{
#if defined(__x86_64__)
    static const struct resize_kernels avx2 = {narrow_avx2, mix_avx2};
    if (__builtin_cpu_supports("avx2"))
        return &avx2;
#endif
    return resize_kernels_plain();
}
