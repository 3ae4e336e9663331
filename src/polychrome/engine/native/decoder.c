/* One token of every row through a Llama-like decoder, on the cores of a CPU: in float32, or with products in bfloat16.
 *
 * Decoding multiplies few rows with all weights: it waits for memory, and between small operations for the other cores.
 * So weights are laid out once in panels that are read straight through while the next are fetched, and all layers run
 * in one parallel region.
 *
 * Matrices that are multiplied from the left ("blocks") hold EIGHT rows side by side: (ceil(rows / 8), K, 8).
 * Weights ("panels") hold WIDTH outputs side by side: (ceil(N / WIDTH), K, WIDTH), filled up with zeros. Where ``coarse``,
 * both are those of tiles.h.
 */
#include "tiles.h"

#define VECTORS 3
#define WIDTH (LANES * VECTORS)
#define EIGHT 8
#define LINE 16 /* floats of a cache line */
#define STRIDE 4 /* columns between one look ahead and the next: few lines at a time, or they hold up the others */

/* decoder.py:_Layer mirrors it. */
typedef struct {
    const float *norm_attention, *norm_mlp;
    const float *norm_q, *norm_k; /* (d,) each, of every head's queries and keys, or NULL */
    map q, k, v, o, gate, up, down;
    /* Panels of the adapters' first halves, by the parts that share their input (q k v, o, gate up, down), or NULL, and
     * how many columns of low each part's make: a multiple of SIDE. */
    const coarse *downs[4];
    int64_t low[4];
    float *keys, *values; /* (slab rows, key heads, columns, d) */
} layer;

/* decoder.py:_Shape mirrors it. */
typedef struct {
    int64_t layers, hidden, middle, heads, key_heads, d, columns;
    int64_t low; /* the most columns of low that a part has */
    double eps, eps_heads, scale;
    int64_t trunk_layer; /* before which layer x is copied to ``trunk``, where that is not NULL */
    float *trunk;        /* (rows, hidden) */
} shape;

int width(void) { return WIDTH; }

/* R rows of a block times a panel. While at it, the panel that comes next is fetched, ``lines`` cache lines at a time,
 * so that the blocks of one panel share the work of fetching another. */
INLINE void tile(const int R, const float *x, const float *p, int64_t K, const float *next, int lines, vec acc[EIGHT][VECTORS])
{
    for (int r = 0; r < R; r++)
        for (int j = 0; j < VECTORS; j++) acc[r][j] = (vec){0};
    for (int64_t start = 0; start < K; start += STRIDE) {
        const int64_t end = start + STRIDE < K ? start + STRIDE : K;
        for (int i = 0; i < lines; i++, next += LINE) __builtin_prefetch(next, 0, 2);
        for (int64_t k = start; k < end; k++, p += WIDTH, x += EIGHT) {
            for (int j = 0; j < WIDTH; j += LINE) __builtin_prefetch(p + 8 * WIDTH + j, 0, 3);
            vec b[VECTORS];
            for (int j = 0; j < VECTORS; j++) b[j] = *(const vec *)(p + j * LANES);
            for (int r = 0; r < R; r++) {
                const vec a = splat(x[r]);
                for (int j = 0; j < VECTORS; j++) acc[r][j] += a * b[j];
            }
        }
    }
}

INLINE void write_rows(const int R, vec acc[EIGHT][VECTORS], const float *bias, float *y, int64_t n, int64_t columns)
{
    for (int r = 0; r < R; r++, y += n) {
        const float *own = (const float *)acc[r];
        if (columns == WIDTH && !bias)
            for (int j = 0; j < VECTORS; j++) *(vec *)(y + j * LANES) = acc[r][j];
        else
            for (int64_t c = 0; c < columns; c++) y[c] = own[c] + (bias ? bias[c] : 0.0f);
    }
}

INLINE void tile_and_write(const int R, const float *x, const float *p, int64_t K, const float *next, int lines,
                           const float *bias, float *y, int64_t n, int64_t columns)
{
    vec acc[EIGHT][VECTORS];
    tile(R, x, p, K, next, lines, acc);
    write_rows(R, acc, bias, y, n, columns);
}

/* maps[i].out = x maps[i]^T + bias for ``count`` maps of the same blocks x; thread t of ``threads`` does its share. */
static void products(const float *x, int64_t rows, int64_t K, const map *maps, int count, int t, int threads)
{
    const int64_t blocks = (rows + EIGHT - 1) / EIGHT;
    const int64_t wanted = WIDTH * STRIDE / LINE; /* lines of a panel for every STRIDE of K */
    const int lines = blocks > 16 ? 0 : (int)((wanted + blocks - 1) / blocks);
    int64_t turn = 0;
    for (int i = 0; i < count; i++) {
        const map *m = maps + i;
        const int64_t panels = (m->n + WIDTH - 1) / WIDTH;
        for (int64_t p = 0; p < panels; p++, turn++) {
            if (turn % threads != t) continue;
            const float *panel = (const float *)m->panels + p * K * WIDTH;
            const float *bias = m->bias ? m->bias + p * WIDTH : 0;
            const int64_t columns = m->n - p * WIDTH < WIDTH ? m->n - p * WIDTH : WIDTH;
            const float *next = panel + threads * K * WIDTH;
            for (int64_t b = 0; b < blocks; b++) {
                const float *own = x + b * K * EIGHT, *fetch = next + b * lines * LINE * (K / STRIDE);
                float *y = m->out + b * EIGHT * m->n + p * WIDTH;
                const int64_t left = rows - b * EIGHT;
#define CASE(R) case R: tile_and_write(R, own, panel, K, fetch, lines, bias, y, m->n, columns); break;
                switch (left < EIGHT ? left : EIGHT) {
                    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
                }
#undef CASE
            }
        }
    }
}

/* Where number i of a row of blocks is, and how it is put there. */
typedef struct {
    void *blocks;
    int64_t row, width; /* width: numbers of a row, whole blocks of them where coarse */
} place;

INLINE void put(const int rough, place to, int64_t i, float x)
{
    if (rough) ((coarse *)to.blocks)[to.row * to.width + i] = narrow(x);
    else ((float *)to.blocks)[(to.row / EIGHT * to.width + i) * EIGHT + to.row % EIGHT] = x;
}

INLINE void put_vector(const int rough, place to, int64_t i, vec x)
{
    if (rough) narrow_all((const float *)&x, (coarse *)to.blocks + to.row * to.width + i, LANES);
    else
        for (int j = 0; j < LANES; j++) put(0, to, i + j, x[j]);
}

/* Zeros after the n numbers of a row: what is not a number must not come from what stood there. */
INLINE void fill_up(const int rough, place to, int64_t n)
{
    if (rough) memset((coarse *)to.blocks + to.row * to.width + n, 0, sizeof(coarse) * (to.width - n));
}

/* As products(), by tiles; low is made by every thread for itself. */
INLINE void coarse_products(const coarse *x, int64_t rows, int64_t K, const coarse *down, int64_t width, coarse *low,
                            const map *maps, int count, int t, int threads)
{
    float c[BLOCK] __attribute__((aligned(64)));
    for (int i = 0; i < count; i++)
        for (int64_t p = 0; maps[i].up && p < maps[i].rank; p += SIDE) {
            const int64_t at = maps[i].low + p;
            for (int64_t r = 0; r < rows; r += SIDE)
                low_of(rows - r < SIDE ? rows - r : SIDE, x + r * K, K, K, down + at * K, maps[i].rank - p, c,
                       low + r * width + at, width);
        }
    panels_of(1, x, K, K, low, width, maps, count, 0, rows, t, threads);
}

/* x += delta where there is one; out = x / sqrt(mean(x^2) + eps) * weight, in blocks, or in rows when ``plain``. */
INLINE void add_and_norm(const int rough, float *x, const float *delta, const float *weight, double eps, void *out, int plain,
                         int64_t rows, int64_t n, int t, int threads)
{
    int64_t first, end;
    share(rows, t, threads, &first, &end);
    for (int64_t row = first; row < end; row++) {
        float *own = x + row * n;
        if (delta)
            for (int64_t i = 0; i < n; i++) own[i] += delta[row * n + i];
        const float inverse = (float)(1.0 / sqrt(dot(own, own, n) / n + eps));
        if (plain) {
            float *y = (float *)out + row * n;
            for (int64_t i = 0; i < n; i++) y[i] = own[i] * inverse * weight[i];
            continue;
        }
        const place to = {out, row, rough ? whole(n) : n};
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES)
            put_vector(rough, to, i, *(const vec *)(own + i) * inverse * *(const vec *)(weight + i));
        for (; i < n; i++) put(rough, to, i, own[i] * inverse * weight[i]);
        fill_up(rough, to, n);
    }
}

/* The rows that this thread has just normed. */
static void copy_share(const float *x, float *out, int64_t rows, int64_t n, int t, int threads)
{
    int64_t first, end;
    share(rows, t, threads, &first, &end);
    for (int64_t i = first * n; i < end * n; i++) out[i] = x[i];
}

/* silu(gate) * up, in blocks. */
INLINE void swiglu(const int rough, const float *gate, const float *up, void *out, int64_t rows, int64_t n, int t, int threads)
{
    int64_t first, end;
    share(rows, t, threads, &first, &end);
    for (int64_t row = first; row < end; row++) {
        const float *g = gate + row * n, *u = up + row * n;
        const place to = {out, row, rough ? whole(n) : n};
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            const vec a = *(const vec *)(g + i);
            put_vector(rough, to, i, a / (1.0f + exponential(-a)) * *(const vec *)(u + i));
        }
        for (; i < n; i++) put(rough, to, i, g[i] / (1.0f + exponential_of(-g[i])) * u[i]);
        fill_up(rough, to, n);
    }
}

/* One head's rotary embedding, half split, after its norm if it has one. */
static void turn_head(const float *x, float *y, const float *norm, double eps, const float *cosine, const float *sine, int64_t d)
{
    const int64_t half = d / 2;
    const float inverse = norm ? (float)(1.0 / sqrt(dot(x, x, d) / d + eps)) : 1.0f;
    for (int64_t i = 0; i < half; i++) {
        const float a = norm ? x[i] * inverse * norm[i] : x[i];
        const float b = norm ? x[i + half] * inverse * norm[i + half] : x[i + half];
        y[i] = a * cosine[i] - b * sine[i];
        y[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* Keys or values (columns, d) of one row and head, of which the first ``same`` are read where the row's leader has them:
 * rows of a group one after another then find them in the cache. */
typedef struct {
    const float *own, *leader;
    int64_t same; /* a multiple of LANES */
} shared;

INLINE const float *column(shared x, int64_t c, int64_t d) { return (c < x.same ? x.leader : x.own) + c * d; }

/* ``count`` vectors of the weighted sum of values (columns, d) for one query. */
INLINE void weigh(const int rough, const int count, const float *weights, shared values, int64_t columns, int64_t d,
                  float inverse, place to, int64_t at, int64_t first)
{
    vec s[4];
    for (int i = 0; i < count; i++) s[i] = (vec){0};
    for (int64_t c = 0; c < values.same; c++)
        for (int i = 0; i < count; i++) s[i] += weights[c] * *(const vec *)(values.leader + c * d + first + i * LANES);
    for (int64_t c = values.same; c < columns; c++)
        for (int i = 0; i < count; i++) s[i] += weights[c] * *(const vec *)(values.own + c * d + first + i * LANES);
    for (int i = 0; i < count; i++) put_vector(rough, to, at + first + i * LANES, s[i] * inverse);
}

/* The whole of it, from number ``at`` of the row on; weights are as they come out of a softmax without its division. */
INLINE void weigh_all(const int rough, const float *weights, shared values, int64_t columns, int64_t d, float inverse,
                      place to, int64_t at)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= d; i += 4 * LANES) weigh(rough, 4, weights, values, columns, d, inverse, to, at, i);
    for (; i + LANES <= d; i += LANES) weigh(rough, 1, weights, values, columns, d, inverse, to, at, i);
    for (; i < d; i++) {
        float s = 0;
        for (int64_t c = 0; c < columns; c++) s += weights[c] * column(values, c, d)[i];
        put(rough, to, at + i, s * inverse);
    }
}

/* Lines of memory from ``x`` on that will be read soon. */
INLINE void fetch(const float *x, int64_t floats)
{
    for (int64_t i = 0; i < floats; i += LINE) __builtin_prefetch(x + i, 0, 2);
}

/* The rows that are decoded: those of one group share a leader, and begin with the same ``admitted`` tokens. */
typedef struct {
    const int64_t *starts, *leaders, *admitted; /* (rows,) */
    int64_t used, rows;
} slab;

/* The columns of ``x`` (slab rows, key heads, columns, d) of one row and head, which are number ``task`` of all, from
 * the row's first on. */
INLINE shared columns_of(const shape *s, const slab *b, const float *x, int64_t task)
{
    const int64_t row = task / s->key_heads, leader = b->leaders[row] * s->key_heads + task % s->key_heads;
    const float *first = x + b->starts[row] * s->d;
    return (shared){first + task * s->columns * s->d, first + leader * s->columns * s->d, b->admitted[row] / LANES * LANES};
}

/* The newest token of every row, whose column is ``used`` - 1, attends to its row's columns from ``starts`` on. */
INLINE void attend(const int rough, const shape *s, const layer *l, const float *cosine, const float *sine, const slab *b,
                   void *out, float *scratch, int t, int threads)
{
    const int64_t d = s->d, together = s->heads / s->key_heads;
    float *query = scratch, *weights = scratch + d;
    int64_t first, end;
    share(b->rows * s->key_heads, t, threads, &first, &end);
    for (int64_t task = first; task < end; task++) {
        const int64_t row = task / s->key_heads, head = task % s->key_heads, columns = b->used - b->starts[row];
        const int64_t newest = (task * s->columns + b->used - 1) * d;
        const shared keys = columns_of(s, b, l->keys, task), values = columns_of(s, b, l->values, task);
        const float *c = cosine + row * d / 2, *n = sine + row * d / 2, *v = l->v.out + task * d;
        turn_head(l->k.out + task * d, l->keys + newest, l->norm_k, s->eps_heads, c, n, d);
        for (int64_t i = 0; i < d; i++) l->values[newest + i] = v[i];
        for (int64_t q = head * together; q < (head + 1) * together; q++) {
            turn_head(l->q.out + (row * s->heads + q) * d, query, l->norm_q, s->eps_heads, c, n, d);
            float total = 0;
            int64_t j = 0;
            if (d % LANES == 0)
                for (; j + LANES <= columns; j += LANES) {
                    if (q == head * together) fetch(column(values, j, d), LANES * d);
                    dots(query, column(keys, j, d), d, weights + j);
                }
            for (; j < columns; j++) weights[j] = dot(query, column(keys, j, d), d);
            for (j = 0; j < columns; j++) weights[j] *= (float)s->scale;
            const float top = largest(weights, columns);
            j = 0;
            for (; j + LANES <= columns; j += LANES) *(vec *)(weights + j) = exponential(*(vec *)(weights + j) - top);
            for (; j < columns; j++) weights[j] = exponential_of(weights[j] - top);
            for (j = 0; j < columns; j++) total += weights[j];
            const place to = {out, row, rough ? whole(s->heads * d) : s->heads * d};
            if (q == head * together && task + 1 < end) { /* the next head's keys, or the next row's */
                const int64_t after = (task + 1) / s->key_heads;
                const shared next = columns_of(s, b, l->keys, task + 1);
                const int64_t known = next.own == next.leader ? 0 : next.same;
                fetch(next.own + known * d, (b->used - b->starts[after] - known) * d);
            }
            weigh_all(rough, weights, values, columns, d, 1.0f / total, to, q * d);
            if (q == s->heads - 1) fill_up(rough, to, s->heads * d);
        }
    }
}

/* One part of a layer: all maps of one input. */
INLINE void multiply_part(const int rough, const layer *l, int part, const map *maps, int count, int64_t K,
                          const void *blocks, coarse *low, int64_t rows, int t, int threads)
{
    if (rough) coarse_products(blocks, rows, whole(K), l->downs[part], l->low[part], low, maps, count, t, threads);
    else products(blocks, rows, K, maps, count, t, threads);
}

INLINE void step_of(const int rough, const shape *s, const layer *layers, const float *norm, double eps, float *x,
                    const float *cosine, const float *sine, const slab *b, float *states, void *blocks, float *scratch,
                    coarse *lows, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t rows = b->rows;
        float *own = scratch + t * (s->d + s->columns);
        coarse *low = lows + t * whole(rows) * s->low;
        if (rough) tiles_begin();
        for (int64_t i = 0; i < s->layers; i++) {
            const layer *l = layers + i;
            add_and_norm(rough, x, i ? l[-1].down.out : 0, l->norm_attention, s->eps, blocks, 0, rows, s->hidden, t, all);
            if (s->trunk && i == s->trunk_layer) copy_share(x, s->trunk, rows, s->hidden, t, all);
#pragma omp barrier
            multiply_part(rough, l, 0, &l->q, 3, s->hidden, blocks, low, rows, t, all);
#pragma omp barrier
            attend(rough, s, l, cosine, sine, b, blocks, own, t, all);
#pragma omp barrier
            multiply_part(rough, l, 1, &l->o, 1, s->heads * s->d, blocks, low, rows, t, all);
#pragma omp barrier
            add_and_norm(rough, x, l->o.out, l->norm_mlp, s->eps, blocks, 0, rows, s->hidden, t, all);
#pragma omp barrier
            multiply_part(rough, l, 2, &l->gate, 2, s->hidden, blocks, low, rows, t, all);
#pragma omp barrier
            swiglu(rough, l->gate.out, l->up.out, blocks, rows, s->middle, t, all);
#pragma omp barrier
            multiply_part(rough, l, 3, &l->down, 1, s->middle, blocks, low, rows, t, all);
#pragma omp barrier
        }
        add_and_norm(rough, x, layers[s->layers - 1].down.out, norm, eps, states, 1, rows, s->hidden, t, all);
        if (rough) tiles_end();
    }
}

/* x (rows, hidden), embedded tokens, are overwritten; states (rows, hidden) are given what the head multiplies. A row's
 * columns of the slab are ``starts`` to ``used`` - 1, the first ``admitted`` of them the same as its leader's.
 * blocks: ceil(rows / 8) * 8 * max(hidden, heads * d, middle) floats; where rough, ceil(rows / SIDE) * SIDE rows of as
 * many coarse numbers, each width filled up to whole blocks. scratch: threads * (d + columns) floats.
 * lows: threads * ceil(rows / SIDE) * SIDE * s->low. */
void step(int rough, const shape *s, const layer *layers, const float *norm, double eps, float *x, const float *cosine,
          const float *sine, const int64_t *starts, const int64_t *leaders, const int64_t *admitted, int64_t used, int64_t rows,
          float *states, void *blocks, float *scratch, coarse *lows, int threads)
{
    const slab b = {starts, leaders, admitted, used, rows};
    if (rough) step_of(1, s, layers, norm, eps, x, cosine, sine, &b, states, blocks, scratch, lows, threads);
    else step_of(0, s, layers, norm, eps, x, cosine, sine, &b, states, blocks, scratch, lows, threads);
}

/* m.out = x m^T for rows x (rows, K); blocks as for step(). */
void multiply(int rough, const float *x, int64_t rows, int64_t K, const map *m, void *blocks, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        int64_t first, end;
        share(rows, t, all, &first, &end);
        for (int64_t row = first; row < end; row++) {
            const place to = {blocks, row, rough ? whole(K) : K};
            if (rough) {
                narrow_all(x + row * K, (coarse *)blocks + row * to.width, K);
                fill_up(1, to, K);
            } else
                for (int64_t k = 0; k < K; k++) put(0, to, k, x[row * K + k]);
        }
#pragma omp barrier
        if (rough) {
            tiles_begin();
            coarse_products(blocks, rows, whole(K), 0, 0, 0, m, 1, t, all);
            tiles_end();
        } else products(blocks, rows, K, m, 1, t, all);
    }
}

/* Panels of w (n, K) + scale * b (n, rank) a (rank, K), rows contiguous; rank 0: of w alone. */
void pack(const float *w, const float *b, const float *a, int64_t rank, double scale, int64_t n, int64_t K, float *out,
          int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t panel = 0; panel < (n + WIDTH - 1) / WIDTH; panel++) {
        const int64_t first = panel * WIDTH, columns = n - first < WIDTH ? n - first : WIDTH;
        float *whole = out + first * K;
        float scaled[(rank + 1) * WIDTH]; /* b of this panel, an output beside the other */
        for (int64_t r = 0; r < rank; r++)
            for (int64_t c = 0; c < WIDTH; c++)
                scaled[r * WIDTH + c] = c < columns ? (float)scale * b[(first + c) * rank + r] : 0.0f;
        for (int64_t start = 0; start < K; start += 64) {
            const int64_t end = start + 64 < K ? start + 64 : K;
            for (int64_t c = 0; c < WIDTH; c++)
                for (int64_t k = start; k < end; k++) whole[k * WIDTH + c] = c < columns ? w[(first + c) * K + k] : 0.0f;
            for (int64_t k = start; rank && k < end; k++) {
                vec *y = (vec *)(whole + k * WIDTH), sums[VECTORS];
                for (int j = 0; j < VECTORS; j++) sums[j] = y[j];
                for (int64_t r = 0; r < rank; r++)
                    for (int j = 0; j < VECTORS; j++) sums[j] += a[r * K + k] * *(vec *)(scaled + r * WIDTH + j * LANES);
                for (int j = 0; j < VECTORS; j++) y[j] = sums[j];
            }
        }
    }
}
