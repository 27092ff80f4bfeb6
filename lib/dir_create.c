/* SPDX-License-Identifier: MIT */
/* Directory: creation of an object. dir.c has the protocol. */
#include <errno.h>
#include <string.h>

#include <evering/dir.h>

#include "dir_table.h"
#include "internal.h"
#include "owner.h"

static uint64_t admit_next(uint64_t u_admit, uint32_t idx, uint32_t gen)
{
	uint32_t seq = (uint32_t)(u_admit >> 32) + 1;

	/* 0 is the word of a new directory, and names nobody. */
	return (uint64_t)(seq ? seq : 1) << 32 | (uint64_t)idx << 16 | (gen & 0xffff);
}

struct creation {
	struct dir dir;
	const char *name;
	uint64_t name_words[NAME_WORDS];
	uint64_t sz;
	uint32_t kind;
	uint32_t idx; /* of the entry that we claimed */
	uint64_t ctl; /* what we wrote into it */
	uint64_t end; /* of the last extent, in the region */
	uint64_t largest_kept; /* extent of a free entry */
};

/* How well a free entry serves: 0 not at all, 2 has a fitting extent, 1 is without one. */
static int entry_fitness(const struct creation *c, const struct dir_entry *e, uint64_t ctl,
			 bool any_extent)
{
	uint64_t u_sz;

	if (ctl_state(ctl) != FREE)
		return 0;
	if (!(ctl & CTL_EXTENT))
		return any_extent ? 0 : 1;
	u_sz = evr_a64_load_relaxed(&e->sz); /* checked again when it is ours */
	if (u_sz < c->sz)
		return 0;
	return any_extent || u_sz / 2 <= c->sz ? 2 : 0;
}

/*
 * DIR-CLAIM: take a free entry. @any_extent: one that has an extent, however large.
 * -ENOSPC when there is none.
 */
static int entry_claim(struct creation *c, bool any_extent)
{
	uint64_t stamp = stamp_of(evr_peer_self(c->dir.peer));
	uint64_t ctl = 0, found_ctl = 0;
	uint32_t i, tries;
	int fit, best;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		best = 0;
		for (i = 0; i < c->dir.nr && best < 2; i++) {
			ctl = evr_a64_load_acquire(&c->dir.entries[i].ctl);
			fit = entry_fitness(c, &c->dir.entries[i], ctl, any_extent);
			if (fit <= best)
				continue;
			best = fit;
			c->idx = i;
			found_ctl = ctl;
		}
		if (!best)
			return -ENOSPC;
		c->ctl = ctl_with(found_ctl, stamp, CLAIMED);
		if (evr_a64_cas(&c->dir.entries[c->idx].ctl, &found_ctl, c->ctl))
			return 0;
	}
	return evr_fail(-EBADMSG, "directory: entry %u changes all the time", c->idx);
}

static void entry_unclaim(struct creation *c)
{
	uint64_t ctl = c->ctl;

	/* Fails only when we were taken for dead, and then there is nothing left to do. */
	evr_a64_cas(&c->dir.entries[c->idx].ctl, &ctl, ctl_freed(ctl));
}

/* Look through all others: is the name taken, and where does the last extent end? */
static int creation_survey(struct creation *c)
{
	struct evr_object other;
	uint64_t ctl, u_off, u_sz;
	uint32_t i;

	c->end = c->dir.objects_off;
	c->largest_kept = 0;
	for (i = 0; i < c->dir.nr; i++) {
		ctl = evr_a64_load_acquire(&c->dir.entries[i].ctl);
		if (!(ctl & CTL_EXTENT))
			continue;
		/* An extent, once it is there, stays what it is. */
		u_off = evr_a64_load_relaxed(&c->dir.entries[i].off);
		u_sz = evr_a64_load_relaxed(&c->dir.entries[i].sz);
		if (!evr_dir_extent_is_valid(&c->dir, u_off, u_sz))
			return evr_fail(-EBADMSG,
					"directory: entry %u has %llu bytes at %llu of %llu", i,
					(unsigned long long)u_sz, (unsigned long long)u_off,
					(unsigned long long)c->dir.region_sz);
		if (u_off + u_sz > c->end)
			c->end = u_off + u_sz;
		if (ctl_state(ctl) == FREE && u_sz > c->largest_kept)
			c->largest_kept = u_sz;
		if (i == c->idx || ctl_state(ctl) == FREE || ctl_state(ctl) == CLAIMED)
			continue;
		if (evr_dir_read(&c->dir, i, ctl, &other) && !strcmp(other.name, c->name))
			return evr_fail(-EEXIST, "object '%s' is there already", c->name);
	}
	return 0;
}

/* Write what is ours to write, and what the survey has told of where to be. */
static int creation_place(struct creation *c)
{
	struct dir_entry *e = &c->dir.entries[c->idx];
	struct evr_peer_id self = evr_peer_self(c->dir.peer);
	int i;

	if (!(c->ctl & CTL_EXTENT)) {
		if (c->sz > c->dir.region_sz - c->end)
			return -ENOSPC;
		evr_a64_store_relaxed(&e->off, c->end);
		evr_a64_store_relaxed(&e->sz, c->sz);
	} else if (evr_a64_load_relaxed(&e->sz) < c->sz) {
		return -ENOSPC;
	}
	for (i = 0; i < NAME_WORDS; i++)
		evr_a64_store_relaxed(&e->name[i], c->name_words[i]);
	evr_a64_store_relaxed(&e->kind, c->kind);
	evr_a64_store_relaxed(&e->creator, self.incarnation << 8 | self.slot);
	evr_a64_store_relaxed(&e->owners[0], OWNER_FREE);
	evr_a64_store_relaxed(&e->owners[1], OWNER_FREE);
	return 0;
}

/* The claimed entry becomes an object, or is free again. */
static int creation_admit(struct creation *c)
{
	struct evr_a64 *admit = &c->dir.header->admit;
	uint64_t u_admit;
	uint32_t tries;
	int err = 0;

	for (tries = 0; tries < TRIES_MAX && !err; tries++) {
		u_admit = evr_a64_load_acquire(admit); /* DIR-ADMIT */
		evr_dir_admit_help(&c->dir, u_admit);
		err = creation_survey(c);
		if (!err)
			err = creation_place(c);
		if (err)
			break;
		if (evr_a64_cas(admit, &u_admit, /* DIR-ADMIT */
				admit_next(u_admit, c->idx, ctl_gen(c->ctl)))) {
			evr_dir_admit_help(&c->dir, evr_a64_load_acquire(admit));
			return 0;
		}
	}
	entry_unclaim(c);
	return err ? err : evr_fail(-EBADMSG, "directory: admit changes all the time");
}

static int creation_no_space(const struct creation *c)
{
	return evr_fail(-ENOSPC,
			"object '%s': %llu bytes wanted; the region of %llu has %llu left, its "
			"largest removed object %llu, its table %u entries",
			c->name, (unsigned long long)c->sz, (unsigned long long)c->dir.region_sz,
			(unsigned long long)(c->dir.region_sz - c->end),
			(unsigned long long)c->largest_kept, c->dir.nr);
}

int evr_dir_create_own(struct evr_peer *peer, const char *name, uint32_t kind, uint64_t sz,
		       struct evr_object *out)
{
	struct creation c = { .name = name, .kind = kind };
	uint64_t ctl;
	int err;

	memset(out, 0, sizeof(*out));
	err = evr_dir_name_check(name);
	if (!err && !sz)
		err = evr_fail(-EINVAL, "object '%s': size 0", name);
	if (!err)
		err = evr_dir_open_own(&c.dir, peer);
	if (err)
		return err;
	memcpy(c.name_words, name, strlen(name));
	c.end = c.dir.objects_off;
	c.sz = EVR_ROUND_UP(sz, OBJECT_ALIGN);
	if (sz > c.dir.region_sz)
		return creation_no_space(&c);
	err = entry_claim(&c, false);
	if (!err)
		err = creation_admit(&c);
	if (err == -ENOSPC) {
		/* Nothing fresh: waste some of what is kept. */
		err = entry_claim(&c, true);
		if (!err)
			err = creation_admit(&c);
	}
	if (err == -ENOSPC)
		return creation_no_space(&c);
	if (err)
		return err;
	ctl = evr_a64_load_acquire(&c.dir.entries[c.idx].ctl);
	if (ctl_gen(ctl) != ctl_gen(c.ctl) || ctl_state(ctl) != ADMITTED ||
	    !evr_dir_read(&c.dir, c.idx, ctl, out) || out->sz < c.sz)
		return evr_fail(-EBADMSG, "directory: entry %u of '%s' is corrupt", c.idx, name);
	return 0;
}

int evr_dir_create(struct evr_peer *peer, const char *name, uint32_t kind, uint64_t sz,
		   struct evr_object *out)
{
	int err;

	if (!evr_dir_is_isolated(peer) || evr_dir_name_check(name) || evr_dir_find(peer, name, out))
		return evr_dir_create_own(peer, name, kind, sz, out);
	err = evr_fail(-EEXIST, "object '%s' is there already, of peer %u", name, out->slot);
	memset(out, 0, sizeof(*out));
	return err;
}
