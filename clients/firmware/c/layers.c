/* net.c - convolutions, norms, pools and sums, DP-SGD's part of one record; kernels.h is of the run's
   arithmetic.

   A gradient is never stored: it is visited weight by weight, once for its norm, and once more for
   what is added of it. Numbers are defined in clients/firmware/numbers/layers.py. */
#include "net.h"

#include "contract.h"
#include "numbers.h"

enum { CONV = 0, NORM = 1, MOST = 2, MEAN = 3, ADD = 4, GRU = 5 };

typedef struct {
    uint32_t kind, rectified;
    uint32_t source, other;   /* where what it reads begins among all values */
    uint32_t value;           /* where what it gives begins */
    uint32_t c, h, w;         /* of what it reads: channels, height, width */
    uint32_t outputs, oh, ow; /* of what it gives */
    uint32_t kh, kw, sh, sw, ph, pw;
    uint32_t groups;
    uint32_t row;             /* weights of one output channel */
    uint32_t weights;         /* where its weights begin; biases follow them */
    uint32_t units, words;    /* of words: where its outputs' scales and its words begin; of GRU its gates */
    float eps;
} layer_t;

static const layer_t LAYERS[PRIVET_LAYERS] = {PRIVET_LAYER_TABLE};

static float values[PRIVET_VALUES];    /* the record, then what each layer gives */
static int16_t record[PRIVET_INPUTS];

/* Adds products of `num` numbers to a sum, in their order. */
#define DOT(name, sum_t, a_t, b_t)                                                              \
    static inline sum_t name(sum_t s, const a_t *a, int32_t a_step, const b_t *b, int32_t b_step, \
                             uint32_t num) {                                                    \
        for (; num >= 4u; num -= 4u) {                                                          \
            uint32_t k;                                                                         \
            for (k = 0; k < 4u; k++, a += a_step, b += b_step) {                                \
                s = s + ((sum_t)*a * (sum_t)*b);                                                \
            }                                                                                   \
        }                                                                                       \
        for (; num != 0u; num--, a += a_step, b += b_step) { s = s + ((sum_t)*a * (sum_t)*b); } \
        return s;                                                                               \
    }

/* Places along a side, from the first to one past the last; and what the first of them stands by. */
typedef struct {
    uint32_t first, end, by;
} range_t;

/* Of a kernel at output `at`: the elements that read what is there; and the input that the first of
   them reads. */
static range_t elements(uint32_t at, uint32_t k, uint32_t stride, uint32_t padding, uint32_t size) {
    range_t found = {0, 0, 0};
    uint32_t corner = at * stride;
    if (corner < padding) { found.first = padding - corner; }
    if ((size + padding) > corner) { found.end = (size + padding) - corner; }
    found.end = (found.end < k) ? found.end : k;
    found.end = (found.end > found.first) ? found.end : found.first;
    found.by = (corner + found.first) - padding;
    return found;
}

/* Is it one weight a channel, so that channels are what is summed over? */
static uint32_t is_point(const layer_t *l) {
    return ((l->kh == 1u) && (l->kw == 1u) && (l->ph == 0u) && (l->pw == 0u)) ? 1u : 0u;
}

/* Of an arithmetic: kernel_t, input_t and sum_t; a DOT `product`; kernel_of, inputs_of, given, gains and
   shifts. To learn, in back.h: a DOT `product_visited`; in_numbers, take, round_back, convolve_back. */
#include "kernels.h"

static sum_t convolved(const layer_t *l, const kernel_t *kernel, const input_t *from,
                       const range_t *rows, const range_t *columns) {
    uint32_t each = l->c / l->groups, c, i, num = columns->end - columns->first;
    sum_t s = 0;
    from += (rows->by * l->w) + columns->by;
    if (is_point(l) != 0u) { return product(s, kernel, 1, from, (int32_t)(l->h * l->w), each); }
    for (c = 0; c < each; c++) {
        const kernel_t *k = kernel + columns->first;
        const input_t *x = from;
        for (i = rows->first; i < rows->end; i++, x += l->w) {
            s = product(s, k + (i * l->kw), 1, x, 1, num);
        }
        kernel += l->kh * l->kw;
        from += l->h * l->w;
    }
    return s;
}

PRIVET_APART static void convolve(const layer_t *l) {
    const input_t *inputs = inputs_of(l);
    float *out = values + l->value;
    uint32_t o, y, x;
    for (o = 0; o < l->outputs; o++) {
        const kernel_t *kernel = kernel_of(l, o);
        uint32_t group = o / (l->outputs / l->groups);
        const input_t *from = inputs + (group * (l->c / l->groups) * l->h * l->w);
        for (y = 0; y < l->oh; y++) {
            range_t rows = elements(y, l->kh, l->sh, l->ph, l->h);
            for (x = 0; x < l->ow; x++) {
                range_t columns = elements(x, l->kw, l->sw, l->pw, l->w);
                *out++ = given(l, o, convolved(l, kernel, from, &rows, &columns));
            }
        }
    }
}

typedef struct {
    float mean, inverse; /* 1 / deviation */
} moments_t;

static moments_t moments(const float *x, uint32_t num, float eps) {
    moments_t found;
    float s = 0.0f, t = 0.0f;
    uint32_t i;
    for (i = 0; i < num; i++) { s = s + x[i]; }
    found.mean = s / (float)num;
    for (i = 0; i < num; i++) {
        float e = x[i] - found.mean;
        t = t + (e * e);
    }
    found.inverse = 1.0f / root((t / (float)num) + eps);
    return found;
}

PRIVET_APART static void normalise(const layer_t *l) {
    const float *gain = gains(l), *bias = shifts(l), *x = values + l->source;
    float *y = values + l->value;
    uint32_t area = l->h * l->w, each = l->c / l->groups, c, i;
    moments_t m = {0.0f, 0.0f};
    for (c = 0; c < l->c; c++) {
        if ((c % each) == 0u) { m = moments(x, each * area, l->eps); }
        for (i = 0; i < area; i++, x++, y++) {
            *y = (((*x - m.mean) * m.inverse) * gain[c]) + bias[c];
        }
    }
}

/* Of a window whose corner is there: the first of the largest. */
static uint32_t largest(const layer_t *l, const float *corner) {
    uint32_t i, j, best = 0;
    for (i = 0; i < l->kh; i++) {
        for (j = 0; j < l->kw; j++) {
            uint32_t at = (i * l->w) + j;
            best = (corner[at] > corner[best]) ? at : best;
        }
    }
    return best;
}

static float mean(const layer_t *l, const float *corner) {
    uint32_t i, j;
    float s = 0.0f;
    for (i = 0; i < l->kh; i++, corner += l->w) {
        for (j = 0; j < l->kw; j++) { s = s + corner[j]; }
    }
    return s / (float)(l->kh * l->kw);
}

PRIVET_APART static void pool(const layer_t *l) {
    uint32_t c, y, x;
    float *out = values + l->value;
    for (c = 0; c < l->c; c++) {
        for (y = 0; y < l->oh; y++) {
            const float *from = values + l->source + (((c * l->h) + (y * l->sh)) * l->w);
            for (x = 0; x < l->ow; x++, from += l->sw) {
                *out++ = (l->kind == MOST) ? from[largest(l, from)] : mean(l, from);
            }
        }
    }
}

PRIVET_APART static void add(const layer_t *l) {
    const float *one = values + l->source, *other = values + l->other;
    float *out = values + l->value;
    uint32_t k;
    for (k = 0; k < (l->outputs * l->oh * l->ow); k++) { out[k] = one[k] + other[k]; }
}

#if defined(PRIVET_GATES)
#include "recurrent.h"
#endif

PRIVET_APART static void forward(void) {
    uint32_t i, k;
    for (k = 0; k < PRIVET_INPUTS; k++) { values[k] = (float)record[k] * PRIVET_INVERSE_SCALE; }
    for (i = 0; i < PRIVET_LAYERS; i++) {
        const layer_t *l = &LAYERS[i];
        uint32_t num = l->outputs * l->oh * l->ow;
        float *out = values + l->value;
        switch (l->kind) {
        case CONV: convolve(l); break;
        case NORM: normalise(l); break;
        case ADD: add(l); break;
#if defined(PRIVET_GATES)
        case GRU: recur(l); break;
#endif
        default: pool(l); break;
        }
        for (k = 0; (l->rectified != 0u) && (k < num); k++) {
            out[k] = (out[k] > 0.0f) ? out[k] : 0.0f;
        }
    }
}

#if !defined(PRIVET_ANSWERS)
#include "learning.h"
#endif

int16_t *net_inputs(void) {
    return record;
}

uint32_t net_class(void) {
    forward();
    return largest_of(values + LAYERS[PRIVET_LAYERS - 1u].value, PRIVET_CLASSES);
}
