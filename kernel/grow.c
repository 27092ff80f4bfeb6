// SPDX-License-Identifier: GPL-2.0
/*
 * Growth: memory appended to a segment. Nothing moves and nothing shrinks. Each growth is
 * remembered with its tag, in the same step that publishes it: whoever it was for can be
 * found when its caller has died before it could tell anybody.
 *
 * Edges      GROW publish: store-release header->segment_size -> readers in other
 *            processes: load-acquire   [grown_offset; that mmap of the range succeeds]
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "evering.h"
#include "trace.h"

#define GROWTHS_FIRST 8U
/* Bounded memory for any number of growths. */
#define GROWTHS_CHUNK 64U

/* Room to remember one growth more. The caller has grow_mutex. */
static int make_room(struct evering_segment *segment)
{
	struct evering_growth *growths, *old = segment->growths;
	u32 max;

	if (segment->growths_nr < segment->growths_max)
		return 0;
	max = old ? 2 * segment->growths_max : GROWTHS_FIRST;
	growths = kvmalloc_array(max, sizeof(*growths), GFP_KERNEL_ACCOUNT);
	if (!growths)
		return -ENOMEM;
	if (old)
		memcpy(growths, old, segment->growths_nr * sizeof(*growths));
	spin_lock(&segment->lock);
	segment->growths = growths;
	spin_unlock(&segment->lock);
	segment->growths_max = max;
	kvfree(old);
	return 0;
}

/* Every inode's size covers the memory, or it would be mapped by small pages only. */
static void publish(struct evering_segment *segment, const struct evering_growth *growth)
{
	const u64 size = growth->offset + growth->length;
	struct evering_slots *slots = segment->slots;
	struct evering_peer *peer;
	u32 i;

	spin_lock(&segment->lock);
	segment->growths[segment->growths_nr++] = *growth;
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
	struct evering_growth growth = {
		.offset = max(geometry->size, geometry->grown_offset),
		.length = arg->bytes,
		.tag = arg->flags & EVERING_GROW_F_TAG ? arg->offset : 0,
	};
	struct evering_request request = {
		.bytes = arg->bytes,
		.first = (growth.offset - EVERING_DATA_OFFSET) / EVERING_BLOCK_SIZE,
		.node = segment->numa_node,
	};
	int rc;

	rc = evering_charge(user, arg->bytes, evering_segment_bytes(geometry));
	if (rc)
		return rc;
	rc = make_room(segment);
	if (rc)
		goto err_uncharge;
	rc = evering_memory_add(segment->memory, segment->node.inode, &request);
	trace_evering_alloc(segment, request.bytes, request.best_run, rc);
	if (rc)
		goto err_uncharge;
	arg->offset = growth.offset;
	arg->segment_size = growth.offset + growth.length;
	publish(segment, &growth);
	trace_evering_grow(segment, arg->bytes);
	return 0;

err_uncharge:
	evering_uncharge(user, arg->bytes);
	return rc;
}

long evering_call_grow(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_grow *arg = call->arg;
	int rc;

	if (arg->flags & ~EVERING_GROW_F_ALL || !arg->bytes || arg->bytes % EVERING_BLOCK_SIZE)
		return -EINVAL;
	if (arg->flags & EVERING_GROW_F_TAG && !arg->offset)
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

/* Some of them, as many as there are from first on and room for. Return: all there are. */
static u32 copy_growths(struct evering_segment *segment, u32 first, u32 *room,
			struct evering_growth *to)
{
	u32 total, nr;

	spin_lock(&segment->lock);
	total = segment->growths_nr;
	nr = total > first ? min(total - first, *room) : 0;
	if (nr)
		memcpy(to, segment->growths + first, nr * sizeof(*to));
	spin_unlock(&segment->lock);
	*room = nr;
	return total;
}

long evering_call_growths(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_growths *arg = call->arg;
	struct evering_growth __user *to = u64_to_user_ptr(arg->entries);
	struct evering_growth *growths;
	u32 done = 0, nr;

	growths = kmalloc_array(GROWTHS_CHUNK, sizeof(*growths), GFP_KERNEL);
	if (!growths)
		return -ENOMEM;
	do {
		nr = min(arg->nr - done, GROWTHS_CHUNK);
		arg->total = copy_growths(segment, arg->first + done, &nr, growths);
		if (copy_to_user(to + done, growths, nr * sizeof(*growths))) {
			kfree(growths);
			return -EFAULT;
		}
		done += nr;
	} while (nr == GROWTHS_CHUNK && done < arg->nr && !fatal_signal_pending(current));
	arg->nr = done;
	kfree(growths);
	return 0;
}
