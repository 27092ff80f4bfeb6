/* SPDX-License-Identifier: MIT */
/* Objects as they are seen from outside; include/evering/object.h has the model. */
#include "object.h"

#include <errno.h>
#include <string.h>

#include "dir_table.h"
#include "internal.h"
#include "kinds.h"
#include "owner.h"

static const char *name_in(const char *const *names, size_t nr, uint32_t idx)
{
	return idx < nr ? names[idx] : "unknown";
}

const char *evr_end_state_name(enum evr_end_state state)
{
	static const char *const names[] = { "none", "held", "closed", "dead", "many" };

	return name_in(names, sizeof(names) / sizeof(names[0]), state);
}

const char *evr_hold_name(enum evr_hold what)
{
	static const char *const names[] = { "role", "claim", "block", "use" };

	return name_in(names, sizeof(names) / sizeof(names[0]), what);
}

const char *evr_kind_name(uint32_t kind)
{
	const struct evr_kind *row = evr_kind_find(kind);

	if (row)
		return row->name;
	return kind >= EVR_KIND_USER ? "user" : "unknown";
}

void evr_end_owner(struct evr_peer *peer, uint64_t u_owner, struct evr_flow_end *end)
{
	static const uint32_t states[] = { EVR_END_NONE, EVR_END_HELD, EVR_END_CLOSED,
					   EVR_END_DEAD };

	end->holder = (struct evr_peer_id){ .slot = EVR_SLOT_ANY };
	end->state = owner_state(u_owner) <= OWNER_DEAD ? states[owner_state(u_owner)] :
							  EVR_END_NONE;
	if (end->state == EVR_END_HELD && owner_is_dead(peer, u_owner))
		end->state = EVR_END_DEAD;
	if (end->state == EVR_END_HELD || end->state == EVR_END_DEAD)
		end->holder = owner_id(u_owner);
}

int evr_object_stat(struct evr_peer *peer, const struct evr_object *obj,
		    struct evr_object_stat *out)
{
	const struct evr_kind *kind = evr_kind_find(obj->kind);
	struct dir_entry *e = NULL;
	struct dir d;
	struct evr_peer_id id = { 0 };
	int err;

	memset(out, 0, sizeof(*out));
	if (!kind || !kind->stat)
		return evr_fail(-EOPNOTSUPP, "object '%s': kind %u is not the library's", obj->name,
				obj->kind);
	err = evr_dir_entry(&d, peer, obj, &e);
	if (!err)
		err = kind->stat(peer, obj, out);
	if (err) {
		memset(out, 0, sizeof(*out));
		return err;
	}
	for (; id.slot < EVR_PEERS_MAX; id.slot++)
		out->members += evr_dir_has_joined(&d, e, &id);
	return 0;
}

/* Roles that are held, and who has opened it: the same for all kinds. */
static int entry_held(const struct evr_held_walk *walk, const struct dir *d,
		      const struct dir_entry *e)
{
	struct evr_holding h = { .what = EVR_HOLD_ROLE, .source = EVR_SLOT_ANY };
	struct evr_peer_id id = { 0 };
	uint64_t u_owner;
	int ret = 0;

	for (h.role = 0; h.role < 2 && !ret; h.role++) {
		u_owner = evr_a64_load_acquire(&e->owners[h.role]); /* LANE-ROLE */
		if (owner_state(u_owner) != OWNER_HELD)
			continue;
		h.slot = owner_id(u_owner).slot;
		h.incarnation = owner_id(u_owner).incarnation;
		h.incarnation_bits = 64 - OWNER_INCARNATION_SHIFT;
		ret = evr_held_tell(walk, &h);
	}
	/* A bit is of whoever lives in the slot: who takes it clears what it finds. */
	h = (struct evr_holding){ .what = EVR_HOLD_USE,
				  .incarnation_bits = 64,
				  .source = EVR_SLOT_ANY };
	for (id.slot = 0; id.slot < EVR_PEERS_MAX && !ret; id.slot++) {
		if (!evr_dir_has_joined(d, e, &id))
			continue;
		h.slot = id.slot;
		h.incarnation = id.incarnation;
		ret = evr_held_tell(walk, &h);
	}
	return ret;
}

int evr_object_held(struct evr_peer *peer, const struct evr_object *obj,
		    int (*each)(const struct evr_holding *holding, void *arg), void *arg)
{
	struct evr_held_walk walk = { .peer = peer, .each = each, .arg = arg };
	const struct evr_kind *kind = evr_kind_find(obj->kind);
	struct dir_entry *e = NULL;
	struct dir d;
	int ret;

	ret = evr_dir_entry(&d, peer, obj, &e);
	if (!ret)
		ret = entry_held(&walk, &d, e);
	if (!ret && kind && kind->held)
		ret = kind->held(&walk, obj);
	return ret;
}
