/* ledger.h - the steps that were taken, in flash: a number is spent before it is used. */
#ifndef PRIVET_LEDGER_H
#define PRIVET_LEDGER_H
#include <stdint.h>

enum {
    PRIVET_OK = 0,
    PRIVET_SPENT = 1,     /* the owner's limit is reached */
    PRIVET_DAMAGED = 2,   /* the ledger is not as it was left: cut short, or overwritten */
    PRIVET_NOT_OPEN = 3,  /* no ledger was opened, or none was begun on this board */
    PRIVET_USED = 4,      /* the ledger's areas are not erased: a board is begun once */
    PRIVET_FLOATS = 5,    /* floats are not as was agreed: products fused, or small numbers flushed */
    PRIVET_REQUEST = 6    /* of serial.c: no request that this board knows, or beyond its bounds */
};

/* Begins the ledger of a new board. Returns PRIVET_OK or PRIVET_USED. */
int32_t ledger_begin(void);

/* Reads and mends it. `at_least`: steps that the owner or the server knows of; 0 if nobody does.
   `key` is what the steps from now on will use; the ledger keeps 32 bits of its hash. */
int32_t ledger_open(uint32_t at_least, const uint32_t key[8]);

/* Spends the next step's number. Returns PRIVET_OK, PRIVET_SPENT or PRIVET_NOT_OPEN. */
int32_t ledger_spend(uint32_t *step);

#endif
