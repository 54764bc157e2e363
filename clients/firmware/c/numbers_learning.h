/* numbers_learning.h - what each net needs to learn: the softmax's gradient, products, a draw of noise.
   Included by numbers.h alone. */
#include "noise.h"
#define PRIVET_FAST_TABLES
#include "tables.h"

#define FINITE 1e30f

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
