// SPDX-License-Identifier: MIT
/* evering doctor: what holds on this machine, what does not, and what to do about it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <evering/evering.h>
#include <evering/uapi.h>

#include "command.h"
#include "doctor_driver.h"
#include "format.h"
#include "json.h"
#include "machine.h"
#include "message.h"
#include "table.h"
#include "terminal.h"

#define ADVICE_MAX 16
#define TRIAL_SZ (2ULL << 20)

static bool json;

static const struct option_row options[] = {
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* One backend, tried out. */
struct backend_report {
	enum evr_backend backend;
	int error; /* of making and attaching a small segment, 0 = works */
	char detail[256]; /* of that, or why there is no info */
	bool has_info;
	struct evr_system_info info;
};

/* One guarantee and how each backend keeps it; NULL = not at all. */
struct guarantee {
	const char *name;
	const char *device;
	const char *local;
};

struct advice {
	int nr;
	char lines[ADVICE_MAX][192];
};

static void advise(struct advice *advice, const char *line)
{
	if (advice->nr < ADVICE_MAX)
		snprintf(advice->lines[advice->nr++], sizeof(advice->lines[0]), "%s", line);
}

/* Makes a small unnamed segment and attaches to it. */
static int try_out(enum evr_backend backend)
{
	struct evr_segment_options wanted = { .struct_sz = sizeof(wanted),
					      .shared_sz = TRIAL_SZ,
					      .peers_max = 2 };
	struct evr_segment *segment;
	struct evr_peer *peer;
	int err;

	err = evr_segment_create(&segment,
				 backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &wanted);
	if (err)
		return err;
	err = evr_peer_attach(&peer, segment, NULL);
	if (!err)
		evr_peer_detach(peer);
	evr_segment_close(segment);
	return err;
}

static void keep_detail(struct backend_report *report, int err)
{
	const char *detail = evr_error_detail();

	snprintf(report->detail, sizeof(report->detail), "%s",
		 *detail ? detail : evr_strerror(err));
}

static void examine(struct backend_report *report, enum evr_backend backend)
{
	int err;

	*report = (struct backend_report){ .backend = backend };
	report->error = try_out(backend);
	if (report->error)
		keep_detail(report, report->error);
	err = evr_system_info(backend, &report->info);
	report->has_info = !err;
	if (err && !report->error)
		keep_detail(report, err);
}

static const char *fixed_buffers_on_device(const struct backend_report *device,
					   const struct machine *machine)
{
	if (machine->io_uring_error)
		return NULL;
	if (device->info.features & EVERING_FEAT_FIXED_BUFFERS)
		return "io_uring takes a segment";
	/* This kernel takes shmem's mappings only. */
	if (device->info.features & EVERING_FEAT_BACKING_SHMEM)
		return "with --backing shmem";
	return NULL;
}

/* How each guarantee is kept here; returns how many there are. */
static int judge_guarantees(struct guarantee *guarantees, const struct backend_report reports[2],
			    const struct machine *machine)
{
	uint64_t features = reports[0].info.features;
	bool thp = strcmp(machine->thp_shmem, "never") && strcmp(machine->thp_shmem, "deny") &&
		   strcmp(machine->thp_shmem, "unknown");
	const struct guarantee all[] = {
		{ "contiguous memory",
		  features & EVERING_FEAT_CONTIG_FILL ? "runs, holes filled" : "runs as found",
		  NULL },
		{ "huge mappings", features & EVERING_FEAT_HUGE_MAPPING ? "2 MiB" : NULL,
		  thp ? machine->thp_shmem : NULL },
		{ "rights enforced", "by peer and region", "by file mode only" },
		{ "revocation", "mappings taken away", NULL },
		{ "death notice", "kernel, at once", "file locks, within 50 ms" },
		{ "exit status of the dead", "kernel", NULL },
		{ "identity", "kernel-stamped", "self-declared" },
		{ "isolated segments", "enforced", "not enforced" },
		{ "fixed buffers", fixed_buffers_on_device(&reports[0], machine),
		  machine->io_uring_error ? NULL : "as any shared memory" },
		{ "bells through io_uring",
		  features & EVERING_FEAT_URING_WAIT ? "ring and wait" :
		  features & EVERING_FEAT_URING_RING ? "ring" :
						       NULL,
		  NULL },
		{ "quota", "by user", NULL },
	};
	int nr = (int)(sizeof(all) / sizeof(all[0]));

	memcpy(guarantees, all, sizeof(all));
	for (int i = 0; i < nr; i++) {
		if (reports[0].error)
			guarantees[i].device = NULL;
		if (reports[1].error)
			guarantees[i].local = NULL;
	}
	return nr;
}

static void advise_on_device(struct advice *advice, const struct backend_report *device,
			     const struct machine *machine)
{
	char line[192];

	if (!device->error)
		return;
	if (!machine->is_module_loaded && !machine->has_device_node && machine->is_kernel_too_old)
		advise(advice,
		       "no device: this kernel is too old for the module, boot Linux 6.1 or later; the local backend does without");
	else if (!machine->is_module_loaded && !machine->has_device_node)
		advise(advice,
		       "no device: load the module (modprobe evering; build it with 'make module', or dkms)");
	else if (machine->device_error == EACCES || machine->device_error == EPERM)
		advise(advice, "no right to open " EVERING_DEVICE
			       ": join its group (usermod -aG evering USER)");
	else if (device->has_info && device->info.abi_version != EVERING_ABI_VERSION) {
		snprintf(line, sizeof(line),
			 "the module speaks ABI %u, this tool %d: install the matching one",
			 device->info.abi_version, EVERING_ABI_VERSION);
		advise(advice, line);
	} else {
		snprintf(line, sizeof(line), "the device does not work: %.150s", device->detail);
		advise(advice, line);
	}
}

static void advise_on_machine(struct advice *advice, const struct backend_report reports[2],
			      const struct machine *machine)
{
	char line[192];

	if (reports[1].error) {
		snprintf(line, sizeof(line), "the local backend does not work: %.150s",
			 reports[1].detail);
		advise(advice, line);
	}
	if (!machine->shm_bytes)
		advise(advice, "no /dev/shm: mount a tmpfs there, named local segments live in it");
	else if (!machine->may_write_shm)
		advise(advice,
		       "/dev/shm may not be written: named local segments live in it (mount -o remount,rw, or mode 1777)");
	else if (machine->shm_free_bytes < 64ULL << 20)
		advise(advice,
		       "/dev/shm is nearly full: remove what is not needed, or remount it with a larger size");
	if (machine->io_uring_error == ENOSYS)
		advise(advice,
		       "no io_uring in this kernel: files and sockets go through read and write");
	else if (machine->io_uring_error)
		advise(advice,
		       "io_uring is forbidden: sysctl kernel.io_uring_disabled=0, or allow it in the sandbox");
	if (!strcmp(machine->thp_shmem, "never") && reports[0].error)
		advise(advice,
		       "no huge pages for shared memory: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled");
	if (machine->memlock_bytes < 64ULL << 20)
		advise(advice,
		       "little memory may be locked (ulimit -l), which bounds the device's quota and fixed buffers");
	if (machine->cpus_nr < 2)
		advise(advice, "one CPU: spinning waits for nobody; use EVR_WAIT_SLEEP");
	if (!reports[0].error &&
	    reports[0].info.uid_bytes >= reports[0].info.uid_bytes_max / 10 * 9)
		advise(advice,
		       "your quota is nearly used up: remove segments ('evering ls'), or raise RLIMIT_MEMLOCK");
}

static const char *limit_text(char *text, uint64_t bytes)
{
	if (bytes == UINT64_MAX)
		return "no limit";
	return format_size(text, bytes);
}

static void print_backend(const struct backend_report *report)
{
	const struct evr_system_info *info = &report->info;
	char a[FORMAT_SZ], b[FORMAT_SZ];
	enum terminal_style style = report->error ? TERMINAL_BAD : TERMINAL_GOOD;

	printf("  %-8s %s%s%s", evr_backend_name(report->backend), terminal_style(stdout, style),
	       report->error ? "no" : "works", terminal_style(stdout, TERMINAL_PLAIN));
	if (report->error) {
		printf("     %s\n", report->detail);
		return;
	}
	if (!report->has_info) {
		printf("  without names only: %s\n", report->detail);
		return;
	}
	printf("  ABI %u; a segment may be %s, all %s", info->abi_version,
	       limit_text(a, info->segment_bytes_max), limit_text(b, info->total_bytes_max));
	printf("; %u peers\n", info->peers_max);
	printf("                  in use: %s in %u segment%s", format_size(a, info->total_bytes),
	       info->segments, info->segments == 1 ? "" : "s");
	printf("; yours %s of %s\n", format_size(a, info->uid_bytes),
	       limit_text(b, info->uid_bytes_max));
}

static void print_guarantees(const struct guarantee *guarantees, int nr, bool device_works)
{
	static const char *const heads[] = { "GUARANTEE", "DEVICE", "LOCAL", NULL };
	struct table table;

	table_init(&table, "lll", heads);
	for (int i = 0; i < nr; i++) {
		const char *cells[] = { guarantees[i].name,
					guarantees[i].device ? guarantees[i].device : "-",
					guarantees[i].local ? guarantees[i].local : "-" };

		table_add(&table, cells);
	}
	printf("\n");
	table_print(&table, stdout, "  ");
	table_fini(&table);
	printf("  -: not kept here%s\n",
	       device_works ? "" : "; the device keeps all of them, see evering(4)");
}

static const char *io_uring_text(const struct machine *machine)
{
	if (!machine->io_uring_error)
		return "allowed";
	return machine->io_uring_error == ENOSYS ? "not there" : "forbidden";
}

static void print_machine(const struct machine *machine)
{
	char a[FORMAT_SZ], b[FORMAT_SZ], text[256];

	printf("\n  %-18s %s\n", "machine", machine_text(machine, text, sizeof(text)));
	printf("  %-18s %s; may be locked: %s\n", "memory", format_size(a, machine->memory_bytes),
	       limit_text(b, machine->memlock_bytes));
	printf("  %-18s %s\n", "io_uring", io_uring_text(machine));
	doctor_driver_print();
	printf("  %-18s %s; for shared memory: %s\n", "huge pages", machine->thp,
	       machine->thp_shmem);
	if (machine->shm_bytes)
		printf("  %-18s %s, %s free%s\n", "/dev/shm", format_size(a, machine->shm_bytes),
		       format_size(b, machine->shm_free_bytes),
		       machine->may_write_shm ? "" : ", may not be written");
	else
		printf("  %-18s not there\n", "/dev/shm");
	if (machine->has_device_node)
		printf("  %-18s there, %s\n", EVERING_DEVICE,
		       machine->device_error ? strerror(machine->device_error) : "may be opened");
	else
		printf("  %-18s not there\n", EVERING_DEVICE);
}

static void print_advice(const struct advice *advice)
{
	if (!advice->nr)
		printf("\nNothing is missing.\n");
	else
		printf("\nTo do:\n");
	for (int i = 0; i < advice->nr; i++)
		printf("  * %s\n", advice->lines[i]);
}

static struct json_object *backend_to_json(const struct backend_report *report)
{
	struct json_object *object = json_object_new_object();
	const struct evr_system_info *info = &report->info;

	json_add_text(object, "name", evr_backend_name(report->backend));
	json_add_bool(object, "works", !report->error);
	json_add_text(object, "why_not", report->error ? report->detail : NULL);
	if (!report->has_info)
		return object;
	json_add_u64(object, "abi_version", info->abi_version);
	json_add_u64(object, "features", info->features);
	json_add_u64(object, "segment_bytes_max", info->segment_bytes_max);
	json_add_u64(object, "total_bytes_max", info->total_bytes_max);
	json_add_u64(object, "total_bytes", info->total_bytes);
	json_add_u64(object, "uid_bytes_max", info->uid_bytes_max);
	json_add_u64(object, "uid_bytes", info->uid_bytes);
	json_add_u64(object, "segments_max", info->segments_max);
	json_add_u64(object, "segments", info->segments);
	json_add_u64(object, "peers_max", info->peers_max);
	json_add_u64(object, "page_size", info->page_size);
	json_add_u64(object, "block_size", info->block_size);
	return object;
}

static struct json_object *machine_to_json(const struct machine *machine)
{
	struct json_object *object = json_object_new_object();

	json_add_text(object, "kernel", machine->kernel);
	json_add_text(object, "model", machine->model);
	json_add_int(object, "cpus", machine->cpus_nr);
	json_add_u64(object, "memory_bytes", machine->memory_bytes);
	json_add_u64(object, "memlock_bytes", machine->memlock_bytes);
	json_add_text(object, "io_uring", io_uring_text(machine));
	json_add_text(object, "thp", machine->thp);
	json_add_text(object, "thp_shmem", machine->thp_shmem);
	json_add_u64(object, "shm_bytes", machine->shm_bytes);
	json_add_u64(object, "shm_free_bytes", machine->shm_free_bytes);
	json_add_bool(object, "module_loaded", machine->is_module_loaded);
	json_add_bool(object, "device_node", machine->has_device_node);
	return object;
}

static void write_json(const struct backend_report reports[2], const struct machine *machine,
		       const struct guarantee *guarantees, int nr, const struct advice *advice)
{
	struct json_object *object = json_object_new_object();
	struct json_object *backends = json_object_new_array();
	struct json_object *kept = json_object_new_object();
	struct json_object *todo = json_object_new_array();

	for (int i = 0; i < 2; i++)
		json_object_array_add(backends, backend_to_json(&reports[i]));
	for (int i = 0; i < nr; i++) {
		struct json_object *both = json_object_new_object();

		json_add_text(both, "device", guarantees[i].device);
		json_add_text(both, "local", guarantees[i].local);
		json_object_object_add(kept, guarantees[i].name, both);
	}
	for (int i = 0; i < advice->nr; i++)
		json_object_array_add(todo, json_object_new_string(advice->lines[i]));
	json_add_text(object, "version", evr_version());
	json_object_object_add(object, "backends", backends);
	json_object_object_add(object, "guarantees", kept);
	json_object_object_add(object, "machine", machine_to_json(machine));
	json_object_object_add(object, "driver", doctor_driver_to_json());
	json_object_object_add(object, "advice", todo);
	json_write(stdout, object, true);
}

static int run(int operands_nr, char **operands)
{
	struct backend_report reports[2];
	struct guarantee guarantees[16];
	struct advice advice = { 0 };
	struct machine machine;
	int nr;

	(void)operands_nr;
	(void)operands;
	machine_read(&machine);
	examine(&reports[0], EVR_BACKEND_DEVICE);
	examine(&reports[1], EVR_BACKEND_LOCAL);
	nr = judge_guarantees(guarantees, reports, &machine);
	advise_on_device(&advice, &reports[0], &machine);
	advise_on_machine(&advice, reports, &machine);
	if (json) {
		write_json(reports, &machine, guarantees, nr, &advice);
	} else {
		printf("evering %s\n\n", evr_version());
		print_backend(&reports[0]);
		print_backend(&reports[1]);
		print_guarantees(guarantees, nr, !reports[0].error);
		print_machine(&machine);
		print_advice(&advice);
	}
	return reports[0].error && reports[1].error ? EXIT_FAILED : EXIT_OK;
}

const struct command doctor_command = {
	.name = "doctor",
	.operands = "",
	.summary = "Tell what works on this machine",
	.details = "Tries both backends with a small segment. Fails when neither works.\n",
	.options = options,
	.run = run,
};
