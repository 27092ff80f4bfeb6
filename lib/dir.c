/* SPDX-License-Identifier: MIT */
/*
 * The directory; include/evering/dir.h has the model.
 *
 * A table of entries whose control word {gen:32 | stamp:24 | extent:1 | state:7}
 * says what each is, and names by its stamp {incarnation:16 | slot:8} who is at it:
 *
 *   FREE -> CLAIMED(me)        a creator; it alone writes name, kind, size, place
 *   CLAIMED(p) -> ADMITTED(p)  p, or whoever wants to be admitted next
 *   ADMITTED(me) -> PUBLISHED  the creator, when the object's memory is ready
 *   PUBLISHED -> REMOVING(me)  a remover; back, when a living peer holds a role
 *   CLAIMED, ADMITTED, REMOVING -> FREE, gen + 1
 *
 * Names are unique and extents disjoint because admissions have an order: the word
 * admit {seq:32 | idx:16 | gen:16} names the last one. Who wants to be next sees
 * that the last one is marked ADMITTED, looks through the table for the name and
 * for the end of the last extent, and then moves admit on. Had anybody come
 * between, that CAS fails, and it looks again.
 *
 * Every word that names a dead peer can be settled by anyone: a CLAIMED entry that
 * admit does not name has no extent of its own yet, all others have. Zeros are an
 * empty directory, so there is nothing to initialise and nobody can die in it.
 */
#include "dir.h"

#include <errno.h>
#include <string.h>

#include "backend.h"
#include "dir_table.h"
#include "internal.h"
#include "kinds.h"
#include "owner.h"

int evr_dir_entry(struct dir *d, struct evr_peer *peer, const struct evr_object *obj,
		  struct dir_entry **entry)
{
	bool isolated = evr_dir_is_isolated(peer);
	int err;

	if (isolated ? obj->slot >= peer->segment->layout.peers_max : obj->slot != EVR_SLOT_ANY)
		return evr_fail(-EINVAL, "object: slot %u has no directory here", obj->slot);
	err = evr_dir_open(d, peer, obj->slot);
	if (err)
		return err;
	if (obj->idx >= d->nr)
		return evr_fail(-EINVAL, "object: entry %u of %u", obj->idx, d->nr);
	*entry = &d->entries[obj->idx];
	return 0;
}

int evr_dir_publish(struct evr_peer *peer, const struct evr_object *obj)
{
	uint64_t stamp = stamp_of(evr_peer_self(peer));
	struct dir_entry *e = NULL;
	struct dir d;
	uint64_t ctl;
	int err;

	err = evr_dir_entry(&d, peer, obj, &e);
	if (err)
		return err;
	ctl = evr_a64_load_acquire(&e->ctl);
	if (ctl_gen(ctl) == obj->gen && ctl_state(ctl) == ADMITTED && ctl_stamp(ctl) == stamp &&
	    evr_a64_cas(&e->ctl, &ctl, ctl_with(ctl, 0, PUBLISHED))) /* DIR-PUBLISH */
		return 0;
	return evr_fail(-ESTALE, "object '%s' is not this peer's to publish", obj->name);
}

struct search {
	const char *name;
	struct evr_object *out;
};

static int dir_search(struct dir *d, void *arg)
{
	struct search *s = arg;
	uint64_t ctl;
	uint32_t i;

	for (i = 0; i < d->nr; i++) {
		ctl = evr_a64_load_acquire(&d->entries[i].ctl); /* DIR-PUBLISH */
		if (ctl_state(ctl) == PUBLISHED && evr_dir_read(d, i, ctl, s->out) &&
		    !strcmp(s->out->name, s->name))
			return 1;
	}
	return 0;
}

int evr_dir_find(struct evr_peer *peer, const char *name, struct evr_object *out)
{
	struct search search = { .name = name, .out = out };
	int ret;

	memset(out, 0, sizeof(*out));
	ret = evr_dir_name_check(name);
	if (ret)
		return ret;
	ret = evr_dir_each(peer, dir_search, &search);
	if (ret > 0)
		return 0;
	memset(out, 0, sizeof(*out));
	return ret ? ret : evr_fail(-ENOENT, "no object '%s' in this segment", name);
}

bool evr_dir_find_in(struct evr_peer *peer, struct evr_peer_id id, const char *name,
		     struct evr_object *out)
{
	struct search search = { .name = name, .out = out };
	struct dir d;

	return !evr_dir_open(&d, peer, id.slot) &&
	       evr_a64_load_acquire(&d.header->incarnation) == id.incarnation && /* DIR-INHERIT */
	       dir_search(&d, &search);
}

const struct evr_a64 *evr_dir_ctl(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;

	return evr_dir_entry(&d, peer, obj, &e) ? NULL : &e->ctl;
}

bool evr_dir_ctl_is_of(const struct evr_a64 *ctl, uint32_t gen)
{
	uint64_t u_ctl = evr_a64_load_acquire(ctl);

	return ctl_gen(u_ctl) == gen && ctl_state(u_ctl) == PUBLISHED;
}

bool evr_dir_is_current(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;
	uint64_t ctl;

	if (evr_dir_entry(&d, peer, obj, &e))
		return false;
	ctl = evr_a64_load_acquire(&e->ctl);
	return ctl_gen(ctl) == obj->gen && ctl_state(ctl) == PUBLISHED && evr_dir_speaks(&d);
}

struct evr_a64 *evr_dir_owners(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;

	return evr_dir_entry(&d, peer, obj, &e) ? NULL : e->owners;
}

/* Name ourselves as who removes it; *ctl is then what the entry says. */
static int remove_begin(struct dir *d, struct dir_entry *e, const struct evr_object *obj,
			uint64_t *ctl)
{
	uint64_t stamp = stamp_of(evr_peer_self(d->peer));
	uint64_t u_ctl = evr_a64_load_acquire(&e->ctl);

	if (ctl_gen(u_ctl) == obj->gen && ctl_state(u_ctl) == REMOVING &&
	    evr_dir_stamp_is_dead(d->peer, ctl_stamp(u_ctl)))
		evr_a64_cas(&e->ctl, &u_ctl, ctl_with(u_ctl, 0, PUBLISHED));
	u_ctl = evr_a64_load_acquire(&e->ctl);
	if (ctl_gen(u_ctl) != obj->gen)
		return evr_fail(-ESTALE, "object '%s' is gone already", obj->name);
	if (ctl_state(u_ctl) == REMOVING)
		return evr_fail(-EBUSY, "object '%s' is being removed by peer %u", obj->name,
				(unsigned int)(ctl_stamp(u_ctl) & 0xff));
	if (ctl_state(u_ctl) == ADMITTED && ctl_stamp(u_ctl) == stamp)
		/* Never published, so nobody has it; and if we die now, nobody may. */
		*ctl = u_ctl;
	else if (ctl_state(u_ctl) == PUBLISHED)
		*ctl = ctl_with(u_ctl, stamp, REMOVING);
	else
		return evr_fail(-ESTALE, "object '%s' is not published", obj->name);
	if (!evr_a64_cas(&e->ctl, &u_ctl, *ctl)) /* DIR-REMOVE */
		return evr_fail(-EBUSY, "object '%s' is changed by another peer", obj->name);
	return 0;
}

/* Who holds a role of it, or has joined it, and lives? The detail names it. */
static bool entry_is_held(struct dir *d, const struct dir_entry *e, const struct evr_object *obj)
{
	int member = evr_dir_member(d, e);
	struct evr_peer_id id;
	uint64_t owner;
	int role;

	if (member >= 0) {
		evr_error_set("object '%s': peer %d uses it", obj->name, member);
		return true;
	}

	for (role = 0; role < 2; role++) {
		owner = evr_a64_load_acquire(&e->owners[role]); /* DIR-REMOVE */
		if (owner_state(owner) != OWNER_HELD || owner_is_dead(d->peer, owner))
			continue;
		id = owner_id(owner);
		evr_error_set("ring '%s': peer %u.%llu holds a role of it", obj->name, id.slot,
			      (unsigned long long)id.incarnation);
		return true;
	}
	return false;
}

int evr_dir_remove(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;
	uint64_t ctl = 0;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "directory: an observer cannot change it");
	err = evr_dir_entry(&d, peer, obj, &e);
	if (!err && !evr_peer_is_writable(peer, d.region_off, d.region_sz))
		err = evr_fail(-EROFS, "object '%s' is in the region of peer %u", obj->name,
			       obj->slot);
	if (!err)
		err = remove_begin(&d, e, obj, &ctl);
	if (err)
		return err;
	/* Who takes a role looks at the entry afterwards, as we look at the roles. */
	evr_fence(); /* DIR-REMOVE */
	if (entry_is_held(&d, e, obj)) {
		evr_a64_cas(&e->ctl, &ctl, ctl_with(ctl, 0, PUBLISHED));
		return -EBUSY;
	}
	evr_a64_cas(&e->ctl, &ctl, ctl_freed(ctl));
	return 0;
}

struct walk {
	int (*each)(const struct evr_object *obj, void *arg);
	void *arg;
};

static int dir_walk(struct dir *d, void *arg)
{
	struct walk *w = arg;
	struct evr_object object;
	uint64_t ctl;
	uint32_t i;
	int ret = 0;

	for (i = 0; i < d->nr && !ret; i++) {
		ctl = evr_a64_load_acquire(&d->entries[i].ctl); /* DIR-PUBLISH */
		if (ctl_state(ctl) == PUBLISHED && evr_dir_read(d, i, ctl, &object))
			ret = w->each(&object, w->arg);
	}
	return ret;
}

int evr_dir_walk(struct evr_peer *peer, int (*each)(const struct evr_object *obj, void *arg),
		 void *arg)
{
	struct walk walk = { .each = each, .arg = arg };

	return evr_dir_each(peer, dir_walk, &walk);
}

static int dir_sum(struct dir *d, void *arg)
{
	struct evr_dir_info *info = arg;
	uint64_t ctl, u_off, u_sz;
	uint32_t i;

	info->entries_max += d->nr;
	info->bytes_max += d->region_sz - d->objects_off;
	for (i = 0; i < d->nr; i++) {
		ctl = evr_a64_load_acquire(&d->entries[i].ctl);
		info->entries += ctl_state(ctl) == PUBLISHED;
		info->claimed += ctl_state(ctl) == CLAIMED || ctl_state(ctl) == ADMITTED ||
				 ctl_state(ctl) == REMOVING;
		if (!(ctl & CTL_EXTENT))
			continue;
		u_off = evr_a64_load_relaxed(&d->entries[i].off);
		u_sz = evr_a64_load_relaxed(&d->entries[i].sz);
		if (!evr_dir_extent_is_valid(d, u_off, u_sz))
			continue;
		if (ctl_state(ctl) == FREE)
			info->bytes_kept += u_sz;
		else
			info->bytes += u_sz;
	}
	return 0;
}

int evr_dir_info(struct evr_peer *peer, struct evr_dir_info *out)
{
	memset(out, 0, sizeof(*out));
	return evr_dir_each(peer, dir_sum, out);
}

/* A word that names a dead peer as the one at work on this entry. */
static void entry_settle(struct dir *d, struct dir_entry *e, struct evr_reap_report *report)
{
	uint64_t ctl = evr_a64_load_acquire(&e->ctl);
	uint64_t state = ctl_state(ctl);
	uint64_t u_sz = evr_a64_load_relaxed(&e->sz);
	uint64_t next;

	if (state != CLAIMED && state != ADMITTED && state != REMOVING)
		return;
	if (!evr_dir_stamp_is_dead(d->peer, ctl_stamp(ctl)))
		return;
	next = state == REMOVING ? ctl_with(ctl, 0, PUBLISHED) : ctl_freed(ctl);
	if (!evr_a64_cas(&e->ctl, &ctl, next))
		return;
	report->objects++;
	if (state == ADMITTED && u_sz <= d->region_sz)
		report->bytes += u_sz;
}

static void owners_settle(struct dir *d, struct dir_entry *e, struct evr_reap_report *report)
{
	uint64_t owner;
	int role;

	for (role = 0; role < 2; role++) {
		owner = evr_a64_load_acquire(&e->owners[role]);
		if (owner_state(owner) == OWNER_HELD && owner_is_dead(d->peer, owner))
			report->sides += evr_a64_cas(&e->owners[role], &owner, /* LANE-ROLE */
						     owner_with(owner, OWNER_DEAD));
	}
}

/* An object that is of no use without its creator, who is dead. */
static void orphan_free(struct dir *d, uint64_t ctl, const struct evr_object *obj,
			struct evr_reap_report *report)
{
	uint32_t state = evr_peer_state(d->peer, obj->creator);

	if (state != EVR_PEER_DEAD && state != EVR_PEER_RETIRED)
		return;
	if (!evr_a64_cas(&d->entries[obj->idx].ctl, &ctl, ctl_freed(ctl))) /* DIR-REMOVE */
		return;
	report->objects++;
	report->bytes += obj->sz;
}

/* What dead peers hold inside an object; what is removed meanwhile holds nothing. */
static void object_settle(struct dir *d, uint32_t idx, struct evr_reap_report *report)
{
	uint64_t ctl = evr_a64_load_acquire(&d->entries[idx].ctl); /* DIR-PUBLISH */
	const struct evr_kind *kind;
	struct evr_object object;

	if (ctl_state(ctl) != PUBLISHED || !evr_dir_read(d, idx, ctl, &object))
		return;
	kind = evr_kind_find(object.kind);
	if (kind && kind->ends_with_creator)
		orphan_free(d, ctl, &object, report);
	if (!kind || !kind->settle || evr_dir_join(d->peer, &object))
		return;
	kind->settle(d->peer, &object, report);
	evr_dir_leave(d->peer, &object);
}

/*
 * A dead peer's claim that admit names may be freed before or after it is marked:
 * nobody was admitted since, so nobody has taken its place into account.
 */
static int dir_settle(struct dir *d, void *arg)
{
	uint32_t i;

	if (!evr_peer_is_writable(d->peer, d->region_off, d->region_sz))
		return 0;
	for (i = 0; i < d->nr; i++) {
		entry_settle(d, &d->entries[i], arg);
		owners_settle(d, &d->entries[i], arg);
		object_settle(d, i, arg);
	}
	return 0;
}

int evr_dir_settle(struct evr_peer *peer, struct evr_reap_report *report)
{
	return evr_dir_each(peer, dir_settle, report);
}
