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
 * products.py:Map mirrors it. */
typedef struct {
    const void *panels; /* of w; of the decoder's own kind where it multiplies in float32 */
    const float *bias;  /* (n,) or NULL */
    int64_t n;          /* outputs */
    float *out;         /* (rows, n), written */
    const coarse *up;   /* panels of u, or NULL */
    int64_t low, rank;  /* where the adapter's columns of low begin, a multiple of SIDE, and how many there are */
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

/* block_of(): c (rows, SIDE) = x w^T + low u^T, or += where ``add``, for at most SIDE rows; x has k columns, a multiple of
 * SIDE, low has ``rank``, filled up to one with zeros. Without ``both`` only 16 outputs are computed. With ``ahead``
 * weights that come next are fetched: where few rows are, else with FETCH_FOR_MANY. Rows of x and c that fill up
 * WHOLE_ROWS may be read and written. GRAIN rows are dealt out to threads together. */

#if defined(__AMX_BF16__)

#define WHOLE_ROWS 16
#define GRAIN 16
#define FETCH_FOR_MANY 0

INLINE void tiles_begin(void)
{
    struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    _tile_loadconfig(&shape);
}

INLINE void tiles_end(void) { _tile_release(); }

#define MULTIPLY(halves, both, a, lda, b)                                 \
    do {                                                                  \
        _tile_loadd(4, a, (lda) * 2);                                     \
        _tile_loadd(6, b, 64);                                            \
        _tile_dpbf16ps(0, 4, 6);                                          \
        if (both) {                                                       \
            _tile_loadd(7, (b) + BLOCK / 2, 64);                          \
            _tile_dpbf16ps(1, 4, 7);                                      \
        }                                                                 \
        if (halves == 2) {                                                \
            _tile_loadd(5, (a) + 16 * (lda), (lda) * 2);                  \
            _tile_dpbf16ps(2, 5, 6);                                      \
            if (both) _tile_dpbf16ps(3, 5, 7);                            \
        }                                                                 \
    } while (0)

INLINE void block_of_halves(const int halves, const int both, const int add, const int ahead, const coarse *x, int64_t ldx,
                            int64_t k, const coarse *w, const coarse *low, int64_t ldl, int64_t rank, const coarse *u, float *c,
                            int64_t ldc)
{
    if (add) {
        _tile_loadd(0, c, ldc * 4);
        if (both) _tile_loadd(1, c + 16, ldc * 4);
        if (halves == 2) {
            _tile_loadd(2, c + 16 * ldc, ldc * 4);
            if (both) _tile_loadd(3, c + 16 * ldc + 16, ldc * 4);
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
        MULTIPLY(halves, both, x + i, ldx, w);
    }
    for (int64_t i = 0; i < rank; i += SIDE, u += BLOCK) MULTIPLY(halves, both, low + i, ldl, u);
    _tile_stored(0, c, ldc * 4);
    if (both) _tile_stored(1, c + 16, ldc * 4);
    if (halves == 2) {
        _tile_stored(2, c + 16 * ldc, ldc * 4);
        if (both) _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
    }
}

INLINE void block_of(const int both, const int add, const int ahead, int64_t rows, const coarse *x, int64_t ldx, int64_t k,
                     const coarse *w, const coarse *low, int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    if (rows <= 16) block_of_halves(1, both, add, ahead, x, ldx, k, w, low, ldl, rank, u, c, ldc);
    else block_of_halves(2, both, add, ahead, x, ldx, k, w, low, ldl, rank, u, c, ldc);
}

#else

#define WHOLE_ROWS 1
#define GRAIN 8
#define FETCH_FOR_MANY 1

INLINE void tiles_begin(void) {}
INLINE void tiles_end(void) {}

#if defined(__AVX512BF16__)

#define AT_ONCE 14 /* rows whose sums the registers hold */
#define FEW 4      /* rows that are no more work in one group than their weights are to fetch */

/* sums (R, SIDE) += the products with k inputs; a pair's two weights are multiplied at once. Of every block of the next
 * panel ``fetched`` lines are fetched from line ``first`` on: blocks of rows share that, for one alone would wait. */
INLINE void add_products(const int R, const int both, int fetched, int first, const coarse *x, int64_t ldx, int64_t k,
                         const coarse *w, __m512 sums[AT_ONCE][2])
{
    const coarse *next = w + whole(k) * SIDE;
    for (int64_t i = 0; i < k; i += SIDE, w += BLOCK, next += BLOCK) {
        const int pairs = k - i < SIDE ? (int)(k - i + 1) / 2 : SIDE / 2;
        for (int j = first; j < first + fetched; j++) __builtin_prefetch(next + j * 32, 0, 2);
#pragma GCC unroll 1
        for (int pair = 0; pair < pairs; pair++) {
            const __m512bh left = (__m512bh)_mm512_loadu_si512(w + pair * 32);
            const __m512bh right = (__m512bh)_mm512_loadu_si512(w + BLOCK / 2 + pair * 32);
#pragma GCC unroll 14
            for (int r = 0; r < R; r++) {
                int32_t two;
                memcpy(&two, x + r * ldx + i + 2 * pair, sizeof(two));
                const __m512bh inputs = (__m512bh)_mm512_set1_epi32(two);
                sums[r][0] = _mm512_dpbf16_ps(sums[r][0], inputs, left);
                if (both) sums[r][1] = _mm512_dpbf16_ps(sums[r][1], inputs, right);
            }
        }
    }
}

INLINE void rows_of(const int R, const int both, int add, int fetched, int first, const coarse *x, int64_t ldx, int64_t k,
                    const coarse *w, const coarse *low, int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    __m512 sums[AT_ONCE][2];
#pragma GCC unroll 14
    for (int r = 0; r < R; r++)
        for (int j = 0; j <= both; j++) sums[r][j] = add ? _mm512_loadu_ps(c + r * ldc + 16 * j) : _mm512_setzero_ps();
    add_products(R, both, fetched, first, x, ldx, k, w, sums);
    add_products(R, both, 0, 0, low, ldl, rank, u, sums);
#pragma GCC unroll 14
    for (int r = 0; r < R; r++)
        for (int j = 0; j <= both; j++) _mm512_storeu_ps(c + r * ldc + 16 * j, sums[r][j]);
}

/* As rows_of() for 1 to AT_ONCE rows; the compiler makes it once, not at every use. */
static __attribute__((noinline)) void group_of(int64_t rows, int both, int add, int fetched, int first, const coarse *x,
                                               int64_t ldx, int64_t k, const coarse *w, const coarse *low, int64_t ldl,
                                               int64_t rank, const coarse *u, float *c, int64_t ldc)
{
#define CASE(R)                                                                                         \
    case R:                                                                                             \
        if (both) rows_of(R, 1, add, fetched, first, x, ldx, k, w, low, ldl, rank, u, c, ldc);          \
        else rows_of(R, 0, add, fetched, first, x, ldx, k, w, low, ldl, rank, u, c, ldc);               \
        break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
    }
#undef CASE
}

INLINE void block_of(const int both, const int add, const int ahead, int64_t rows, const coarse *x, int64_t ldx, int64_t k,
                     const coarse *w, const coarse *low, int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    /* One group alone would wait for memory: while the second reads what the first has read, more is fetched. */
    const int least = (int)((rows + AT_ONCE - 1) / AT_ONCE), groups = least == 1 && rows > FEW ? 2 : least;
    const int lines = (BLOCK / 32 + groups - 1) / groups;
    for (int g = 0; g < groups; g++) {
        const int64_t first = rows * g / groups, here = rows * (g + 1) / groups - first;
        group_of(here, both, add, ahead ? lines : 0, g * lines, x + first * ldx, ldx, k, w, low + first * ldl, ldl, rank, u,
                 c + first * ldc, ldc);
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

INLINE void block_of(const int both, const int add, const int ahead, int64_t rows, const coarse *x, int64_t ldx, int64_t k,
                     const coarse *w, const coarse *low, int64_t ldl, int64_t rank, const coarse *u, float *c, int64_t ldc)
{
    for (int64_t r = 0; r < rows; r++) {
        vec acc[SIDE / LANES];
        for (int j = 0; j < SIDE / LANES; j++) acc[j] = add ? *(const vec *)(c + r * ldc + j * LANES) : (vec){0};
        row_of(x + r * ldx, k, w, acc);
        if (rank) row_of(low + r * ldl, rank, u, acc);
        for (int j = 0; j < SIDE / LANES; j++) *(vec *)(c + r * ldc + j * LANES) = acc[j];
    }
}

#endif
#endif

/* This thread's part of ``rows``: whole GRAINs, but for the last. */
INLINE void share_rows(int64_t rows, int t, int threads, int64_t *first, int64_t *end)
{
    share((rows + GRAIN - 1) / GRAIN, t, threads, first, end);
    *first *= GRAIN;
    *end = *end * GRAIN < rows ? *end * GRAIN : rows;
}

/* Up to SIDE columns of low, of which ``rank`` are some adapter's: c (rows, SIDE), and a coarse copy, of x times a panel. */
INLINE void low_of(int64_t rows, const coarse *x, int64_t ldx, int64_t k, const coarse *panel, int64_t rank, float c[BLOCK],
                   coarse *low, int64_t ld)
{
    if (rank > 16) block_of(1, 0, 0, rows, x, ldx, k, panel, 0, 0, 0, 0, c, SIDE);
    else block_of(0, 0, 0, rows, x, ldx, k, panel, 0, 0, 0, 0, c, SIDE);
    for (int64_t r = 0; r < rows; r++) {
        narrow_all(c + r * SIDE, low + r * ld, rank > 16 ? SIDE : 16);
        if (rank <= 16) memset(low + r * ld + 16, 0, sizeof(coarse) * 16);
    }
}

/* The rows that exist, ``rows`` of at most SIDE, of one panel's outputs: out + bias, rows ``n`` apart. */
INLINE void panel_of(const int ahead, const coarse *x, int64_t ldx, int64_t k, const coarse *low, int64_t ldl, const map *m, int64_t panel,
                     int64_t rows, float *out)
{
    const int64_t first = panel * SIDE, columns = m->n - first < SIDE ? m->n - first : SIDE;
    const coarse *w = (const coarse *)m->panels + first * k, *u = m->up ? m->up + first * whole(m->rank) : 0;
    const coarse *own = u ? low + m->low : 0;
    const int64_t rank = u ? m->rank : 0;
    const int direct = columns == SIDE && !m->bias && rows % WHOLE_ROWS == 0;
    float buffer[BLOCK] __attribute__((aligned(64))), *c = direct ? out + first : buffer;
    const int64_t ldc = direct ? m->n : SIDE;
    block_of(1, 0, ahead, rows, x, ldx, k, w, own, ldl, rank, u, c, ldc);
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
