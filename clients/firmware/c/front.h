/* front.h - what stands before the net: from what a sensor gives to what the net reads. */
#ifndef PRIVET_FRONT_H
#define PRIVET_FRONT_H
#include <stdint.h>

#include "front_sizes.h"

/* The features of a record, PRIVET_FEATURES whole numbers in units of 1 / PRIVET_SCALE: what
   privet_predict is asked, and what port_record gives. A record is turned once, when it comes, and its
   features are kept. One caller at a time: the state is static. */
void privet_front(const privet_raw_t *raw, int16_t *features);

#endif
