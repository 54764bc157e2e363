/* ledger.c - a hash chain in two areas of flash, one record of 32 bytes a step, none ever erased.

   A record: number, key's mark, and 24 bytes BLAKE2s(last hash, number, mark). Any word that is not
   erased counts as a step, whatever it holds: a power cut while it was programmed has spent it. The
   areas may differ by the one record that a cut came between; by more, one was cut short. */
#include "ledger.h"

#define PRIVET_WITH_ID
#include "contract.h"
#include "noise.h"
#include "port.h"

#define RECORD 32u
#define HASH 24u
#define TORN 0xFFFFFFFFu    /* mark of a record that a power cut left half-written */
#define MOST_TORN 8u        /* in a row: power cuts at one and the same step */

typedef struct {
    uint32_t count; /* records, the first of which begins the chain and is no step */
    uint8_t hash[HASH];
} chain_t;

static chain_t chains[2];
static uint32_t mark;
static uint32_t opened;

static const uint32_t IV[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                               0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
static const uint8_t SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static uint32_t rotated(uint32_t x, uint32_t n) {
    return (x >> n) | (x << (32u - n));
}

/* BLAKE2s (RFC 7693) of one block of at most 32 bytes: no key, a digest of 24 bytes. */
static void digest(const uint32_t words[8], uint32_t length, uint8_t out[HASH]) {
    uint32_t h[8], v[16], m[16], i, r;
    for (i = 0; i < 8u; i++) {
        h[i] = IV[i];
        m[i] = words[i];
        m[8u + i] = 0;
    }
    h[0] ^= 0x01010000u ^ HASH;
    for (i = 0; i < 8u; i++) {
        v[i] = h[i];
        v[8u + i] = IV[i];
    }
    v[12] ^= length;
    v[14] = ~v[14];
    for (r = 0; r < 10u; r++) {
        for (i = 0; i < 8u; i++) {
            uint32_t s = (i < 4u) ? 0u : (i - 3u), a = i & 3u;
            uint32_t b = 4u + ((a + ((s != 0u) ? 1u : 0u)) & 3u);
            uint32_t c = 8u + ((a + ((s != 0u) ? 2u : 0u)) & 3u);
            uint32_t d = 12u + ((a + ((s != 0u) ? 3u : 0u)) & 3u);
            v[a] += v[b] + m[SIGMA[r][2u * i]];
            v[d] = rotated(v[d] ^ v[a], 16);
            v[c] += v[d];
            v[b] = rotated(v[b] ^ v[c], 12);
            v[a] += v[b] + m[SIGMA[r][(2u * i) + 1u]];
            v[d] = rotated(v[d] ^ v[a], 8);
            v[c] += v[d];
            v[b] = rotated(v[b] ^ v[c], 7);
        }
    }
    for (i = 0; i < (HASH / 4u); i++) { h[i] ^= v[i] ^ v[8u + i]; }
    memcpy(out, h, HASH);
}

static void link(const uint8_t last[HASH], uint32_t number, uint32_t key_mark, uint8_t out[HASH]) {
    uint32_t words[8];
    memcpy(words, last, HASH);
    words[6] = number;
    words[7] = key_mark;
    digest(words, RECORD, out);
}

static uint32_t is_erased(const uint8_t *bytes) {
    uint32_t i, both = 0xFFu;
    for (i = 0; i < RECORD; i++) { both &= bytes[i]; }
    return (both == 0xFFu) ? 1u : 0u;
}

static uint32_t differ(const uint8_t *a, const uint8_t *b) {
    uint32_t i, found = 0;
    for (i = 0; i < HASH; i++) { found |= (uint32_t)(a[i] ^ b[i]); }
    return found;
}

/* Walks an area. Returns PRIVET_OK, PRIVET_NOT_OPEN if it was never begun, or PRIVET_DAMAGED. */
static int32_t scan(uint32_t area, chain_t *chain) {
    const uint8_t *at = port_ledger(area);
    uint32_t i, torn = 0;
    memcpy(chain->hash, CONTRACT_ID, HASH);
    for (i = 0; i < PRIVET_LEDGER_RECORDS; i++) {
        const uint8_t *record = at + (i * RECORD);
        uint8_t hash[HASH];
        uint32_t head[2];
        if (is_erased(record) != 0u) { break; }
        memcpy(head, record, 8);
        link(chain->hash, i, head[1], hash);
        if ((head[0] == i) && (differ(hash, record + 8) == 0u)) {
            torn = 0;
        } else {
            torn++;
            link(chain->hash, i, TORN, hash);
        }
        if (torn > MOST_TORN) { return PRIVET_DAMAGED; }
        memcpy(chain->hash, hash, HASH);
    }
    chain->count = i;
    for (; i < PRIVET_LEDGER_RECORDS; i++) {
        if (is_erased(at + (i * RECORD)) == 0u) { return PRIVET_DAMAGED; }
    }
    return (chain->count == 0u) ? PRIVET_NOT_OPEN : PRIVET_OK;
}

static void append(uint32_t area, uint32_t key_mark) {
    chain_t *chain = &chains[area];
    uint32_t words[RECORD / 4u];
    uint8_t bytes[RECORD], hash[HASH];
    link(chain->hash, chain->count, key_mark, hash);
    words[0] = chain->count;
    words[1] = key_mark;
    memcpy(bytes, words, 8);
    memcpy(bytes + 8, hash, HASH);
    port_program(area, chain->count * RECORD, bytes);
    memcpy(chain->hash, hash, HASH);
    chain->count++;
}

int32_t ledger_begin(void) {
    uint32_t area;
    int32_t found;
    for (area = 0; area < 2u; area++) {
        found = scan(area, &chains[area]);
        if ((found != PRIVET_NOT_OPEN) && (chains[area].count != 1u)) { return PRIVET_USED; }
    }
    for (area = 0; area < 2u; area++) {
        if (chains[area].count == 0u) { append(area, 0); }
    }
    return PRIVET_OK;
}

int32_t ledger_open(uint32_t at_least, const uint32_t key[8]) {
    uint32_t area, most, least, words[8];
    uint8_t hash[HASH];
    opened = 0;
    for (area = 0; area < 2u; area++) {
        int32_t found = scan(area, &chains[area]);
        if (found != PRIVET_OK) { return found; }
    }
    most = (chains[0].count > chains[1].count) ? chains[0].count : chains[1].count;
    least = (chains[0].count > chains[1].count) ? chains[1].count : chains[0].count;
    if (((most - least) > 1u) || ((most - 1u) < at_least)) { return PRIVET_DAMAGED; }
    for (area = 0; area < 2u; area++) {
        if (chains[area].count < most) { append(area, TORN); }
    }
    memcpy(words, key, 32);
    digest(words, 32, hash);
    memcpy(&mark, hash, 4);
    mark &= 0x7FFFFFFFu; /* never that of a torn record */
    opened = 1;
    return PRIVET_OK;
}

int32_t ledger_spend(uint32_t *step) {
    if (opened == 0u) { return PRIVET_NOT_OPEN; }
    if (chains[0].count > PRIVET_MOST_STEPS) { return PRIVET_SPENT; }
    *step = chains[0].count;
    append(0, mark);
    append(1, mark);
    return PRIVET_OK;
}
