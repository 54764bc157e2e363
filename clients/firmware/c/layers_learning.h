/* learning.h - what a record's gradient adds to the sums: backward, visits and the clip of layers. Included by net.c alone. */
#ifndef PRIVET_LEARNING_H
#define PRIVET_LEARNING_H

static float deltas[PRIVET_VALUES - PRIVET_INPUTS]; /* the loss's gradients at what layers give */

/* Of outputs that read input `at`; and the kernel's element by which the first of them does. */
static range_t readers(uint32_t at, uint32_t k, uint32_t stride, uint32_t padding, uint32_t out) {
    range_t found = {0, 0, 0};
    uint32_t last = at + padding;
    if (last >= k) { found.first = ((last - k) / stride) + 1u; }
    found.end = (last / stride) + 1u;
    found.end = (found.end < out) ? found.end : out;
    found.end = (found.end > found.first) ? found.end : found.first;
    found.by = last - (found.first * stride);
    return found;
}

/* Of outputs where the kernel's element `k` reads what is there; and the input that it reads first. */
static range_t outputs_of(uint32_t k, uint32_t stride, uint32_t padding, uint32_t size,
                          uint32_t out) {
    range_t found = {0, 0, 0};
    if (k < padding) { found.first = ((padding - k) + (stride - 1u)) / stride; }
    if ((size + padding) > k) { found.end = ((((size - 1u) + padding) - k) / stride) + 1u; }
    found.end = (found.end < out) ? found.end : out;
    found.end = (found.end > found.first) ? found.end : found.first;
    found.by = ((found.first * stride) + k) - padding;
    return found;
}

#include "back.h"

/* Of a visit: the weight that comes next, and what becomes of its gradient. */
enum { MEASURE, TAKE, TAKE_BACK };
static struct {
    uint32_t how, place, is_bad;
    float squared, factor;
    uint64_t norm;
} visit;

static void visited(float g) {
    if (visit.how == MEASURE) {
        visit.squared = visit.squared + (g * g);
    } else {
        float f = g * visit.factor;
        uint32_t within = ((f < MOST_FACTOR) && (f > -MOST_FACTOR)) ? 1u : 0u;
        int32_t q = (within != 0u) ? (int32_t)f : 0;
        visit.is_bad |= 1u - within;
        visit.norm += square(q);
        take(visit.place, (visit.how == TAKE) ? (uint32_t)q : (0u - (uint32_t)q));
    }
    visit.place++;
}

static void visit_biases(const float *d, uint32_t num, uint32_t area) {
    for (; num != 0u; num--) {
        float s = 0.0f;
        uint32_t i;
        for (i = 0; i < area; i++) { s = s + *d++; }
        visited(s);
    }
}

PRIVET_APART static void visit_convolution(const layer_t *l) {
    static range_t rows[PRIVET_KERNEL], columns[PRIVET_KERNEL];
    const float *d = deltas + (l->value - PRIVET_INPUTS);
    const input_t *inputs = inputs_of(l);
    uint32_t each = l->c / l->groups, o, y, c, i, j;
    for (i = 0; i < l->kh; i++) { rows[i] = outputs_of(i, l->sh, l->ph, l->h, l->oh); }
    for (j = 0; j < l->kw; j++) { columns[j] = outputs_of(j, l->sw, l->pw, l->w, l->ow); }
    for (o = 0; o < l->outputs; o++, d += l->oh * l->ow) {
        uint32_t group = o / (l->outputs / l->groups);
        const input_t *from = inputs + (group * each * l->h * l->w);
        for (c = 0; c < each; c++, from += l->h * l->w) {
            for (i = 0; i < l->kh; i++) {
                for (j = 0; j < l->kw; j++) {
                    const input_t *x = from + (rows[i].by * l->w) + columns[j].by;
                    uint32_t num = columns[j].end - columns[j].first;
                    float s = 0.0f;
                    for (y = rows[i].first; y < rows[i].end; y++, x += l->sh * l->w) {
                        s = product_visited(s, d + (y * l->ow) + columns[j].first, 1, x,
                                            (int32_t)l->sw, num);
                    }
                    visited(in_numbers(l, s));
                }
            }
        }
    }
    visit_biases(deltas + (l->value - PRIVET_INPUTS), l->outputs, l->oh * l->ow);
}

PRIVET_APART static void normalise_back(const layer_t *l) {
    const float *gain = gains(l), *x = values + l->source;
    const float *d = deltas + (l->value - PRIVET_INPUTS);
    float *to = deltas + (l->source - PRIVET_INPUTS);
    uint32_t area = l->h * l->w, each = l->c / l->groups, num = each * area, g, c, i;
    for (g = 0; g < l->groups; g++, gain += each) {
        float s = 0.0f, t = 0.0f;
        moments_t m = moments(x, num, l->eps);
        for (c = 0; c < each; c++) {
            for (i = c * area; i < ((c + 1u) * area); i++) {
                float e = d[i] * gain[c];
                s = s + e;
                t = t + (e * ((x[i] - m.mean) * m.inverse));
            }
        }
        s = s / (float)num;
        t = t / (float)num;
        for (c = 0; c < each; c++) {
            for (i = 0; i < area; i++, x++, d++, to++) {
                float e = *d * gain[c], unit = (*x - m.mean) * m.inverse;
                *to = *to + (m.inverse * ((e - s) - (unit * t)));
            }
        }
    }
}

PRIVET_APART static void visit_norm(const layer_t *l) {
    uint32_t area = l->h * l->w, each = l->c / l->groups, c, i;
    const float *d = deltas + (l->value - PRIVET_INPUTS), *x = values + l->source;
    moments_t m = {0.0f, 0.0f};
    for (c = 0; c < l->c; c++) {
        float s = 0.0f;
        if ((c % each) == 0u) { m = moments(x, each * area, l->eps); }
        for (i = 0; i < area; i++, d++, x++) { s = s + (*d * ((*x - m.mean) * m.inverse)); }
        visited(s);
    }
    visit_biases(deltas + (l->value - PRIVET_INPUTS), l->c, area);
}

static void spread(const layer_t *l, float *corner, float share) {
    uint32_t i, j;
    for (i = 0; i < l->kh; i++, corner += l->w) {
        for (j = 0; j < l->kw; j++) { corner[j] = corner[j] + share; }
    }
}

/* To the first of the largest, or to all alike. */
PRIVET_APART static void pool_back(const layer_t *l) {
    float size = (float)(l->kh * l->kw);
    const float *d = deltas + (l->value - PRIVET_INPUTS);
    uint32_t c, y, x;
    for (c = 0; c < l->c; c++) {
        for (y = 0; y < l->oh; y++) {
            uint32_t corner = l->source + (((c * l->h) + (y * l->sh)) * l->w);
            for (x = 0; x < l->ow; x++, d++, corner += l->sw) {
                float *to = deltas + (corner - PRIVET_INPUTS);
                if (l->kind == MEAN) {
                    spread(l, to, *d / size);
                } else {
                    to += largest(l, values + corner);
                    *to = *to + *d;
                }
            }
        }
    }
}

/* A sum's gradient is that of both of its terms; a record, at 0, has none. */
static void add_back(uint32_t term, const float *d, uint32_t num) {
    uint32_t k;
    for (k = 0; (term != 0u) && (k < num); k++) {
        float *to = deltas + ((term - PRIVET_INPUTS) + k);
        *to = *to + d[k];
    }
}

#if defined(PRIVET_GATES)
#include "recurrent_back.h"
#endif

/* The loss's gradient at all that layers give; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t number, uint32_t label) {
    const layer_t *l = &LAYERS[PRIVET_LAYERS - 1u];
    uint32_t i, k, at;
    for (k = 0; k < (PRIVET_VALUES - PRIVET_INPUTS); k++) { deltas[k] = 0.0f; }
    at = l->value - PRIVET_INPUTS;
    if (softmax_gradient(values + l->value, deltas + at, PRIVET_CLASSES, label) == 0u) { return 0; }
    for (i = PRIVET_LAYERS; i > 0u; i--) {
        uint32_t num;
        float *d;
        l = &LAYERS[i - 1u];
        num = l->outputs * l->oh * l->ow;
        d = deltas + (l->value - PRIVET_INPUTS);
        for (k = 0; (l->rectified != 0u) && (k < num); k++) {
            d[k] = (values[l->value + k] > 0.0f) ? d[k] : 0.0f;
        }
        if (l->kind == ADD) {
            add_back(l->source, d, num);
            add_back(l->other, d, num);
        }
        if (l->kind == CONV) { round_back(l, d, num, number); }
#if defined(PRIVET_GATES)
        if (l->kind == GRU) { recur_back(l); }
#endif
        if ((l->source == 0u) || (l->kind == ADD) || (l->kind == GRU)) { continue; } /* a record has none */
        switch (l->kind) {
        case CONV: convolve_back(l); break;
        case NORM: normalise_back(l); break;
        default: pool_back(l); break;
        }
    }
    return 1;
}

/* Goes through a record's gradient, weight by weight. */
PRIVET_APART static void gradient(uint32_t how) {
    uint32_t i;
    visit.how = how;
    visit.place = 0;
    visit.norm = 0;
    visit.is_bad = 0;
    for (i = 0; i < PRIVET_LAYERS; i++) {
        if (LAYERS[i].kind == CONV) { visit_convolution(&LAYERS[i]); }
        if (LAYERS[i].kind == NORM) { visit_norm(&LAYERS[i]); }
#if defined(PRIVET_GATES)
        if (LAYERS[i].kind == GRU) { visit_recurrent(&LAYERS[i]); }
#endif
    }
}

/* Adds a record's clipped gradient: in integers, the sum of squares of what was added is at most
   S^2, or all of it is taken back. The promise rests on this alone. */
PRIVET_APART static void clip(void) {
    float c = 1.0f;
    visit.squared = 0.0f;
    gradient(MEASURE);
    if (visit.squared > PRIVET_CLIP_SQUARED) { c = PRIVET_CLIP / root(visit.squared); }
    visit.factor = c * PRIVET_FACTOR;
    gradient(TAKE);
    if ((visit.is_bad != 0u) || (visit.norm > ((uint64_t)PRIVET_SENSITIVITY * PRIVET_SENSITIVITY))) {
        gradient(TAKE_BACK);
    }
}

void net_learn(uint32_t number, uint32_t label) {
    forward();
    if (backward(number, label) != 0u) { clip(); }
}

#endif
