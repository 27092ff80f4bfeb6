/* SPDX-License-Identifier: MIT */
/*
 * A byte stream from one process' stdin to another's stdout through a segment:
 * how the two find each other, and how they part.
 *
 * Model      One sender, one receiver, in any order; either may die anywhere.
 *            A session is one transfer; a segment may see many, one after another.
 *            Two rings: "transfer.data" carries the bytes; "transfer.end", the other
 *            way, carries nothing: that the receiver closes it tells the sender that
 *            all has been written. What they say to each other besides stands in the
 *            object "transfer", one line for each side. In an isolated segment each
 *            has an object of its own, "transfer.sender" and "transfer.receiver".
 * Calls      transfer_join() and transfer_leave() of all processes exclude each other
 *            by flock(2) on the segment: the kernel takes the lock from the dead.
 * Progress   join and leave wait for a process that is stopped within them.
 */
#ifndef EVERING_TRANSFER_H
#define EVERING_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/evering.h>

enum transfer_role {
	TRANSFER_SENDER,
	TRANSFER_RECEIVER,
};

/* What one side tells the other; in the segment, written by that side. */
struct transfer_side {
	struct evr_a64 state; /* enum transfer_state */
	struct evr_a64 slot;
	struct evr_a64 incarnation;
	struct evr_a64 bytes; /* sender: all there will be, when COMPLETE; receiver: written so far */
	struct evr_a64 error; /* errno that ended it early, 0 = none */
	struct evr_a64 met; /* isolated: it has seen the other side of its session */
	uint8_t pad[EVR_LINE_SZ - 6 * sizeof(struct evr_a64)];
};

enum transfer_state {
	TRANSFER_ABSENT, /* nobody has come yet */
	TRANSFER_ACTIVE,
	TRANSFER_COMPLETE, /* at its end: all sent, or all written */
	TRANSFER_BROKEN, /* ended early, see error */
};

struct transfer_area {
	uint64_t magic;
	uint8_t pad[EVR_LINE_SZ - sizeof(uint64_t)];
	struct transfer_side sides[2];
};

EVR_STATIC_ASSERT(sizeof(struct transfer_area) == 3 * EVR_LINE_SZ, "part of the shared layout");

struct transfer {
	const char *name;
	enum transfer_role role;
	uint64_t buffer_sz;
	bool keep;
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_waiter waiter;
	struct evr_bytes data;
	struct evr_bytes end;
	bool has_waiter, has_data, has_end, has_role;
	struct evr_segment_info info;
	struct transfer_side *own;
	struct transfer_side *other;
	struct transfer_side nobody; /* isolated: the other side before it was seen */
	int32_t other_pid; /* as long as it lived; 0 = not seen, or not visible */
};

/*
 * Enters the next session of @transfer->name in @transfer->role; name, role,
 * buffer_sz and keep are filled in, the rest is 0. Makes what is missing. Waits
 * for a session that is just ending. Catches signals; one that comes before it has
 * joined ends the process. Returns 0; EXIT_* with the message written.
 */
int transfer_join(struct transfer *transfer);

/* transfer_area.c: find the two sides, or make what is missing of them. 0 or -errno. */
int transfer_area_find(struct transfer *transfer);
/* In an isolated segment: has the other side come meanwhile? */
void transfer_area_look(struct transfer *transfer);
/* Make the ring as small as it must be for the peer's own region. 0; -ENOSPC. */
int transfer_area_fit(struct transfer *transfer, struct evr_bytes_options *data);

static inline bool transfer_is_isolated(const struct transfer *transfer)
{
	return transfer->info.flags & EVR_SEGMENT_ISOLATED;
}

/* Tells the other side that this one is through: @error 0 is complete. Then closes the rings. */
void transfer_finish(struct transfer *transfer, uint64_t bytes, int error);

/* Leaves, and removes the segment when nobody else will and nobody wants to keep it. */
void transfer_leave(struct transfer *transfer);

/* What the other side has written about itself. */
enum transfer_state transfer_other_state(const struct transfer *transfer);
uint64_t transfer_other_bytes(const struct transfer *transfer);
int transfer_other_error(const struct transfer *transfer);

/* True when the other side has come and is dead without having finished. */
bool transfer_other_is_dead(const struct transfer *transfer);

/* True when nothing more can come from it: dead, complete or broken. */
bool transfer_other_is_gone(struct transfer *transfer);

/* How a transfer ended, as the exit status and as a word for JSON. */
enum transfer_outcome {
	TRANSFER_CLEAN,
	TRANSFER_PEER_DIED,
	TRANSFER_PEER_STOPPED,
	TRANSFER_FAILED,
};

/* Writes the summary as a JSON line on stderr. */
void transfer_write_json(const struct transfer *transfer, enum transfer_outcome outcome,
			 uint64_t bytes, double seconds);

int transfer_exit_status(enum transfer_outcome outcome);

/* Ends the process as the signal that came would have. Returns when none came. */
void transfer_die_of_signal(void);

/* Pid and end of the other side, "pid 4711, killed by SIGKILL"; text[TRANSFER_TEXT_SZ]. */
#define TRANSFER_TEXT_SZ 192
const char *transfer_other_text(const struct transfer *transfer, char *text);

/* SIGINT, SIGTERM and SIGHUP end the waits; which one came, or 0. */
void transfer_catch_signals(void);
int transfer_signal(void);
/* Waits end at the next look at the signals; such an end is no error. */
uint64_t transfer_next_look(void);
bool transfer_shall_look(int err);

#endif
