/* SPDX-License-Identifier: MIT */
/* What the kernel and the machine say about themselves. */
#ifndef EVERING_MACHINE_H
#define EVERING_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MACHINE_TEXT_SZ 192
#define MACHINE_CPUS_MAX 1024

struct machine {
	char kernel[MACHINE_TEXT_SZ]; /* "Linux 6.12.1 x86_64" */
	char model[MACHINE_TEXT_SZ]; /* of the processor */
	char thp[MACHINE_TEXT_SZ]; /* transparent huge pages: the chosen word */
	char thp_shmem[MACHINE_TEXT_SZ];
	int cpus_nr; /* that this process may use */
	int io_uring_error; /* errno of io_uring_setup(2), 0 = allowed */
	uint64_t memory_bytes;
	uint64_t memlock_bytes; /* UINT64_MAX = no limit */
	uint64_t shm_bytes; /* of /dev/shm, 0 = not there */
	uint64_t shm_free_bytes;
	bool may_write_shm;
	bool is_kernel_too_old; /* for the module: before 6.1 */
	bool is_module_loaded;
	bool has_device_node;
	int device_error; /* errno of opening it, 0 = may be opened */
};

void machine_read(struct machine *machine);

/* "kernel; model; N CPUs" */
const char *machine_text(const struct machine *machine, char *text, int size);

/* Two different CPUs of those allowed in @cpus; returns how many there are, 1 or 2. */
int machine_two_cpus(int cpus[2]);

/* How two CPUs are joined: "hyperthreads of one core", "one L3", "one socket", "two sockets", "one CPU". */
const char *machine_distance(const int cpus[2]);

/* Binds the calling process to a CPU, as far as that is allowed. */
void machine_pin(int cpu);

/* CLOCK_MONOTONIC. */
uint64_t machine_clock_ns(void);

/* Ticks of the cheapest clock there is; differences only. */
static inline uint64_t machine_ticks(void)
{
#if defined(__x86_64__)
	uint32_t low, high;

	__asm__ __volatile__("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
#else
	return machine_clock_ns();
#endif
}

/* Nanoseconds of one tick, measured once. */
double machine_ns_per_tick(void);

#ifdef __cplusplus
}
#endif

#endif
