/* Vectors of the widest kind that this processor has, in GCC's extensions: GCC and Clang compile them for any. */
#pragma once
#include <math.h>
#include <omp.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE vec splat(float x) { return (vec){0} + x; }

INLINE vec maximum(vec a, vec b)
{
    const ivec first = a > b;
    return (vec)(((ivec)a & first) | ((ivec)b & ~first));
}

/* Of n numbers, -infinity of none; what is not a number is passed over. */
INLINE float largest(const float *x, int64_t n)
{
    vec tops = splat(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) tops = maximum(*(const vec *)(x + i), tops);
    float top = -INFINITY;
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int j = 0; j < LANES; j++) top = tops[j] > top ? tops[j] : top;
    return top;
}

INLINE float sum(vec v)
{
    typedef float half __attribute__((vector_size(2 * LANES)));
    typedef float quarter __attribute__((vector_size(LANES)));
    const union { vec whole; half halves[2]; } w = {v};
    const union { half whole; quarter halves[2]; } h = {w.halves[0] + w.halves[1]};
    const quarter q = h.halves[0] + h.halves[1];
    float s = 0;
    for (int i = 0; i < LANES / 4; i++) s += q[i];
    return s;
}

INLINE float dot(const float *a, const float *b, int64_t n)
{
    vec s = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) s += *(const vec *)(a + i) * *(const vec *)(b + i);
    float rest = 0;
    for (; i < n; i++) rest += a[i] * b[i];
    return sum(s) + rest;
}

/* sums[i] = dot(a, b + i * n), i < LANES; n a multiple of LANES. */
INLINE void dots(const float *a, const float *b, int64_t n, float *sums)
{
    vec acc[LANES];
    for (int i = 0; i < LANES; i++) acc[i] = (vec){0};
    for (int64_t j = 0; j < n; j += LANES) {
        const vec x = *(const vec *)(a + j);
        for (int i = 0; i < LANES; i++) acc[i] += x * *(const vec *)(b + i * n + j);
    }
#if defined(__clang__)
    for (int i = 0; i < LANES; i++) sums[i] = sum(acc[i]);
#else
    /* Two vectors become one that holds halves of both, until every lane is a sum of its own. */
#if LANES == 16
    const ivec low[4] = {{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23},
                         {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27},
                         {0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29},
                         {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}};
    const int stages = 4;
#else
    const ivec low[3] = {{0, 1, 2, 3, 8, 9, 10, 11}, {0, 1, 4, 5, 8, 9, 12, 13}, {0, 2, 4, 6, 8, 10, 12, 14}};
    const int stages = 3;
#endif
    for (int stage = 0; stage < stages; stage++) {
        const int half = LANES >> (stage + 1); /* vectors that are left */
        for (int i = 0; i < half; i++) {
            const vec one = acc[2 * i], two = acc[2 * i + 1];
            acc[i] = __builtin_shuffle(one, two, low[stage]) + __builtin_shuffle(one, two, low[stage] + half);
        }
    }
    *(vec *)sums = acc[0];
#endif
}

/* exp to 2 units in the last place; Cephes' polynomial on [-ln 2 / 2, ln 2 / 2]. */
INLINE vec exponential(vec x)
{
    const vec low = splat(-87.0f), high = splat(88.0f), magic = splat(12582912.0f);
    ivec under = x < low, over = x > high;
    x = (vec)(((ivec)x & ~under) | ((ivec)low & under));
    x = (vec)(((ivec)x & ~over) | ((ivec)high & over));
    const vec shifted = x * 1.44269504f + magic, n = shifted - magic;
    const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)(((ivec)shifted - (ivec)magic + 127) << 23);
}

INLINE float exponential_of(float x) { return exponential(splat(x))[0]; }

/* This thread's part of ``n`` things. */
INLINE void share(int64_t n, int t, int threads, int64_t *first, int64_t *end)
{
    *first = n * t / threads;
    *end = n * (t + 1) / threads;
}
