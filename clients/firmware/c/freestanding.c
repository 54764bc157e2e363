/* freestanding.c - what a compiler takes for granted, where there is no C library. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t size) {
    volatile uint8_t *t = to;
    const uint8_t *f = from;
    while (size-- != 0u) { *t++ = *f++; }
    return to;
}

void *memset(void *to, int value, size_t size) {
    volatile uint8_t *t = to;
    while (size-- != 0u) { *t++ = (uint8_t)value; }
    return to;
}
