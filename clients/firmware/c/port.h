/* port.h - what the board gives: records, a key, and flash that keeps the ledger.
   A port of your board defines these functions; port_board.c has their skeleton. */
#ifndef PRIVET_PORT_H
#define PRIVET_PORT_H
#include <stdint.h>

/* Record `index` of the board's own: its inputs, in units of 1 / PRIVET_SCALE, and its label. */
void port_record(uint32_t index, int16_t *inputs, uint8_t *label);

/* 256 bits of the chip's true random generator, fresh at each call. Nobody may know them. */
void port_key(uint32_t key[8]);

/* Where area 0 or 1 of the ledger lies: PRIVET_LEDGER_BYTES each, in sectors of their own. An
   erased byte reads 0xFF; a word that fails its error correction must read as anything else. */
const uint8_t *port_ledger(uint32_t area);

/* Programs 32 bytes of an area, once, and returns when they are there. Nothing erases an area. */
void port_program(uint32_t area, uint32_t offset, const uint8_t *bytes);

/* For serial.c alone: the next byte of the serial port, or less than 0 while there is none. */
int32_t port_read(void);

/* For serial.c alone: sends a byte, and waits where the port is busy. */
void port_write(uint8_t byte);

#endif
