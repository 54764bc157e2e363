/* noise.c - floor(sigma Z) for a normal Z and sigma = 2^NOISE_BITS: exact but for 2^-58.

   The density of |Z| is stacked with bricks, each of the mass 2^-12 over a width of sigma / 32: one
   word names a brick, a place in it, and a sign. What no brick covers (2 to 3 % of draws) is drawn
   by rejection in 64 bits, and beyond 4 sigma by a geometric proposal. */
#include "noise.h"
#include "tables.h"

#define ROR(x, n) (((x) >> (n)) | ((x) << (32u - (n))))

/* A quarter round whose second and fourth word are kept rotated left by 25 and 24, as the next one
   will rotate them right: each line is one instruction on a chip with a barrel shifter. */
#define QUARTER(a, b, c, d)        \
    a += ROR(b, 25u);              \
    d = a ^ ROR(d, 24u);           \
    c += ROR(d, 16u);              \
    b = c ^ ROR(b, 25u);           \
    a += ROR(b, 20u);              \
    d = a ^ ROR(d, 16u);           \
    c += ROR(d, 24u);              \
    b = c ^ ROR(b, 20u)

void stream_begin(stream_t *stream, const uint32_t key[8], uint32_t step, uint32_t purpose) {
    uint32_t i;
    stream->state[0] = 0x61707865u;
    stream->state[1] = 0x3320646eu;
    stream->state[2] = 0x79622d32u;
    stream->state[3] = 0x6b206574u;
    for (i = 0; i < 8u; i++) { stream->state[4u + i] = key[i]; }
    stream->state[12] = 0;
    stream->state[13] = step;
    stream->state[14] = purpose;
    stream->state[15] = 0;
    stream->used = 16;
}

PRIVET_APART void stream_block(stream_t *stream) {
    const uint32_t *s = stream->state;
    uint32_t *o = stream->words;
    uint32_t x0 = s[0], x1 = s[1], x2 = s[2], x3 = s[3];
    uint32_t x4 = ROR(s[4], 7u), x5 = ROR(s[5], 7u), x6 = ROR(s[6], 7u), x7 = ROR(s[7], 7u);
    uint32_t x8 = s[8], x9 = s[9], xa = s[10], xb = s[11];
    uint32_t xc = ROR(s[12], 8u), xd = ROR(s[13], 8u), xe = ROR(s[14], 8u), xf = ROR(s[15], 8u);
    uint32_t i;
    for (i = 0; i < 10u; i++) {
        QUARTER(x0, x4, x8, xc);
        QUARTER(x1, x5, x9, xd);
        QUARTER(x2, x6, xa, xe);
        QUARTER(x3, x7, xb, xf);
        QUARTER(x0, x5, xa, xf);
        QUARTER(x1, x6, xb, xc);
        QUARTER(x2, x7, x8, xd);
        QUARTER(x3, x4, x9, xe);
    }
    o[0] = x0 + s[0];
    o[1] = x1 + s[1];
    o[2] = x2 + s[2];
    o[3] = x3 + s[3];
    o[4] = ROR(x4, 25u) + s[4];
    o[5] = ROR(x5, 25u) + s[5];
    o[6] = ROR(x6, 25u) + s[6];
    o[7] = ROR(x7, 25u) + s[7];
    o[8] = x8 + s[8];
    o[9] = x9 + s[9];
    o[10] = xa + s[10];
    o[11] = xb + s[11];
    o[12] = ROR(xc, 24u) + s[12];
    o[13] = ROR(xd, 24u) + s[13];
    o[14] = ROR(xe, 24u) + s[14];
    o[15] = ROR(xf, 24u) + s[15];
    stream->state[12]++;
    stream->used = 0;
}

static uint64_t stream_long(stream_t *stream) {
    uint64_t high = stream_word(stream);
    return (high << 32) | stream_word(stream);
}

/* a b / 2^64, rounded down */
static uint64_t high_product(uint64_t a, uint64_t b) {
    uint64_t al = a & 0xFFFFFFFFu, ah = a >> 32, bl = b & 0xFFFFFFFFu, bh = b >> 32;
    uint64_t middle = (ah * bl) + ((al * bl) >> 32);
    uint64_t other = (al * bh) + (middle & 0xFFFFFFFFu);
    return (ah * bh) + (middle >> 32) + (other >> 32);
}

/* exp(-t / 2^43) in units of 2^-62, 0 <= t < 2^46 */
static uint64_t exponential(uint64_t t) {
    uint64_t g = (t & 0xFFFFFFFFu) << 21; /* what two tables leave: below 2^-11, in 2^-64 */
    uint64_t p = 0xAAAAAAAAAAAAAAAu;      /* 1/24: g^4/24 - g^3/6 + g^2/2 - g, by Horner */
    p = 0x2AAAAAAAAAAAAAABu - high_product(p, g);
    p = 0x8000000000000000u - high_product(p, g);
    p = g - high_product(high_product(p, g), g); /* 1 - exp(-g), in 2^-64 */
    {
        uint64_t x = high_product(EXP_COARSE[t >> 39], EXP_FINE[(t >> 32) & 127u]); /* in 2^-62 */
        return x - high_product(x, p);
    }
}

/* |floor(sigma Z)| beyond 4 sigma, less those 4 sigma */
static uint32_t tail(stream_t *slow) {
    for (;;) {
        uint32_t zeros = stream_word(slow), y = stream_word(slow) >> (34u - NOISE_BITS);
        uint64_t u = stream_long(slow) >> 2, x, t, n;
        uint32_t g = 0;
        if (zeros == 0u) { continue; }
        while ((zeros & 1u) == 0u) {
            zeros >>= 1;
            g++;
        }
        n = (((uint64_t)g << (NOISE_BITS - 2u)) + y);
        /* ((2(4 sigma + n) + 1)^2 - (8 sigma)^2) / 2^(2 bits + 3), in units of 2^-43 */
        t = (2u * n) + 1u;
        t = ((t * t) + ((t << (NOISE_BITS + 3u)) * 2u)) << (40u - (2u * NOISE_BITS));
        x = (uint64_t)1 << 62;
        for (; t >= ((uint64_t)1 << 46); t -= (uint64_t)1 << 46) { x = high_product(x, EXP_EIGHT); }
        x = high_product(x, exponential(t)) << 2;
        if (u < (x << g)) { return (uint32_t)n; }
    }
}

PRIVET_APART int32_t noise_slow(uint32_t word, stream_t *slow) {
    uint32_t n;
    if (stream_long(slow) < TAIL) {
        n = ((uint32_t)4 << NOISE_BITS) + tail(slow);
    } else {
        for (;;) {
            uint32_t w = stream_word(slow), high = stream_word(slow), j = w >> 25;
            uint64_t t, u;
            if (high > BOUND[j]) { continue; }
            u = ((uint64_t)high << 32) | stream_word(slow);
            n = (j << (NOISE_BITS - 5u)) | (w & (((uint32_t)1 << (NOISE_BITS - 5u)) - 1u));
            t = ((uint64_t)n * 2u) + 1u;
            t = (t * t) << (40u - (2u * NOISE_BITS));
            if (u < ((exponential(t) - HEIGHT[j]) << RESIDUE_SHIFT)) { break; }
        }
    }
    return (((word >> 15) & 1u) != 0u) ? (int32_t)~n : (int32_t)n;
}
