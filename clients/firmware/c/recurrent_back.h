/* recurrent_back.h - what gated recurrent units pass back through time, and the gradients of their weights.
   Included by learning.h alone. */
#ifndef PRIVET_RECURRENT_BACK_H
#define PRIVET_RECURRENT_BACK_H

/* The loss's gradients at what gates add up, of each layer [4 H][T]: reset, update, proposed; and, for what
   states give to that, proposed again. */
static float gates[PRIVET_GATES];

/* At one time: gates' gradients, and what goes to the states before but for their weights. */
PRIVET_APART static void gates_back(const layer_t *l, uint32_t t) {
    uint32_t all = l->outputs * l->w, u;
    for (u = 0; u < l->outputs; u++) {
        float *d = deltas + (l->value - PRIVET_INPUTS) + (u * l->w);
        float *g = gates + l->words + (u * l->w) + t;
        unit_t one = unit(l, u, t);
        float h = before(values + l->value + (u * l->w), t);
        float proposed = (d[t] * (1.0f - one.update)) * (1.0f - (one.proposed * one.proposed));
        g[0] = (proposed * one.of_states) * (one.reset * (1.0f - one.reset));
        g[all] = (d[t] * (h - one.proposed)) * (one.update * (1.0f - one.update));
        g[2u * all] = proposed;
        g[3u * all] = proposed * one.reset;
        if (t != 0u) { d[t - 1u] = d[t - 1u] + (d[t] * one.update); }
    }
}

/* Adds to `s` what rows of weights pass back at a time, in their order: of inputs the third gate's
   gradients, of states the fourth's. */
PRIVET_APART static float through(const layer_t *l, float s, const float *column, uint32_t row,
                                  uint32_t third, uint32_t t) {
    const float *d = gates + l->words + t;
    uint32_t size = l->outputs;
    s = product(s, column, (int32_t)row, d, (int32_t)l->w, 2u * size);
    return product(s, column + (2u * size * row), (int32_t)row, d + (third * size * l->w),
                   (int32_t)l->w, size);
}

PRIVET_APART static void recur_back(const layer_t *l) {
    uint32_t size = l->outputs, t, k;
    const float *of_inputs = weights + l->weights, *of_states = of_inputs + (3u * size * l->c);
    for (t = l->w; t > 0u; t--) {
        float *d = deltas + (l->value - PRIVET_INPUTS);
        gates_back(l, t - 1u);
        for (k = 0; (t > 1u) && (k < size); k++, d += l->w) {
            d[t - 2u] = through(l, d[t - 2u], of_states + k, size, 3, t - 1u);
        }
        if (l->source == 0u) { continue; } /* a record has no gradient */
        d = deltas + (l->source - PRIVET_INPUTS) + (t - 1u);
        for (k = 0; k < l->c; k++, d += l->w) { *d = through(l, *d, of_inputs + k, l->c, 2, t - 1u); }
    }
}

/* A row's gradients, each a sum over times. */
PRIVET_APART static void visit_recurrent(const layer_t *l) {
    uint32_t size = l->outputs, times = l->w, row, k, third;
    const float *d = gates + l->words;
    for (row = 0; row < (3u * size); row++) {
        const float *x = values + l->source;
        for (k = 0; k < l->c; k++, x += times) {
            visited(product(0.0f, d + (row * times), 1, x, 1, times));
        }
    }
    for (row = 0; row < (3u * size); row++) {
        const float *h = values + l->value, *of = d + (((row < (2u * size)) ? row : (row + size)) * times);
        for (k = 0; k < size; k++, h += times) { visited(product(0.0f, of + 1, 1, h, 1, times - 1u)); }
    }
    for (third = 2; third < 4u; third++) {
        visit_biases(d, 2u * size, times);
        visit_biases(d + (third * size * times), size, times);
    }
}

#endif
