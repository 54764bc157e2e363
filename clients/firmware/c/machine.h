/* machine.h - what is asked of the processor, its compiler and its C library, by a net and its front. */
#ifndef PRIVET_MACHINE_H
#define PRIVET_MACHINE_H
#include <stddef.h>

/* All that is asked of a C library. */
void *memcpy(void *to, const void *from, size_t size);

/* A function that is counted by itself, whose stack is not its caller's, and that is given what its
   caller has, also where that is always the same. */
#if defined(__GNUC__)
#define PRIVET_APART __attribute__((noinline, used))
#else
#define PRIVET_APART
#endif

#define NEAREST 12582912.0f /* 1.5 2^23: what is added to it is rounded to a whole number */

static inline float root(float x) {
#if defined(__GNUC__)
    return __builtin_sqrtf(x);
#else
#error "a correctly rounded square root of a float: name your compiler's"
#endif
}

#endif
