/* front_numbers.h - a Fourier transform of any length, and whole features. Included by front.c alone.
   clients/firmware/front/fourier.py computes the same bits. */
#ifndef PRIVET_FRONT_NUMBERS_H
#define PRIVET_FRONT_NUMBERS_H
#include <stdint.h>

#include "front_tables.h"
#include "machine.h"

#define MOST_FEATURE 32767.0f

typedef struct {
    uint32_t size, stages;
    const uint16_t *factors; /* primes, of which each stage joins so many spectra to one */
    const uint16_t *order;   /* where each place of a line is read */
    const float *waves;      /* cosine and sine of 2 pi k / size */
} line_t;

/* In units of 1 / PRIVET_SCALE. */
static inline int16_t in_units(float x) {
    float units = x * FRONT_SCALE;
    if (!(units < MOST_FEATURE)) { return (int16_t)MOST_FEATURE; }
    if (!(units > -MOST_FEATURE)) { return (int16_t)-MOST_FEATURE; }
    return (int16_t)((units + NEAREST) - NEAREST);
}

/* Joins the `p` values that stand `span` apart from `from` on to those that stand there. */
static void join(const line_t *l, float *from, uint32_t p, uint32_t span, uint32_t k, float sign) {
    static float held[2u * FRONT_FACTOR];
    uint32_t turn = l->size / (p * span), q, r;
    for (q = 0; q < p; q++) {
        uint32_t by = (k + (q * span)) * turn, at = 0;
        const float *x = from;
        float re = x[0], im = x[1];
        for (r = 1; r < p; r++) {
            float c, s;
            at += by;
            at = (at < l->size) ? at : (at - l->size);
            c = l->waves[2u * at];
            s = l->waves[(2u * at) + 1u] * sign;
            x += 2u * span;
            re = re + ((x[0] * c) + (x[1] * s));
            im = im + ((x[1] * c) - (x[0] * s));
        }
        held[2u * q] = re;
        held[(2u * q) + 1u] = im;
    }
    for (q = 0; q < p; q++, from += 2u * span) {
        from[0] = held[2u * q];
        from[1] = held[(2u * q) + 1u];
    }
}

/* The spectrum of a line of complex numbers that was read in the line's order, in place; `sign` is 1, or
   -1 for the inverse, which is not divided by anything. */
static void fourier(const line_t *l, float *line, float sign) {
    uint32_t span = 1, stage, block, k;
    for (stage = 0; stage < l->stages; stage++) {
        uint32_t p = l->factors[stage];
        for (block = 0; block < l->size; block += p * span) {
            for (k = 0; k < span; k++) { join(l, line + (2u * (block + k)), p, span, k, sign); }
        }
        span *= p;
    }
}

#endif
