/* Drawing a token a row by inverse distribution; native/compiled.py calls it, engine/sampling.py defines what it draws. */
#include <stdlib.h>

#include "vectors.h"

typedef struct {
    float weight;
    int32_t token;
} candidate;

/* By falling weight; of equal ones the first in the vocabulary. */
static int in_order(const void *a, const void *b)
{
    const candidate *one = a, *two = b;
    if (one->weight != two->weight) return one->weight > two->weight ? -1 : 1;
    return (one->token > two->token) - (one->token < two->token);
}

/* weights of n logits, exp((logit - the largest) / temperature), zero where that is less than float32 has; their sum. */
static double weigh(const float *logits, int64_t n, float top, float inverse, float *weights)
{
    const float least = -87.0f;
    double total = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec z = (*(const vec *)(logits + i) - top) * inverse;
        const vec e = (vec)((ivec)exponential(z) & ~(z < splat(least)));
        *(vec *)(weights + i) = e;
        total += sum(e);
    }
    for (; i < n; i++) {
        const float z = (logits[i] - top) * inverse;
        weights[i] = z < least ? 0.0f : exponential_of(z);
        total += weights[i];
    }
    return total;
}

/* The tokens of at least ``least`` in ``found``; returns how many, and their sum. */
static int64_t at_least(const float *weights, int64_t n, float least, candidate *found, double *mass)
{
    int64_t count = 0, i = 0;
    *mass = 0;
    for (; i < n; i += LANES) {
        const int64_t end = i + LANES < n ? i + LANES : n;
        if (end - i == LANES) {
            const ivec enough = *(const vec *)(weights + i) >= least;
            int any = 0;
            for (int j = 0; j < LANES; j++) any |= enough[j];
            if (!any) continue;
        }
        for (int64_t j = i; j < end; j++)
            if (weights[j] >= least) {
                found[count++] = (candidate){weights[j], (int32_t)j};
                *mass += weights[j];
            }
    }
    return count;
}

/* By top-k, then top-p of what it left: the smallest set of most probable tokens with so much of the mass; and by min-p:
 * those with so much of the largest weight, which is 1. */
static int64_t restricted(const float *weights, int64_t n, double total, double u, double top_p, int64_t top_k, double min_p,
                          candidate *found)
{
    double mass = 0;
    int64_t count = 0;
    const int by_count = top_k < n;
    for (float least = 0x1p-6f;; least = least > 0x1p-30f ? least * 0x1p-4f : 0.0f) {
        count = at_least(weights, n, least, found, &mass);
        if (least == 0.0f || (by_count ? count >= top_k : least <= min_p || mass >= top_p * total)) break;
    }
    if (!count) return 0; /* not a number */
    qsort(found, count, sizeof(candidate), in_order);
    if (by_count) {
        count = count < top_k ? count : top_k;
        total = 0;
        for (int64_t i = 0; i < count; i++) total += found[i].weight;
    }
    double kept = 0;
    int64_t size = 0;
    for (; size < count && (size == 0 || (kept < top_p * total && found[size].weight >= min_p)); size++) kept += found[size].weight;
    const double point = u * kept;
    double running = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < size; i++) {
        running += found[i].weight;
        if (found[i].weight > 0) last = i;
        if (running > point) break;
    }
    return found[last].token;
}

static int64_t whole(const float *weights, int64_t n, double total, double u)
{
    const double point = u * total;
    double running = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const double next = running + sum(*(const vec *)(weights + i));
        if (next > point) break;
        running = next;
    }
    for (; i < n; i++) {
        running += weights[i];
        if (running > point && weights[i] > 0) return i;
    }
    for (i = n - 1; i > 0 && !(weights[i] > 0); i--) {} /* rounding: the last that can be drawn */
    return i;
}

/* tokens (rows,) drawn from softmax(logits / temperature) (rows, n) within top-k, top-p and min-p by ``uniforms`` in [0, 1),
 * and logps (rows,) of them before any. scratch: threads * 3 * n floats. */
void draw(const float *logits, const double *uniforms, const float *temperatures, const double *top_p, const int64_t *top_k,
          const double *min_p, int64_t *tokens, float *logps, int64_t rows, int64_t n, float *scratch, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        float *weights = scratch + omp_get_thread_num() * 3 * n;
        candidate *found = (candidate *)(weights + n);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            const float *own = logits + row * n, top = largest(own, n), inverse = 1.0f / temperatures[row];
            const double total = weigh(own, n, top, inverse, weights);
            const int limited = top_p[row] < 1 || top_k[row] < n || min_p[row] > 0;
            const int64_t token = limited ? restricted(weights, n, total, uniforms[row], top_p[row], top_k[row], min_p[row], found)
                                          : whole(weights, n, total, uniforms[row]);
            tokens[row] = token;
            logps[row] = (float)((own[token] - top) * (double)inverse - log(total));
        }
    }
}
