// SPDX-License-Identifier: GPL-2.0
/*
 * Growth: memory appended to a segment. Nothing moves and nothing shrinks.
 *
 * Edges      GROW publish_size: store-release header->segment_size -> readers in other
 *            processes: load-acquire   [grown_offset; that mmap of the range succeeds]
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "evering.h"
#include "trace.h"

/* Every inode's size covers the memory, or it would be mapped by small pages only. */
static void publish_size(struct evering_segment *segment, u64 size)
{
	struct evering_slots *slots = segment->slots;
	struct evering_peer *peer;
	u32 i;

	spin_lock(&segment->lock);
	WRITE_ONCE(segment->geometry.size, size);
	i_size_write(segment->node.inode, size);
	for (i = 0; i < slots->nr; i++) {
		peer = rcu_dereference_protected(slots->slot[i].peer,
						 lockdep_is_held(&segment->lock));
		if (!peer)
			continue;
		i_size_write(peer->node.inode, size);
		evering_alias_resize(peer, size);
	}
	WRITE_ONCE(slots->header->grown_offset, segment->geometry.grown_offset);
	/* GROW: pairs with the reader's load-acquire. */
	smp_store_release(&slots->header->segment_size, size);
	/* STATUS-GEN: who sees the new number sees the new size. */
	smp_store_release(&slots->header->generation, ++slots->generation);
	spin_unlock(&segment->lock);
}

static int grow(struct evering_segment *segment, struct evering_segment_grow *arg)
{
	struct evering_geometry *geometry = &segment->geometry;
	struct evering_user *user = segment->memory->user;
	u64 start = max(geometry->size, geometry->grown_offset);
	struct evering_request request = {
		.bytes = arg->bytes,
		.first = (start - EVERING_DATA_OFFSET) / EVERING_BLOCK_SIZE,
		.node = segment->numa_node,
	};
	int rc;

	rc = evering_charge(user, arg->bytes, evering_segment_bytes(geometry));
	if (rc)
		return rc;
	rc = evering_memory_add(segment->memory, segment->node.inode, &request);
	trace_evering_alloc(segment, request.bytes, request.best_run, rc);
	if (rc) {
		evering_uncharge(user, arg->bytes);
		return rc;
	}
	arg->offset = start;
	arg->segment_size = start + arg->bytes;
	publish_size(segment, arg->segment_size);
	trace_evering_grow(segment, arg->bytes);
	return 0;
}

long evering_call_grow(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_grow *arg = call->arg;
	int rc;

	if (arg->flags || !arg->bytes || arg->bytes % EVERING_BLOCK_SIZE)
		return -EINVAL;
	if (segment->flags & EVERING_SEGMENT_F_ISOLATED)
		return -EOPNOTSUPP;
	evering_limbo_sweep();
	rc = mutex_lock_killable(&segment->grow_mutex);
	if (rc)
		return rc;
	rc = grow(segment, arg);
	mutex_unlock(&segment->grow_mutex);
	if (!rc)
		evering_peer_event(segment, NULL);
	return rc;
}
