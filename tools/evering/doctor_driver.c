// SPDX-License-Identifier: MIT
/* evering doctor: a driver is made as a program would, with a region, and tells what it came to. */
#include "doctor_driver.h"

#include <stdio.h>
#include <string.h>

#include <evering/evering.h>

#include "json.h"

#ifdef HAVE_DRIVER

#include <evering/driver_resource.h>

#define REGION_SZ 4096

struct trial {
	int error; /* 0: caps are there */
	struct evr_driver_caps caps;
};

static struct trial try_driver(void)
{
	static _Alignas(REGION_SZ) char memory[REGION_SZ];
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_BELL_COMMAND };
	struct trial trial = { 0 };
	struct evr_driver *driver;
	uint16_t region;

	trial.error = evr_driver_create(&driver, &options);
	if (trial.error)
		return trial;
	/* Only a registration tells whether it is refused. */
	trial.error = evr_region_add(driver, memory, sizeof(memory), &region);
	evr_driver_caps(driver, &trial.caps);
	evr_driver_close(driver, EVR_DRIVER_NO_DEADLINE);
	return trial;
}

static const char *support_text(int support)
{
	switch (support) {
	case EVR_SUPPORT_NATIVE:
		return "io_uring";
	case EVR_SUPPORT_POOL:
		return "thread";
	case EVR_SUPPORT_READY:
		return "epoll";
	case EVR_SUPPORT_INLINE:
		return "driver";
	default:
		return NULL;
	}
}

static const struct {
	const char *name, *words;
	size_t off;
} abilities[] = {
	{ "fixed_files", "fixed files", offsetof(struct evr_driver_caps, fixed_files) },
	{ "fixed_buffers", "fixed buffers", offsetof(struct evr_driver_caps, fixed_buffers) },
	{ "buffer_rings", "buffer rings", offsetof(struct evr_driver_caps, buffer_rings) },
	{ "ring_fd", "registered ring", offsetof(struct evr_driver_caps, ring_fd) },
	{ "bell_command", "bell command", offsetof(struct evr_driver_caps, bell_command) },
};

#define ABILITIES_NR (int)(sizeof(abilities) / sizeof(abilities[0]))

static bool is_able(const struct evr_driver_caps *caps, int i)
{
	return *(const bool *)((const char *)caps + abilities[i].off);
}

/* Operations that are done so, with a comma between them. */
static void print_ops(const struct evr_driver_caps *caps, int support, const char *how)
{
	int nr = 0;

	for (unsigned int code = 0; code < EVR_OPS_NR; code++)
		if (caps->support[code] == support)
			printf("%s%s", nr++ ? ", " : how, evr_op_name(code));
	if (nr)
		printf("\n");
}

void doctor_driver_print(void)
{
	struct trial trial = try_driver();

	if (trial.error) {
		printf("  %-18s none: %s\n", "driver", evr_strerror(trial.error));
		return;
	}
	printf("  %-18s mode %s", "driver", evr_driver_mode_name(trial.caps.mode));
	for (int i = 0; i < ABILITIES_NR; i++)
		if (is_able(&trial.caps, i))
			printf(", %s", abilities[i].words);
	printf("\n");
	if (trial.caps.mode != EVR_DRIVER_NONE)
		print_ops(&trial.caps, EVR_SUPPORT_POOL, "                     by a thread: ");
	print_ops(&trial.caps, EVR_SUPPORT_NONE, "                     not there: ");
}

struct json_object *doctor_driver_to_json(void)
{
	struct json_object *object = json_object_new_object(), *ops = json_object_new_object();
	struct trial trial = try_driver();

	json_add_text(object, "error", trial.error ? evr_strerror(trial.error) : NULL);
	json_add_text(object, "mode", evr_driver_mode_name(trial.caps.mode));
	json_add_int(object, "uring_error", trial.caps.uring_error);
	json_add_int(object, "buffers_error", trial.caps.buffers_error);
	json_add_u64(object, "setup_flags", trial.caps.setup_flags);
	json_add_u64(object, "features", trial.caps.features);
	for (int i = 0; i < ABILITIES_NR; i++)
		json_add_bool(object, abilities[i].name, is_able(&trial.caps, i));
	for (unsigned int code = 0; code < EVR_OPS_NR; code++)
		json_add_text(ops, evr_op_name(code), support_text(trial.caps.support[code]));
	json_object_object_add(object, "ops", ops);
	return object;
}

#else

void doctor_driver_print(void)
{
	printf("  %-18s none: this program was built without liburing\n", "driver");
}

struct json_object *doctor_driver_to_json(void)
{
	return NULL;
}

#endif
