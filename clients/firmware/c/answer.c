/* answer.c - the class of a record: all there is of a board that learns nothing. */
#include "answer.h"

#include "net.h"

uint32_t privet_predict(const int16_t *inputs) {
    memcpy(net_inputs(), inputs, 2u * PRIVET_INPUTS);
    return net_class();
}
