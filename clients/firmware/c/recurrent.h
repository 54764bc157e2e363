/* recurrent.h - gated recurrent units (Cho et al. 2014) of float32 numbers. Included by net.c alone.

   Numbers are defined in clients/firmware/numbers/recurrent.py, which computes the same bits. */
#ifndef PRIVET_RECURRENT_H
#define PRIVET_RECURRENT_H

#define FAR 80.0f /* beyond, exp(-x) is 0 */

/* Of a unit at a time: its gates, what it proposes, and of that what its states give. */
typedef struct {
    float reset, update, proposed, of_states;
} unit_t;

static inline float falling(float x) { /* exp(-|x|); 0 of what is no number */
    float d = (x > 0.0f) ? (0.0f - x) : x;
    return (d > -FAR) ? exponential(d) : 0.0f;
}

static inline float sigmoid(float x) {
    float e = falling(x);
    return ((x > 0.0f) ? 1.0f : e) / (1.0f + e);
}

static inline float hyperbolic_tangent(float x) {
    float e = falling(x + x), t = (1.0f - e) / (1.0f + e);
    return (x > 0.0f) ? t : (0.0f - t);
}

/* Weights of inputs [3 H][C] and of states [3 H][H], gates first, then biases of both [3 H]. */
PRIVET_APART static unit_t unit(const layer_t *l, uint32_t u, uint32_t t) {
    uint32_t size = l->outputs, rows = 3u * size, g;
    const float *of_inputs = weights + l->weights, *of_states = of_inputs + (rows * l->c);
    const float *biases = of_states + (rows * size);
    const float *x = values + l->source + t, *h = values + l->value + ((t == 0u) ? 0u : (t - 1u));
    float in[3], state[3];
    unit_t found;
    for (g = 0; g < 3u; g++) {
        uint32_t row = (g * size) + u;
        float s = product(0.0f, of_inputs + (row * l->c), 1, x, (int32_t)l->w, l->c);
        in[g] = s + biases[row];
        s = (t == 0u) ? 0.0f : product(0.0f, of_states + (row * size), 1, h, (int32_t)l->w, size);
        state[g] = s + biases[rows + row];
    }
    found.reset = sigmoid(in[0] + state[0]);
    found.update = sigmoid(in[1] + state[1]);
    found.of_states = state[2];
    found.proposed = hyperbolic_tangent(in[2] + (found.reset * state[2]));
    return found;
}

static inline float before(const float *states, uint32_t t) {
    return (t == 0u) ? 0.0f : states[t - 1u];
}

PRIVET_APART static void recur(const layer_t *l) {
    uint32_t t, u;
    for (t = 0; t < l->w; t++) {
        float *h = values + l->value;
        for (u = 0; u < l->outputs; u++, h += l->w) {
            unit_t one = unit(l, u, t);
            h[t] = ((1.0f - one.update) * one.proposed) + (one.update * before(h, t));
        }
    }
}

#endif
