/* back.h - what convolutions of float32 numbers pass back. Included by learning.h alone. */
#ifndef PRIVET_BACK_H
#define PRIVET_BACK_H

#define MOST_FACTOR 8388608.0f
#define product_visited product

static inline float in_numbers(const layer_t *l, float s) {
    (void)l;
    return s;
}

static inline void take(uint32_t place, uint32_t q) {
    sums[place] += q;
}

static void round_back(const layer_t *l, float *d, uint32_t num, uint32_t number) {
    (void)l; /* nothing is rounded */
    (void)d;
    (void)num;
    (void)number;
}

/* Adds to `s` what those outputs pass back that read a place: in the order of outputs. */
static float passed_back(const layer_t *l, float s, const float *kernel, const float *d,
                         const range_t *rows, const range_t *columns) {
    uint32_t outputs = l->outputs / l->groups, o, y, num = columns->end - columns->first;
    if ((rows->first == rows->end) || (num == 0u)) { return s; }
    d += (rows->first * l->ow) + columns->first;
    if (is_point(l) != 0u) {
        return product(s, kernel, (int32_t)l->row, d, (int32_t)(l->oh * l->ow), outputs);
    }
    for (o = 0; o < outputs; o++) {
        const float *k = kernel + (rows->by * l->kw) + columns->by;
        const float *above = d;
        for (y = rows->first; y < rows->end; y++, above += l->ow) {
            s = product(s, k, -(int32_t)l->sw, above, 1, num);
            k -= l->sh * l->kw;
        }
        kernel += l->row;
        d += l->oh * l->ow;
    }
    return s;
}

PRIVET_APART static void convolve_back(const layer_t *l) {
    uint32_t each = l->c / l->groups, outputs = l->outputs / l->groups, c, y, x;
    float *to = deltas + (l->source - PRIVET_INPUTS);
    for (c = 0; c < l->c; c++) {
        uint32_t first = (c / each) * outputs; /* of its group */
        const float *d = deltas + (l->value - PRIVET_INPUTS) + (first * l->oh * l->ow);
        const float *kernel = weights + l->weights + (first * l->row) + ((c % each) * l->kh * l->kw);
        for (y = 0; y < l->h; y++) {
            range_t rows = readers(y, l->kh, l->sh, l->ph, l->oh);
            for (x = 0; x < l->w; x++, to++) {
                range_t columns = readers(x, l->kw, l->sw, l->pw, l->ow);
                *to = passed_back(l, *to, kernel, d, &rows, &columns);
            }
        }
    }
}

#endif
