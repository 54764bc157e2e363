/* port_qemu.c - a board in QEMU: records, key and what is asked come from files, by semihosting, and
   weights go to one. Its ledger is in RAM: no power is cut here. */
#include <stddef.h>

#include "port.h"
#include "step.h"

enum { OPEN = 1, CLOSE = 2, WRITE = 5, READ = 6, SEEK = 10, EXIT = 0x20 };
enum { READING = 1, WRITING = 5 };
#define RECORD (2u * PRIVET_INPUTS)
#define ENDED 0x20026u

extern uint32_t stack_top[], bss_begin[], bss_end[];
static uint8_t ledger[2][PRIVET_LEDGER_BYTES];
static uint32_t records_file;

static uint32_t host(uint32_t what, const uint32_t *arguments) {
    register uint32_t r0 __asm__("r0") = what;
    register const uint32_t *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t opened(const char *name, uint32_t size, uint32_t how) {
    uint32_t arguments[3] = {(uint32_t)name, how, size};
    return host(OPEN, arguments);
}

static void moved(uint32_t what, uint32_t file, const void *bytes, uint32_t num) {
    uint32_t arguments[3] = {file, (uint32_t)bytes, num};
    (void)host(what, arguments);
}

static void end(uint32_t status) {
    uint32_t arguments[2] = {ENDED, status};
    (void)host(EXIT, arguments);
    for (;;) {}
}

void port_record(uint32_t index, int16_t *inputs, uint8_t *label) {
    uint32_t arguments[2] = {records_file, index * (RECORD + 1u)};
    (void)host(SEEK, arguments);
    moved(READ, records_file, inputs, RECORD);
    moved(READ, records_file, label, 1u);
}

void port_key(uint32_t key[8]) {
    uint32_t file = opened("key.bin", 7u, READING);
    moved(READ, file, key, 32u);
    (void)host(CLOSE, &file);
}

const uint8_t *port_ledger(uint32_t area) {
    return ledger[area];
}

void port_program(uint32_t area, uint32_t offset, const uint8_t *bytes) {
    uint32_t i;
    for (i = 0; i < 32u; i++) { ledger[area][offset + i] &= bytes[i]; }
}

/* Steps, and how many records there are to learn from and to be asked of. */
static void work(void) {
    static int16_t asked[PRIVET_INPUTS];
    uint32_t plan[3] = {0, 0, 0}, file = opened("plan.bin", 8u, READING), out, i;
    int32_t found;
    moved(READ, file, plan, sizeof plan);
    records_file = opened("records.bin", 11u, READING);
    out = opened("seen.bin", 8u, WRITING);
    for (i = 0; i < PRIVET_LEDGER_BYTES; i++) {
        ledger[0][i] = 0xFFu;
        ledger[1][i] = 0xFFu;
    }
    found = privet_begin();
    if (found == PRIVET_OK) { found = privet_open(0); }
    file = opened("asked.bin", 9u, READING);
    for (i = 0; (i < plan[2]) && (found == PRIVET_OK); i++) {
        uint32_t answer;
        moved(READ, file, asked, RECORD);
        answer = privet_predict(asked);
        moved(WRITE, out, &answer, 4u);
    }
    for (i = 0; (i < plan[0]) && (found == PRIVET_OK); i++) {
        found = privet_step(plan[1]);
        moved(WRITE, out, privet_weights(), 4u * PRIVET_WEIGHTS);
    }
    (void)host(CLOSE, &out);
    end((uint32_t)found);
}

void reset(void) {
    uint32_t *at;
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\nisb" ::: "memory");
    for (at = bss_begin; at != bss_end; at++) { *at = 0; }
    work();
}

static void fault(void) {
    end(99u);
}

__attribute__((section(".vectors"), used)) const void *const VECTORS[16] = {
    stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault};
