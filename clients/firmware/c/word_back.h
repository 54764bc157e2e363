/* back.h - what convolutions of words pass back, and where their words are put. Included by learning.h alone. */
#ifndef PRIVET_BACK_H
#define PRIVET_BACK_H

DOT(product_visited, float, float, input_t)
DOT(product_back, float, kernel_t, float)

static void put_word(const layer_t *layer, uint32_t row, uint32_t place, int32_t word) {
    uint32_t at = (row * layer->row) + place;
    words[layer->words + (at / FIELDS)] |= CODE(word) << (PRIVET_FIELD * (at % FIELDS));
}

static uint32_t has_words(const layer_t *layer) {
    return (layer->kind == CONV) ? 1u : 0u;
}

static inline float in_numbers(const layer_t *l, float s) {
    return s * steps[l - LAYERS];
}

static inline void take(uint32_t place, uint32_t q) {
    weights[place] = less(weights[place], q);
}

PRIVET_APART static void round_back(const layer_t *l, float *d, uint32_t num, uint32_t number) {
    round_gradient(d, num, (uint32_t)(l - LAYERS), number);
}

/* What an output passes back to a place by its words; `d` are its gradients, `words_of` a channel's. */
static float passed_back(const layer_t *l, const kernel_t *words_of, const float *d,
                         const range_t *rows, const range_t *columns) {
    uint32_t num = columns->end - columns->first, y;
    const kernel_t *k = words_of + (rows->by * l->kw) + columns->by;
    float s = 0.0f;
    d += (rows->first * l->ow) + columns->first;
    for (y = rows->first; y < rows->end; y++, d += l->ow) {
        s = product_back(s, k, -(int32_t)l->sw, d, 1, num);
        k -= l->sh * l->kw;
    }
    return s;
}

/* Adds to a place what an output passes back, unless it was cut off when it was rounded. */
static inline void add_at(uint32_t at, float more, float bound) {
    float *to = deltas + (at - PRIVET_INPUTS), value = values[at];
    if ((value <= bound) && (value >= -bound)) { *to = *to + more; }
}

/* The same, of an output whose kernel is one weight a channel: what it does not read gets nothing. */
static void pass_back_points(const layer_t *l, const kernel_t *k, const float *d, uint32_t first,
                             float scale, float bound) {
    uint32_t each = l->c / l->groups, area = l->h * l->w, c, y, x;
    for (c = 0; c < each; c++, first += area) {
        float word = (float)k[c];
        const float *above = d;
        for (y = 0; y < l->oh; y++) {
            uint32_t at = first + (y * l->sh * l->w);
            for (x = 0; x < l->ow; x++, at += l->sw) { add_at(at, (word * *above++) * scale, bound); }
        }
    }
}

/* In the order of outputs, each times its scale. */
PRIVET_APART static void convolve_back(const layer_t *l) {
    uint32_t each = l->c / l->groups, area = l->h * l->w, o, c, y, x;
    const float *d = deltas + (l->value - PRIVET_INPUTS);
    float bound = bounds[l - LAYERS];
    for (o = 0; o < l->outputs; o++, d += l->oh * l->ow) {
        uint32_t first = l->source + ((o / (l->outputs / l->groups)) * each * area);
        const kernel_t *k = kernel_of(l, o);
        float scale = scales[l->units + o];
        if (is_point(l) != 0u) {
            pass_back_points(l, k, d, first, scale, bound);
            continue;
        }
        for (y = 0; y < l->h; y++) {
            range_t rows = readers(y, l->kh, l->sh, l->ph, l->oh);
            for (x = 0; x < l->w; x++) {
                range_t columns = readers(x, l->kw, l->sw, l->pw, l->ow);
                for (c = 0; c < each; c++) {
                    float s = passed_back(l, k + (c * l->kh * l->kw), d, &rows, &columns);
                    add_at(first + (c * area) + (y * l->w) + x, s * scale, bound);
                }
            }
        }
    }
}

#endif
