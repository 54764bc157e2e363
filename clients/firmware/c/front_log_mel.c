/* front.c - log-mel: a sound as the logarithm of its power in mel bands, frame by frame.

   Numbers are defined in clients/firmware/front/log_mel.py, which computes the same bits. */
#include "front.h"

#include "front_numbers.h"

#define LENGTH ((float)FRONT_LENGTH)

static const line_t LINE = {FRONT_FRAME, FRONT_STAGES, FACTORS, ORDER, WAVES};

static float line[2u * FRONT_FRAME];
static float told[FRONT_FRAMES][FRONT_BANDS];

/* Mean and loudness of all samples, of sums of integers. */
static void loudness(const int16_t *raw, float *mean, float *gain) {
    int32_t sum = 0;
    uint64_t squares = 0, spread;
    float exact;
    uint32_t i;
    for (i = 0; i < FRONT_LENGTH; i++) {
        int32_t x = raw[i];
        sum += x;
        squares += (uint64_t)((int64_t)x * x);
    }
    spread = (squares * FRONT_LENGTH) - (uint64_t)((int64_t)sum * sum);
    exact = ((float)(uint32_t)(spread >> 32) * 4294967296.0f) + (float)(uint32_t)spread;
    *mean = (float)sum / LENGTH;
    *gain = 1.0f / ((root(exact) / LENGTH) + FRONT_QUIET);
}

/* ln x, x >= 1: of m 2^e with m in [0.71, 1.42), e ln 2 + 2 artanh((m - 1) / (m + 1)). */
static float logarithm(float x) {
    union {
        float number;
        uint32_t bits;
    } m;
    float e, s, t, p;
    m.number = x;
    e = (float)((int32_t)(m.bits >> 23) - 127);
    m.bits = (m.bits & 0x7FFFFFu) | 0x3F800000u;
    if (m.number > 1.41421354f) {
        m.number = m.number * 0.5f;
        e = e + 1.0f;
    }
    s = (m.number - 1.0f) / (m.number + 1.0f);
    t = s * s;
    p = 0.111111112f * t;
    p = p + 0.142857149f;
    p = p * t;
    p = p + 0.2f;
    p = p * t;
    p = p + 0.333333343f;
    p = p * t;
    return (e * 0.693147182f) + ((s + s) + ((s + s) * p));
}

/* From a frame's samples to its bands. */
static void frame(const int16_t *raw, float mean, float gain, float *bands) {
    const float *weight = BAND_WEIGHTS;
    uint32_t i, m;
    for (i = 0; i < FRONT_FRAME; i++) {
        uint32_t at = ORDER[i];
        line[2u * i] = (((float)raw[at] - mean) * gain) * WINDOW[at];
        line[(2u * i) + 1u] = 0.0f;
    }
    fourier(&LINE, line, 1.0f);
    for (i = 0; i < FRONT_BINS; i++) {
        float re = line[2u * i], im = line[(2u * i) + 1u];
        line[i] = (re * re) + (im * im);
    }
    for (m = 0; m < FRONT_BANDS; m++) {
        const float *power = line + BAND_STARTS[m];
        float s = 0.0f;
        for (i = 0; i < BAND_SIZES[m]; i++) { s = s + (power[i] * *weight++); }
        bands[m] = logarithm((s * FRONT_INVERSE_FLOOR) + 1.0f);
    }
}

/* The sum of what differs from `mean`, or of its squares: of each frame, and of these. */
static float sum_of(float mean, uint32_t squared) {
    float total = 0.0f;
    uint32_t f, m;
    for (f = 0; f < FRONT_FRAMES; f++) {
        float s = 0.0f;
        for (m = 0; m < FRONT_BANDS; m++) {
            float e = told[f][m] - mean;
            s = s + ((squared != 0u) ? (e * e) : e);
        }
        total = total + s;
    }
    return total;
}

void privet_front(const privet_raw_t *raw, int16_t *features) {
    float mean, gain, deviation;
    uint32_t f, m;
    loudness(raw, &mean, &gain);
    for (f = 0; f < FRONT_FRAMES; f++) { frame(raw + (f * FRONT_HOP), mean, gain, told[f]); }
    mean = sum_of(0.0f, 0) / (float)(FRONT_FRAMES * FRONT_BANDS);
    deviation = root(sum_of(mean, 1) / FRONT_FREE) + FRONT_STILL;
    for (m = 0; m < FRONT_BANDS; m++) {
        for (f = 0; f < FRONT_FRAMES; f++) { *features++ = in_units((told[f][m] - mean) / deviation); }
    }
}
