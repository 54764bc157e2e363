/* net.c - convolutions, norms, pools and sums in float32, DP-SGD's part of one record.

   A gradient is never stored: it is visited weight by weight, once for its norm, and once more for
   what is added of it. Numbers are defined in clients/firmware/numbers/layers.py. */
#include "net.h"

#include "contract.h"
#include "numbers.h"
#include "weights.h"

#define MOST_FACTOR 8388608.0f

enum { CONV = 0, NORM = 1, MOST = 2, MEAN = 3, ADD = 4 };

typedef struct {
    uint32_t kind, rectified;
    uint32_t source, other;   /* where what it reads begins among all values */
    uint32_t value;           /* where what it gives begins */
    uint32_t c, h, w;         /* of what it reads: channels, height, width */
    uint32_t oc, oh, ow;      /* of what it gives */
    uint32_t kh, kw, sh, sw, ph, pw;
    uint32_t groups;
    uint32_t weights;         /* where its weights begin; biases follow them */
    float eps;
} layer_t;

static const layer_t LAYERS[PRIVET_LAYERS] = {PRIVET_LAYER_TABLE};

static float weights[PRIVET_WEIGHTS];
static uint32_t sums[PRIVET_WEIGHTS];  /* of clipped gradients, in grid units, modulo 2^32 */
static float values[PRIVET_VALUES];    /* the record, then what each layer gives */
static float deltas[PRIVET_VALUES - PRIVET_INPUTS]; /* the loss's gradients at what layers give */
static int16_t record[PRIVET_INPUTS];

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
        sums[visit.place] += (visit.how == TAKE) ? (uint32_t)q : (0u - (uint32_t)q);
    }
    visit.place++;
}

/* Outputs of a row or a column, first and one past the last, where a kernel's element reads what is
   there; and the place that the first of them reads. */
typedef struct {
    uint32_t first, end, reads;
} range_t;

static range_t range(uint32_t k, uint32_t stride, uint32_t padding, uint32_t size, uint32_t out) {
    range_t found = {0, 0, 0};
    if (k < padding) { found.first = ((padding - k) + (stride - 1u)) / stride; }
    if ((size + padding) > k) { found.end = ((((size - 1u) + padding) - k) / stride) + 1u; }
    found.end = (found.end < out) ? found.end : out;
    found.end = (found.end > found.first) ? found.end : found.first;
    found.reads = ((found.first * stride) + k) - padding;
    return found;
}

/* What a convolution's loops go through: an output channel, a channel of its group, and an element
   of the kernel. */
typedef struct {
    range_t rows, columns;
    uint32_t from; /* where the channel that is read begins */
    uint32_t to;   /* where the output channel begins */
} element_t;

static element_t element(const layer_t *l, uint32_t o, uint32_t c, uint32_t i, uint32_t j) {
    element_t found;
    uint32_t group = o / (l->oc / l->groups);
    found.rows = range(i, l->sh, l->ph, l->h, l->oh);
    found.columns = range(j, l->sw, l->pw, l->w, l->ow);
    found.from = l->source + (((group * (l->c / l->groups)) + c) * l->h * l->w);
    found.to = l->value + (o * l->oh * l->ow);
    return found;
}

static uint32_t row_read(const layer_t *l, const element_t *e, uint32_t y) {
    uint32_t row = e->rows.reads + ((y - e->rows.first) * l->sh);
    return e->from + (row * l->w) + e->columns.reads;
}

PRIVET_APART static void convolve(const layer_t *l) {
    const float *kernel = weights + l->weights;
    uint32_t each = l->c / l->groups, area = l->oh * l->ow, o, c, i, j, y, x;
    for (o = 0; o < l->oc; o++) {
        float *out = values + l->value + (o * area);
        for (x = 0; x < area; x++) { out[x] = 0.0f; }
        for (c = 0; c < each; c++) {
            for (i = 0; i < l->kh; i++) {
                for (j = 0; j < l->kw; j++) {
                    element_t e = element(l, o, c, i, j);
                    float k = *kernel++;
                    for (y = e.rows.first; y < e.rows.end; y++) {
                        const float *from = values + row_read(l, &e, y);
                        float *to = out + (y * l->ow);
                        for (x = e.columns.first; x < e.columns.end; x++, from += l->sw) {
                            to[x] = to[x] + (k * *from);
                        }
                    }
                }
            }
        }
    }
    for (o = 0; o < l->oc; o++) {
        float *out = values + l->value + (o * area);
        for (x = 0; x < area; x++) { out[x] = out[x] + kernel[o]; }
    }
}

/* For each place that is read, outputs in their order: the kernel's elements from the last on. */
PRIVET_APART static void convolve_back(const layer_t *l) {
    const float *kernel = weights + l->weights;
    uint32_t each = l->c / l->groups, o, c, i, j, y, x;
    for (o = 0; o < l->oc; o++) {
        for (c = 0; c < each; c++) {
            for (i = l->kh; i > 0u; i--) {
                for (j = l->kw; j > 0u; j--) {
                    element_t e = element(l, o, c, i - 1u, j - 1u);
                    float k = kernel[((i - 1u) * l->kw) + (j - 1u)];
                    for (y = e.rows.first; y < e.rows.end; y++) {
                        float *to = deltas + (row_read(l, &e, y) - PRIVET_INPUTS);
                        const float *d = deltas + ((e.to + (y * l->ow)) - PRIVET_INPUTS);
                        for (x = e.columns.first; x < e.columns.end; x++, to += l->sw) {
                            *to = *to + (k * d[x]);
                        }
                    }
                }
            }
            kernel += l->kh * l->kw;
        }
    }
}

PRIVET_APART static void visit_convolution(const layer_t *l) {
    uint32_t each = l->c / l->groups, area = l->oh * l->ow, o, y, x, c, i, j;
    for (o = 0; o < l->oc; o++) {
        for (c = 0; c < each; c++) {
            for (i = 0; i < l->kh; i++) {
                for (j = 0; j < l->kw; j++) {
                    element_t e = element(l, o, c, i, j);
                    float s = 0.0f;
                    for (y = e.rows.first; y < e.rows.end; y++) {
                        const float *from = values + row_read(l, &e, y);
                        const float *d = deltas + ((e.to + (y * l->ow)) - PRIVET_INPUTS);
                        for (x = e.columns.first; x < e.columns.end; x++, from += l->sw) {
                            s = s + (d[x] * *from);
                        }
                    }
                    visited(s);
                }
            }
        }
    }
    for (o = 0; o < l->oc; o++) {
        const float *d = deltas + (l->value - PRIVET_INPUTS) + (o * area);
        float s = 0.0f;
        for (x = 0; x < area; x++) { s = s + d[x]; }
        visited(s);
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
    const float *gain = weights + l->weights, *bias = gain + l->c;
    uint32_t area = l->h * l->w, num = (l->c / l->groups) * area, g, i;
    for (g = 0; g < l->groups; g++) {
        const float *x = values + l->source + (g * num);
        float *y = values + l->value + (g * num);
        moments_t m = moments(x, num, l->eps);
        for (i = 0; i < num; i++) {
            uint32_t c = ((g * num) + i) / area;
            y[i] = (((x[i] - m.mean) * m.inverse) * gain[c]) + bias[c];
        }
    }
}

PRIVET_APART static void normalise_back(const layer_t *l) {
    const float *gain = weights + l->weights;
    uint32_t area = l->h * l->w, num = (l->c / l->groups) * area, g, i;
    for (g = 0; g < l->groups; g++) {
        const float *x = values + l->source + (g * num);
        const float *d = deltas + (l->value - PRIVET_INPUTS) + (g * num);
        float *to = deltas + (l->source - PRIVET_INPUTS) + (g * num), s = 0.0f, t = 0.0f;
        moments_t m = moments(x, num, l->eps);
        for (i = 0; i < num; i++) {
            float e = d[i] * gain[((g * num) + i) / area];
            s = s + e;
            t = t + (e * ((x[i] - m.mean) * m.inverse));
        }
        s = s / (float)num;
        t = t / (float)num;
        for (i = 0; i < num; i++) {
            float e = d[i] * gain[((g * num) + i) / area], unit = (x[i] - m.mean) * m.inverse;
            to[i] = to[i] + (m.inverse * ((e - s) - (unit * t)));
        }
    }
}

PRIVET_APART static void visit_norm(const layer_t *l) {
    uint32_t area = l->h * l->w, each = l->c / l->groups, num = each * area, c, i;
    const float *d = deltas + (l->value - PRIVET_INPUTS), *x = values + l->source;
    moments_t m = {0.0f, 0.0f};
    for (c = 0; c < l->c; c++) {
        float s = 0.0f;
        if ((c % each) == 0u) { m = moments(x + (c * area), num, l->eps); }
        for (i = c * area; i < ((c + 1u) * area); i++) {
            s = s + (d[i] * ((x[i] - m.mean) * m.inverse));
        }
        visited(s);
    }
    for (c = 0; c < l->c; c++) {
        float s = 0.0f;
        for (i = c * area; i < ((c + 1u) * area); i++) { s = s + d[i]; }
        visited(s);
    }
}

/* Pools forward; or back, where `deltas` go to the first of the largest, or to all alike. */
PRIVET_APART static void pool(const layer_t *l, uint32_t is_back) {
    float size = (float)(l->kh * l->kw);
    uint32_t c, y, x, i, j, n = 0;
    for (c = 0; c < l->c; c++) {
        for (y = 0; y < l->oh; y++) {
            for (x = 0; x < l->ow; x++, n++) {
                uint32_t corner = (((c * l->h) + (y * l->sh)) * l->w) + (x * l->sw), best = corner;
                const float *from = values + l->source;
                float s = 0.0f;
                for (i = 0; i < l->kh; i++) {
                    for (j = 0; j < l->kw; j++) {
                        uint32_t at = corner + (i * l->w) + j;
                        s = s + from[at];
                        best = (from[at] > from[best]) ? at : best;
                    }
                }
                if (is_back == 0u) {
                    values[l->value + n] = (l->kind == MOST) ? from[best] : (s / size);
                } else {
                    float d = deltas[(l->value - PRIVET_INPUTS) + n];
                    float *to = deltas + (l->source - PRIVET_INPUTS);
                    for (i = 0; (l->kind == MEAN) && (i < (l->kh * l->kw)); i++) {
                        uint32_t at = corner + ((i / l->kw) * l->w) + (i % l->kw);
                        to[at] = to[at] + (d / size);
                    }
                    if (l->kind == MOST) { to[best] = to[best] + d; }
                }
            }
        }
    }
}

PRIVET_APART static void forward(void) {
    uint32_t i, k;
    for (k = 0; k < PRIVET_INPUTS; k++) { values[k] = (float)record[k] * PRIVET_INVERSE_SCALE; }
    for (i = 0; i < PRIVET_LAYERS; i++) {
        const layer_t *l = &LAYERS[i];
        uint32_t num = l->oc * l->oh * l->ow;
        float *out = values + l->value;
        switch (l->kind) {
        case CONV: convolve(l); break;
        case NORM: normalise(l); break;
        case ADD:
            for (k = 0; k < num; k++) { out[k] = values[l->source + k] + values[l->other + k]; }
            break;
        default: pool(l, 0); break;
        }
        for (k = 0; (l->rectified != 0u) && (k < num); k++) {
            out[k] = (out[k] > 0.0f) ? out[k] : 0.0f;
        }
    }
}

/* The loss's gradient at all that layers give; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t label) {
    const layer_t *l = &LAYERS[PRIVET_LAYERS - 1u];
    uint32_t i, k, at;
    for (k = 0; k < (PRIVET_VALUES - PRIVET_INPUTS); k++) { deltas[k] = 0.0f; }
    at = l->value - PRIVET_INPUTS;
    if (softmax_gradient(values + l->value, deltas + at, PRIVET_CLASSES, label) == 0u) { return 0; }
    for (i = PRIVET_LAYERS; i > 0u; i--) {
        uint32_t num;
        float *d;
        l = &LAYERS[i - 1u];
        num = l->oc * l->oh * l->ow;
        d = deltas + (l->value - PRIVET_INPUTS);
        for (k = 0; (l->rectified != 0u) && (k < num); k++) {
            d[k] = (values[l->value + k] > 0.0f) ? d[k] : 0.0f;
        }
        for (k = 0; (l->kind == ADD) && (k < num); k++) {
            if (l->source != 0u) {
                at = (l->source - PRIVET_INPUTS) + k;
                deltas[at] = deltas[at] + d[k];
            }
            if (l->other != 0u) {
                at = (l->other - PRIVET_INPUTS) + k;
                deltas[at] = deltas[at] + d[k];
            }
        }
        if ((l->source == 0u) || (l->kind == ADD)) { continue; } /* a record has no gradient */
        switch (l->kind) {
        case CONV: convolve_back(l); break;
        case NORM: normalise_back(l); break;
        default: pool(l, 1); break;
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

PRIVET_APART static void noise_update(stream_t *stream, stream_t *slow) {
    uint32_t i;
    for (i = 0; i < PRIVET_WEIGHTS; i++) {
        uint32_t noisy = sums[i] + noise_draw(stream, slow);
        weights[i] = weights[i] - (PRIVET_RATE * (float)(int32_t)noisy);
        sums[i] = 0;
    }
}

void net_begin(void) {
    uint32_t i;
    memcpy(weights, WEIGHTS, sizeof weights);
    for (i = 0; i < PRIVET_WEIGHTS; i++) { sums[i] = 0; }
}

void net_step(uint32_t high, uint32_t low) { /* nothing is rounded at random */
    (void)high;
    (void)low;
}

int16_t *net_inputs(void) {
    return record;
}

void net_learn(uint32_t number, uint32_t label) {
    (void)number;
    forward();
    if (backward(label) != 0u) { clip(); }
}

void net_update(stream_t *stream, stream_t *slow) {
    noise_update(stream, slow);
}

uint32_t net_class(void) {
    forward();
    return largest_of(values + LAYERS[PRIVET_LAYERS - 1u].value, PRIVET_CLASSES);
}

const privet_weight_t *net_weights(void) {
    return weights;
}
