/* kernels.h - convolutions of words: the sums of their products are integers. Included by net.c alone.

   Words of weights are packed, of PRIVET_FIELD bits each; those of one output are unpacked where it is
   at work, and inputs are rounded again wherever they are read: neither is kept. */
#ifndef PRIVET_KERNELS_H
#define PRIVET_KERNELS_H
#include "words.h"

#define FIELDS (32u / PRIVET_FIELD) /* of a word of 32 bits */

typedef int8_t kernel_t;
typedef int16_t input_t;
typedef int32_t sum_t;

DOT(product, int32_t, kernel_t, input_t)

static kernel_t kernel_words[PRIVET_MOST_ROW];
static input_t input_words[PRIVET_MOST_INPUTS];

static int32_t word_of(uint32_t code) {
#if defined(PRIVET_BINARY)
    return 1 - (int32_t)(2u * code);
#else
    return (int32_t)(code ^ (1u << (PRIVET_FIELD - 1u))) - (1 << (PRIVET_FIELD - 1u));
#endif
}

/* Words of an output's weights. */
PRIVET_APART static const kernel_t *kernel_of(const layer_t *l, uint32_t o) {
    uint32_t at = o * l->row, k;
    for (k = 0; k < l->row; k++, at++) {
        uint32_t fields = words[l->words + (at / FIELDS)] >> (PRIVET_FIELD * (at % FIELDS));
        kernel_words[k] = (kernel_t)word_of(fields & ((1u << PRIVET_FIELD) - 1u));
    }
    return kernel_words;
}

/* Words of what a layer reads, and their step and bound. */
PRIVET_APART static const input_t *inputs_of(const layer_t *l) {
    const float *x = values + l->source;
    uint32_t num = l->c * l->h * l->w, is_signed = 0, k;
    float largest = 0.0f, total = 0.0f, per_step;
    for (k = 0; k < num; k++) {
        float size = (x[k] < 0.0f) ? -x[k] : x[k];
        is_signed |= (x[k] < 0.0f) ? 1u : 0u;
        largest = (size > largest) ? size : largest;
        total = total + (x[k] * x[k]);
    }
    per_step = set_step((uint32_t)(l - LAYERS), largest, total / (float)num, most_of(is_signed));
    for (k = 0; k < num; k++) {
        input_words[k] = (input_t)nearest(x[k] * per_step, most_of(is_signed));
    }
    return input_words;
}

static const float *gains(const layer_t *l) {
    return scales + l->units;
}

static const float *shifts(const layer_t *l) {
    return biases + l->units;
}

static inline float given(const layer_t *l, uint32_t o, int32_t s) {
    return ((float)s * (steps[l - LAYERS] * scales[l->units + o])) + biases[l->units + o];
}


#endif
