// SPDX-License-Identifier: MIT
/* Where streams meet in a segment: a hub and a heap. */
#include "meeting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "command.h"
#include "message.h"
#include "transfer.h"

#define PEERS_BESIDES 32 /* monitors, and who comes and goes */
#define SEGMENT_SLACK_SZ (4ULL << 20)
#define ALIGNMENT 4096 /* what O_DIRECT wants of an address */
#define RETRY_NS 20000000
/* A peer may hold its role for a moment after its process was killed. */
#define BUSY_PATIENCE_NS 500000000ULL

static const char *heap_name(const struct seat *seat, char *text)
{
	snprintf(text, EVR_OBJECT_NAME_SZ, "%.*s.blocks", EVR_HUB_NAME_MAX, seat->hub_name);
	return text;
}

static int open_or_create(struct seat *seat, uint64_t guests, bool keep)
{
	struct evr_segment_options wanted = {
		.struct_sz = sizeof(wanted),
		.shared_sz = guests * MEETING_GUEST_SZ + SEGMENT_SLACK_SZ,
		.peers_max = (uint32_t)guests + PEERS_BESIDES,
		.flags = keep ? EVR_SEGMENT_KEEP : 0,
	};
	int err;

	do {
		err = evr_segment_open(&seat->segment, seat->name);
		if (err == -ENOENT)
			err = evr_segment_create(&seat->segment, seat->name, &wanted);
	} while (err == -EEXIST);
	return err;
}

static int made(int err)
{
	return err == -EEXIST ? 0 : err;
}

/* A former host may have left them, or parts. */
static int make_objects(const struct seat *seat, uint64_t guests)
{
	char blocks[EVR_OBJECT_NAME_SZ];
	struct evr_heap_options heap = { .struct_sz = sizeof(heap),
					 .sz = guests * MEETING_GUEST_SZ };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel),
					       .window_messages = MEETING_WINDOW,
					       .heap = heap_name(seat, blocks) };
	int err = made(evr_heap_create(seat->peer, blocks, &heap));

	return err ? err : made(evr_hub_create(seat->peer, seat->hub_name, &channel));
}

static int host_locked(struct seat *seat, uint64_t guests)
{
	char blocks[EVR_OBJECT_NAME_SZ];
	int err = evr_segment_info(seat->segment, &seat->info);

	if (err)
		return err;
	if (!segment_is_named(seat->name, seat->info.segment_id))
		return -EAGAIN;
	if (seat->info.flags & EVR_SEGMENT_ISOLATED)
		return evr_fail(-EOPNOTSUPP,
				"the segment is isolated, and the blocks that all share "
				"are in shared memory; take one that is not");
	err = evr_peer_attach(&seat->peer, seat->segment, NULL);
	if (err)
		return err;
	evr_reap_dead(seat->peer, NULL);
	err = make_objects(seat, guests);
	if (!err)
		err = evr_hub_listen(&seat->hub, seat->peer, seat->hub_name, 0);
	if (!err)
		err = evr_heap_open(&seat->heap, seat->peer, heap_name(seat, blocks));
	seat->is_host = !err;
	return err;
}

static int try_host(struct seat *seat, uint64_t guests, bool keep)
{
	int err = open_or_create(seat, guests, keep);

	if (!err)
		err = segment_lock(seat->segment);
	if (err)
		return err;
	err = host_locked(seat, guests);
	segment_unlock(seat->segment);
	return err;
}

static int host_failed(struct seat *seat, int err)
{
	struct evr_peer_info info;
	struct evr_peer_id id;
	int pid = 0;

	if (err == -EINTR)
		return EXIT_FAILED;
	if (err != -EBUSY)
		return message_failed(seat->name, err);
	if (meeting_has_host(seat, &id) && !evr_peer_info(seat->peer, id.slot, &info))
		pid = info.pid;
	message("%s: somebody listens at '%s' already (pid %d): %s; take another name", seat->name,
		seat->hub_name, pid, evr_strerror(err));
	return EXIT_FAILED;
}

int meeting_host(struct seat *seat, uint64_t guests, bool keep)
{
	struct timespec pause = { .tv_nsec = RETRY_NS };
	uint64_t begin_ns = evr_now_ns();
	int err;

	for (;;) {
		err = try_host(seat, guests, keep);
		if (!err || transfer_signal() || (err != -EAGAIN && err != -EBUSY) ||
		    (err == -EBUSY && evr_now_ns() - begin_ns > BUSY_PATIENCE_NS))
			break;
		meeting_leave(seat);
		nanosleep(&pause, NULL);
	}
	if (!err)
		return 0;
	err = host_failed(seat, err);
	meeting_leave(seat);
	return err;
}

static int join(struct seat *seat, struct evr_channel *ch)
{
	char blocks[EVR_OBJECT_NAME_SZ];
	int err = evr_segment_open(&seat->segment, seat->name);

	if (!err)
		err = evr_segment_info(seat->segment, &seat->info);
	if (!err)
		err = evr_peer_attach(&seat->peer, seat->segment, NULL);
	if (!err && !meeting_has_host(seat, NULL))
		err = -ECONNREFUSED;
	if (!err)
		err = evr_heap_open(&seat->heap, seat->peer, heap_name(seat, blocks));
	if (!err)
		err = evr_hub_connect(ch, seat->peer, seat->hub_name, 0);
	if (!err)
		err = evr_channel_bind(ch, &seat->heap, &seat->heap);
	return err;
}

int meeting_join(struct seat *seat, struct evr_channel *ch)
{
	int err = join(seat, ch);

	if (!err)
		return 0;
	evr_channel_close(ch);
	meeting_leave(seat);
	return err;
}

int meeting_join_failed(const struct seat *seat, int err)
{
	if (err != -ECONNREFUSED)
		return message_failed(seat->name, err);
	message("%s: nobody listens at '%s'; 'evering peers %s' shows who is there", seat->name,
		seat->hub_name, seat->name);
	return EXIT_FAILED;
}

bool meeting_has_host(const struct seat *seat, struct evr_peer_id *id)
{
	char inbox[EVR_OBJECT_NAME_SZ];
	struct evr_object_stat stat;
	struct evr_object object;
	const struct evr_flow_end *end = &stat.flows[0].ends[EVR_CONSUMER];

	snprintf(inbox, sizeof(inbox), "%.*s.in", EVR_HUB_NAME_MAX, seat->hub_name);
	if (evr_dir_find(seat->peer, inbox, &object) ||
	    evr_object_stat(seat->peer, &object, &stat) || end->state != EVR_END_HELD ||
	    !evr_peer_is_live(seat->peer, end->holder))
		return false;
	if (id)
		*id = end->holder;
	return true;
}

void meeting_leave(struct seat *seat)
{
	bool is_locked = seat->is_host && !segment_lock(seat->segment);

	evr_hub_close(&seat->hub);
	evr_heap_close(&seat->heap);
	if (is_locked && !seat->info.keep && segment_is_named(seat->name, seat->info.segment_id))
		evr_segment_remove(seat->name);
	evr_peer_detach(seat->peer);
	if (is_locked)
		segment_unlock(seat->segment);
	evr_segment_close(seat->segment);
	seat->peer = NULL;
	seat->segment = NULL;
	seat->is_host = false;
}

struct evr_block meeting_block(struct seat *seat)
{
	return evr_heap_alloc_aligned(&seat->heap, MEETING_PIECE_SZ, ALIGNMENT);
}

const char *meeting_other_text(const struct seat *seat, struct evr_peer_id id, int pid, char *text)
{
	char ended[SEGMENT_TEXT_SZ] = "gone";
	struct evr_peer_info info;

	if (!evr_peer_info(seat->peer, id.slot, &info) && info.id.incarnation == id.incarnation &&
	    info.exit_reason != EVR_EXIT_NONE)
		peer_exit_text(ended, &info, seat->info.backend);
	if (pid)
		snprintf(text, MEETING_TEXT_SZ, "pid %d, %s", pid, ended);
	else
		snprintf(text, MEETING_TEXT_SZ, "peer %u:%" PRIu64 ", %s", id.slot, id.incarnation,
			 ended);
	return text;
}
