/* SPDX-License-Identifier: MIT */
/*
 * Every ioctl command with what a test of its argument has to know: a valid
 * argument, on which kinds of fd it works, its reserved fields and its flags.
 * The build makes command_names.h from uapi.h; test_ioctl fails when a command
 * of the header is not in this table.
 */
#ifndef EVERING_TESTS_COMMAND_H
#define EVERING_TESTS_COMMAND_H

#include "device.h"

enum fd_kind { ON_CONTROL, ON_SEGMENT, ON_PEER, FD_KINDS };

#define CONTROL (1U << ON_CONTROL)
#define SEGMENT (1U << ON_SEGMENT)
#define PEER (1U << ON_PEER)

/* A segment with a living peer (self), another one (other) and a dead one. */
struct stage {
	int fd[FD_KINDS];
	int eventfd;
	struct ev_peer self, other, dead;
	struct evering_bell bell;
	/* The array that an argument points to, poisoned. */
	union {
		struct evering_segment_entry segment[4];
		struct evering_extent extent[4];
		struct evering_growth growth[4];
		struct evering_peer_entry peer[4];
	} entries;
};

/* Bytes of a struct that must be zero. */
struct span {
	uint16_t offset, sz;
};

struct command {
	const char *name;
	unsigned long cmd;
	size_t sz;
	unsigned int kinds;
	void (*fill)(struct stage *stage, void *arg);
	struct span reserved[2];
	size_t flags_offset; /* of an in-flags word; 0 is none */
	uint32_t flags_known;
	size_t fd_offset; /* of an out-fd; 0 is none */
	uint32_t right; /* of the segment or peer fd; 0 is none */
};

extern const struct command commands[];
extern const unsigned int commands_nr;

/* Largest argument of any command. */
#define ARGUMENT_MAX 256

void stage_init(struct stage *stage);
void stage_fini(struct stage *stage);
/* A valid argument: size, values; out fields and the array are poisoned. */
void command_fill(const struct command *command, struct stage *stage, void *arg);
/* Close what a successful call has opened. */
void command_done(const struct command *command, const void *arg);
/* The first kind of fd that the command works on. */
enum fd_kind command_kind(const struct command *command);

#endif
