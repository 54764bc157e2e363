/* step.c - DP-SGD (Abadi et al. 2016) of a perceptron, one record at a time.

   Numbers are defined in README.md; clients/firmware/simulation.py computes the same bits. Sums are
   integers, so that no order matters; they wrap at 2^32, which is a function of what is released. */
#include "step.h"

#include "contract.h"
#include "noise.h"
#include "port.h"
#define PRIVET_FAST_TABLES
#include "tables.h"
#include "weights.h"

#define FINITE 1e30f
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
static uint32_t key[8];
static stream_t stream, slow;

/* exp(d), d <= 0: the definition is this polynomial of 2^f, -1 < f <= 0 */
static float exponential(float d) {
    float t = d * 1.44269504f, f, p;
    int32_t n;
    union {
        float number;
        int32_t bits;
    } raised;
    if (t < -126.0f) { return 0.0f; }
    n = (int32_t)t;
    f = t - (float)n;
    p = 1.5353362e-4f * f;
    p = p + 1.3398874e-3f;
    p = p * f;
    p = p + 9.6184373e-3f;
    p = p * f;
    p = p + 5.5503324e-2f;
    p = p * f;
    p = p + 2.4022648e-1f;
    p = p * f;
    p = p + 6.9314720e-1f;
    p = p * f;
    p = p + 1.0f;
    raised.number = p;
    raised.bits += n * 8388608;
    return raised.number;
}

static float root(float x) {
#if defined(__GNUC__)
    return __builtin_sqrtf(x);
#else
#error "a correctly rounded square root of a float: name your compiler's"
#endif
}

PRIVET_APART static void forward(const int16_t *inputs) {
    const float *x = scaled;
    uint32_t l, i, k;
    for (k = 0; k < PRIVET_INPUTS; k++) { scaled[k] = (float)inputs[k] * PRIVET_INVERSE_SCALE; }
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
    const float *z = outputs + layer->units;
    float *d = deltas + layer->units, most = z[0], sum = 0.0f;
    uint32_t l, i, k;
    for (i = 0; i < layer->outputs; i++) {
        if (!((z[i] < FINITE) && (z[i] > -FINITE))) { return 0; }
        most = (z[i] > most) ? z[i] : most;
    }
    for (i = 0; i < layer->outputs; i++) {
        d[i] = exponential(z[i] - most);
        sum = sum + d[i];
    }
    for (i = 0; i < layer->outputs; i++) { d[i] = d[i] / sum; }
    d[label] = d[label] - 1.0f;
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

static uint64_t square(int32_t x) {
    return (uint64_t)((int64_t)x * x);
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

/* Adds noise to the sums and takes a step, in one pass: nothing else reads the sums. */
PRIVET_APART static void noise_update(uint32_t step) {
    uint32_t i;
    stream_begin(&stream, key, step, STREAM_NOISE);
    stream_begin(&slow, key, step, STREAM_SLOW);
    for (i = 0; i < PRIVET_WEIGHTS; i++) {
        uint32_t word = stream_word(&stream), brick = word >> 20;
        uint32_t noise;
        if (brick < BRICKS) {
            noise = ((uint32_t)STRIP[brick] << (NOISE_BITS - 5u)) |
                    (word & (((uint32_t)1 << (NOISE_BITS - 5u)) - 1u));
            noise ^= 0u - ((word >> 15) & 1u);
        } else {
            noise = (uint32_t)noise_slow(word, &slow);
        }
        weights[i] = weights[i] - (PRIVET_RATE * (float)(int32_t)(sums[i] + noise));
        sums[i] = 0;
    }
}

/* Is a record in the batch? With a probability of PRIVET_SAMPLE_RATE / 2^32, by eight bits, and by
   24 more in one case of 256. */
static uint32_t is_drawn(uint32_t byte) {
    uint32_t first = (uint32_t)(PRIVET_SAMPLE_RATE >> 24);
    if (byte != first) { return (byte < first) ? 1u : 0u; }
    return ((stream_word(&slow) >> 8) < (uint32_t)(PRIVET_SAMPLE_RATE & 0xFFFFFFu)) ? 1u : 0u;
}

/* Marks of the next records, up to 32 of them: one bit each. */
PRIVET_APART static uint32_t sample(uint32_t num) {
    uint32_t i, word = 0, drawn = 0;
    for (i = 0; i < num; i++) {
        if ((i & 3u) == 0u) { word = stream_word(&stream); }
        drawn |= is_drawn(word & 0xFFu) << i;
        word >>= 8;
    }
    return drawn;
}

int32_t privet_begin(void) {
    return ledger_begin();
}

int32_t privet_open(uint32_t at_least) {
    uint32_t i;
    memcpy(weights, WEIGHTS, sizeof weights);
    for (i = 0; i < PRIVET_WEIGHTS; i++) { sums[i] = 0; }
    port_key(key);
    return ledger_open(at_least, key);
}

int32_t privet_step(uint32_t num_records) {
    uint32_t step = 0, start, i, drawn;
    uint8_t label;
    int32_t found = ledger_spend(&step);
    if (found != PRIVET_OK) { return found; }
    stream_begin(&stream, key, step, STREAM_BATCH);
    stream_begin(&slow, key, step, STREAM_BATCH | 0x100u);
    for (start = 0; start < num_records; start += 32u) {
        uint32_t num = ((num_records - start) < 32u) ? (num_records - start) : 32u;
        drawn = sample(num);
        for (i = 0; drawn != 0u; i++, drawn >>= 1) {
            if ((drawn & 1u) == 0u) { continue; }
            port_record(start + i, record, &label);
            if (label >= PRIVET_CLASSES) { continue; }
            forward(record);
            if ((backward(label) != 0u) && (clip() != 0u)) { accumulate(); }
        }
    }
    noise_update(step);
    return PRIVET_OK;
}

const float *privet_weights(void) {
    return weights;
}

uint32_t privet_predict(const int16_t *inputs) {
    const float *z;
    uint32_t i, best = 0;
    forward(inputs);
    z = outputs + LAYERS[PRIVET_LAYERS - 1u].units;
    for (i = 1; i < PRIVET_CLASSES; i++) { best = (z[i] > z[best]) ? i : best; }
    return best;
}
