/* SPDX-License-Identifier: MIT */
/*
 * Leases: lending, taking, coming back. include/evering/lease.h has the model.
 *
 * The block is what is passed on: LIVE(lender), INFLIGHT(taker), LIVE(taker), free; all of
 * it is the heap's, and settled with it. A taker unmaps before it frees. So the end of
 * the block's life says that nobody has it mapped, also when the taker has died: the
 * kernel took its mappings away before it said so.
 *
 * In an isolated segment the block is lent by the channel (channel_loan.c): it stays its lender's,
 * and ends when the taker says in its own half that it has done with it, or the session ends.
 * A taker that lies about that keeps what it has mapped, which it could have copied as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evering/segment.h>

#include "channel.h"
#include "internal.h"
#include "lease.h"

#define ENTRIES_MIN 8

struct evr_lender_entry {
	uint64_t handle;
	int fd; /* -1: none */
};

void evr_lender_init(struct evr_lender *lender, struct evr_heap *heap)
{
	*lender = (struct evr_lender){ .heap = heap };
}

static void entry_end(struct evr_lender *lender, uint32_t i)
{
	if (lender->entries[i].fd >= 0)
		close(lender->entries[i].fd);
	lender->entries[i] = lender->entries[--lender->out];
}

void evr_lender_fini(struct evr_lender *lender)
{
	while (lender->out)
		entry_end(lender, 0);
	free(lender->entries);
	*lender = (struct evr_lender){ .heap = NULL };
}

uint32_t evr_lender_collect(struct evr_lender *lender)
{
	struct evr_block_info info;
	uint32_t i = 0, back = 0;

	while (i < lender->out) {
		if (!evr_heap_info(lender->heap, lender->entries[i].handle, &info)) {
			i++;
			continue;
		}
		entry_end(lender, i);
		back++;
	}
	lender->returned += back;
	return back;
}

/* Room for one more. */
static int lender_reserve(struct evr_lender *lender)
{
	uint32_t max = lender->max ? 2 * lender->max : ENTRIES_MIN;
	struct evr_lender_entry *entries;

	if (lender->out < lender->max)
		return 0;
	entries = realloc(lender->entries, max * sizeof(*entries));
	if (!entries)
		return evr_fail(-ENOMEM, "lease: no memory for %u entries", max);
	lender->entries = entries;
	lender->max = max;
	return 0;
}

static int record_memfd(struct evr_lease_record *r, int fd)
{
	struct stat st;
	int err = evr_lease_check_fd(fd, r->off, r->sz, &st);

	if (err)
		return err;
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	r->fd = fd;
	return 0;
}

static int record_segment(struct evr_lease_record *r, const struct evr_segment *segment)
{
	struct evr_segment_info info;
	struct stat st;
	int err = evr_segment_info(segment, &info);

	if (err)
		return err;
	if (r->off > info.size || r->sz > info.size - r->off)
		return evr_fail(-EINVAL, "lease: %llu bytes at %llu of a segment of %llu",
				(unsigned long long)r->sz, (unsigned long long)r->off,
				(unsigned long long)info.size);
	r->segment_id = info.segment_id;
	if (info.published) {
		snprintf(r->uri, sizeof(r->uri), "%s:%s", evr_backend_name(info.backend),
			 info.name);
		return 0;
	}
	if (info.backend != EVR_BACKEND_LOCAL)
		return evr_fail(-EOPNOTSUPP, "lease: a segment of the device needs a name");
	r->fd = evr_segment_fd(segment);
	if (fstat(r->fd, &st))
		return evr_fail(-errno, "lease: fstat: %s", strerror(errno));
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	return 0;
}

/* All of a record; its fd is a copy that is the lender's. */
static int record_make(struct evr_lease_record *r, const struct evr_lease_options *o)
{
	int err;

	*r = (struct evr_lease_record){
		.layout = EVR_LEASE_LAYOUT, .off = o->off, .sz = o->sz, .flags = o->flags, .fd = -1
	};
	if (!o->sz || o->flags & ~(uint32_t)EVR_LEASE_READ_ONLY)
		return evr_fail(-EINVAL, "lease: of %llu bytes, flags %#x",
				(unsigned long long)o->sz, o->flags);
	err = o->segment ? record_segment(r, o->segment) : record_memfd(r, o->fd);
	if (err || r->fd < 0)
		return err;
	r->fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
	return r->fd < 0 ? evr_fail(-errno, "lease: cannot copy the fd: %s", strerror(errno)) : 0;
}

static int record_send(struct evr_channel *ch, const struct evr_lease_record *r, uint64_t tag,
		       uint64_t *handle)
{
	struct evr_message m;
	int err = evr_channel_alloc(ch, sizeof(*r), &m);

	if (err)
		return err;
	evr_copy_in(m.data, r, sizeof(*r));
	m.flags = EVR_MESSAGE_LEASE;
	m.tag = tag;
	*handle = m.handle;
	err = evr_channel_send_message(ch, &m);
	if (err)
		evr_heap_free(ch->send_heap, m.handle);
	return err;
}

int evr_lease_send(struct evr_lender *lender, struct evr_channel *ch,
		   const struct evr_lease_options *options)
{
	struct evr_lease_options o;
	struct evr_lease_record r = { .fd = -1 };
	uint64_t handle = 0;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_lease_options");
	if (!err && (!lender->heap || ch->send_heap != lender->heap))
		err = evr_fail(-EINVAL, "lease: the channel does not send with the lender's heap");
	if (!err)
		err = lender_reserve(lender);
	if (!err)
		err = record_make(&r, &o);
	if (err)
		return err;
	err = record_send(ch, &r, o.tag, &handle);
	if (err) {
		if (r.fd >= 0)
			close(r.fd);
		return err;
	}
	lender->entries[lender->out++] = (struct evr_lender_entry){ .handle = handle, .fd = r.fd };
	lender->given++;
	return 0;
}

int evr_lease_take(struct evr_lease *lease, struct evr_channel *ch, struct evr_message *m)
{
	struct evr_lease_record *r = &lease->record;

	memset(lease, 0, sizeof(*lease));
	if (!ch->mine || !m->place || !(m->flags & EVR_MESSAGE_LEASE) || m->kind != EVR_FRAME_BLOCK)
		return evr_fail(-EINVAL, "lease: not a message of one that was received here");
	if (m->sz != sizeof(*r))
		return evr_fail(-EBADMSG, "lease: a record of %llu bytes, not %zu",
				(unsigned long long)m->sz, sizeof(*r));
	evr_copy_out(r, m->data, sizeof(*r));
	if (r->layout != EVR_LEASE_LAYOUT || !r->sz || r->off > INT64_MAX || r->sz > INT64_MAX ||
	    r->flags & ~(uint32_t)EVR_LEASE_READ_ONLY || r->uri[sizeof(r->uri) - 1])
		return evr_fail(-EBADMSG, "lease: layout %#llx, %llu bytes at %llu, flags %#x",
				(unsigned long long)r->layout, (unsigned long long)r->sz,
				(unsigned long long)r->off, r->flags);
	lease->other = evr_a64_load_relaxed(&ch->partner);
	lease->turn = ch->rx[CHANNEL_NORMAL].lane.held;
	lease->from = owner_id(lease->other);
	lease->heap = ch->recv_heap;
	lease->message = *m;
	lease->ch = ch;
	memset(m, 0, sizeof(*m));
	return 0;
}
