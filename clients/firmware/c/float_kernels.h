/* kernels.h - convolutions of float32 numbers. Included by net.c alone. */
#ifndef PRIVET_KERNELS_H
#define PRIVET_KERNELS_H
#include "sums.h"

typedef float kernel_t, input_t, sum_t;

DOT(product, float, float, float)

static const kernel_t *kernel_of(const layer_t *l, uint32_t o) {
    return weights + l->weights + (o * l->row);
}

static const input_t *inputs_of(const layer_t *l) {
    return values + l->source;
}

static const float *gains(const layer_t *l) {
    return weights + l->weights;
}

static const float *shifts(const layer_t *l) {
    return weights + l->weights + (l->row * l->outputs);
}

static inline float given(const layer_t *l, uint32_t o, float s) {
    return s + shifts(l)[o];
}


#endif
