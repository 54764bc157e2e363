/* net.c - a perceptron of weights and inputs in words of few bits, DP-SGD's part of one record.

   Weights are whole numbers in units of PRIVET_RATE, from which a record's gradient is taken away at
   once: there is no buffer of sums. What multiplies is their words, made once a step. Numbers are
   defined in README.md; clients/firmware/numbers/words.py computes the same bits. */
#include "net.h"

#include "contract.h"
#include "numbers.h"
#include "weights.h"

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

#define TINY 1e-30f
#define NEAREST 12582912.0f /* 1.5 2^23: what is added to it is rounded to a whole number */
#define MOST_FACTOR 8388608.0f
#define MOST_BIAS 1073741824
#define GOLDEN 0x9E3779B97F4A7C15u

typedef struct {
    uint32_t inputs, outputs;
    uint32_t weights; /* where its weights begin; biases follow them */
    uint32_t units;   /* where its outputs begin among all units */
    uint32_t words;   /* where its weights' words begin: rows of `quads` */
    uint32_t x, quads; /* where the quads of its inputs begin, and how many there are */
} layer_t;

static const layer_t LAYERS[PRIVET_LAYERS] = {PRIVET_LAYER_TABLE};

static int32_t weights[PRIVET_WEIGHTS];
static uint32_t words[PRIVET_WORDS]; /* four each, a byte each, the first in the lowest */
/* Inputs of all layers: four by four, of which the second and third have changed places, so that a
   chip with pairs of multipliers finds them beside each other. */
static union {
    int16_t x[4u * PRIVET_QUADS];
    uint32_t pairs[2u * PRIVET_QUADS];
} inputs;
static float scales[PRIVET_UNITS], biases[PRIVET_UNITS];
static float outputs[PRIVET_UNITS], deltas[PRIVET_UNITS];
static int32_t factors[PRIVET_UNITS], bias_factors[PRIVET_UNITS];
static float steps[PRIVET_LAYERS], bounds[PRIVET_LAYERS]; /* of words; and the largest number */
static uint32_t squares[PRIVET_LAYERS];                   /* of a layer's input words, summed */
static uint64_t dice;

static const uint32_t PLACE[4] = {0, 2, 1, 3};

#if defined(__ARM_FEATURE_DSP)
#define EVEN(w) __sxtb16((int8x4_t)(w))
#define ODD(w) __sxtb16((int8x4_t)(((w) >> 8) | ((w) << 24)))
#define DUAL(a, b, s) __smlad(a, (int16x2_t)(b), s)
#else
static inline int32_t byte_of(uint32_t w, uint32_t place) {
    return (int32_t)(((w >> (8u * place)) & 0xFFu) ^ 0x80u) - 0x80;
}
#define EVEN(w) (((uint32_t)byte_of(w, 0) & 0xFFFFu) | ((uint32_t)byte_of(w, 2) << 16))
#define ODD(w) (((uint32_t)byte_of(w, 1) & 0xFFFFu) | ((uint32_t)byte_of(w, 3) << 16))
static inline int32_t half_of(uint32_t pair, uint32_t place) {
    return (int32_t)(((pair >> (16u * place)) & 0xFFFFu) ^ 0x8000u) - 0x8000;
}
#define DUAL(a, b, s) ((s) + (half_of(a, 0) * half_of(b, 0)) + (half_of(a, 1) * half_of(b, 1)))
#endif

static int32_t at_most(int32_t x, int32_t most) {
    return (x > most) ? most : (x < -most) ? -most : x;
}

static int32_t nearest(float x, int32_t most) {
    return at_most((int32_t)((x + NEAREST) - NEAREST), most);
}

static uint32_t magnitude(int32_t x) {
    return (x < 0) ? (0u - (uint32_t)x) : (uint32_t)x;
}

static float as_float(uint64_t x) {
    return ((float)(uint32_t)(x >> 20) * 1048576.0f) + (float)(uint32_t)(x & 0xFFFFFu);
}

/* ---- words of weights, once a step */
static uint64_t statistic(const int32_t *w, uint32_t num) {
    uint64_t found = 0;
    uint32_t i;
    for (i = 0; i < num; i++) {
#if defined(PRIVET_FIXED)
        found = (magnitude(w[i]) > found) ? magnitude(w[i]) : found;
#else
        found += magnitude(w[i]);
#endif
    }
    return found;
}

/* Words of `rows` rows that have a scale in common; returns the scale. */
static float project_rows(const layer_t *layer, uint32_t first, uint32_t rows) {
    const int32_t *w = weights + layer->weights + (first * layer->inputs);
    uint32_t *out = words + layer->words + (first * layer->quads), i, k;
    uint64_t of = statistic(w, rows * layer->inputs);
#if defined(PRIVET_FIXED)
    float step = ((float)(uint32_t)of * PRIVET_RATE) / (float)PRIVET_MOST_WEIGHT;
    float per_step = (step > TINY) ? (1.0f / step) : 0.0f;
#elif defined(PRIVET_TERNARY)
    uint64_t kept = 0, least = of * 7u, by = 10u * (uint64_t)(rows * layer->inputs);
    uint32_t count = 0;
#endif
    for (i = 0; i < rows; i++) {
        for (k = 0; k < layer->quads; k++) { out[k] = 0; }
        for (k = 0; k < layer->inputs; k++) {
#if defined(PRIVET_FIXED)
            int32_t word = nearest(((float)w[k] * PRIVET_RATE) * per_step, PRIVET_MOST_WEIGHT);
#elif defined(PRIVET_TERNARY)
            uint32_t is_kept = ((magnitude(w[k]) * by) > least) ? 1u : 0u;
            int32_t word = (is_kept == 0u) ? 0 : (w[k] < 0) ? -1 : 1;
            kept += (is_kept != 0u) ? magnitude(w[k]) : 0u;
            count += is_kept;
#else
            int32_t word = (w[k] < 0) ? -1 : 1;
#endif
            out[k >> 2] |= ((uint32_t)word & 0xFFu) << (8u * (k & 3u));
        }
        w += layer->inputs;
        out += layer->quads;
    }
#if defined(PRIVET_FIXED)
    return (step > TINY) ? step : 0.0f;
#elif defined(PRIVET_TERNARY)
    return (as_float(kept) * PRIVET_RATE) / (float)((count == 0u) ? 1u : count);
#else
    return (as_float(of) * PRIVET_RATE) / (float)(rows * layer->inputs);
#endif
}

PRIVET_APART static void project(void) {
    uint32_t l, i, j;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const int32_t *bias = weights + layer->weights + (layer->inputs * layer->outputs);
        uint32_t rows = (PRIVET_CHANNELS != 0) ? 1u : layer->outputs;
        for (i = 0; i < layer->outputs; i += rows) {
            float scale = project_rows(layer, i, rows);
            for (j = i; j < (i + rows); j++) { scales[layer->units + j] = scale; }
        }
        for (i = 0; i < layer->outputs; i++) {
            biases[layer->units + i] = (float)bias[i] * PRIVET_RATE;
        }
    }
}

/* ---- words of inputs, record by record */

/* The step of a layer's input words; returns how many there are in 1. */
static float set_step(uint32_t l, float largest, float mean_square, int32_t most) {
    float reach = PRIVET_REACH * root(mean_square), bound = (reach < largest) ? reach : largest;
    bounds[l] = bound;
    steps[l] = (bound > TINY) ? (bound / (float)most) : 0.0f;
    return (bound > TINY) ? ((float)most / bound) : 0.0f;
}

static int32_t most_of(uint32_t is_signed) {
    return (is_signed != 0u) ? PRIVET_MOST_SIGNED : PRIVET_MOST_UNSIGNED;
}

PRIVET_APART static void round_record(void) {
    uint32_t k, q, most = 0, is_signed = 0, sum = 0;
    uint64_t total = 0;
    float mean, g;
    int32_t limit;
    for (k = PRIVET_INPUTS; k < (4u * LAYERS[0].quads); k++) { inputs.x[k] = 0; }
    for (k = 0; k < PRIVET_INPUTS; k++) {
        int32_t x = inputs.x[k];
        is_signed |= (uint32_t)x >> 31;
        most = (magnitude(x) > most) ? magnitude(x) : most;
        total += (uint32_t)(x * x);
    }
    mean = (as_float(total) / (float)PRIVET_INPUTS) * (PRIVET_INVERSE_SCALE * PRIVET_INVERSE_SCALE);
    limit = most_of(is_signed);
    g = set_step(0, (float)most * PRIVET_INVERSE_SCALE, mean, limit) * PRIVET_INVERSE_SCALE;
    for (q = 0; q < LAYERS[0].quads; q++) {
        int16_t *x = inputs.x + (4u * q);
        int32_t word[4];
        for (k = 0; k < 4u; k++) {
            word[k] = nearest((float)x[k] * g, limit);
            sum += (uint32_t)(word[k] * word[k]);
        }
        for (k = 0; k < 4u; k++) { x[PLACE[k]] = (int16_t)word[k]; }
    }
    squares[0] = sum;
}

/* Of hidden units, none of which is below 0. */
PRIVET_APART static void round_hidden(uint32_t l) {
    const layer_t *layer = &LAYERS[l];
    const float *h = outputs + LAYERS[l - 1u].units;
    int16_t *x = inputs.x + (4u * layer->x);
    float largest = 0.0f, total = 0.0f, per_step;
    uint32_t k, sum = 0;
    for (k = 0; k < layer->inputs; k++) {
        largest = (h[k] > largest) ? h[k] : largest;
        total = total + (h[k] * h[k]);
    }
    per_step = set_step(l, largest, total / (float)layer->inputs, most_of(0));
    for (k = 0; k < layer->inputs; k++) {
        int32_t word = nearest(h[k] * per_step, most_of(0));
        sum += (uint32_t)(word * word);
        x[(k & ~3u) + PLACE[k & 3u]] = (int16_t)word;
    }
    squares[l] = sum;
}

/* ---- a record */

typedef struct {
    int32_t first, second;
} two_t;

/* Sums of the words of two rows, apart so that the loop has the registers for itself. */
PRIVET_APART static two_t products(const uint32_t *x, const uint32_t *end, const uint32_t *a,
                                   const uint32_t *b) {
    two_t found;
    int32_t s = 0, t = 0;
    while (x != end) {
        uint32_t v = *a++, w = *b++, even = *x++, odd = *x++;
        s = DUAL(EVEN(v), even, s);
        t = DUAL(EVEN(w), even, t);
        s = DUAL(ODD(v), odd, s);
        t = DUAL(ODD(w), odd, t);
    }
    found.first = s;
    found.second = t;
    return found;
}

/* What a layer's sums stand for; two rows at a time, of which the last may be one. */
static void dense(uint32_t l) {
    const layer_t *layer = &LAYERS[l];
    const uint32_t *x = inputs.pairs + (2u * layer->x), *w = words + layer->words;
    uint32_t i, j;
    for (i = 0; i < layer->outputs; i += 2u) {
        uint32_t next = ((i + 1u) < layer->outputs) ? (i + 1u) : i;
        two_t sums = products(x, x + (2u * layer->quads), w + (i * layer->quads),
                              w + (next * layer->quads));
        j = layer->units + next;
        outputs[j] = ((float)sums.second * (steps[l] * scales[j])) + biases[j];
        j = layer->units + i;
        outputs[j] = ((float)sums.first * (steps[l] * scales[j])) + biases[j];
    }
}

PRIVET_APART static void forward(void) {
    uint32_t l, i;
    round_record();
    for (l = 0; l < PRIVET_LAYERS; l++) {
        float *out = outputs + LAYERS[l].units;
        if (l > 0u) { round_hidden(l); }
        dense(l);
        for (i = 0; ((l + 1u) < PRIVET_LAYERS) && (i < LAYERS[l].outputs); i++) {
            out[i] = (out[i] > 0.0f) ? out[i] : 0.0f;
        }
    }
}

#if PRIVET_MOST_GRADIENT > 0
/* SplitMix64's output function. */
static uint64_t scramble(uint64_t state) {
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
    return state ^ (state >> 31);
}
#endif

/* Gradients of a layer's outputs to words, at random and without bias: by the step's dice and the
   record's number, never by what else is in the batch. */
static void round_gradient(uint32_t l, uint32_t number) {
#if PRIVET_MOST_GRADIENT > 0
    uint64_t seed = scramble(scramble(dice + ((l + 1u) * GOLDEN)) + (number * GOLDEN));
    float *d = deltas + LAYERS[l].units, largest = 0.0f, step, per_step;
    uint32_t i;
    for (i = 0; i < LAYERS[l].outputs; i++) {
        float size = (d[i] < 0.0f) ? -d[i] : d[i];
        largest = (size > largest) ? size : largest;
    }
    if (!(largest > TINY)) { return; }
    step = largest / (float)PRIVET_MOST_GRADIENT;
    per_step = (float)PRIVET_MOST_GRADIENT / largest;
    for (i = 0; i < LAYERS[l].outputs; i++) {
        uint32_t draw = (uint32_t)(scramble(seed + (i * GOLDEN)) >> 40);
        float x = (d[i] * per_step) + ((float)draw * 0x1p-24f);
        int32_t word = (int32_t)x;
        word -= ((float)word > x) ? 1 : 0;
        d[i] = (float)at_most(word, PRIVET_MOST_GRADIENT) * step;
    }
#else
    (void)l;
    (void)number;
#endif
}

/* The loss's gradient at each unit; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t number, uint32_t label) {
    uint32_t at = LAYERS[PRIVET_LAYERS - 1u].units, l, i, k, q;
    if (softmax_gradient(outputs + at, deltas + at, PRIVET_CLASSES, label) == 0u) { return 0; }
    for (l = PRIVET_LAYERS - 1u;; l--) {
        const layer_t *layer = &LAYERS[l];
        const float *d = deltas + layer->units, *scale = scales + layer->units, *h;
        float *below;
        round_gradient(l, number);
        if (l == 0u) { return 1; }
        h = outputs + LAYERS[l - 1u].units;
        below = deltas + LAYERS[l - 1u].units;
        for (q = 0; q < layer->quads; q++) {
            float s[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            for (i = 0; i < layer->outputs; i++) {
                uint32_t w = words[layer->words + (i * layer->quads) + q];
                float g = d[i] * scale[i];
                for (k = 0; k < 4u; k++) {
                    int32_t word = (int32_t)(((w >> (8u * k)) & 0xFFu) ^ 0x80u) - 0x80;
                    s[k] = s[k] + (g * (float)word);
                }
            }
            for (k = 0; (k < 4u) && (((4u * q) + k) < layer->inputs); k++) {
                float unit = h[(4u * q) + k];
                below[(4u * q) + k] = ((unit > 0.0f) && (unit <= bounds[l])) ? s[k] : 0.0f;
            }
        }
    }
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

/* w - q x, modulo 2^32 */
static int32_t less(int32_t w, uint32_t q, int16_t x) {
    uint32_t wide = (uint32_t)(int32_t)x;
    return (int32_t)((uint32_t)w - (q * wide));
}

PRIVET_APART static void accumulate(void) {
    uint32_t l, i, k;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const int16_t *x = inputs.x + (4u * layer->x);
        int32_t *a = weights + layer->weights, *bias = a + (layer->inputs * layer->outputs);
        for (i = 0; i < layer->outputs; i++) {
            uint32_t q = (uint32_t)factors[layer->units + i];
            for (k = 0; (k + 4u) <= layer->inputs; k += 4u) {
                a[k] = less(a[k], q, x[k]);
                a[k + 1u] = less(a[k + 1u], q, x[k + 2u]);
                a[k + 2u] = less(a[k + 2u], q, x[k + 1u]);
                a[k + 3u] = less(a[k + 3u], q, x[k + 3u]);
            }
            for (; k < layer->inputs; k++) { a[k] = less(a[k], q, x[(k & ~3u) + PLACE[k & 3u]]); }
            bias[i] = less(bias[i], (uint32_t)bias_factors[layer->units + i], 1);
            a += layer->inputs;
        }
    }
}

PRIVET_APART static void noise_update(stream_t *stream, stream_t *slow) {
    uint32_t l, i, num;
    int32_t *w = weights, noisy;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        num = LAYERS[l].inputs * LAYERS[l].outputs;
        for (i = 0; i < (num + LAYERS[l].outputs); i++) {
            noisy = (int32_t)((uint32_t)w[i] - noise_draw(stream, slow));
            w[i] = at_most(noisy, (i < num) ? PRIVET_ONE : MOST_BIAS);
        }
        w += num + LAYERS[l].outputs;
    }
}

void net_begin(void) {
    memcpy(weights, WEIGHTS, sizeof weights);
    project();
}

void net_step(uint32_t high, uint32_t low) {
    dice = ((uint64_t)high << 32) | low;
}

int16_t *net_inputs(void) {
    return inputs.x;
}

void net_learn(uint32_t number, uint32_t label) {
    forward();
    if ((backward(number, label) != 0u) && (clip() != 0u)) { accumulate(); }
}

void net_update(stream_t *stream, stream_t *slow) {
    noise_update(stream, slow);
    project();
}

uint32_t net_class(void) {
    forward();
    return largest_of(outputs + LAYERS[PRIVET_LAYERS - 1u].units, PRIVET_CLASSES);
}

const privet_weight_t *net_weights(void) {
    return weights;
}
