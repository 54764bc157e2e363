/* front.c - a scattering transform of two scales and eight orientations: a picture as the average moduli of
   what Morlet wavelets find in it, and in those moduli again.

   Numbers are defined in clients/firmware/front/scattering.py, which computes the same bits. */
#include "front.h"

#include "front_numbers.h"

enum { ORIENTATIONS = 8, FIRST = 1, SECOND = FIRST + (2 * ORIENTATIONS), MAPS = SECOND + 64 };
#define AREA (FRONT_OUT_ROWS * FRONT_OUT_COLUMNS)
#define PIXELS (FRONT_HEIGHT * FRONT_WIDTH)
#define PADDED (FRONT_ROWS * FRONT_COLUMNS)

/* A grid of complex numbers, and how it is averaged. */
typedef struct {
    uint32_t rows, columns;
    line_t of_row, of_column;
    const float *average_rows, *average_columns;
} grid_t;

static const grid_t GRIDS[2] = {FRONT_GRIDS}; /* padded, and with every second pixel of that */

static float line[2u * FRONT_MOST_SIDE];
static float spectrum[2u * PADDED]; /* of the picture */
static float found[2u * PADDED];    /* a wavelet's modulus, then its spectrum */
static float coarse[PADDED / 2u];   /* the same, of every second pixel */
static float told[PRIVET_FEATURES];

/* Reads a line of a grid, transforms it, and puts it back. */
static void transform_line(const line_t *l, float *from, uint32_t stride, float sign) {
    uint32_t i;
    for (i = 0; i < l->size; i++) {
        const float *x = from + (2u * stride * l->order[i]);
        line[2u * i] = x[0];
        line[(2u * i) + 1u] = x[1];
    }
    fourier(l, line, sign);
    for (i = 0; i < l->size; i++, from += 2u * stride) {
        from[0] = line[2u * i];
        from[1] = line[(2u * i) + 1u];
    }
}

static void transform(const grid_t *g, float *map, float sign) {
    uint32_t i;
    for (i = 0; i < g->rows; i++) { transform_line(&g->of_row, map + (2u * i * g->columns), 1, sign); }
    for (i = 0; i < g->columns; i++) { transform_line(&g->of_column, map + (2u * i), g->columns, sign); }
}

/* Averages the real part of a map: along its rows, then these along columns. */
static void average(const grid_t *g, const float *map, float *out) {
    uint32_t p, q, y, x;
    for (x = 0; x < AREA; x++) { out[x] = 0.0f; }
    for (p = 0; p < g->rows; p++, map += 2u * g->columns) {
        for (x = 0; x < FRONT_OUT_COLUMNS; x++) {
            const float *weight = g->average_columns + (x * g->columns);
            float s = 0.0f;
            for (q = 0; q < g->columns; q++) { s = s + (weight[q] * map[2u * q]); }
            for (y = 0; y < FRONT_OUT_ROWS; y++) {
                float *to = out + ((y * FRONT_OUT_COLUMNS) + x);
                *to = *to + (g->average_rows[(y * g->rows) + p] * s);
            }
        }
    }
}

static void modulus(float *map, uint32_t num) {
    for (; num != 0u; num--, map += 2) {
        map[0] = root((map[0] * map[0]) + (map[1] * map[1]));
        map[1] = 0.0f;
    }
}

/* The modulus of what a wavelet of the first scale finds, on the whole grid. */
static void find(const float *filter) {
    uint32_t i;
    for (i = 0; i < PADDED; i++) {
        found[2u * i] = spectrum[2u * i] * filter[i];
        found[(2u * i) + 1u] = spectrum[(2u * i) + 1u] * filter[i];
    }
    transform(&GRIDS[0], found, -1.0f);
    modulus(found, PADDED);
}

/* As `find`, of the second scale, on every second pixel: four frequencies of `from` are one there. */
static void find_coarse(const float *from, const float *filter) {
    const grid_t *g = &GRIDS[1];
    uint32_t p, q, part;
    float *to = coarse;
    for (p = 0; p < g->rows; p++) {
        for (q = 0; q < g->columns; q++, to += 2) {
            float re = 0.0f, im = 0.0f;
            for (part = 0; part < 4u; part++) {
                uint32_t row = p + ((part >> 1) * g->rows), column = q + ((part & 1u) * g->columns);
                uint32_t at = (row * FRONT_COLUMNS) + column;
                re = re + (from[2u * at] * filter[at]);
                im = im + (from[(2u * at) + 1u] * filter[at]);
            }
            to[0] = re;
            to[1] = im;
        }
    }
    transform(g, coarse, -1.0f);
    modulus(coarse, PADDED / 4u);
}

/* A channel's maps: S0; S1 by scale and orientation; S2 by the orientations of both scales. */
static void scatter(float *maps) {
    const float *second = FILTERS + (ORIENTATIONS * PADDED);
    uint32_t t, u;
    average(&GRIDS[0], spectrum, maps);
    transform(&GRIDS[0], spectrum, 1.0f);
    for (t = 0; t < ORIENTATIONS; t++) {
        find(FILTERS + (t * PADDED));
        average(&GRIDS[0], found, maps + ((FIRST + t) * AREA));
        transform(&GRIDS[0], found, 1.0f);
        for (u = 0; u < ORIENTATIONS; u++) {
            find_coarse(found, second + (u * PADDED));
            average(&GRIDS[1], coarse, maps + ((SECOND + (t * ORIENTATIONS) + u) * AREA));
        }
    }
    for (t = 0; t < ORIENTATIONS; t++) {
        find_coarse(spectrum, second + (t * PADDED));
        average(&GRIDS[1], coarse, maps + ((FIRST + ORIENTATIONS + t) * AREA));
    }
}

/* A channel as it is, or of red, green and blue the brightness and two differences. */
static float pixel(const privet_raw_t *raw, uint32_t channel, uint32_t at) {
#if FRONT_CHANNELS == 3
    float s = FRONT_INVERSE_FULL * (float)raw[at] * MIX[3u * channel];
    s = s + (FRONT_INVERSE_FULL * (float)raw[PIXELS + at] * MIX[(3u * channel) + 1u]);
    return s + (FRONT_INVERSE_FULL * (float)raw[(2u * PIXELS) + at] * MIX[(3u * channel) + 2u]);
#else
    return FRONT_INVERSE_FULL * (float)raw[(channel * PIXELS) + at];
#endif
}

/* The sum over some maps of what differs from `mean`, or of its squares: of each map, and of these. */
static float sum_of(const float *x, float mean, uint32_t squared) {
    float total = 0.0f;
    uint32_t k, i;
    for (k = 0; k < FRONT_GROUP; k++) {
        float s = 0.0f;
        for (i = 0; i < AREA; i++, x++) {
            float e = *x - mean;
            s = s + ((squared != 0u) ? (e * e) : e);
        }
        total = total + s;
    }
    return total;
}

void privet_front(const privet_raw_t *raw, int16_t *features) {
    const float num = (float)(FRONT_GROUP * AREA);
    uint32_t c, p, q, i;
    for (c = 0; c < FRONT_CHANNELS; c++) {
        float *to = spectrum;
        for (p = 0; p < FRONT_ROWS; p++) {
            for (q = 0; q < FRONT_COLUMNS; q++, to += 2) {
                to[0] = pixel(raw, c, (REFLECTED_ROWS[p] * FRONT_WIDTH) + REFLECTED_COLUMNS[q]);
                to[1] = 0.0f;
            }
        }
        scatter(told + (c * MAPS * AREA));
    }
    for (c = 0; c < PRIVET_FEATURES; c += FRONT_GROUP * AREA) {
        float mean = sum_of(told + c, 0.0f, 0) / num;
        float inverse = 1.0f / root((sum_of(told + c, mean, 1) / num) + FRONT_EPS);
        for (i = 0; i < (FRONT_GROUP * AREA); i++) {
            *features++ = in_units((told[c + i] - mean) * inverse);
        }
    }
}
