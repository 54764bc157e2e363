/* net.h - the net, and what a record does to it: net.c is that of the run's arithmetic. */
#ifndef PRIVET_NET_H
#define PRIVET_NET_H
#include <stdint.h>

#include "contract.h"
#include "machine.h"

/* Where the inputs of a record are to be put. */
int16_t *net_inputs(void);

/* The class of the record that was put there. */
uint32_t net_class(void);

#if !defined(PRIVET_ANSWERS)
#include "noise.h"
#include "step.h"

/* Takes the weights of weights.h. */
void net_begin(void);

/* Weights from elsewhere, 4 bytes each; after the last of them the net is ready. */
void net_write(uint32_t at, const uint8_t *bytes, uint32_t num);

/* Before the records of a step: what is rounded at random is, by this word and a record's number. */
void net_step(uint32_t high, uint32_t low);

/* Adds the clipped gradient of the record that was put there to the sums. */
void net_learn(uint32_t number, uint32_t label);

/* Adds noise of two streams to the sums and moves the weights, in one pass: nothing else reads the
   sums. */
void net_update(stream_t *stream, stream_t *slow);

const privet_weight_t *net_weights(void);
#endif

#endif
