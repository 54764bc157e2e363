/* port_emulated.c - a port whose functions the emulator answers: a breakpoint, and back. */
#include <stddef.h>

#include "port.h"

#define ASKED(name) \
    __asm__(".thumb\n.global " #name "\n.type " #name ", %function\n.thumb_func\n" #name ":\n" \
            "bkpt #0\nbx lr\n")

ASKED(port_record);
ASKED(port_key);
ASKED(port_ledger);
ASKED(port_program);

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
