/* Products of many rows with frozen weights and their adapters, in bfloat16; native/products.py calls them. */
#include "tiles.h"

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define CHUNK 256   /* rows whose coarse copy is made at a time: it stays in a core's own cache */
#define SPLIT 8     /* blocks of rows a thread from which on threads share rows; with fewer, they share outputs */

/* products.py mirrors these. */
typedef struct {
    const float *x; /* (rows, k) */
    int64_t k;
} source;

/* Columns of low: what an adapter makes of columns ``first`` to ``first + k`` of the sources, side by side. */
typedef struct {
    const coarse *panels;
    int64_t first, k;   /* multiples of SIDE */
    int64_t rank, low;  /* columns, and where they begin, a multiple of SIDE */
    float *out;         /* (rows, ld) or NULL: the same in float32 */
    int64_t ld;
} down;

#if defined(__AMX_BF16__)
static int allowed;

/* The system is asked for tiles as the library is opened, before any thread of it begins. */
__attribute__((constructor)) static void ask(void)
{
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    allowed = syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/* 2 where the processor multiplies tiles, 1 where vectors do it, 0 where the system forbids the tiles compiled for. */
int tiles(void) { return allowed ? 2 : 0; }
#else
int tiles(void) { return 1; }
#endif

/* Rows ``start`` to ``start + rows`` of the sources, side by side, each filled up to whole blocks. */
static void copy_sources(const source *sources, int count, int64_t start, int64_t rows, coarse *out, int64_t ld)
{
    for (int64_t r = 0; r < whole(rows); r++) {
        coarse *y = out + r * ld;
        for (int i = 0; i < count; y += whole(sources[i++].k)) {
            const int64_t k = r < rows ? sources[i].k : 0;
            if (k) narrow_all(sources[i].x + (start + r) * k, y, k);
            memset(y + k, 0, sizeof(coarse) * (whole(sources[i].k) - k));
        }
    }
}

static void make_low(const coarse *x, int64_t ld, const down *d, int64_t start, int64_t rows, coarse *low, int telling)
{
    float c[BLOCK] __attribute__((aligned(64)));
    for (int64_t r = 0; r < rows; r += SIDE)
        for (int64_t p = 0; p < d->rank; p += SIDE) {
            const int64_t own = rows - r < SIDE ? rows - r : SIDE;
            low_of(own, x + r * ld + d->first, ld, d->k, d->panels + p * d->k, d->rank - p, c, low + r * ld + d->low + p, ld);
            for (int64_t i = 0; i < own && d->out && telling; i++) {
                float *out = d->out + (start + r + i) * d->ld + p;
                for (int64_t j = 0; j < SIDE && p + j < d->rank; j++) out[j] = c[i * SIDE + j];
            }
        }
}

/* ``width``: columns of all sources and of low, each a multiple of SIDE. scratch: threads * CHUNK * width. */
void products(const source *sources, int source_count, const down *downs, int down_count, const map *maps, int map_count,
              int64_t rows, int64_t width, coarse *scratch, int threads)
{
    int64_t k = 0;
    for (int i = 0; i < source_count; i++) k += whole(sources[i].k);
    const int64_t blocks = (rows + SIDE - 1) / SIDE;
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        const int by_rows = blocks >= SPLIT * all;
        coarse *x = scratch + t * CHUNK * width, *low = x + k;
        int64_t first = 0, end = rows;
        if (by_rows) share_rows(rows, t, all, &first, &end);
        tiles_begin();
        for (int64_t start = first; start < end; start += CHUNK) {
            const int64_t own = end - start < CHUNK ? end - start : CHUNK;
            copy_sources(sources, source_count, start, own, x, width);
            for (int i = 0; i < down_count; i++) make_low(x, width, downs + i, start, own, low, by_rows || t == 0);
            panels_of(FETCH_FOR_MANY, x, width, k, low, width, maps, map_count, start, own, by_rows ? 0 : t, by_rows ? 1 : all);
        }
        tiles_end();
    }
}

INLINE coarse element(const int is_coarse, const void *w, int64_t at, float scale)
{
    return is_coarse ? ((const coarse *)w)[at] : narrow(scale * ((const float *)w)[at]);
}

/* One block: rows and columns of w from ``at`` on that exist, zeros beyond. */
INLINE void pack_block(const int is_coarse, const void *w, int64_t at, int64_t sn, int64_t sk, float scale, int64_t rows,
                       int64_t columns, coarse *out)
{
    if (rows < SIDE || columns < SIDE) memset(out, 0, sizeof(coarse) * BLOCK);
    for (int64_t r = 0; r < rows; r++) {
        coarse *y = out + r / 16 * (BLOCK / 2) + r % 16 * 2;
        int64_t c = 0;
        for (; c + 2 <= columns; c += 2, y += 32) {
            y[0] = element(is_coarse, w, at + r * sn + c * sk, scale);
            y[1] = element(is_coarse, w, at + r * sn + (c + 1) * sk, scale);
        }
        if (c < columns) y[0] = element(is_coarse, w, at + r * sn + c * sk, scale);
    }
}

/* Panels of scale * w (n, k), whose elements are sn and sk apart, float32 or, unscaled, coarse, as blocks ``first`` and so
 * on of the ``blocks`` that each panel of ``out`` has. */
void pack_tiles(const void *w, int is_coarse, int64_t sn, int64_t sk, double scale, int64_t n, int64_t k, coarse *out,
                int64_t blocks, int64_t first, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (n * k > 65536)
    for (int64_t panel = 0; panel < (n + SIDE - 1) / SIDE; panel++)
        for (int64_t b = 0; b < whole(k) / SIDE; b++) {
            const int64_t rows = n - panel * SIDE < SIDE ? n - panel * SIDE : SIDE, from = panel * SIDE * sn + b * SIDE * sk;
            const int64_t columns = k - b * SIDE < SIDE ? k - b * SIDE : SIDE;
            coarse *y = out + (panel * blocks + first + b) * BLOCK;
            if (is_coarse) pack_block(1, w, from, sn, sk, 1.0f, rows, columns, y);
            else if (sk == 1) pack_block(0, w, from, sn, 1, (float)scale, rows, columns, y);
            else pack_block(0, w, from, sn, sk, (float)scale, rows, columns, y);
        }
}
