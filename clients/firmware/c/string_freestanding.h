/* string.h - of a C library, what CMSIS-NN's headers ask for, where there is none: see freestanding.c. */
#ifndef PRIVET_STRING_H
#define PRIVET_STRING_H
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

#endif
