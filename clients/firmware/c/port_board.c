/* port_board.c - the skeleton of a port. Nothing in it is real: each function stops the board until
   it is written, so that no step is ever taken without the chip's own random numbers. */
#include "port.h"
#include "step.h"

uint32_t board_records(void);
void board_release(const privet_weight_t *weights, int32_t why_it_ended);

static void write_this_function(void) {
    for (;;) {}
}

void port_record(uint32_t index, int16_t *inputs, uint8_t *label) {
    (void)index;
    (void)inputs;
    (void)label;
    write_this_function(); /* read record `index` from where the board keeps its records */
}

void port_key(uint32_t key[8]) {
    (void)key;
    write_this_function(); /* STM32: eight words of RNG->DR, each after DRDY and without SECS, CECS */
}

const uint8_t *port_ledger(uint32_t area) {
    (void)area;
    write_this_function(); /* the address of a sector that the linker leaves alone */
    return 0;
}

void port_program(uint32_t area, uint32_t offset, const uint8_t *bytes) {
    (void)area;
    (void)offset;
    (void)bytes;
    write_this_function(); /* STM32H7: one flash word; wait for the end of BSY and QW */
}

int32_t port_read(void) {
    write_this_function(); /* the next byte that the UART, or USB's CDC, has taken in; else -1 */
    return -1;
}

void port_write(uint8_t byte) {
    (void)byte;
    write_this_function(); /* wait until there is room, then send it */
}

uint32_t board_records(void) {
    return 0;
}

void board_release(const privet_weight_t *weights, int32_t why_it_ended) {
    (void)weights;
    (void)why_it_ended;
    write_this_function();
}
