/* library.h - convolutions of words by CMSIS-NN's arm_nn_mat_mult_nt_t_s8_s32, which gives whole sums:
   bit by bit those of our own kernels. Included by net.c alone, where --kernels cmsis-nn was asked for.

   What some outputs' places read is gathered beside each other; weights are read as they lie in flash. */
#ifndef PRIVET_LIBRARY_H
#define PRIVET_LIBRARY_H
#include "arm_nnsupportfunctions.h"

#define PLACES 4u /* gathered at a time */
#define OFFSET 128 /* words of inputs none of which is negative are 0 to 255: as bytes, less this */

static int8_t gathered[PLACES * PRIVET_MOST_ROW];
static int32_t whole_sums[PLACES * PRIVET_MOST_OUTPUTS];

/* What is taken from each word so that all are bytes. */
static int32_t offset_of(const input_t *inputs, uint32_t num) {
    uint32_t k;
    for (k = 0; k < num; k++) {
        if (inputs[k] < 0) { return 0; }
    }
    return OFFSET;
}

/* What an output reads, in the order of its weights; 0 beyond the edges. */
static void gather(const layer_t *l, const input_t *from, int8_t *to, const range_t *rows,
                   const range_t *columns, int32_t offset) {
    int8_t nothing = (int8_t)(-offset);
    uint32_t c, i, j;
    from += (rows->by * l->w) + columns->by;
    if (is_point(l) != 0u) {
        for (c = 0; c < l->c; c++, from += l->h * l->w) { *to++ = (int8_t)(*from - offset); }
        return;
    }
    for (c = 0; c < l->c; c++, from += l->h * l->w) {
        const input_t *x = from;
        for (i = 0; i < l->kh; i++) {
            uint32_t end = ((i >= rows->first) && (i < rows->end)) ? columns->end : 0u;
            uint32_t first = (end != 0u) ? columns->first : 0u;
            for (j = 0; j < first; j++) { *to++ = nothing; }
            for (; j < end; j++) { *to++ = (int8_t)(x[j - first] - offset); }
            for (; j < l->kw; j++) { *to++ = nothing; }
            x += (end != 0u) ? l->w : 0u;
        }
    }
}

static void convolve_by_library(const layer_t *l, const input_t *inputs) {
    const int8_t *kernel = (const int8_t *)&words[l->words];
    float *out = values + l->value;
    uint32_t area = l->oh * l->ow, place, o, k;
    int32_t offset = offset_of(inputs, l->c * l->h * l->w);
    for (place = 0; place < area; place += PLACES) {
        uint32_t num = ((area - place) < PLACES) ? (area - place) : PLACES;
        for (k = 0; k < num; k++) {
            range_t rows = elements((place + k) / l->ow, l->kh, l->sh, l->ph, l->h);
            range_t columns = elements((place + k) % l->ow, l->kw, l->sw, l->pw, l->w);
            gather(l, inputs, gathered + (k * l->row), &rows, &columns, offset);
        }
        for (k = 0; k < (num * l->outputs); k++) { whole_sums[k] = 0; }
        (void)arm_nn_mat_mult_nt_t_s8_s32(gathered, kernel, whole_sums, (int32_t)num,
                                          (int32_t)l->row, (int32_t)l->outputs, offset, 1);
        for (k = 0; k < num; k++) {
            for (o = 0; o < l->outputs; o++) {
                out[(o * area) + place + k] = given(l, o, whole_sums[(k * l->outputs) + o]);
            }
        }
    }
}

#endif
