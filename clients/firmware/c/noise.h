/* noise.h - ChaCha20 (RFC 8439) and the floored Gaussian, in integers. */
#ifndef PRIVET_NOISE_H
#define PRIVET_NOISE_H
#include <stdint.h>

#include "machine.h"

typedef struct {
    uint32_t state[16];
    uint32_t words[16];
    uint32_t used;
} stream_t;

enum { STREAM_NOISE = 0, STREAM_SLOW = 1, STREAM_BATCH = 2, STREAM_ROUND = 3 };

void stream_begin(stream_t *stream, const uint32_t key[8], uint32_t step, uint32_t purpose);
void stream_block(stream_t *stream);

static inline uint32_t stream_word(stream_t *stream) {
    uint32_t word;
    if (stream->used == 16u) { stream_block(stream); }
    word = stream->words[stream->used];
    stream->used++;
    return word;
}

/* floor(sigma Z), sigma = 2^NOISE_BITS, for a word whose brick index is none: the rare draws. */
int32_t noise_slow(uint32_t word, stream_t *slow);

#endif
