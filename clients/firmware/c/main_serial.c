/* main_serial.c - a board that is a client of a federation, in the place of main.c: it does what `privet
   node --board` asks of it over the serial port, and what leaves it is weights, answers and the ledger. */
#include "serial.h"

/* How many records the board has: of your board. */
uint32_t board_records(void);

int main(void) {
    serial_serve(board_records());
    return 0;
}
