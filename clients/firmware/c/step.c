/* step.c - a private step: a number is spent, records are drawn, each adds its clipped gradient, and
   noise is added before anything else reads the sums. */
#include "step.h"

#include "contract.h"
#include "net.h"
#include "noise.h"
#include "port.h"

static uint32_t key[8];
static stream_t stream, slow;

/* Is a record in the batch? With a probability of PRIVET_SAMPLE_RATE / 2^32, by eight bits, and by
   24 more in one case of 256. */
static uint32_t is_drawn(uint32_t byte) {
    uint32_t first = (uint32_t)(PRIVET_SAMPLE_RATE >> 24);
    uint32_t then = (uint32_t)(PRIVET_SAMPLE_RATE & 0xFFFFFFu);
    if (byte != first) { return (byte < first) ? 1u : 0u; }
    return ((stream_word(&slow) >> 8) < then) ? 1u : 0u;
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

/* With fused products, sums in another order, or where numbers below 2^-126 are flushed to zero, bits
   are others than those that were audited: a matter of the compiler's flags, and of FPSCR. */
static uint32_t floats_as_agreed(void) {
    volatile float near_one = 1.000244140625f, other = -1.00048828125f, tiny = 0x1p-126f;
    volatile float large = 0x1p24f, one = 1.0f;
    float x = near_one, y = other, z = tiny, l = large, o = one;
    float product = (x * x) + y, half = z * 0.5f, lost = (l + o) - l;
    return ((product == 0.0f) && (half > 0.0f) && (lost == 0.0f)) ? 1u : 0u;
}

int32_t privet_open(uint32_t at_least) {
    if (floats_as_agreed() == 0u) { return PRIVET_FLOATS; }
    net_begin();
    port_key(key);
    return ledger_open(at_least, key);
}

int32_t privet_step(uint32_t num_records) {
    uint32_t step = 0, start, i, drawn, high;
    uint8_t label;
    int32_t found = ledger_spend(&step);
    if (found != PRIVET_OK) { return found; }
    stream_begin(&stream, key, step, STREAM_ROUND);
    high = stream_word(&stream);
    net_step(high, stream_word(&stream));
    stream_begin(&stream, key, step, STREAM_BATCH);
    stream_begin(&slow, key, step, STREAM_BATCH | 0x100u);
    for (start = 0; start < num_records; start += 32u) {
        uint32_t num = ((num_records - start) < 32u) ? (num_records - start) : 32u;
        drawn = sample(num);
        for (i = 0; drawn != 0u; i++, drawn >>= 1) {
            if ((drawn & 1u) == 0u) { continue; }
            port_record(start + i, net_inputs(), &label);
            if (label < PRIVET_CLASSES) { net_learn(start + i, label); }
        }
    }
    stream_begin(&stream, key, step, STREAM_NOISE);
    stream_begin(&slow, key, step, STREAM_SLOW);
    net_update(&stream, &slow);
    return PRIVET_OK;
}

const privet_weight_t *privet_weights(void) {
    return net_weights();
}
