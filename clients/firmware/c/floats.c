/* net.c - a perceptron of float32 numbers, DP-SGD's part of one record (Abadi et al. 2016).

   Numbers are defined in README.md; clients/firmware/numbers/floats.py computes the same bits. Sums are
   integers, so that no order matters; they wrap at 2^32, which is a function of what is released. */
#include "net.h"

#include "contract.h"
#include "numbers.h"
#include "sums.h"

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

static int16_t record[PRIVET_INPUTS];
static float scaled[PRIVET_INPUTS];
static float outputs[PRIVET_UNITS];
static int16_t whole[PRIVET_UNITS]; /* outputs in 1/64, as gradients read them */

/* From what it reads, `x`, to what it gives. */
PRIVET_APART static void forward_layer(const layer_t *layer, const float *x) {
    const float *w = weights + layer->weights, *bias = w + (layer->inputs * layer->outputs);
    float *out = outputs + layer->units;
    uint32_t i, k;
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
}

/* max(0, s) of a layer that another reads; and in 1/64, as gradients read it. */
static void rectify(const layer_t *layer) {
    uint32_t i;
    for (i = layer->units; i < (layer->units + layer->outputs); i++) {
        float h = (outputs[i] > 0.0f) ? outputs[i] : 0.0f, q = h * ACTIVATION_SCALE;
        outputs[i] = h;
        whole[i] = (int16_t)((q < MOST_ACTIVATION) ? q : MOST_ACTIVATION);
    }
}

PRIVET_APART static void forward(void) {
    const float *x = scaled;
    uint32_t l, k;
    for (k = 0; k < PRIVET_INPUTS; k++) { scaled[k] = (float)record[k] * PRIVET_INVERSE_SCALE; }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        forward_layer(&LAYERS[l], x);
        if ((l + 1u) < PRIVET_LAYERS) { rectify(&LAYERS[l]); }
        x = outputs + LAYERS[l].units;
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
    return largest_of(outputs + LAYERS[PRIVET_LAYERS - 1u].units, PRIVET_CLASSES);
}
