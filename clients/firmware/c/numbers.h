/* numbers.h - of floats, what each net needs: exp, a root, the softmax's gradient, a draw of noise. */
#ifndef PRIVET_NUMBERS_H
#define PRIVET_NUMBERS_H
#include <stdint.h>

#include "noise.h"
#define PRIVET_FAST_TABLES
#include "tables.h"

#define FINITE 1e30f

/* exp(d), d <= 0: the definition is this polynomial of 2^f, -1 < f <= 0 */
static inline float exponential(float d) {
    float t = d * 1.44269504f, f, p;
    int32_t n;
    union {
        float number;
        int32_t bits;
    } raised;
    if (t < -126.0f) { return 0.0f; }
    n = (int32_t)t;
    f = t - (float)n;
    p = 1.5353362e-4f * f;
    p = p + 1.3398874e-3f;
    p = p * f;
    p = p + 9.6184373e-3f;
    p = p * f;
    p = p + 5.5503324e-2f;
    p = p * f;
    p = p + 2.4022648e-1f;
    p = p * f;
    p = p + 6.9314720e-1f;
    p = p * f;
    p = p + 1.0f;
    raised.number = p;
    raised.bits += n * 8388608;
    return raised.number;
}

static inline float root(float x) {
#if defined(__GNUC__)
    return __builtin_sqrtf(x);
#else
#error "a correctly rounded square root of a float: name your compiler's"
#endif
}

/* Softmax of z, less 1 at the label: the loss's gradient at each logit. 0 if a logit is beyond all
   numbers. */
static inline uint32_t softmax_gradient(const float *z, float *d, uint32_t num, uint32_t label) {
    float most = z[0], sum = 0.0f;
    uint32_t i;
    for (i = 0; i < num; i++) {
        if (!((z[i] < FINITE) && (z[i] > -FINITE))) { return 0; }
        most = (z[i] > most) ? z[i] : most;
    }
    for (i = 0; i < num; i++) {
        d[i] = exponential(z[i] - most);
        sum = sum + d[i];
    }
    for (i = 0; i < num; i++) { d[i] = d[i] / sum; }
    d[label] = d[label] - 1.0f;
    return 1;
}

/* Of equal numbers the first. */
static inline uint32_t largest_of(const float *z, uint32_t num) {
    uint32_t i, best = 0;
    for (i = 1; i < num; i++) { best = (z[i] > z[best]) ? i : best; }
    return best;
}

static inline uint64_t square(int32_t x) {
    return (uint64_t)((int64_t)x * x);
}

/* q x, modulo 2^32 */
static inline uint32_t wrapping_product(uint32_t q, int16_t x) {
    uint32_t wide = (uint32_t)(int32_t)x;
    return q * wide;
}

/* floor(sigma Z), modulo 2^32: a word of one stream, and in rare cases more of another. */
static inline uint32_t noise_draw(stream_t *stream, stream_t *slow) {
    uint32_t word = stream_word(stream), brick = word >> 20, noise;
    if (brick >= BRICKS) { return (uint32_t)noise_slow(word, slow); }
    noise = ((uint32_t)STRIP[brick] << (NOISE_BITS - 5u)) |
            (word & (((uint32_t)1 << (NOISE_BITS - 5u)) - 1u));
    return noise ^ (0u - ((word >> 15) & 1u));
}

#endif
