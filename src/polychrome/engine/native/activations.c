/* Passes over the activations of many tokens, each reading and writing them once; native/compiled.py calls them.
 *
 * What they compute, and its gradients, stands where PyTorch's operators do the same: engine/backend.py.
 */
#include "vectors.h"

/* y = x / sqrt(mean(x^2) + eps) * weight; inverse (rows,) is 1 over the root. */
void rms_norm(const float *x, const float *weight, double eps, float *y, float *inverse, int64_t rows, int64_t n, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *own = x + row * n;
        const float s = (float)(1.0 / sqrt(dot(own, own, n) / n + eps));
        inverse[row] = s;
        for (int64_t i = 0; i < n; i++) y[row * n + i] = own[i] * s * weight[i];
    }
}

void rms_norm_backward(const float *grad, const float *x, const float *weight, const float *inverse, float *of_x,
                       int64_t rows, int64_t n, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *g = grad + row * n, *own = x + row * n;
        float *y = of_x + row * n;
        const float s = inverse[row];
        for (int64_t i = 0; i < n; i++) y[i] = g[i] * weight[i];
        const float along = dot(y, own, n) * s * s * s / n;
        for (int64_t i = 0; i < n; i++) y[i] = y[i] * s - own[i] * along;
    }
}

/* y = silu(gate) * up, n numbers. */
void swiglu(const float *gate, const float *up, float *y, int64_t n, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        int64_t first, end;
        share(n, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        int64_t i = first;
        for (; i + LANES <= end; i += LANES) {
            const vec g = *(const vec *)(gate + i);
            *(vec *)(y + i) = g / (1.0f + exponential(-g)) * *(const vec *)(up + i);
        }
        for (; i < end; i++) y[i] = gate[i] / (1.0f + exponential_of(-gate[i])) * up[i];
    }
}

void swiglu_backward(const float *grad, const float *gate, const float *up, float *of_gate, float *of_up, int64_t n, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        int64_t first, end;
        share(n, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        int64_t i = first;
        for (; i + LANES <= end; i += LANES) {
            const vec g = *(const vec *)(gate + i), d = *(const vec *)(grad + i);
            const vec s = 1.0f / (1.0f + exponential(-g));
            *(vec *)(of_gate + i) = d * *(const vec *)(up + i) * s * (1.0f + g * (1.0f - s));
            *(vec *)(of_up + i) = d * g * s;
        }
        for (; i < end; i++) {
            const float s = 1.0f / (1.0f + exponential_of(-gate[i]));
            const float d = grad[i];
            of_gate[i] = d * up[i] * s * (1.0f + gate[i] * (1.0f - s));
            of_up[i] = d * gate[i] * s;
        }
    }
}

/* Every head (d numbers) of every row turned by its row's angles (d / 2); sign -1 turns back. */
void rotate(const float *x, const float *cosine, const float *sine, float *y, int64_t rows, int64_t heads, int64_t d,
            int sign, int threads)
{
    const int64_t half = d / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *c = cosine + row * half, *s = sine + row * half;
        for (int64_t head = 0; head < heads; head++) {
            const float *a = x + (row * heads + head) * d;
            float *b = y + (row * heads + head) * d;
            for (int64_t i = 0; i < half; i++) {
                const float turned = sign * s[i], first = a[i], second = a[i + half];
                b[i] = first * c[i] - second * turned;
                b[i + half] = second * c[i] + first * turned;
            }
        }
    }
}

/* Logits (rows, n), of temperature 1, become one-hot minus probabilities where ``learning``, else they are left.
 * logps: log-probability of each row's target; entropies in nats. */
void score(float *logits, const int64_t *targets, double temperature, float *logps, float *entropies, int64_t rows,
           int64_t n, int learning, int threads)
{
    const float scale = (float)(1.0 / temperature);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        float *own = logits + row * n;
        const float top = largest(own, n);
        /* In double: single precision would lose what a vocabulary of small terms adds up to. */
        double mass = 0, moment = 0;
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            const vec z = (*(const vec *)(own + i) - top) * scale, e = exponential(z);
            mass += sum(e);
            moment += sum(e * z);
        }
        for (; i < n; i++) {
            const float z = (own[i] - top) * scale, e = exponential_of(z);
            mass += e;
            moment += e * z;
        }
        logps[row] = (float)((own[targets[row]] - top) * (double)scale - log(mass));
        entropies[row] = (float)(log(mass) - moment / mass);
        if (!learning) continue;
        const float share_of = (float)(1.0 / mass);
        for (i = 0; i + LANES <= n; i += LANES)
            *(vec *)(own + i) = -exponential((*(const vec *)(own + i) - top) * scale) * share_of;
        for (; i < n; i++) own[i] = -exponential_of((own[i] - top) * scale) * share_of;
        own[targets[row]] += 1.0f;
    }
}
