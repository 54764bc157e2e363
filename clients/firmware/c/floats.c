/* net.c - a perceptron of float32 numbers, DP-SGD's part of one record (Abadi et al. 2016).

   Numbers are defined in README.md; clients/firmware/numbers/floats.py computes the same bits. Sums are
   integers, so that no order matters; they wrap at 2^32, which is a function of what is released. */
#include "net.h"

#include "contract.h"
#include "numbers.h"
#include "weights.h"

#define MOST_FACTOR 4194304.0f /* 2^22 */
#define MOST_ACTIVATION 4095.0f
#define ACTIVATION_SCALE 64.0f

typedef struct {
    uint32_t inputs, outputs; /* outputs of layer l are the inputs of layer l + 1 */
    uint32_t weights;         /* where its weights begin; biases follow them */
    uint32_t units;           /* where its outputs begin among all units */
    int32_t one;              /* what stands for 1 in its inputs, of which the bias reads one */
    float factor, inverse_square;
} layer_t;

static const layer_t LAYERS[PRIVET_LAYERS] = {PRIVET_LAYER_TABLE};

static float weights[PRIVET_WEIGHTS];
static uint32_t sums[PRIVET_WEIGHTS]; /* of clipped gradients, in grid units, modulo 2^32 */
static int16_t record[PRIVET_INPUTS];
static float scaled[PRIVET_INPUTS];
static float outputs[PRIVET_UNITS], deltas[PRIVET_UNITS];
static int16_t whole[PRIVET_UNITS]; /* outputs in 1/64, as gradients read them */
static int32_t factors[PRIVET_UNITS];

PRIVET_APART static void forward(void) {
    const float *x = scaled;
    uint32_t l, i, k;
    for (k = 0; k < PRIVET_INPUTS; k++) { scaled[k] = (float)record[k] * PRIVET_INVERSE_SCALE; }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const float *w = weights + layer->weights;
        const float *bias = w + (layer->inputs * layer->outputs);
        float *out = outputs + layer->units;
        for (i = 0; i < layer->outputs; i++) {
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            for (k = 0; (k + 4u) <= layer->inputs; k += 4u) {
                s0 = s0 + (w[k] * x[k]);
                s1 = s1 + (w[k + 1u] * x[k + 1u]);
                s2 = s2 + (w[k + 2u] * x[k + 2u]);
                s3 = s3 + (w[k + 3u] * x[k + 3u]);
            }
            if (k < layer->inputs) { s0 = s0 + (w[k] * x[k]); }
            if ((k + 1u) < layer->inputs) { s1 = s1 + (w[k + 1u] * x[k + 1u]); }
            if ((k + 2u) < layer->inputs) { s2 = s2 + (w[k + 2u] * x[k + 2u]); }
            out[i] = ((s0 + s1) + (s2 + s3)) + bias[i];
            w += layer->inputs;
        }
        if ((l + 1u) < PRIVET_LAYERS) {
            for (i = 0; i < layer->outputs; i++) {
                float h = (out[i] > 0.0f) ? out[i] : 0.0f, q = h * ACTIVATION_SCALE;
                out[i] = h;
                whole[layer->units + i] = (int16_t)((q < MOST_ACTIVATION) ? q : MOST_ACTIVATION);
            }
        }
        x = out;
    }
}

/* The loss's gradient at each unit; 0 if a logit is beyond all numbers. */
PRIVET_APART static uint32_t backward(uint32_t label) {
    const layer_t *layer = &LAYERS[PRIVET_LAYERS - 1u];
    uint32_t l, i, k, at = layer->units;
    if (softmax_gradient(outputs + at, deltas + at, layer->outputs, label) == 0u) { return 0; }
    for (l = PRIVET_LAYERS - 1u; l > 0u; l--) {
        const float *w = weights + LAYERS[l].weights, *h = outputs + LAYERS[l - 1u].units;
        const float *above = deltas + LAYERS[l].units;
        float *below = deltas + LAYERS[l - 1u].units;
        for (k = 0; k < LAYERS[l].inputs; k++) {
            float s = 0.0f;
            for (i = 0; i < LAYERS[l].outputs; i++) {
                s = s + (w[(i * LAYERS[l].inputs) + k] * above[i]);
            }
            below[k] = (h[k] > 0.0f) ? s : 0.0f;
        }
    }
    return 1;
}

/* Whole factors of a record's gradient: the sum over layers of |factors|^2 |inputs, one|^2 is at
   most S^2, in integers, or the record is left out (0). The promise rests on this alone. */
PRIVET_APART static uint32_t clip(void) {
    uint64_t norms[PRIVET_LAYERS], left = (uint64_t)PRIVET_SENSITIVITY * PRIVET_SENSITIVITY;
    float squared = 0.0f, c = 1.0f;
    const int16_t *x = record;
    uint32_t l, i, k;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const float *d = deltas + layer->units;
        float s = 0.0f;
        norms[l] = square(layer->one);
        for (k = 0; k < layer->inputs; k++) { norms[l] += square(x[k]); }
        if (norms[l] >= ((uint64_t)1 << 30)) { return 0; }
        for (i = 0; i < layer->outputs; i++) { s = s + (d[i] * d[i]); }
        squared = squared + (s * ((float)(uint32_t)norms[l] * layer->inverse_square));
        x = whole + layer->units;
    }
    if (squared > PRIVET_CLIP_SQUARED) { c = PRIVET_CLIP / root(squared); }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const float *d = deltas + layer->units;
        float g = c * layer->factor;
        uint64_t s = 0;
        for (i = 0; i < layer->outputs; i++) {
            float f = d[i] * g;
            if (!((f < MOST_FACTOR) && (f > -MOST_FACTOR))) { return 0; }
            factors[layer->units + i] = (int32_t)f;
            s += square((int32_t)f);
        }
        if (s >= ((uint64_t)1 << 34)) { return 0; }
        s *= norms[l];
        if (s > left) { return 0; }
        left -= s;
    }
    return 1;
}

/* q x, modulo 2^32 */
static uint32_t product(uint32_t q, int16_t x) {
    uint32_t wide = (uint32_t)(int32_t)x;
    return q * wide;
}

PRIVET_APART static void accumulate(void) {
    const int16_t *x = record;
    uint32_t l, i, k;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        uint32_t *a = sums + layer->weights;
        uint32_t *bias = a + (layer->inputs * layer->outputs);
        for (i = 0; i < layer->outputs; i++) {
            uint32_t q = (uint32_t)factors[layer->units + i];
            for (k = 0; (k + 4u) <= layer->inputs; k += 4u) {
                a[k] += product(q, x[k]);
                a[k + 1u] += product(q, x[k + 1u]);
                a[k + 2u] += product(q, x[k + 2u]);
                a[k + 3u] += product(q, x[k + 3u]);
            }
            for (; k < layer->inputs; k++) { a[k] += product(q, x[k]); }
            bias[i] += q * (uint32_t)layer->one;
            a += layer->inputs;
        }
        x = whole + layer->units;
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
    if ((backward(label) != 0u) && (clip() != 0u)) { accumulate(); }
}

void net_update(stream_t *stream, stream_t *slow) {
    noise_update(stream, slow);
}

uint32_t net_class(void) {
    forward();
    return largest_of(outputs + LAYERS[PRIVET_LAYERS - 1u].units, PRIVET_CLASSES);
}

const privet_weight_t *net_weights(void) {
    return weights;
}
