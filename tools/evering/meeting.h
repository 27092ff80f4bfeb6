/* SPDX-License-Identifier: MIT */
/*
 * Where streams meet in a segment: a hub, at which one peer listens, the host, and a heap,
 * "HUB.blocks", whose blocks carry the bytes.
 *
 * Model      One host, which makes what is missing and removes the segment when it leaves, unless
 *            somebody wants to keep it; any number of guests, each a peer of its own.
 * Calls      meeting_host() and meeting_leave() of hosts exclude each other by the segment's
 *            lock.
 */
#ifndef EVERING_TOOL_MEETING_H
#define EVERING_TOOL_MEETING_H

#include "loop.h"
#include "segment.h"

#define MEETING_GUESTS_MAX 224
#define MEETING_PIECE_SZ (64U << 10) /* of a block; its address is a multiple of 4 KiB */
#define MEETING_WINDOW 8 /* messages under way each way */
/* What one guest may have under way at most, both ways: its window, and what is read ahead. */
#define MEETING_GUEST_SZ (2ULL * (MEETING_WINDOW + 2) * MEETING_PIECE_SZ)

/* One's place in a segment. */
struct seat {
	struct sleeper sleeper; /* for loop_add() */
	const char *name; /* of the segment */
	const char *hub_name;
	struct evr_segment *segment;
	struct evr_segment_info info;
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_hub hub; /* the host's */
	bool is_host;
};

/*
 * The seat's name and hub_name are set, all else is 0. Makes the segment for so many
 * @guests at once, unless it is there, and listens.
 * Return: 0; EXIT_FAILED with the message written.
 */
int meeting_host(struct seat *seat, uint64_t guests, bool keep);

/*
 * As a guest of whoever listens: attaches, and asks for a connection.
 * Return: 0; negative errno, -ECONNREFUSED: nobody listens.
 */
int meeting_join(struct seat *seat, struct evr_channel *ch);

/* Has the seat's hub a host that lives? @id: out, who; may be NULL. */
bool meeting_has_host(const struct seat *seat, struct evr_peer_id *id);

void meeting_leave(struct seat *seat);

/* A block for the next piece; ptr is NULL when there is none now. */
struct evr_block meeting_block(struct seat *seat);

/* "pid 4711, killed by SIGKILL": @pid as it was when @id lived, or 0; text[SEGMENT_TEXT_SZ + 32]. */
#define MEETING_TEXT_SZ (SEGMENT_TEXT_SZ + 48)
const char *meeting_other_text(const struct seat *seat, struct evr_peer_id id, int pid, char *text);

/* What a guest is told by -errno, for people: of meeting_join(). Returns EXIT_FAILED. */
int meeting_join_failed(const struct seat *seat, int err);

#endif
