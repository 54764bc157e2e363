/* learning.h - what a record's gradient adds to the sums, of dense layers. Included by net.c alone. */
#ifndef PRIVET_LEARNING_H
#define PRIVET_LEARNING_H

#define MOST_FACTOR 4194304.0f /* 2^22 */

static float deltas[PRIVET_UNITS];
static int32_t factors[PRIVET_UNITS];

/* The loss's gradient at what a layer reads: at the units `h`, to `below`. */
PRIVET_APART static void backward_layer(const layer_t *layer, const float *h, float *below) {
    const float *w = weights + layer->weights, *above = deltas + layer->units;
    uint32_t i, k;
    for (k = 0; k < layer->inputs; k++) {
        float s = 0.0f;
        for (i = 0; i < layer->outputs; i++) { s = s + (w[(i * layer->inputs) + k] * above[i]); }
        below[k] = (h[k] > 0.0f) ? s : 0.0f;
    }
}

/* The loss's gradient at each unit; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t label) {
    uint32_t l, at = LAYERS[PRIVET_LAYERS - 1u].units;
    if (softmax_gradient(outputs + at, deltas + at, PRIVET_CLASSES, label) == 0u) { return 0; }
    for (l = PRIVET_LAYERS - 1u; l > 0u; l--) {
        at = LAYERS[l - 1u].units;
        backward_layer(&LAYERS[l], outputs + at, deltas + at);
    }
    return 1;
}

/* Whole factors of a record's gradient: the sum over layers of |factors|^2 |inputs, one|^2 is at
   most S^2, in integers, or the record is left out (0). The promise rests on this alone. */
PRIVET_APART static uint32_t clip(void) {
    uint64_t norms[PRIVET_LAYERS], left = (uint64_t)PRIVET_SENSITIVITY * PRIVET_SENSITIVITY;
    float squared = 0.0f, c = 1.0f;
    const int16_t *x = record;
    uint32_t l, i, k;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const float *d = deltas + layer->units;
        float s = 0.0f;
        norms[l] = square(layer->one);
        for (k = 0; k < layer->inputs; k++) { norms[l] += square(x[k]); }
        if (norms[l] >= ((uint64_t)1 << 30)) { return 0; }
        for (i = 0; i < layer->outputs; i++) { s = s + (d[i] * d[i]); }
        squared = squared + (s * ((float)(uint32_t)norms[l] * layer->inverse_square));
        x = whole + layer->units;
    }
    if (squared > PRIVET_CLIP_SQUARED) { c = PRIVET_CLIP / root(squared); }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const float *d = deltas + layer->units;
        float g = c * layer->factor;
        uint64_t s = 0;
        for (i = 0; i < layer->outputs; i++) {
            float f = d[i] * g;
            if (!((f < MOST_FACTOR) && (f > -MOST_FACTOR))) { return 0; }
            factors[layer->units + i] = (int32_t)f;
            s += square((int32_t)f);
        }
        if (s >= ((uint64_t)1 << 34)) { return 0; }
        s *= norms[l];
        if (s > left) { return 0; }
        left -= s;
    }
    return 1;
}

PRIVET_APART static void accumulate_layer(const layer_t *layer, const int16_t *x) {
    uint32_t *a = sums + layer->weights, *bias = a + (layer->inputs * layer->outputs), i, k;
    for (i = 0; i < layer->outputs; i++) {
        uint32_t q = (uint32_t)factors[layer->units + i];
        for (k = 0; (k + 4u) <= layer->inputs; k += 4u) {
            a[k] += wrapping_product(q, x[k]);
            a[k + 1u] += wrapping_product(q, x[k + 1u]);
            a[k + 2u] += wrapping_product(q, x[k + 2u]);
            a[k + 3u] += wrapping_product(q, x[k + 3u]);
        }
        for (; k < layer->inputs; k++) { a[k] += wrapping_product(q, x[k]); }
        bias[i] += q * (uint32_t)layer->one;
        a += layer->inputs;
    }
}

static void accumulate(void) {
    const int16_t *x = record;
    uint32_t l;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        accumulate_layer(&LAYERS[l], x);
        x = whole + LAYERS[l].units;
    }
}

void net_learn(uint32_t number, uint32_t label) {
    (void)number;
    forward();
    if ((backward(label) != 0u) && (clip() != 0u)) { accumulate(); }
}

#endif
