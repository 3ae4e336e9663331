/* Products in bfloat16, summed in float32, of blocks of SIDE by SIDE: what a processor with AMX multiplies in tiles.
 *
 * Weights w (n outputs, k inputs) lie in "panels", (ceil(n / SIDE), ceil(k / SIDE), 2, 16, 16, 2), filled up with zeros:
 * a panel is SIDE outputs; for SIDE inputs of it there are two tiles of 16 outputs; a tile holds, for one pair of inputs
 * after another, the pair's weights of every output. Rows that are multiplied with them are plain, (rows, inputs), and
 * there are a multiple of SIDE of both. Without AMX the same is computed by vectors, of pairs where those are known.
 */
#pragma once
#include <string.h>

#include "vectors.h"

#if defined(__AMX_BF16__) || defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#define SIDE 32
#define BLOCK (SIDE * SIDE)
#define AHEAD 4 /* blocks of weights that are fetched before they are multiplied, where few rows are */

typedef uint16_t coarse; /* a bfloat16 */

/* A linear map of rows x: out = x w^T + bias, and low u^T where there is an adapter; its ``down`` made low of x.
 * decoder.py:_Map and products.py mirror it. */
typedef struct {
    const void *panels; /* of w; of the decoder's own kind where it multiplies in float32 */
    const float *bias;  /* (n,) or NULL */
    int64_t n;          /* outputs */
    float *out;         /* (rows, n), written */
    const coarse *up;   /* panels of u, or NULL */
    int64_t low, rank;  /* where the adapter's columns of low begin, and how many there are: multiples of SIDE */
} map;

INLINE int64_t whole(int64_t n) { return (n + SIDE - 1) / SIDE * SIDE; }

INLINE float wide(coarse x)
{
    const union { uint32_t bits; float value; } u = {(uint32_t)x << 16};
    return u.value;
}

/* To the nearest, ties to even; not a number stays so. */
INLINE coarse narrow(float x)
{
    const union { float value; uint32_t bits; } u = {x};
    return x != x ? 0x7fc0 : (coarse)((u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16);
}

INLINE void narrow_all(const float *x, coarse *y, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
    for (; i + 16 <= n; i += 16) _mm256_storeu_si256((void *)(y + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
#endif
    for (; i < n; i++) y[i] = narrow(x[i]);
}

#if defined(__AMX_BF16__)

INLINE void tiles_begin(void)
{
    struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    _tile_loadconfig(&shape);
}

INLINE void tiles_end(void) { _tile_release(); }

#define MULTIPLY(halves, a, lda, b)                                       \
    do {                                                                  \
        _tile_loadd(4, a, (lda) * 2);                                     \
        _tile_loadd(6, b, 64);                                            \
        _tile_loadd(7, (b) + BLOCK / 2, 64);                              \
        _tile_dpbf16ps(0, 4, 6);                                          \
        _tile_dpbf16ps(1, 4, 7);                                          \
        if (halves == 2) {                                                \
            _tile_loadd(5, (a) + 16 * (lda), (lda) * 2);                  \
            _tile_dpbf16ps(2, 5, 6);                                      \
            _tile_dpbf16ps(3, 5, 7);                                      \
        }                                                                 \
    } while (0)

/* c (16 * halves, SIDE) = x w^T + low u^T, or += where ``add``: k and rank columns of each, multiples of SIDE. */
INLINE void block_of(const int halves, const int add, const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *w, const coarse *low,
                     int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    if (add) {
        _tile_loadd(0, c, ldc * 4);
        _tile_loadd(1, c + 16, ldc * 4);
        if (halves == 2) {
            _tile_loadd(2, c + 16 * ldc, ldc * 4);
            _tile_loadd(3, c + 16 * ldc + 16, ldc * 4);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t i = 0; i < k; i += SIDE, w += BLOCK) {
        if (ahead)
            for (int j = 0; j < BLOCK; j += 32) __builtin_prefetch(w + AHEAD * BLOCK + j, 0, 2);
        MULTIPLY(halves, x + i, ldx, w);
    }
    for (int64_t i = 0; i < rank; i += SIDE, u += BLOCK) MULTIPLY(halves, low + i, ldl, u);
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + 16, ldc * 4);
    if (halves == 2) {
        _tile_stored(2, c + 16 * ldc, ldc * 4);
        _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
    }
}

#else

INLINE void tiles_begin(void) {}
INLINE void tiles_end(void) {}

#if defined(__AVX512BF16__)

#define AT_ONCE 8 /* rows whose sums the registers hold */

/* sums (AT_ONCE, SIDE) += the products with k inputs; a pair's two weights are multiplied at once. */
INLINE void rows_of(const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *w, __m512 sums[AT_ONCE][2])
{
    for (int64_t i = 0; i < k; i += SIDE, w += BLOCK) {
        if (ahead)
            for (int j = 0; j < BLOCK; j += 32) __builtin_prefetch(w + AHEAD * BLOCK + j, 0, 2);
#pragma GCC unroll 1
        for (int pair = 0; pair < SIDE / 2; pair++) {
            const __m512bh left = (__m512bh)_mm512_loadu_si512(w + pair * 32);
            const __m512bh right = (__m512bh)_mm512_loadu_si512(w + BLOCK / 2 + pair * 32);
#pragma GCC unroll 8
            for (int r = 0; r < AT_ONCE; r++) {
                int32_t both;
                memcpy(&both, x + r * ldx + i + 2 * pair, sizeof(both));
                const __m512bh inputs = (__m512bh)_mm512_set1_epi32(both);
                sums[r][0] = _mm512_dpbf16_ps(sums[r][0], inputs, left);
                sums[r][1] = _mm512_dpbf16_ps(sums[r][1], inputs, right);
            }
        }
    }
}

INLINE void block_of(const int halves, const int add, const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *w, const coarse *low,
                     int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    for (int r = 0; r < 16 * halves; r += AT_ONCE) {
        __m512 sums[AT_ONCE][2];
#pragma GCC unroll 8
        for (int i = 0; i < AT_ONCE; i++)
            for (int j = 0; j < 2; j++) sums[i][j] = add ? _mm512_loadu_ps(c + (r + i) * ldc + 16 * j) : _mm512_setzero_ps();
        rows_of(ahead && r == 0, x + r * ldx, ldx, k, w, sums);
        rows_of(0, low + r * ldl, ldl, rank, u, sums);
#pragma GCC unroll 8
        for (int i = 0; i < AT_ONCE; i++)
            for (int j = 0; j < 2; j++) _mm512_storeu_ps(c + (r + i) * ldc + 16 * j, sums[i][j]);
    }
}

#else

/* acc (SIDE,) += the sum over pairs of inputs; a pair's two weights are the halves of one word. */
INLINE void row_of(const coarse *x, int64_t k, const coarse *w, vec acc[SIDE / LANES])
{
    for (int64_t i = 0; i < k; i += 2) {
        const int64_t pair = i % SIDE / 2;
        const vec even = splat(wide(x[i])), odd = splat(wide(x[i + 1]));
        for (int j = 0; j < SIDE / LANES; j++) {
            const int64_t tile = j * LANES / 16, column = j * LANES % 16;
            const ivec both = *(const ivec *)(w + i / SIDE * BLOCK + tile * BLOCK / 2 + (pair * 16 + column) * 2);
            acc[j] += even * (vec)(both << 16) + odd * (vec)(both & (int32_t)0xffff0000);
        }
    }
}

INLINE void block_of(const int halves, const int add, const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *w, const coarse *low,
                     int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    for (int r = 0; r < 16 * halves; r++) {
        vec acc[SIDE / LANES];
        for (int j = 0; j < SIDE / LANES; j++) acc[j] = add ? *(const vec *)(c + r * ldc + j * LANES) : (vec){0};
        row_of(x + r * ldx, k, w, acc);
        if (rank) row_of(low + r * ldl, rank, u, acc);
        for (int j = 0; j < SIDE / LANES; j++) *(vec *)(c + r * ldc + j * LANES) = acc[j];
    }
}

#endif
#endif

/* The rows that exist, ``rows`` of at most SIDE, of one panel's outputs: out + bias, rows ``n`` apart. */
INLINE void panel_of(const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *low, int64_t ldl, const map *m, int64_t panel,
                     int64_t rows, float *out)
{
    const int64_t first = panel * SIDE, columns = m->n - first < SIDE ? m->n - first : SIDE;
    const coarse *w = (const coarse *)m->panels + first * k, *u = m->up ? m->up + first * m->rank : 0;
    const coarse *own = u ? low + m->low : 0;
    const int64_t rank = u ? m->rank : 0;
    const int direct = columns == SIDE && !m->bias && rows % 16 == 0;
    float buffer[BLOCK] __attribute__((aligned(64))), *c = direct ? out + first : buffer;
    const int64_t ldc = direct ? m->n : SIDE;
    if (rows <= 16) block_of(1, 0, ahead, x, ldx, k, w, own, ldl, rank, u, c, ldc);
    else block_of(2, 0, ahead, x, ldx, k, w, own, ldl, rank, u, c, ldc);
    if (direct) return;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < columns; i++) out[r * m->n + first + i] = buffer[r * SIDE + i] + (m->bias ? m->bias[first + i] : 0.0f);
}

/* maps[i].out from row ``start`` on, for ``rows`` rows x: this thread's share of all maps' panels. */
INLINE void panels_of(const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *low, int64_t ldl, const map *maps, int count,
                      int64_t start, int64_t rows, int t, int threads)
{
    int64_t all = 0, first, end;
    for (int i = 0; i < count; i++) all += whole(maps[i].n) / SIDE;
    share(all, t, threads, &first, &end);
    for (int i = 0; i < count; i++) {
        const int64_t own = whole(maps[i].n) / SIDE;
        for (int64_t p = first > 0 ? first : 0; p < own && p < end; p++)
            for (int64_t r = 0; r < rows; r += SIDE)
                panel_of(ahead && r == 0, x + r * ldx, ldx, k, low + r * ldl, ldl, maps + i, p, rows - r < SIDE ? rows - r : SIDE,
                         maps[i].out + (start + r) * maps[i].n);
        first -= own;
        end -= own;
    }
}
