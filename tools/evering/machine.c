// SPDX-License-Identifier: MIT
/* What the kernel and the machine say about themselves. */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <evering/uapi.h>

#define TICKS_MEASURE_NS 10000000ULL

/* The first line of a file, "" when there is none. */
static void read_line(const char *path, char *text, int size)
{
	FILE *file = fopen(path, "re");

	*text = '\0';
	if (!file)
		return;
	if (!fgets(text, size, file))
		*text = '\0';
	text[strcspn(text, "\n")] = '\0';
	fclose(file);
}

/* The word in brackets of a line such as "always [madvise] never". */
static void read_choice(const char *path, char *text, int size)
{
	char line[MACHINE_TEXT_SZ];
	char *open, *close;

	read_line(path, line, sizeof(line));
	open = strchr(line, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close)
		snprintf(text, (size_t)size, "%.*s", (int)(close - open - 1), open + 1);
	else
		snprintf(text, (size_t)size, "%s", *line ? line : "unknown");
}

static void read_model(char *text, int size)
{
	char line[512];
	FILE *file = fopen("/proc/cpuinfo", "re");

	snprintf(text, (size_t)size, "unknown processor");
	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !value)
			continue;
		value[strcspn(value, "\n")] = '\0';
		snprintf(text, (size_t)size, "%.100s", value + 2);
		break;
	}
	if (file)
		fclose(file);
}

/* io_uring_setup(2) with no memory for its parameters: EFAULT when it is there and allowed. */
static int probe_io_uring(void)
{
#ifdef SYS_io_uring_setup
	if (syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT)
		return errno;
	return 0;
#else
	return ENOSYS;
#endif
}

/* The module is for Linux 6.1 and later. */
static bool is_too_old(const char *release)
{
	int major, minor;

	return sscanf(release, "%d.%d", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 1));
}

static void read_shm(struct machine *machine)
{
	struct statvfs shm;

	if (statvfs("/dev/shm", &shm))
		return;
	machine->shm_bytes = (uint64_t)shm.f_blocks * shm.f_frsize;
	machine->shm_free_bytes = (uint64_t)shm.f_bavail * shm.f_frsize;
	machine->may_write_shm = !access("/dev/shm", W_OK | X_OK);
}

static void read_device(struct machine *machine)
{
	int fd;

	machine->is_module_loaded = !access("/sys/module/evering", F_OK);
	machine->has_device_node = !access(EVERING_DEVICE, F_OK);
	fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);
	machine->device_error = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
}

void machine_read(struct machine *machine)
{
	struct rlimit memlock = { 0, 0 };
	struct utsname name;
	cpu_set_t allowed;

	memset(machine, 0, sizeof(*machine));
	uname(&name);
	snprintf(machine->kernel, sizeof(machine->kernel), "%s %.60s %.20s", name.sysname,
		 name.release, name.machine);
	machine->is_kernel_too_old = is_too_old(name.release);
	read_model(machine->model, sizeof(machine->model));
	read_choice("/sys/kernel/mm/transparent_hugepage/enabled", machine->thp,
		    sizeof(machine->thp));
	read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", machine->thp_shmem,
		    sizeof(machine->thp_shmem));
	machine->cpus_nr = sched_getaffinity(0, sizeof(allowed), &allowed) ? 1 :
									     CPU_COUNT(&allowed);
	machine->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	getrlimit(RLIMIT_MEMLOCK, &memlock);
	machine->memlock_bytes = memlock.rlim_cur == RLIM_INFINITY ? UINT64_MAX : memlock.rlim_cur;
	read_shm(machine);
	machine->io_uring_error = probe_io_uring();
	read_device(machine);
}

const char *machine_text(const struct machine *machine, char *text, int size)
{
	snprintf(text, (size_t)size, "%s; %s; %d CPU%s", machine->kernel, machine->model,
		 machine->cpus_nr, machine->cpus_nr == 1 ? "" : "s");
	return text;
}

static bool is_same_line(const int cpus[2], const char *what)
{
	char path[128], a[MACHINE_TEXT_SZ], b[MACHINE_TEXT_SZ];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", cpus[0], what);
	read_line(path, a, sizeof(a));
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", cpus[1], what);
	read_line(path, b, sizeof(b));
	return *a && !strcmp(a, b);
}

const char *machine_distance(const int cpus[2])
{
	if (cpus[0] == cpus[1])
		return "one CPU";
	if (is_same_line(cpus, "topology/thread_siblings_list"))
		return "hyperthreads of one core";
	if (is_same_line(cpus, "cache/index3/shared_cpu_list"))
		return "two cores of one L3";
	if (is_same_line(cpus, "topology/physical_package_id"))
		return "two cores of one socket";
	return "two sockets";
}

int machine_two_cpus(int cpus[2])
{
	cpu_set_t allowed;
	int nr = 0;

	cpus[0] = cpus[1] = 0;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return 1;
	for (int cpu = 0; cpu < CPU_SETSIZE && nr < 2; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		cpus[nr++] = cpu;
		/* The second should not be the first one's other half. */
		if (nr == 2 && is_same_line(cpus, "topology/thread_siblings_list") &&
		    CPU_COUNT(&allowed) > 2)
			nr = 1;
	}
	if (nr == 1)
		cpus[1] = cpus[0];
	return nr == 2 ? 2 : 1;
}

void machine_pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

uint64_t machine_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

double machine_ns_per_tick(void)
{
	static double ns_per_tick;
	uint64_t begin_ns, begin_ticks, end_ns, end_ticks;

	if (ns_per_tick > 0)
		return ns_per_tick;
	begin_ns = machine_clock_ns();
	begin_ticks = machine_ticks();
	do {
		end_ns = machine_clock_ns();
		end_ticks = machine_ticks();
	} while (end_ns - begin_ns < TICKS_MEASURE_NS);
	ns_per_tick = (double)(end_ns - begin_ns) / (double)(end_ticks - begin_ticks);
	return ns_per_tick;
}
