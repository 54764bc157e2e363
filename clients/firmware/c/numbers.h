/* numbers.h - of floats, what each net needs: exp, and the largest. */
#ifndef PRIVET_NUMBERS_H
#define PRIVET_NUMBERS_H
#include <stdint.h>

#include "contract.h"
#include "machine.h"

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

/* Of equal numbers the first. */
static inline uint32_t largest_of(const float *z, uint32_t num) {
    uint32_t i, best = 0;
    for (i = 1; i < num; i++) { best = (z[i] > z[best]) ? i : best; }
    return best;
}

#if !defined(PRIVET_ANSWERS)
#include "numbers_learning.h"
#endif

#endif
