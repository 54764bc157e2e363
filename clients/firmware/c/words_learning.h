/* learning.h - what a record's gradient adds to the sums, of dense layers of words. Included by net.c alone. */
#ifndef PRIVET_LEARNING_H
#define PRIVET_LEARNING_H

static float deltas[PRIVET_UNITS];
static int32_t factors[PRIVET_UNITS], bias_factors[PRIVET_UNITS];

static void put_word(const layer_t *layer, uint32_t row, uint32_t place, int32_t word) {
    words[word_at(layer, row, (place >> 2) / PACKED)] |=
        CODE(word) << ((8u * (place & 3u)) + (PRIVET_FIELD * ((place >> 2) % PACKED)));
}

static uint32_t has_words(const layer_t *layer) {
    (void)layer;
    return 1u;
}

/* The loss's gradient at what a layer reads. */
PRIVET_APART static void backward_layer(const layer_t *layer, uint32_t l) {
    const float *d = deltas + layer->units, *scale = scales + layer->units;
    const float *h = outputs + LAYERS[l - 1u].units;
    float *below = deltas + LAYERS[l - 1u].units;
    uint32_t i, k, q;
    for (q = 0; q < layer->quads; q++) {
        float s[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (i = 0; i < layer->outputs; i++) {
            uint32_t w = FIELDS(words[word_at(layer, i, q / PACKED)], q % PACKED);
            float g = d[i] * scale[i];
            for (k = 0; k < 4u; k++) {
                int32_t top = (int32_t)(((w >> (8u * k)) & 0xFFu) ^ 0x80u) - 0x80;
                s[k] = s[k] + (g * (float)sum_of_words(top, 1));
            }
        }
        for (k = 0; (k < 4u) && (((4u * q) + k) < layer->row); k++) {
            float unit = h[(4u * q) + k];
            below[(4u * q) + k] = ((unit > 0.0f) && (unit <= bounds[l])) ? s[k] : 0.0f;
        }
    }
}

/* The loss's gradient at each unit; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t number, uint32_t label) {
    uint32_t at = LAYERS[PRIVET_LAYERS - 1u].units, l;
    if (softmax_gradient(outputs + at, deltas + at, PRIVET_CLASSES, label) == 0u) { return 0; }
    for (l = PRIVET_LAYERS - 1u; l > 0u; l--) {
        round_gradient(deltas + LAYERS[l].units, LAYERS[l].outputs, l, number);
        backward_layer(&LAYERS[l], l);
    }
    round_gradient(deltas, LAYERS[0].outputs, 0, number);
    return 1;
}

/* Whole factors of a record's gradient: the sum over layers of |factors|^2 |words|^2 + |bias_factors|^2
   is at most S^2, in integers, or the record is left out (0). The promise rests on this alone. */
PRIVET_APART static uint32_t clip(void) {
    uint64_t left = (uint64_t)PRIVET_SENSITIVITY * PRIVET_SENSITIVITY, s, t, high;
    float squared = 0.0f, c = 1.0f;
    uint32_t l, i;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const float *d = deltas + LAYERS[l].units;
        float sum = 0.0f;
        for (i = 0; i < LAYERS[l].outputs; i++) { sum = sum + (d[i] * d[i]); }
        squared = squared + (sum * (((float)squares[l] * (steps[l] * steps[l])) + 1.0f));
    }
    if (squared > PRIVET_CLIP_SQUARED) { c = PRIVET_CLIP / root(squared); }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        float of_bias = c * PRIVET_FACTOR, of_weight = of_bias * steps[l];
        s = 0;
        t = 0;
        for (i = 0; i < layer->outputs; i++) {
            float f = deltas[layer->units + i] * of_weight, g = deltas[layer->units + i] * of_bias;
            if (!((f < MOST_FACTOR) && (f > -MOST_FACTOR))) { return 0; }
            if (!((g < MOST_FACTOR) && (g > -MOST_FACTOR))) { return 0; }
            factors[layer->units + i] = (int32_t)f;
            bias_factors[layer->units + i] = (int32_t)g;
            s += square((int32_t)f);
            t += square((int32_t)g);
            if ((s > left) || (t > left)) { return 0; }
        }
        high = (s >> 16) * squares[l]; /* below 2^60: squares are below 2^30, and s below 2^46 */
        if (high > (left >> 16)) { return 0; }
        s = (high << 16) + ((s & 0xFFFFu) * squares[l]) + t;
        if (s > left) { return 0; }
        left -= s;
    }
    return 1;
}

PRIVET_APART static void accumulate_layer(const layer_t *layer) {
    const int16_t *x = inputs.x + (4u * layer->x);
    int32_t *a = weights + layer->weights, *bias = a + (layer->row * layer->outputs);
    uint32_t i, k;
    for (i = 0; i < layer->outputs; i++) {
        uint32_t q = (uint32_t)factors[layer->units + i];
        for (k = 0; (k + 4u) <= layer->row; k += 4u) {
            a[k] = less(a[k], wrapping_product(q, x[k]));
            a[k + 1u] = less(a[k + 1u], wrapping_product(q, x[k + 2u]));
            a[k + 2u] = less(a[k + 2u], wrapping_product(q, x[k + 1u]));
            a[k + 3u] = less(a[k + 3u], wrapping_product(q, x[k + 3u]));
        }
        for (; k < layer->row; k++) { a[k] = less(a[k], wrapping_product(q, x[(k & ~3u) + PLACE[k & 3u]])); }
        bias[i] = less(bias[i], (uint32_t)bias_factors[layer->units + i]);
        a += layer->row;
    }
}

static void accumulate(void) {
    uint32_t l;
    for (l = 0; l < PRIVET_LAYERS; l++) { accumulate_layer(&LAYERS[l]); }
}

void net_learn(uint32_t number, uint32_t label) {
    forward();
    if ((backward(number, label) != 0u) && (clip() != 0u)) { accumulate(); }
}

#endif
