/* main.c - a board that trains: begin once, open at each start, step until the limit. */
#include "port.h"
#include "step.h"

/* How many records the board has, and what becomes of weights that may leave: of your board. */
uint32_t board_records(void);
void board_release(const privet_weight_t *weights, int32_t why_it_ended);

int main(void) {
    int32_t found = privet_open(0);
    if (found == PRIVET_NOT_OPEN) { /* a new board: its ledger is erased */
        found = privet_begin();
        if (found == PRIVET_OK) { found = privet_open(0); }
    }
    while (found == PRIVET_OK) { found = privet_step(board_records()); }
    board_release(privet_weights(), found);
    for (;;) {}
}
