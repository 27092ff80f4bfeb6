/* SPDX-License-Identifier: MIT */
/* The directory's table: where it is, whether it is one, and reading it. dir.c has the protocol. */
#include "dir_table.h"

#include <errno.h>
#include <string.h>

#include "backend.h"
#include "internal.h"

/*
 * A slot goes to its next incarnation only once the last one was settled, so a
 * stamp of a few bits of the incarnation means the present one or is a leftover.
 */
bool evr_dir_short_stamp_is_dead(struct evr_peer *peer, uint64_t stamp, uint64_t incarnation_mask)
{
	uint32_t slot = stamp & 0xff;
	uint64_t incarnation;
	uint32_t state;

	if (slot >= peer->segment->layout.peers_max)
		return true;
	state = peer->ops->state(peer, slot, &incarnation);
	return (incarnation & incarnation_mask) != stamp >> 8 ||
	       (state != EVR_PEER_LIVE && state != EVR_PEER_DYING);
}

bool evr_dir_stamp_is_dead(struct evr_peer *peer, uint64_t stamp)
{
	return evr_dir_short_stamp_is_dead(peer, stamp, 0xffff);
}

bool evr_dir_is_isolated(struct evr_peer *peer)
{
	return peer->segment->layout.flags & EVR_SEGMENT_ISOLATED;
}

static bool dir_is_writable(const struct dir *d)
{
	return evr_peer_is_writable(d->peer, d->region_off, sizeof(*d->header));
}

/* Where it is and how large, all of it by arithmetic. @slot: EVR_SLOT_ANY is the shared one. */
static int dir_map(struct dir *d, struct evr_peer *peer, uint32_t slot)
{
	const struct evr_layout *layout = &peer->segment->layout;
	uint64_t table_sz;

	*d = (struct dir){ .peer = peer, .slot = slot };
	d->region_off = slot == EVR_SLOT_ANY ? layout->shared_off : evr_layout_region(layout, slot);
	d->region_sz = slot == EVR_SLOT_ANY ? layout->shared_sz : layout->peer_sz;
	d->nr = ENTRIES_MIN;
	if (d->region_sz / ENTRY_SHARE > d->nr)
		d->nr = d->region_sz / ENTRY_SHARE < ENTRIES_MAX ?
				(uint32_t)(d->region_sz / ENTRY_SHARE) :
				ENTRIES_MAX;
	table_sz = sizeof(*d->header) + (uint64_t)d->nr * sizeof(*d->entries);
	d->objects_off = EVR_ROUND_UP(table_sz, 4096);
	if (d->region_sz < d->objects_off)
		return evr_fail(-ENOSPC,
				"directory: a region of %llu bytes has no room for its %llu",
				(unsigned long long)d->region_sz,
				(unsigned long long)d->objects_off);
	d->header = evr_peer_at(peer, d->region_off, d->region_sz);
	if (!d->header)
		return evr_fail(-EBADMSG, "directory: the region at %llu is not mapped",
				(unsigned long long)d->region_off);
	d->entries = (struct dir_entry *)(d->header + 1);
	return 0;
}

/* The owner of an isolated region starts afresh: what is there is its predecessor's. */
static void dir_inherit(struct dir *d)
{
	uint64_t mine = evr_peer_self(d->peer).incarnation;
	uint32_t i;

	if (evr_a64_load_relaxed(&d->header->incarnation) == mine)
		return;
	for (i = 0; i < d->nr; i++)
		evr_a64_store_relaxed(&d->entries[i].ctl,
				      ctl_freed(evr_a64_load_relaxed(&d->entries[i].ctl)) &
					      ~CTL_EXTENT);
	evr_a64_store_relaxed(&d->header->admit, 0);
	evr_a64_store_release(&d->header->incarnation, mine); /* DIR-INHERIT */
}

void evr_dir_afresh(struct evr_peer *peer)
{
	struct dir d;

	if (!evr_dir_is_isolated(peer) || evr_peer_self(peer).slot > 0xff ||
	    dir_map(&d, peer, evr_peer_self(peer).slot) || !dir_is_writable(&d))
		return;
	/* Whoever wrote it before us may have written our own incarnation there, as it is easily guessed. */
	evr_a64_store_relaxed(&d.header->incarnation, 0);
	evr_a64_store_release(&d.header->region_sz, d.region_sz);
	evr_a64_store_release(&d.header->magic, DIR_MAGIC);
	dir_inherit(&d);
}

/* Set a word that is 0 until it has the one value it can have. */
static int dir_settle_word(const struct dir *d, struct evr_a64 *word, uint64_t value,
			   const char *what)
{
	uint64_t u_now = evr_a64_load_acquire(word);

	if (!u_now && (!dir_is_writable(d) || evr_a64_cas(word, &u_now, value)))
		return 0;
	if (u_now == value)
		return 0;
	return evr_fail(value == DIR_MAGIC && (u_now ^ value) << 16 == 0 ? -EPROTO : -EBADMSG,
			"directory at offset %llu: %s is %#llx, not %#llx",
			(unsigned long long)d->region_off, what, (unsigned long long)u_now,
			(unsigned long long)value);
}

int evr_dir_open(struct dir *d, struct evr_peer *peer, uint32_t slot)
{
	int err = dir_map(d, peer, slot);

	if (err)
		return err;
	err = dir_settle_word(d, &d->header->region_sz, d->region_sz, "region_sz");
	if (!err)
		err = dir_settle_word(d, &d->header->magic, DIR_MAGIC, "magic");
	if (!err && slot != EVR_SLOT_ANY && slot == evr_peer_self(peer).slot && dir_is_writable(d))
		dir_inherit(d);
	return err;
}

/* The directory that this peer creates in. */
int evr_dir_open_own(struct dir *d, struct evr_peer *peer)
{
	uint32_t slot = evr_dir_is_isolated(peer) ? evr_peer_self(peer).slot : EVR_SLOT_ANY;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "directory: an observer cannot change it");
	err = evr_dir_open(d, peer, slot);
	if (!err && evr_peer_self(peer).slot > 0xff)
		err = evr_fail(-EROFS, "directory: a peer without a slot cannot change it");
	return err;
}

/* Does this directory say anything? Not when the peer whose region it is has ended. */
bool evr_dir_speaks(const struct dir *d)
{
	uint64_t incarnation;

	if (d->slot == EVR_SLOT_ANY)
		return evr_a64_load_acquire(&d->header->magic) == DIR_MAGIC;
	return d->peer->ops->state(d->peer, d->slot, &incarnation) == EVR_PEER_LIVE &&
	       evr_a64_load_acquire(&d->header->incarnation) == incarnation; /* DIR-INHERIT */
}

/* Call fn for each directory of the segment that says something, until it returns not 0. */
int evr_dir_each(struct evr_peer *peer, int (*fn)(struct dir *d, void *arg), void *arg)
{
	uint32_t slot, nr = evr_dir_is_isolated(peer) ? peer->segment->layout.peers_max : 1;
	struct dir d;
	int err = 0;

	for (slot = 0; slot < nr && !err; slot++) {
		err = evr_dir_open(&d, peer, evr_dir_is_isolated(peer) ? slot : EVR_SLOT_ANY);
		if (!err && evr_dir_speaks(&d))
			err = fn(&d, arg);
		/* A hostile peer's own directory is nobody else's trouble. */
		else if (err && evr_dir_is_isolated(peer) && slot != evr_peer_self(peer).slot)
			err = 0;
	}
	return err;
}

void evr_dir_turn(struct evr_peer *peer)
{
	struct dir d;

	if (!evr_dir_open_own(&d, peer))
		evr_a64_fetch_add(&d.header->turns, 1); /* LANE-MEET */
}

/*
 * What the turns of a slot weigh in the sum. Each peer writes its own turns as it pleases, and
 * reads all others; of plain turns it could take away what another has added, and so hide that
 * one. How much that is of its own it does not know: the weights are odd, and secret. They are
 * made as in Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
 */
static uint64_t turns_weight(const struct evr_peer *peer, uint32_t slot)
{
	uint64_t w = peer->turns_key + (slot + 1) * 0x9e3779b97f4a7c15ULL;

	w = (w ^ w >> 30) * 0xbf58476d1ce4e5b9ULL;
	w = (w ^ w >> 27) * 0x94d049bb133111ebULL;
	return (w ^ w >> 31) | 1;
}

uint64_t evr_dir_turns(struct evr_peer *peer, uint32_t slot)
{
	uint32_t i = 0, nr = peer->segment->layout.peers_max;
	uint64_t sum = peer->ops->generation(peer);
	struct dir d;

	if (slot < nr) {
		i = slot;
		nr = slot + 1;
	}
	for (; i < nr; i++)
		if (!dir_map(&d, peer, i))
			sum += turns_weight(peer, i) *
			       evr_a64_load_acquire(&d.header->turns); /* LANE-MEET */
	return sum;
}

bool evr_dir_extent_is_valid(const struct dir *d, uint64_t off, uint64_t sz)
{
	return sz && off >= d->objects_off && off <= d->region_sz && sz <= d->region_sz - off &&
	       off % OBJECT_ALIGN == 0 && sz % OBJECT_ALIGN == 0;
}

/* Copy an entry if it stayed in one life meanwhile. @ctl: as just loaded. */
bool evr_dir_read(const struct dir *d, uint32_t idx, uint64_t ctl, struct evr_object *out)
{
	const struct dir_entry *e = &d->entries[idx];
	uint64_t u_name[NAME_WORDS], u_creator, u_off, u_sz;
	int i;

	/* Acquire: each of these before the second look at ctl. */
	for (i = 0; i < NAME_WORDS; i++)
		u_name[i] = evr_a64_load_acquire(&e->name[i]);
	u_off = evr_a64_load_acquire(&e->off);
	u_sz = evr_a64_load_acquire(&e->sz);
	u_creator = evr_a64_load_acquire(&e->creator);
	out->kind = (uint32_t)evr_a64_load_acquire(&e->kind);
	if (ctl_gen(evr_a64_load_acquire(&e->ctl)) != ctl_gen(ctl))
		return false;
	if (!evr_dir_extent_is_valid(d, u_off, u_sz))
		return false;
	out->idx = idx;
	out->gen = ctl_gen(ctl);
	out->off = d->region_off + u_off;
	out->sz = u_sz;
	out->slot = d->slot;
	out->creator.slot = u_creator & 0xff;
	out->creator.incarnation = u_creator >> 8;
	memcpy(out->name, u_name, sizeof(out->name));
	out->name[EVR_OBJECT_NAME_SZ - 1] = '\0';
	return true;
}

static bool name_is_valid(const char *name)
{
	return name && name[0] && strnlen(name, EVR_OBJECT_NAME_SZ) < EVR_OBJECT_NAME_SZ;
}

int evr_dir_name_check(const char *name)
{
	if (name_is_valid(name))
		return 0;
	return evr_fail(-EINVAL, "object name '%.50s': it must have 1 to %d bytes",
			name ? name : "(null)", EVR_OBJECT_NAME_SZ - 1);
}

/* DIR-ADMIT: mark whom admit names, so that it may name another. */
void evr_dir_admit_help(const struct dir *d, uint64_t u_admit)
{
	uint32_t u_idx = u_admit >> 16 & 0xffff;
	struct dir_entry *e;
	uint64_t ctl;

	if (!u_admit || u_idx >= d->nr)
		return;
	e = &d->entries[u_idx];
	ctl = evr_a64_load_acquire(&e->ctl);
	if (ctl_state(ctl) == CLAIMED && (ctl_gen(ctl) & 0xffff) == (u_admit & 0xffff))
		evr_a64_cas(&e->ctl, &ctl, ctl_with(ctl, ctl_stamp(ctl), ADMITTED) | CTL_EXTENT);
}
