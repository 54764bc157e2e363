/* serial.c - what `privet node` asks over a serial port: one request at a time, each answered once.

   A frame is version, type, number (2 bytes), length (2), content, and the CRC-32 of all before it; in
   COBS (Cheshire and Baker 1999), so that a zero ends it and none is inside: whatever a line garbles
   ends at the next zero. Numbers are little-endian. What is no frame gets no answer. An answer has the
   type and number of what it answers, and begins with a status of ledger.h. A request of the last one's
   number is the last one, asked again: it gets the same answer, and no step is taken for it. */
#include "serial.h"

#define PRIVET_WITH_ID
#include "contract.h"
#include "ledger.h"
#include "net.h"
#include "port.h"

#define HEADER 6u
#define CHECK 4u
#define RECORD 32u

typedef struct {
    uint32_t size;
    uint8_t bytes[HEADER + SERIAL_MOST + CHECK];
} frame_t;

static frame_t asked, answer;
static uint32_t left, code; /* of a block of COBS: bytes to come, and what it began with */
static uint32_t is_bad;
static uint32_t is_answered; /* is the last answer there, for who asks again? */
static uint32_t own_records;

static uint32_t crc32(const uint8_t *bytes, uint32_t size) {
    uint32_t crc = 0xFFFFFFFFu, i, bit;
    for (i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8u; bit++) { crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u))); }
    }
    return ~crc;
}

static uint32_t word_of(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

static uint32_t half_of(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8);
}

static void put(const void *bytes, uint32_t size) {
    memcpy(answer.bytes + answer.size, bytes, size);
    answer.size += size;
}

static void put_word(uint32_t word) {
    put(&word, 4);
}

static void send(void) {
    uint32_t at = 0, num, i, is_more;
    port_write(0); /* ends what a line may have invented */
    do {
        for (num = 0; (num < 254u) && ((at + num) < answer.size); num++) {
            if (answer.bytes[at + num] == 0u) { break; }
        }
        port_write((uint8_t)(num + 1u));
        for (i = 0; i < num; i++) { port_write(answer.bytes[at + i]); }
        at += num;
        is_more = (at < answer.size) ? 1u : 0u;
        if (num < 254u) { at += is_more; } /* the zero, that the block stands for */
    } while (is_more != 0u);
    port_write(0);
}

/* Are `num` things from `at` on there, and few enough for one answer? */
static uint32_t is_within(uint32_t at, uint32_t num, uint32_t there, uint32_t size) {
    return ((at <= there) && (num <= (there - at)) && (num <= ((SERIAL_MOST - 4u) / size))) ? 1u : 0u;
}

/* Does what was asked, and puts what there is to say behind the status, which it returns. */
static int32_t serve(uint32_t type, const uint8_t *content, uint32_t size) {
    uint32_t words[3] = {0, 0, 0};
    memcpy(words, content, (size < 12u) ? size : 12u);
    if ((type == SERIAL_HELLO) && (size == 0u)) {
        put(CONTRACT_ID, sizeof CONTRACT_ID);
        return PRIVET_OK;
    }
    if ((type == SERIAL_BEGIN) && (size == 0u)) { return privet_begin(); }
    if ((type == SERIAL_OPEN) && (size == 4u)) { return privet_open(words[0]); }
    if ((type == SERIAL_STEP) && (size == 0u)) { return privet_step(own_records); }
    if ((type == SERIAL_WRITE) && (size > 4u) && ((size & 3u) == 0u)) {
        uint32_t num = (size - 4u) / 4u;
        if (is_within(words[0], num, PRIVET_WEIGHTS, 4) == 0u) { return PRIVET_REQUEST; }
        net_write(words[0], content + 4, num);
        return PRIVET_OK;
    }
    if ((type == SERIAL_READ) && (size == 8u)) {
        if (is_within(words[0], words[1], PRIVET_WEIGHTS, 4) == 0u) { return PRIVET_REQUEST; }
        put(privet_weights() + words[0], 4u * words[1]);
        return PRIVET_OK;
    }
    if ((type == SERIAL_LEDGER) && (size == 12u) && (words[0] < 2u)) {
        if (is_within(words[1], words[2], PRIVET_LEDGER_RECORDS, RECORD) == 0u) {
            return PRIVET_REQUEST;
        }
        put(port_ledger(words[0]) + (RECORD * words[1]), RECORD * words[2]);
        return PRIVET_OK;
    }
    return PRIVET_REQUEST;
}

/* Of a whole frame. */
static void answer_it(void) {
    uint32_t type = asked.bytes[1], size = half_of(asked.bytes + 4), status;
    uint32_t is_again = ((is_answered != 0u) && (type != SERIAL_HELLO) &&
                         (answer.bytes[1] == (type | SERIAL_ANSWER)) &&
                         (half_of(answer.bytes + 2) == half_of(asked.bytes + 2)))
                            ? 1u
                            : 0u;
    if (is_again == 0u) {
        answer.size = HEADER + 4u;
        status = (uint32_t)((asked.bytes[0] == SERIAL_VERSION)
                                ? serve(type, asked.bytes + HEADER, size)
                                : PRIVET_REQUEST);
        memcpy(answer.bytes + HEADER, &status, 4);
        answer.bytes[0] = SERIAL_VERSION;
        answer.bytes[1] = (uint8_t)(type | SERIAL_ANSWER);
        memcpy(answer.bytes + 2, asked.bytes + 2, 2);
        answer.bytes[4] = (uint8_t)(answer.size - HEADER);
        answer.bytes[5] = 0;
        put_word(crc32(answer.bytes, answer.size));
        is_answered = 1;
    }
    send();
}

static uint32_t is_frame(void) {
    uint32_t size = asked.size - CHECK;
    if ((is_bad != 0u) || (left != 0u) || (asked.size < (HEADER + CHECK))) { return 0; }
    if ((half_of(asked.bytes + 4) + HEADER) != size) { return 0; }
    return (crc32(asked.bytes, size) == word_of(asked.bytes + size)) ? 1u : 0u;
}

static void keep(uint8_t byte) {
    if (asked.size == sizeof asked.bytes) {
        is_bad = 1;
    } else {
        asked.bytes[asked.size] = byte;
        asked.size++;
    }
}

static void take(uint8_t byte) {
    if (byte == 0u) {
        if (is_frame() != 0u) { answer_it(); }
        asked.size = 0;
        left = 0;
        code = 255; /* before a first block stands no zero */
        is_bad = 0;
    } else if (left != 0u) {
        keep(byte);
        left--;
    } else {
        if (code != 255u) { keep(0); }
        code = byte;
        left = code - 1u;
    }
}

void serial_serve(uint32_t num_records) {
    own_records = num_records;
    is_answered = 0;
    take(0);
    for (;;) {
        int32_t byte = port_read();
        if (byte >= 0) { take((uint8_t)byte); }
    }
}
