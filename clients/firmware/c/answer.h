/* answer.h - what a board is asked. */
#ifndef PRIVET_ANSWER_H
#define PRIVET_ANSWER_H
#include <stdint.h>

/* The class of a record's inputs. What is asked of private records must not leave. */
uint32_t privet_predict(const int16_t *inputs);

#endif
