/* SPDX-License-Identifier: MIT */
/* The device backend, what is done on a peer fd: attach, look, ring, wait. */
#include "device.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <evering/uapi.h>

#include "internal.h"

static void copy_peer(const struct evering_peer_entry *entry, struct evr_peer_info *info)
{
	*info = (struct evr_peer_info){
		.id = { .slot = entry->slot, .incarnation = entry->incarnation },
		.state = entry->state,
		.rights = entry->rights,
		.exit_reason = entry->exit_reason,
		.exit_status = entry->exit_status,
		.pid = entry->pid,
		.uid = entry->uid,
		.cookie = entry->cookie,
		.rung = entry->rung,
		.suppressed = entry->suppressed,
		.attached_ns = entry->attached_ns,
	};
}

int device_peers(const struct evr_segment *segment, struct evr_peer_info *infos, uint32_t nr)
{
	struct evering_peer_entry entries[32];
	struct evering_peer_list arg = {
		.size = sizeof(arg),
		.entries = (uintptr_t)entries,
	};
	uint32_t i, total = 0;
	int err;

	do {
		arg.nr = 32;
		err = device_call(segment->fd, EVERING_IOC_PEER_LIST, &arg);
		if (err)
			return device_explain(err, "peers", NULL, 0);
		for (i = 0; i < arg.nr; i++, total++)
			if (total < nr)
				copy_peer(&entries[i], &infos[total]);
	} while (arg.first != EVERING_SLOT_ANY && arg.nr);
	return (int)total;
}

/* The status page says what SEGMENT_INFO said, or it is not what we know to read. */
static int check_status(const struct evr_peer *peer)
{
	struct evr_layout_rule rule = {
		.magic = EVERING_STATUS_MAGIC,
		.version = EVERING_ABI_VERSION,
		.entry_sz = sizeof(struct evering_status_entry),
		.file_sz = UINT64_MAX,
	};
	const struct evr_layout *layout = &peer->segment->layout;
	struct evr_layout now;
	void *status;
	int err;

	status = mmap(NULL, layout->status_sz, PROT_READ, MAP_SHARED, peer->fd, 0);
	if (status == MAP_FAILED)
		return evr_fail(-errno, "cannot map the status page: %s", strerror(errno));
	err = evr_layout_read(&now, status, &rule);
	if (!err)
		err = evr_layout_same(layout, &now);
	munmap(status, layout->status_sz);
	return err;
}

int device_attach(struct evr_peer *peer, const struct evr_peer_options *options)
{
	static const struct device_advice advice[] = {
		{ EUSERS, "no slot is free; wait for one, or settle the dead (evr_reap_dead())" },
		{ EBUSY, "the wanted slot is not free" },
		{ EACCES, "this fd has not the right, or was made for fewer attachments" },
	};
	struct evering_peer_attach arg = {
		.size = sizeof(arg),
		.flags = options->flags & EVR_PEER_OBSERVER,
		.cookie = options->cookie,
		.slot = options->slot,
	};
	int err = device_call(peer->segment->fd, EVERING_IOC_PEER_ATTACH, &arg);

	if (err)
		return DEVICE_EXPLAIN(err, "attach", advice);
	peer->fd = arg.fd;
	peer->rights = arg.rights;
	peer->self.slot = arg.slot;
	peer->self.incarnation = arg.incarnation;
	return check_status(peer);
}

void device_detach(struct evr_peer *peer)
{
	struct evering_peer_detach arg = { .size = sizeof(arg) };

	if (peer->fd < 0)
		return;
	device_call(peer->fd, EVERING_IOC_PEER_DETACH, &arg);
	close(peer->fd);
	peer->fd = -1;
}

static const unsigned char *status_entry(const struct evr_peer *peer, uint32_t slot)
{
	const struct evr_layout *layout = &peer->segment->layout;

	return peer->base + layout->entries_off + (uint64_t)slot * layout->entry_sz;
}

uint32_t device_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation)
{
	const unsigned char *entry = status_entry(peer, slot);
	const struct evr_a32 *word =
		(const struct evr_a32 *)(entry + offsetof(struct evering_status_entry, state));
	uint32_t state, again;

	do {
		/* STATUS: pairs with the kernel's store-release of the state. */
		state = evr_a32_load_acquire(word);
		*incarnation = evr_a64_load_acquire(
			(const struct evr_a64 *)(entry + offsetof(struct evering_status_entry,
								  incarnation)));
		again = evr_a32_load_acquire(word);
	} while (state != again);
	return state;
}

uint64_t device_generation(const struct evr_peer *peer)
{
	return evr_a64_load_acquire(
		(const struct evr_a64 *)(peer->base +
					 offsetof(struct evering_status_header, generation)));
}

void device_check(struct evr_peer *peer)
{
}

int device_peer_info(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info)
{
	struct evering_status_entry last;
	struct evering_peer_entry entry;
	struct evering_peer_list arg = {
		.size = sizeof(arg),
		.first = slot,
		.nr = 1,
		.entries = (uintptr_t)&entry,
	};
	int err = device_call(peer->segment->fd, EVERING_IOC_PEER_LIST, &arg);

	if (err)
		return device_explain(err, "peers", NULL, 0);
	if (arg.nr && entry.slot == slot) {
		copy_peer(&entry, info);
		return 0;
	}
	info->id.slot = slot;
	info->state = EVR_PEER_FREE;
	device_state(peer, slot, &info->id.incarnation);
	/* How the last one ended; its pid and uid only PEER_LIST could translate. */
	evr_copy_out(&last, status_entry(peer, slot), sizeof(last));
	info->exit_reason = last.exit_reason;
	info->exit_status = last.exit_status;
	info->rung = last.rung;
	info->suppressed = last.suppressed;
	info->attached_ns = last.attached_ns;
	return 0;
}

int device_reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	struct evering_peer_reaped arg = {
		.size = sizeof(arg),
		.slot = dead.slot,
		.incarnation = dead.incarnation,
	};

	return device_call(peer->fd, EVERING_IOC_PEER_REAPED, &arg);
}

int device_segment_sz(struct evr_peer *peer, uint64_t *sz)
{
	struct evering_segment_info info = { .size = sizeof(info) };
	int err = device_call(peer->segment->fd, EVERING_IOC_SEGMENT_INFO, &info);

	if (err)
		return device_explain(err, "segment", NULL, 0);
	*sz = info.segment_size;
	return 0;
}

/* GROW: what lies below the size has its entry. */
static bool has_grown(const struct evr_peer *peer)
{
	return evr_a64_load_acquire(
		       (const struct evr_a64 *)(peer->base + offsetof(struct evering_status_header,
								      segment_size))) >
	       peer->segment->layout.grown_off;
}

int device_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg)
{
	struct evering_growth entries[32];
	struct evering_segment_growths list = {
		.size = sizeof(list),
		.entries = (uintptr_t)entries,
	};
	struct evr_growth growth;
	uint32_t i;
	int ret = 0;

	if (!has_grown(peer))
		return 0;
	do {
		list.nr = 32;
		ret = device_call(peer->fd, EVERING_IOC_SEGMENT_GROWTHS, &list);
		if (ret)
			return device_explain(ret, "growths", NULL, 0);
		for (i = 0; i < list.nr && !ret; i++) {
			growth.off = entries[i].offset;
			growth.sz = entries[i].length;
			if (entries[i].tag == tag)
				ret = each(&growth, arg);
		}
		list.first += list.nr;
	} while (list.nr && !ret);
	return ret;
}

/* --- bells --- */

static int ring_some(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	struct evering_bell entries[EVERING_RING_MAX];
	struct evering_bell_ring arg = {
		.size = sizeof(arg),
		.nr = nr,
		.bells = (uintptr_t)entries,
	};
	uint32_t i;
	int rung;

	for (i = 0; i < nr; i++)
		entries[i] = (struct evering_bell){
			.slot = bells[i].to.slot,
			.incarnation = bells[i].to.incarnation,
			.bits = bells[i].bits,
		};
	rung = device_call(peer->fd, EVERING_IOC_BELL_RING, &arg);
	for (i = 0; i < nr; i++)
		bells[i].result = rung < 0 ? rung : entries[i].result;
	return rung;
}

/* By write(2), which takes half the time of the ioctl; errors of the bell are its result. */
static int ring_one(struct evr_peer *peer, struct evr_bell *bell)
{
	struct evering_bell entry = {
		.slot = bell->to.slot,
		.incarnation = bell->to.incarnation,
		.bits = bell->bits,
	};

	bell->result = write(peer->fd, &entry, sizeof(entry)) < 0 ? -errno : 0;
	if (!bell->result)
		return 1;
	return bell->result == -ESTALE || bell->result == -EINVAL ? 0 : bell->result;
}

int device_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	uint32_t at, some;
	int rung, total = 0;

	if (nr == 1)
		return ring_one(peer, bells);
	for (at = 0; at < nr; at += some) {
		some = nr - at < EVERING_RING_MAX ? nr - at : EVERING_RING_MAX;
		rung = ring_some(peer, bells + at, some);
		if (rung < 0)
			return rung;
		total += rung;
	}
	return total;
}

int device_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns, struct evr_bells *bells)
{
	struct evering_bell_wait arg = {
		.size = sizeof(arg),
		.mask = mask,
		.deadline_ns = deadline_ns,
	};
	int err = device_call(peer->fd, EVERING_IOC_BELL_WAIT, &arg);

	if (err)
		return err;
	memcpy(bells, &arg.bells, sizeof(*bells));
	return 0;
}

/* Not by read(2): that would sleep unless the fd, which is the caller's too, is O_NONBLOCK. */
int device_read(struct evr_peer *peer, struct evr_bells *bells)
{
	int err = device_wait(peer, UINT64_MAX, 0, bells);

	return err == -ETIMEDOUT ? -EAGAIN : err;
}

int device_bell_fd(struct evr_peer *peer)
{
	return peer->fd;
}

int device_bind(struct evr_peer *peer, int eventfd)
{
	struct evering_bell_bind arg = { .size = sizeof(arg), .eventfd = eventfd };
	int err = device_call(peer->fd, EVERING_IOC_BELL_BIND, &arg);

	return err ? device_explain(err, "bind", NULL, 0) : 0;
}
