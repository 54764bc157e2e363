/* step.h - what the board calls. One caller at a time: the state is static. */
#ifndef PRIVET_STEP_H
#define PRIVET_STEP_H
#include <stdint.h>

#include "answer.h"
#include "contract.h"
#include "ledger.h"

#if defined(PRIVET_WHOLE_WEIGHTS)
typedef int32_t privet_weight_t; /* in units of PRIVET_RATE */
#else
typedef float privet_weight_t;
#endif

/* Once in a board's life, with both areas of the ledger erased. */
int32_t privet_begin(void);

/* At each start: opens the ledger, draws a key, and takes the weights of weights.h.
   `at_least`: steps known elsewhere (the server's receipt, a backup register); else 0. */
int32_t privet_open(uint32_t at_least);

/* One private step over a Poisson batch of the board's records: spent before it is computed. */
int32_t privet_step(uint32_t num_records);

/* The weights, layer by layer: [outputs][inputs], then [outputs] biases. They may leave. */
const privet_weight_t *privet_weights(void);

#endif
