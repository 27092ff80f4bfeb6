/* SPDX-License-Identifier: MIT */
/*
 * The senders' end of an inbox: each makes a lane of its own, says so in the inbox, and
 * wakes who receives. include/evering/inbox.h has the model.
 */
#include <errno.h>
#include <string.h>

#include <evering/inbox.h>

#include "backend.h"
#include "dir.h"
#include "inbox.h"
#include "internal.h"
#include "lane.h"
#include "owner.h"

/* Make the lane of this peer, if its last holder has not left it there. */
static int sender_open(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		       const struct evr_lane_geometry *g)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = (uint32_t)g->span,
					    .elem_sz = (uint32_t)g->unit_sz,
					    .type_tag = g->type_tag };
	char lane[EVR_OBJECT_NAME_SZ];
	struct evr_lane *l = &sender->ring.lane;
	int err;

	err = evr_inbox_lane_name(lane, name, evr_peer_self(peer).slot);
	if (!err)
		err = evr_spsc_create(peer, lane, &options);
	if (!err || err == -EEXIST)
		err = evr_spsc_open_sized(&sender->ring, peer, lane, EVR_PRODUCER, g->type_tag,
					  (uint32_t)g->unit_sz);
	/* What is in it already was another's. (Of two halves it is where the next begins.) */
	if (!err && !l->far) {
		evr_a64_store_release(&l->mine->base, l->pos);
		evr_a64_store_release(&l->mine->partner, l->held); /* INBOX-TURN */
	}
	return err;
}

static void sender_tell(struct evr_inbox_sender *sender, struct evr_peer *peer,
			struct evr_lane_object *shared, struct evr_peer_id receiver)
{
	struct evr_a64 *owners = evr_dir_owners(peer, &sender->object);
	uint64_t epoch = 0, u_owner;
	uint32_t slot = evr_peer_self(peer).slot;
	struct evr_inbox_ready *ready = (struct evr_inbox_ready *)(shared + 1);

	if (!sender->ring.lane.far) {
		sender->ready = &ready[slot / 64].word;
		sender->bit = 1ULL << slot % 64;
		evr_inbox_hint(sender);
	}
	u_owner = owners ? evr_a64_load_acquire(&owners[EVR_CONSUMER]) : OWNER_FREE;
	if (owner_state(u_owner) == OWNER_HELD)
		evr_wake(peer, &shared->sides[EVR_CONSUMER].need,
			 sender->ring.lane.far ? receiver : owner_id(u_owner), &epoch);
}

/* Find the inbox; in an isolated segment that of @receiver, and fill in which one that is. */
static int inbox_find(struct evr_peer *peer, const char *name, struct evr_object *object,
		      struct evr_peer_id *receiver)
{
	int err;

	if (!evr_dir_is_isolated(peer))
		return evr_dir_find(peer, name, object);
	if (receiver->slot != EVR_SLOT_ANY)
		return evr_peer_is_live(peer, *receiver) &&
				       evr_dir_find_in(peer, *receiver, name, object) ?
			       0 :
			       evr_fail(-ENOENT, "no inbox '%s' of peer %u.%llu", name,
					receiver->slot, (unsigned long long)receiver->incarnation);
	err = evr_dir_find(peer, name, object);
	if (err)
		return err;
	receiver->slot = object->slot;
	peer->ops->state(peer, receiver->slot, &receiver->incarnation);
	return 0;
}

static int sender_join(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		       const struct evr_inbox_type *type, const struct evr_peer_id *receiver)
{
	struct evr_peer_id id = { .slot = EVR_SLOT_ANY };
	struct evr_lane_object *shared;
	struct evr_lane_geometry u_g;
	uint64_t min_sz = sizeof(*shared);
	int err;

	memset(sender, 0, sizeof(*sender));
	if (receiver)
		id = *receiver;
	err = inbox_find(peer, name, &sender->object, &id);
	if (err)
		return err;
	if (sender->object.kind != EVR_KIND_INBOX)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", name,
				sender->object.kind, EVR_KIND_INBOX);
	err = evr_dir_join(peer, &sender->object);
	if (err)
		return err;
	shared = evr_peer_at(peer, sender->object.off, sender->object.sz);
	if (!evr_dir_is_isolated(peer))
		min_sz += INBOX_DATA_SZ;
	if (!shared || sender->object.sz < min_sz) {
		err = evr_fail(-EBADMSG, "inbox '%s': size is %llu", name,
			       (unsigned long long)sender->object.sz);
		goto err_leave;
	}
	evr_copy_out(&u_g, &shared->geometry, sizeof(u_g));
	err = evr_inbox_check(&u_g, name, type);
	if (!err)
		err = sender_open(sender, peer, name, &u_g);
	if (err)
		goto err_leave;
	if (sender->ring.lane.far)
		evr_spsc_expect(&sender->ring, id);
	sender_tell(sender, peer, shared, id);
	return 0;

err_leave:
	evr_dir_leave(peer, &sender->object);
	return err;
}

int evr_inbox_join(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		   uint64_t type_tag)
{
	return evr_inbox_join_to(sender, peer, name, type_tag, NULL);
}

int evr_inbox_join_to(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		      uint64_t type_tag, const struct evr_peer_id *receiver)
{
	const struct evr_inbox_type type = { .tag = type_tag };

	return sender_join(sender, peer, name, &type, receiver);
}

int evr_inbox_join_sized(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
			 uint64_t type_tag, uint32_t elem_sz)
{
	const struct evr_inbox_type type = { .tag = type_tag, .elem_sz = elem_sz };

	return sender_join(sender, peer, name, &type, NULL);
}

void evr_inbox_leave(struct evr_inbox_sender *sender)
{
	struct evr_peer *peer = sender->ring.lane.peer;

	if (!sender->ring.lane.mine)
		return;
	evr_spsc_close(&sender->ring);
	evr_inbox_hint(sender);
	sender->ready = NULL;
	evr_dir_leave(peer, &sender->object);
}

int evr_inbox_push_wait(struct evr_inbox_sender *sender, struct evr_waiter *waiter,
			const void *elems, uint32_t nr, uint64_t deadline_ns)
{
	const uint8_t *from = elems;
	uint32_t done = 0;
	int err;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	err = evr_lane_check(&sender->ring.lane);
	while (!err && done < nr) {
		done += evr_inbox_push(sender, from + (size_t)done * sender->ring.elem_sz,
				       nr - done);
		if (done < nr)
			err = evr_lane_wait(&sender->ring.lane, waiter, 1, deadline_ns);
	}
	return done || !err ? (int)done : err;
}
