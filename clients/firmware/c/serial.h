/* serial.h - a board that is a client: `privet node --board` asks, over a serial port. */
#ifndef PRIVET_SERIAL_H
#define PRIVET_SERIAL_H
#include <stdint.h>

#define SERIAL_VERSION 1u
#define SERIAL_MOST 240u /* bytes of a frame's content */

enum {
    SERIAL_HELLO = 1,  /*                             -> contract's id, 24 bytes */
    SERIAL_BEGIN = 2,  /*                             -> */
    SERIAL_OPEN = 3,   /* steps known at least        -> */
    SERIAL_WRITE = 4,  /* place, weights of 4 bytes   -> */
    SERIAL_STEP = 5,   /*                             -> */
    SERIAL_READ = 6,   /* place, how many             -> weights */
    SERIAL_LEDGER = 7, /* area, place, how many       -> records of 32 bytes */
    SERIAL_ANSWER = 0x80
};

/* Answers what is asked, for ever. `num_records`: of the board's own, over which a step draws. */
void serial_serve(uint32_t num_records);

#endif
