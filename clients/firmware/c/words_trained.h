/* trained.h - weights that learn, in whole numbers; their words, made once a step; and what is rounded at
   random. Included by words.h alone. */
#ifndef PRIVET_TRAINED_H
#define PRIVET_TRAINED_H

#define MOST_FACTOR 8388608.0f
#define MOST_BIAS 1073741824
#define GOLDEN 0x9E3779B97F4A7C15u

#if defined(PRIVET_BINARY) /* a bit of 1 stands for -1 */
#define CODE(word) ((uint32_t)(word) >> 31)
#else
#define CODE(word) ((uint32_t)(word) & ((1u << PRIVET_FIELD) - 1u))
#endif

static uint64_t dice;

/* Where the net finds the word of an output's weight; all are 0 before. */
static void put_word(const layer_t *layer, uint32_t row, uint32_t place, int32_t word);

/* Has a layer words? Else its weights stay numbers: `scales` are what multiplies. */
static uint32_t has_words(const layer_t *layer);

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
    const int32_t *w = weights + layer->weights + (first * layer->row);
    uint32_t i, k;
    uint64_t of = statistic(w, rows * layer->row);
#if defined(PRIVET_FIXED)
    float step = ((float)(uint32_t)of * PRIVET_RATE) / (float)PRIVET_MOST_WEIGHT;
    float per_step = (step > TINY) ? (1.0f / step) : 0.0f;
#elif defined(PRIVET_TERNARY)
    uint64_t kept = 0, least = of * 7u, by = 10u * (uint64_t)(rows * layer->row);
    uint32_t count = 0;
#endif
    for (i = 0; i < rows; i++) {
        for (k = 0; k < layer->row; k++) {
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
            put_word(layer, first + i, k, word);
        }
        w += layer->row;
    }
#if defined(PRIVET_FIXED)
    return (step > TINY) ? step : 0.0f;
#elif defined(PRIVET_TERNARY)
    return (as_float(kept) * PRIVET_RATE) / (float)((count == 0u) ? 1u : count);
#else
    return (as_float(of) * PRIVET_RATE) / (float)(rows * layer->row);
#endif
}

PRIVET_APART static void project(void) {
    uint32_t l, i, j;
    for (i = 0; i < PRIVET_WORDS; i++) { words[i] = 0; }
    for (l = 0; l < PRIVET_LAYERS; l++) {
        const layer_t *layer = &LAYERS[l];
        const int32_t *bias = weights + layer->weights + (layer->row * layer->outputs);
        uint32_t rows = (PRIVET_CHANNELS != 0) ? 1u : layer->outputs;
        if (layer->row == 0u) { continue; }
        rows = (has_words(layer) != 0u) ? rows : 1u;
        for (i = 0; i < layer->outputs; i += rows) {
            float scale = (has_words(layer) != 0u)
                              ? project_rows(layer, i, rows)
                              : ((float)weights[layer->weights + i] * PRIVET_RATE);
            for (j = i; j < (i + rows); j++) { scales[layer->units + j] = scale; }
        }
        for (i = 0; i < layer->outputs; i++) {
            biases[layer->units + i] = (float)bias[i] * PRIVET_RATE;
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

/* Gradients of the outputs of layer `l` to words, at random and without bias: by the step's dice and the
   record's number, never by what else is in the batch. */
static void round_gradient(float *d, uint32_t num, uint32_t l, uint32_t number) {
#if PRIVET_MOST_GRADIENT > 0
    uint64_t seed = scramble(scramble(dice + ((l + 1u) * GOLDEN)) + (number * GOLDEN));
    float largest = 0.0f, step, per_step;
    uint32_t i;
    for (i = 0; i < num; i++) {
        float size = (d[i] < 0.0f) ? -d[i] : d[i];
        largest = (size > largest) ? size : largest;
    }
    if (!(largest > TINY)) { return; }
    step = largest / (float)PRIVET_MOST_GRADIENT;
    per_step = (float)PRIVET_MOST_GRADIENT / largest;
    for (i = 0; i < num; i++) {
        uint32_t draw = (uint32_t)(scramble(seed + (i * GOLDEN)) >> 40);
        float x = (d[i] * per_step) + ((float)draw * 0x1p-24f);
        int32_t word = (int32_t)x;
        word -= ((float)word > x) ? 1 : 0;
        d[i] = (float)at_most(word, PRIVET_MOST_GRADIENT) * step;
    }
#else
    (void)d;
    (void)num;
    (void)l;
    (void)number;
#endif
}

/* w - q, modulo 2^32 */
static inline int32_t less(int32_t w, uint32_t q) {
    return (int32_t)((uint32_t)w - q);
}

PRIVET_APART static void noise_update(stream_t *stream, stream_t *slow) {
    uint32_t l, i;
    int32_t *w = weights;
    for (l = 0; l < PRIVET_LAYERS; l++) {
        uint32_t num = LAYERS[l].row * LAYERS[l].outputs;
        uint32_t limited = (has_words(&LAYERS[l]) != 0u) ? num : 0u;
        num += (num != 0u) ? LAYERS[l].outputs : 0u;
        for (i = 0; i < num; i++) {
            int32_t noisy = less(w[i], noise_draw(stream, slow));
            w[i] = at_most(noisy, (i < limited) ? PRIVET_ONE : MOST_BIAS);
        }
        w += num;
    }
}

void net_begin(void) {
    memcpy(weights, WEIGHTS, sizeof weights);
    project();
}

void net_write(uint32_t at, const uint8_t *bytes, uint32_t num) {
    memcpy(weights + at, bytes, 4u * num);
    if ((at + num) == PRIVET_WEIGHTS) { project(); }
}

void net_step(uint32_t high, uint32_t low) {
    dice = ((uint64_t)high << 32) | low;
}

void net_update(stream_t *stream, stream_t *slow) {
    noise_update(stream, slow);
    project();
}

const privet_weight_t *net_weights(void) {
    return weights;
}

#endif
