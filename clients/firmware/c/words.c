/* net.c - a perceptron of weights and inputs in words of few bits, DP-SGD's part of one record.

   Weights are whole numbers in units of PRIVET_RATE, from which a record's gradient is taken away at
   once: there is no buffer of sums. What multiplies is their words, made once a step. Numbers are
   defined in README.md; clients/firmware/numbers/words.py computes the same bits. */
#include "net.h"

#include "contract.h"

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

typedef struct {
    uint32_t row, outputs; /* of an output, the weights: one for each input */
    uint32_t weights; /* where its weights begin; biases follow them */
    uint32_t units;   /* where its outputs begin among all units */
    uint32_t words;   /* where its weights' words begin: `quads` of a row */
    uint32_t x, quads; /* where the quads of its inputs begin, and how many there are: of GROUP each */
} layer_t;

static const layer_t LAYERS[PRIVET_LAYERS] = {PRIVET_LAYER_TABLE};

#include "words.h"

/* Inputs of all layers: four by four, of which the second and third have changed places, so that a
   chip with pairs of multipliers finds them beside each other. */
static union {
    int16_t x[4u * PRIVET_QUADS];
    uint32_t pairs[2u * PRIVET_QUADS];
} inputs;
static float outputs[PRIVET_UNITS];
static uint32_t squares[PRIVET_LAYERS];                   /* of a layer's input words, summed */

static const uint32_t PLACE[4] = {0, 2, 1, 3};

/* Of words of weights, a quad of inputs has a field in each byte of a word, the first input's in the lowest;
   fields are of PRIVET_FIELD bits, so that a word has room for PACKED quads. The words of four rows
   that read the same inputs lie beside each other; rows are filled up to a multiple of four. */
#define ROWS 4u
#define PACKED (8u / PRIVET_FIELD)
#define GROUP ((PACKED > 2u) ? PACKED : 2u) /* quads that are gone through at a time */

/* Of a quad in a word: its fields, each moved to the top of its byte. */
#define TOPS (0x01010101u * ((0xFFu << (8u - PRIVET_FIELD)) & 0xFFu))
#define FIELDS(w, k) (((w) << (PRIVET_FIELD * ((PACKED - 1u) - (k)))) & TOPS)

static uint32_t word_at(const layer_t *layer, uint32_t row, uint32_t place) {
    return layer->words + ((row & ~3u) * (layer->quads / PACKED)) + (ROWS * place) + (row & 3u);
}

/* From a sum of products of bytes with fields at their top, to that of words; `total` is that of what
   the fields were multiplied with. */
static int32_t sum_of_words(int32_t sum, int32_t total) {
#if defined(PRIVET_BINARY)
    return total + (sum / 64);
#else
    (void)total;
    return sum / (int32_t)(1u << (8u - PRIVET_FIELD));
#endif
}

#if defined(__ARM_FEATURE_DSP)
#define EVEN(w) __sxtb16((int8x4_t)(w))
#define ODD(w) __sxtb16((int8x4_t)(((w) >> 8) | ((w) << 24)))
#define DUAL(a, b, s) __smlad((int16x2_t)(a), (int16x2_t)(b), s)
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

/* ---- words of inputs, record by record */

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
static void round_hidden(const layer_t *layer, uint32_t l) {
    const float *h = outputs + LAYERS[l - 1u].units;
    int16_t *x = inputs.x + (4u * layer->x);
    float largest = 0.0f, total = 0.0f, per_step;
    uint32_t k, sum = 0;
    for (k = 0; k < layer->row; k++) {
        largest = (h[k] > largest) ? h[k] : largest;
        total = total + (h[k] * h[k]);
    }
    per_step = set_step(l, largest, total / (float)layer->row, most_of(0));
    for (k = 0; k < layer->row; k++) {
        int32_t word = nearest(h[k] * per_step, most_of(0));
        sum += (uint32_t)(word * word);
        x[(k & ~3u) + PLACE[k & 3u]] = (int16_t)word;
    }
    squares[l] = sum;
}

/* ---- a record */

static inline int32_t quad(uint32_t fields, uint32_t even, uint32_t odd, int32_t s) {
    s = DUAL(EVEN(fields), even, s);
    return DUAL(ODD(fields), odd, s);
}

/* Sums of the words of four rows, apart so that the loop has the registers for itself: each quad of
   inputs is loaded once for four of weights. */
PRIVET_APART static void products(int32_t *sums, const uint32_t *x, const uint32_t *end,
                                  const uint32_t *w) {
    int32_t s = 0, t = 0, u = 0, v = 0;
    uint32_t k;
    for (; x != end; x += 2u * GROUP, w += ROWS * (GROUP / PACKED)) {
        for (k = 0; k < GROUP; k++) {
            uint32_t even = x[2u * k], odd = x[(2u * k) + 1u], place = k % PACKED;
            const uint32_t *row = w + (ROWS * (k / PACKED));
            s = quad(FIELDS(row[0], place), even, odd, s);
            t = quad(FIELDS(row[1], place), even, odd, t);
            u = quad(FIELDS(row[2], place), even, odd, u);
            v = quad(FIELDS(row[3], place), even, odd, v);
        }
    }
    sums[0] = s;
    sums[1] = t;
    sums[2] = u;
    sums[3] = v;
}

/* What a layer's sums stand for. */
static void dense(const layer_t *layer, float step) {
    const uint32_t *x = inputs.pairs + (2u * layer->x);
    int32_t sums[ROWS], total = 0;
    uint32_t i, k;
#if defined(PRIVET_BINARY)
    for (k = 0; k < (2u * layer->quads); k++) { total = DUAL(x[k], 0x00010001u, total); }
#endif
    for (i = 0; i < layer->outputs; i += ROWS) {
        products(sums, x, x + (2u * layer->quads), words + word_at(layer, i, 0));
        for (k = 0; (k < ROWS) && ((i + k) < layer->outputs); k++) {
            uint32_t j = layer->units + i + k;
            int32_t sum = sum_of_words(sums[k], total);
            outputs[j] = ((float)sum * (step * scales[j])) + biases[j];
        }
    }
}

PRIVET_APART static void forward_layer(const layer_t *layer, uint32_t l) {
    float *out = outputs + layer->units;
    uint32_t i;
    if (l > 0u) { round_hidden(layer, l); }
    dense(layer, steps[l]);
    for (i = 0; ((l + 1u) < PRIVET_LAYERS) && (i < layer->outputs); i++) {
        out[i] = (out[i] > 0.0f) ? out[i] : 0.0f;
    }
}

PRIVET_APART static void forward(void) {
    uint32_t l;
    round_record();
    for (l = 0; l < PRIVET_LAYERS; l++) { forward_layer(&LAYERS[l], l); }
}

#if !defined(PRIVET_ANSWERS)
#include "learning.h"
#endif

int16_t *net_inputs(void) {
    return inputs.x;
}

uint32_t net_class(void) {
    forward();
    return largest_of(outputs + LAYERS[PRIVET_LAYERS - 1u].units, PRIVET_CLASSES);
}
