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
