/* Attention of packed tokens; native/compiled.py calls it.
 *
 * A span is a list of tokens of which the last ``queries`` attend to those before them and to themselves: a prompt's
 * own tokens, or a completion's behind its prompt. Query heads that share a key head are rows beside each other. Scores
 * exist for ROWS queries at a time, and are computed again in the backward pass (Dao et al. 2022, arXiv 2205.14135).
 */
#include <string.h>

#include "vectors.h"

#define ROWS 32 /* queries at a time, of each head */

/* compiled.py:_Spans mirrors it. */
typedef struct {
    const int64_t *tokens;  /* of all spans, one after another */
    const int64_t *starts;  /* (spans + 1,) */
    const int64_t *queries; /* (spans,) */
    int64_t spans, longest, total; /* tokens of the longest span; tokens that exist */
    int64_t heads, key_heads, d;
    double scale;
} packed;

INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* c (R, V vectors) = a b or += a b; a's rows and columns are ar and ac apart. */
INLINE void tile(const int R, const int V, int64_t k, const float *a, int64_t ar, int64_t ac, const float *b, int64_t ldb,
                 float *c, int64_t ldc, int add)
{
    vec acc[4][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < V; j++) acc[r][j] = add ? *(const vec *)(c + r * ldc + j * LANES) : (vec){0};
    for (int64_t i = 0; i < k; i++, a += ac, b += ldb) {
        vec row[4];
        for (int j = 0; j < V; j++) row[j] = *(const vec *)(b + j * LANES);
        for (int r = 0; r < R; r++) {
            const vec x = splat(a[r * ar]);
            for (int j = 0; j < V; j++) acc[r][j] += x * row[j];
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < V; j++) *(vec *)(c + r * ldc + j * LANES) = acc[r][j];
}

/* c (m, n) = a (m, k) b (k, n), or += where ``add``; n a multiple of LANES. */
static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t ar, int64_t ac, const float *b, int64_t ldb,
                    float *c, int64_t ldc, int add)
{
    for (int64_t j = 0; j < n; j += 4 * LANES)
        for (int64_t i = 0; i < m; i += 4) {
            const float *left = a + i * ar, *right = b + j;
            float *out = c + i * ldc + j;
            const int64_t R = m - i < 4 ? m - i : 4, V = (n - j) / LANES < 4 ? (n - j) / LANES : 4;
#define CASE(r, v) case r * 8 + v: tile(r, v, k, left, ar, ac, right, ldb, out, ldc, add); break;
            switch (R * 8 + V) {
                CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(2, 1) CASE(2, 2) CASE(2, 3) CASE(2, 4)
                CASE(3, 1) CASE(3, 2) CASE(3, 3) CASE(3, 4) CASE(4, 1) CASE(4, 2) CASE(4, 3) CASE(4, 4)
            }
#undef CASE
        }
}

/* Memory of one thread. */
typedef struct {
    float *across;             /* (d, longest): keys, or values, a column a token */
    float *across_values;      /* (d, longest) */
    float *along;              /* (longest, d): values, or keys, a row a token */
    float *of_keys, *of_values; /* (longest, d) */
    float *query, *out;        /* (ROWS * together, d) */
    float *weights, *of_weights; /* (ROWS * together, longest) */
} memory;

static int64_t carve(const packed *p, float *from, memory *m)
{
    const int64_t d = padded(p->d), n = padded(p->longest), rows = ROWS * (p->heads / p->key_heads);
    const int64_t sizes[9] = {p->d * n, p->d * n, n * d, n * d, n * d, rows * d, rows * d, rows * n, rows * n};
    float **places = (float **)m;
    int64_t used = 0;
    for (int i = 0; i < 9; used += sizes[i++])
        if (m) places[i] = from + used;
    return used;
}

/* Floats that a thread needs beside its share of gradients. */
int64_t attention_memory(const packed *p) { return carve(p, 0, 0); }

/* Token by token: x (tokens, key_heads, d) as columns of (d, n). */
static void gather_across(const packed *p, const float *x, int64_t head, const int64_t *tokens, int64_t count, float *out)
{
    const int64_t n = padded(count), d = p->d;
    for (int64_t j = 0; j < n; j++) {
        const float *own = j < count ? x + (tokens[j] * p->key_heads + head) * d : 0;
        for (int64_t i = 0; i < d; i++) out[i * n + j] = own ? own[i] : 0.0f;
    }
}

/* As rows of (count * together, padded d), each ``together`` heads of a token, times ``scale``. */
static void gather_along(const packed *p, const float *x, int64_t heads, int64_t first, int64_t together,
                         const int64_t *tokens, int64_t count, float scale, float *out)
{
    const int64_t d = p->d, wide = padded(d);
    for (int64_t j = 0; j < count; j++)
        for (int64_t h = 0; h < together; h++, out += wide) {
            const float *own = x + (tokens[j] * heads + first + h) * d;
            for (int64_t i = 0; i < d; i++) out[i] = own[i] * scale;
            for (int64_t i = d; i < wide; i++) out[i] = 0.0f;
        }
}

static void scatter_along(const packed *p, float *x, int64_t first, int64_t together, const int64_t *tokens,
                          int64_t count, float scale, const float *rows)
{
    const int64_t d = p->d, wide = padded(d);
    for (int64_t j = 0; j < count; j++)
        for (int64_t h = 0; h < together; h++, rows += wide) {
            float *own = x + (tokens[j] * p->heads + first + h) * d;
            for (int64_t i = 0; i < d; i++) own[i] = rows[i] * scale;
        }
}

/* Softmax over the first ``visible`` of n scores, zero behind; returns log of the sum of exponentials. */
static float softmax(float *scores, int64_t visible, int64_t n)
{
    const float top = largest(scores, visible);
    float mass = 0;
    for (int64_t j = visible; j < n; j++) scores[j] = -INFINITY;
    for (int64_t j = 0; j < n; j += LANES) *(vec *)(scores + j) = exponential(*(vec *)(scores + j) - top);
    for (int64_t j = visible; j < n; j++) scores[j] = 0.0f;
    for (int64_t j = 0; j < n; j += LANES) mass += sum(*(vec *)(scores + j));
    const float inverse = 1.0f / mass;
    for (int64_t j = 0; j < n; j += LANES) *(vec *)(scores + j) *= inverse;
    return top + logf(mass);
}

static void forward_span(const packed *p, int64_t span, int64_t head, const float *q, const float *k, const float *v,
                         float *out, float *log_mass, const memory *m)
{
    const int64_t *tokens = p->tokens + p->starts[span];
    const int64_t count = p->starts[span + 1] - p->starts[span], before = count - p->queries[span];
    const int64_t together = p->heads / p->key_heads, first = head * together, d = padded(p->d), n = padded(count);
    gather_across(p, k, head, tokens, count, m->across);
    gather_along(p, v, p->key_heads, head, 1, tokens, count, 1.0f, m->along);
    for (int64_t begin = before; begin < count; begin += ROWS) {
        const int64_t end = begin + ROWS < count ? begin + ROWS : count, rows = (end - begin) * together;
        gather_along(p, q, p->heads, first, together, tokens + begin, end - begin, (float)p->scale, m->query);
        product(rows, padded(end), p->d, m->query, d, 1, m->across, n, m->weights, n, 0);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t place = begin + r / together;
            log_mass[tokens[place] * p->heads + first + r % together] = softmax(m->weights + r * n, place + 1, padded(end));
        }
        product(rows, d, end, m->weights, n, 1, m->along, d, m->out, d, 0);
        scatter_along(p, out, first, together, tokens + begin, end - begin, 1.0f, m->out);
    }
}

static void backward_span(const packed *p, int64_t span, int64_t head, const float *grad, const float *q, const float *k,
                          const float *v, const float *out, const float *log_mass, float *of_q, float *of_k, float *of_v,
                          const memory *m)
{
    const int64_t *tokens = p->tokens + p->starts[span];
    const int64_t count = p->starts[span + 1] - p->starts[span], before = count - p->queries[span];
    const int64_t together = p->heads / p->key_heads, first = head * together, d = padded(p->d), n = padded(count);
    gather_across(p, k, head, tokens, count, m->across);
    gather_across(p, v, head, tokens, count, m->across_values);
    gather_along(p, k, p->key_heads, head, 1, tokens, count, 1.0f, m->along);
    memset(m->of_keys, 0, sizeof(float) * count * d);
    memset(m->of_values, 0, sizeof(float) * count * d);
    for (int64_t begin = before; begin < count; begin += ROWS) {
        const int64_t end = begin + ROWS < count ? begin + ROWS : count, rows = (end - begin) * together, wide = padded(end);
        gather_along(p, q, p->heads, first, together, tokens + begin, end - begin, (float)p->scale, m->query);
        gather_along(p, grad, p->heads, first, together, tokens + begin, end - begin, 1.0f, m->out);
        product(rows, wide, p->d, m->query, d, 1, m->across, n, m->weights, n, 0);
        product(rows, wide, p->d, m->out, d, 1, m->across_values, n, m->of_weights, n, 0);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t place = begin + r / together, at = tokens[place] * p->heads + first + r % together;
            const float mass = log_mass[at], along = dot(grad + at * p->d, out + at * p->d, p->d);
            float *w = m->weights + r * n, *g = m->of_weights + r * n;
            for (int64_t j = place + 1; j < wide; j++) w[j] = -INFINITY;
            for (int64_t j = 0; j < wide; j += LANES) {
                *(vec *)(w + j) = exponential(*(vec *)(w + j) - mass);
                *(vec *)(g + j) = *(vec *)(w + j) * (*(vec *)(g + j) - along);
            }
            for (int64_t j = place + 1; j < wide; j++) w[j] = g[j] = 0.0f;
        }
        product(end, d, rows, m->weights, 1, n, m->out, d, m->of_values, d, 1);
        product(end, d, rows, m->of_weights, 1, n, m->query, d, m->of_keys, d, 1);
        product(rows, d, end, m->of_weights, n, 1, m->along, d, m->out, d, 0);
        scatter_along(p, of_q, first, together, tokens + begin, end - begin, (float)p->scale, m->out);
    }
    for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < p->d; i++) {
            of_k[(tokens[j] * p->key_heads + head) * p->d + i] += m->of_keys[j * d + i];
            of_v[(tokens[j] * p->key_heads + head) * p->d + i] += m->of_values[j * d + i];
        }
}

/* q (total, heads, d), k and v (total, key heads, d) -> out as q, log_mass (total, heads). */
void attention(const packed *p, const float *q, const float *k, const float *v, float *out, float *log_mass,
               float *scratch, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        memory m;
        carve(p, scratch + omp_get_thread_num() * attention_memory(p), &m);
        for (int64_t i = omp_get_thread_num(); i < p->spans * p->key_heads; i += omp_get_num_threads())
            forward_span(p, i / p->key_heads, i % p->key_heads, q, k, v, out, log_mass, &m);
    }
}

/* ``of_k`` and ``of_v`` are (threads, total, key heads, d) of which the first is the result: threads add up what they
 * have each for itself, in their order, so that the sum is the same every time. */
void attention_backward(const packed *p, const float *grad, const float *q, const float *k, const float *v,
                        const float *out, const float *log_mass, float *of_q, float *of_k, float *of_v, float *scratch,
                        int threads)
{
    const int64_t size = p->total * p->key_heads * p->d;
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        memory m;
        carve(p, scratch + t * attention_memory(p), &m);
        memset(of_k + t * size, 0, sizeof(float) * size);
        memset(of_v + t * size, 0, sizeof(float) * size);
        for (int64_t i = t; i < p->spans * p->key_heads; i += all)
            backward_span(p, i / p->key_heads, i % p->key_heads, grad, q, k, v, out, log_mass, of_q, of_k + t * size,
                          of_v + t * size, &m);
#pragma omp barrier
        int64_t first, end;
        share(size, t, all, &first, &end);
        for (int other = 1; other < all; other++)
            for (int64_t i = first; i < end; i++) {
                of_k[i] += of_k[other * size + i];
                of_v[i] += of_v[other * size + i];
            }
    }
}
