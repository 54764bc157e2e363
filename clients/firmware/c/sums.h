/* sums.h - what nets of float32 numbers have in common: their weights, and the sums of clipped gradients,
   which nothing but the noise's own pass reads. Included by net.c alone. */
#ifndef PRIVET_SUMS_H
#define PRIVET_SUMS_H
#include "contract.h"
#include "net.h"
#include "numbers.h"
#include "weights.h"

#if !defined(PRIVET_ANSWERS)
static float weights[PRIVET_WEIGHTS]; /* else they are a table of weights.h, in flash */
static uint32_t sums[PRIVET_WEIGHTS]; /* in grid units, modulo 2^32 */

PRIVET_APART static void noise_update(stream_t *stream, stream_t *slow) {
    uint32_t i;
    for (i = 0; i < PRIVET_WEIGHTS; i++) {
        uint32_t noisy = sums[i] + noise_draw(stream, slow);
        weights[i] = weights[i] - (PRIVET_RATE * (float)(int32_t)noisy);
        sums[i] = 0;
    }
}

void net_begin(void) {
    uint32_t i;
    memcpy(weights, WEIGHTS, sizeof weights);
    for (i = 0; i < PRIVET_WEIGHTS; i++) { sums[i] = 0; }
}

void net_write(uint32_t at, const uint8_t *bytes, uint32_t num) {
    memcpy(weights + at, bytes, 4u * num);
}

void net_step(uint32_t high, uint32_t low) { /* nothing is rounded at random */
    (void)high;
    (void)low;
}

void net_update(stream_t *stream, stream_t *slow) {
    noise_update(stream, slow);
}

const privet_weight_t *net_weights(void) {
    return weights;
}
#endif

#endif
