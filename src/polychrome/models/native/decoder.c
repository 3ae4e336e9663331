/* One token of every row through a Llama-like decoder, float32, on the cores of a CPU.
 *
 * Decoding multiplies few rows with all weights: it waits for memory, and between small operations for the other cores.
 * So weights are laid out once in panels that are read straight through while the next are fetched, and all layers run
 * in one parallel region.
 *
 * Matrices that are multiplied from the left ("blocks") hold EIGHT rows side by side: (ceil(rows / 8), K, 8).
 * Weights ("panels") hold WIDTH outputs side by side: (ceil(N / WIDTH), K, WIDTH), filled up with zeros.
 */
#include "vectors.h"

#define VECTORS 3
#define WIDTH (LANES * VECTORS)
#define EIGHT 8
#define LINE 16 /* floats of a cache line */
#define STRIDE 4 /* columns between one look ahead and the next: few lines at a time, or they hold up the others */

/* A linear map; decoder.py:_Map mirrors it. */
typedef struct {
    const float *panels;
    const float *bias; /* (n,) or NULL */
    int64_t n;         /* outputs */
    float *out;        /* (rows, n), written */
} map;

/* decoder.py:_Layer mirrors it. */
typedef struct {
    const float *norm_attention, *norm_mlp;
    const float *norm_q, *norm_k; /* (d,) each, of every head's queries and keys, or NULL */
    map q, k, v, o, gate, up, down;
    float *keys, *values; /* (slab rows, key heads, columns, d) */
} layer;

/* decoder.py:_Shape mirrors it. */
typedef struct {
    int64_t layers, hidden, middle, heads, key_heads, d, columns;
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

INLINE void write(const int R, vec acc[EIGHT][VECTORS], const float *bias, float *y, int64_t n, int64_t columns)
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
    write(R, acc, bias, y, n, columns);
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
            const float *panel = m->panels + p * K * WIDTH;
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

INLINE float *in_block(float *blocks, int64_t row, int64_t K) { return blocks + row / EIGHT * K * EIGHT + row % EIGHT; }

/* x += delta where there is one; out = x / sqrt(mean(x^2) + eps) * weight, in blocks, or in rows when ``plain``. */
static void add_and_norm(float *x, const float *delta, const float *weight, double eps, float *out, int plain,
                         int64_t rows, int64_t n, int t, int threads)
{
    int64_t first, end;
    share(rows, t, threads, &first, &end);
    for (int64_t row = first; row < end; row++) {
        float *own = x + row * n;
        if (delta)
            for (int64_t i = 0; i < n; i++) own[i] += delta[row * n + i];
        const float inverse = (float)(1.0 / sqrt(dot(own, own, n) / n + eps));
        float *y = plain ? out + row * n : in_block(out, row, n);
        const int64_t step = plain ? 1 : EIGHT;
        for (int64_t i = 0; i < n; i++) y[i * step] = own[i] * inverse * weight[i];
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
static void swiglu(const float *gate, const float *up, float *out, int64_t rows, int64_t n, int t, int threads)
{
    int64_t first, end;
    share(rows, t, threads, &first, &end);
    for (int64_t row = first; row < end; row++) {
        const float *g = gate + row * n, *u = up + row * n;
        float *y = in_block(out, row, n);
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            const vec a = *(const vec *)(g + i);
            const vec h = a / (1.0f + exponential(-a)) * *(const vec *)(u + i);
            for (int j = 0; j < LANES; j++) y[(i + j) * EIGHT] = h[j];
        }
        for (; i < n; i++) y[i * EIGHT] = g[i] / (1.0f + exponential_of(-g[i])) * u[i];
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

/* ``count`` vectors of the weighted sum of values (columns, d) for one query. */
INLINE void weigh(const int count, const float *weights, const float *values, int64_t columns, int64_t d, float inverse,
                  float *out)
{
    vec s[4];
    for (int i = 0; i < count; i++) s[i] = (vec){0};
    for (int64_t c = 0; c < columns; c++)
        for (int i = 0; i < count; i++) s[i] += weights[c] * *(const vec *)(values + c * d + i * LANES);
    for (int i = 0; i < count; i++) {
        const vec y = s[i] * inverse;
        for (int j = 0; j < LANES; j++) out[(i * LANES + j) * EIGHT] = y[j];
    }
}

/* The whole of it; weights are as they come out of a softmax without its division. */
static void weigh_all(const float *weights, const float *values, int64_t columns, int64_t d, float inverse, float *out)
{
    int64_t i = 0;
    for (; i + 4 * LANES <= d; i += 4 * LANES) weigh(4, weights, values + i, columns, d, inverse, out + i * EIGHT);
    for (; i + LANES <= d; i += LANES) weigh(1, weights, values + i, columns, d, inverse, out + i * EIGHT);
    for (; i < d; i++) {
        float s = 0;
        for (int64_t c = 0; c < columns; c++) s += weights[c] * values[c * d + i];
        out[i * EIGHT] = s * inverse;
    }
}

/* The newest token of every row, whose column is ``used`` - 1, attends to its row's columns from ``starts`` on. */
static void attend(const shape *s, const layer *l, const float *cosine, const float *sine, const int64_t *starts,
                   int64_t used, int64_t rows, float *out, float *scratch, int t, int threads)
{
    const int64_t d = s->d, together = s->heads / s->key_heads;
    float *query = scratch, *weights = scratch + d;
    int64_t first, end;
    share(rows * s->key_heads, t, threads, &first, &end);
    for (int64_t task = first; task < end; task++) {
        const int64_t row = task / s->key_heads, head = task % s->key_heads, begin = starts[row], columns = used - begin;
        float *keys = l->keys + task * s->columns * d, *values = l->values + task * s->columns * d;
        const float *c = cosine + row * d / 2, *n = sine + row * d / 2, *v = l->v.out + task * d;
        turn_head(l->k.out + task * d, keys + (used - 1) * d, l->norm_k, s->eps_heads, c, n, d);
        for (int64_t i = 0; i < d; i++) values[(used - 1) * d + i] = v[i];
        for (int64_t q = head * together; q < (head + 1) * together; q++) {
            turn_head(l->q.out + (row * s->heads + q) * d, query, l->norm_q, s->eps_heads, c, n, d);
            float top = -INFINITY, total = 0;
            for (int64_t j = 0; j < columns; j++) {
                weights[j] = (float)s->scale * dot(query, keys + (begin + j) * d, d);
                top = weights[j] > top ? weights[j] : top;
            }
            int64_t j = 0;
            for (; j + LANES <= columns; j += LANES) *(vec *)(weights + j) = exponential(*(vec *)(weights + j) - top);
            for (; j < columns; j++) weights[j] = exponential_of(weights[j] - top);
            for (j = 0; j < columns; j++) total += weights[j];
            weigh_all(weights, values + begin * d, columns, d, 1.0f / total, in_block(out, row, s->heads * d) + q * d * EIGHT);
        }
    }
}

/* x (rows, hidden), embedded tokens, are overwritten; states (rows, hidden) are given what the head multiplies.
 * blocks: ceil(rows / 8) * 8 * max(hidden, heads * d, middle) floats; scratch: threads * (d + columns) floats. */
void step(const shape *s, const layer *layers, const float *norm, double eps, float *x, const float *cosine,
          const float *sine, const int64_t *starts, int64_t used, int64_t rows, float *states, float *blocks,
          float *scratch, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        float *own = scratch + t * (s->d + s->columns);
        for (int64_t i = 0; i < s->layers; i++) {
            const layer *l = layers + i;
            add_and_norm(x, i ? l[-1].down.out : 0, l->norm_attention, s->eps, blocks, 0, rows, s->hidden, t, all);
            if (s->trunk && i == s->trunk_layer) copy_share(x, s->trunk, rows, s->hidden, t, all);
#pragma omp barrier
            products(blocks, rows, s->hidden, &l->q, 3, t, all);
#pragma omp barrier
            attend(s, l, cosine, sine, starts, used, rows, blocks, own, t, all);
#pragma omp barrier
            products(blocks, rows, s->heads * s->d, &l->o, 1, t, all);
#pragma omp barrier
            add_and_norm(x, l->o.out, l->norm_mlp, s->eps, blocks, 0, rows, s->hidden, t, all);
#pragma omp barrier
            products(blocks, rows, s->hidden, &l->gate, 2, t, all);
#pragma omp barrier
            swiglu(l->gate.out, l->up.out, blocks, rows, s->middle, t, all);
#pragma omp barrier
            products(blocks, rows, s->middle, &l->down, 1, t, all);
#pragma omp barrier
        }
        add_and_norm(x, layers[s->layers - 1].down.out, norm, eps, states, 1, rows, s->hidden, t, all);
    }
}

/* m.out = x m^T for rows x (rows, K); blocks: ceil(rows / 8) * 8 * K floats. */
void multiply(const float *x, int64_t rows, int64_t K, const map *m, float *blocks, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        int64_t first, end;
        share(rows, t, all, &first, &end);
        for (int64_t row = first; row < end; row++) {
            float *y = in_block(blocks, row, K);
            for (int64_t k = 0; k < K; k++) y[k * EIGHT] = x[row * K + k];
        }
#pragma omp barrier
        products(blocks, rows, K, m, 1, t, all);
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
