/* words.h - what nets of words have in common: how inputs become words. Where nothing is learnt, words,
   scales and biases are tables of weights.h, in flash; else trained.h makes them of whole weights.
   Included by net.c alone, behind its layers: of each `row`, the weights of an output (0 if it has
   none), `outputs`, `weights`, where they begin, and `units`, where its outputs begin among all. */
#ifndef PRIVET_WORDS_H
#define PRIVET_WORDS_H
#include "contract.h"
#include "net.h"
#include "numbers.h"
#include "weights.h"

#define TINY 1e-30f

#if !defined(PRIVET_ANSWERS)
static int32_t weights[PRIVET_WEIGHTS]; /* in units of PRIVET_RATE */
static uint32_t words[PRIVET_WORDS];    /* of weights, packed as the net reads them */
static float scales[PRIVET_ROWS], biases[PRIVET_ROWS];
#endif

static float steps[PRIVET_LAYERS], bounds[PRIVET_LAYERS]; /* of words; and the largest number */
static int32_t at_most(int32_t x, int32_t most) {
    return (x > most) ? most : (x < -most) ? -most : x;
}

static int32_t nearest(float x, int32_t most) {
    return at_most((int32_t)((x + NEAREST) - NEAREST), most);
}

static inline uint32_t magnitude(int32_t x) {
    return (x < 0) ? (0u - (uint32_t)x) : (uint32_t)x;
}

static inline float as_float(uint64_t x) {
    return ((float)(uint32_t)(x >> 20) * 1048576.0f) + (float)(uint32_t)(x & 0xFFFFFu);
}

/* ---- words of inputs, record by record */

/* The step of a layer's input words; returns how many there are in 1. */
static float set_step(uint32_t l, float largest, float mean_square, int32_t most) {
    float reach = PRIVET_REACH * root(mean_square), bound = (reach < largest) ? reach : largest;
    bounds[l] = bound;
    steps[l] = (bound > TINY) ? (bound / (float)most) : 0.0f;
    return (bound > TINY) ? ((float)most / bound) : 0.0f;
}

static int32_t most_of(uint32_t is_signed) {
    return (is_signed != 0u) ? PRIVET_MOST_SIGNED : PRIVET_MOST_UNSIGNED;
}

#if !defined(PRIVET_ANSWERS)
#include "trained.h"
#endif

#endif
