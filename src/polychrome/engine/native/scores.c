/* Log-probabilities of tokens and their gradients, in bfloat16 products with the head; native/products.py calls it.
 *
 * The vocabulary is gone through in parts, and no more logits exist than a few rows of a part have: the softmax of what
 * has been seen is mended as larger logits come (Milakov and Gimelshein 2018, arXiv 1805.02867).
 */
#include "tiles.h"

#define PART 512  /* tokens of the vocabulary at a time */
#define ROWS 256  /* states at a time that a part of the head is read for */

/* What is known of one state. */
typedef struct {
    float top, target; /* the largest logit so far, and that of the target once it was seen */
    double others, moment; /* of exp(z), z = (logit - top) / temperature, without the target's, and of z exp(z) */
} known;

/* Scores (SIDE, PART) of one block of states, of which ``columns`` exist: takes them into ``k``; ``p`` (SIDE, PART) are
 * given exp(z), zero for the target. Returns by which factor earlier ones shrink, a row each. */
static void take_in(const float *scores, int64_t first, int64_t columns, const int64_t *targets, int64_t rows, float scale,
                    known *k, coarse *p, float *shrink)
{
    float e[PART] __attribute__((aligned(64)));
    for (int64_t r = 0; r < rows; r++) {
        const float *own = scores + r * PART, top = largest(own, columns);
        const int64_t at = targets[r] - first;
        const int here = at >= 0 && at < columns;
        shrink[r] = 1.0f;
        if (here) k[r].target = own[at];
        if (top > k[r].top) {
            const float z = (k[r].top - top) * scale;
            const double by = k[r].top == -INFINITY ? 0.0 : exp((double)z);
            k[r].moment = by == 0.0 ? 0.0 : by * (k[r].moment + z * k[r].others);
            k[r].others *= by;
            k[r].top = top;
            shrink[r] = (float)by;
        }
        const float now = k[r].top;
        double mass = 0, moment = 0;
        vec masses = {0}, moments = {0};
        int64_t i = 0;
        for (; i + LANES <= columns; i += LANES) {
            const vec z = (*(const vec *)(own + i) - now) * scale, x = exponential(z);
            *(vec *)(e + i) = x;
            masses += x;
            moments += x * z;
        }
        mass = sum(masses);
        moment = sum(moments);
        for (; i < columns; i++) {
            const float z = (own[i] - now) * scale, x = exponential_of(z);
            e[i] = x;
            mass += x;
            moment += x * z;
        }
        if (here) {
            const float z = (own[at] - now) * scale;
            mass = 0;
            for (int64_t j = 0; j < columns; j++) mass += j == at ? 0.0 : e[j]; /* not by subtraction: it may be nearly all */
            moment -= e[at] * z;
            e[at] = 0.0f;
        }
        k[r].others += mass;
        k[r].moment += moment;
        if (!p) continue;
        narrow_all(e, p + r * PART, columns);
        memset(p + r * PART + columns, 0, sizeof(coarse) * (PART - columns));
    }
}

static void shrink_rows(float *x, int64_t ld, const float *by, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        if (by[r] != 1.0f)
            for (int64_t i = 0; i < ld; i++) x[r * ld + i] *= by[r];
}

/* Floats of a thread's memory for ``hidden``. */
int64_t scores_memory(int64_t hidden)
{
    const int64_t h = whole(hidden);
    return ROWS * h /* directions */ + ROWS * h / 2 /* states */ + SIDE * PART /* scores */ + SIDE * PART / 2 /* p */;
}

/* states (rows, hidden), weight (n, hidden) of the head and its panels, and where directions are wanted those across:
 * logps (rows,) of targets, entropies (rows,) in nats, directions (rows, hidden) or NULL: the gradients of logps in
 * states. memory: threads * scores_memory(hidden). */
void scores(const float *states, const coarse *weight, const coarse *panels, const coarse *across, const int64_t *targets,
            double temperature, float *logps, float *entropies, float *directions, int64_t rows, int64_t hidden, int64_t n,
            float *memory, int threads)
{
    const int64_t h = whole(hidden), vocabulary = whole(n);
    const float scale = (float)(1.0 / temperature);
#pragma omp parallel num_threads(threads)
    {
        const int t = omp_get_thread_num(), all = omp_get_num_threads();
        float *sums = memory + t * scores_memory(hidden), *found = sums + ROWS * h;
        coarse *x = (coarse *)(found + SIDE * PART), *p = x + ROWS * h;
        known *k = __builtin_alloca(sizeof(known) * ROWS);
        float shrink[SIDE];
        int64_t first, end;
        share_rows(rows, t, all, &first, &end);
        tiles_begin();
        for (int64_t start = first; start < end; start += ROWS) {
            const int64_t own = end - start < ROWS ? end - start : ROWS;
            for (int64_t r = 0; r < whole(own); r++) {
                const int64_t there = r < own ? hidden : 0;
                if (there) narrow_all(states + (start + r) * hidden, x + r * h, hidden);
                memset(x + r * h + there, 0, sizeof(coarse) * (h - there));
                k[r] = (known){-INFINITY, 0, 0, 0};
            }
            memset(sums, 0, sizeof(float) * ROWS * h);
            for (int64_t v = 0; v < n; v += PART) {
                const int64_t columns = n - v < PART ? n - v : PART, width = whole(columns);
                for (int64_t r = 0; r < own; r += SIDE) {
                    const int64_t count = own - r < SIDE ? own - r : SIDE;
                    for (int64_t c = 0; c < width; c += SIDE)
                        block_of(1, 0, 0, count, x + r * h, h, h, panels + (v + c) * h, 0, 0, 0, 0, found + c, PART);
                    take_in(found, v, columns, targets + start + r, count, scale, k + r, directions ? p : 0, shrink);
                    if (!directions) continue;
                    memset(p + count * PART, 0, sizeof(coarse) * (SIDE - count) * PART);
                    shrink_rows(sums + r * h, h, shrink, count);
                    for (int64_t c = 0; c < h; c += SIDE)
                        block_of(1, 1, 0, count, p, PART, width, across + c * vocabulary + v * SIDE, 0, 0, 0, 0, sums + r * h + c, h);
                }
            }
            for (int64_t r = 0; r < own; r++) {
                const double z = (k[r].target - k[r].top) * scale, e = exp(z), mass = k[r].others + e;
                logps[start + r] = (float)(z - log(mass));
                entropies[start + r] = (float)(log(mass) - (k[r].moment + e * z) / mass);
                if (!directions) continue;
                /* One minus p as the others' share: near one it would cancel. */
                const float left = (float)(k[r].others / mass / temperature), by = (float)(1.0 / mass / temperature);
                const coarse *w = weight + targets[start + r] * hidden;
                float *y = directions + (start + r) * hidden;
                for (int64_t i = 0; i < hidden; i++) y[i] = left * wide(w[i]) - by * sums[r * h + i];
            }
        }
        tiles_end();
    }
}
