/* SPDX-License-Identifier: MIT */
/*
 * Inboxes; include/evering/inbox.h has the model.
 *
 * The object of the inbox is a lane without messages: its consumer's role is the
 * receiver's, its consumer's need word is what who joins looks at, its data are the ready
 * words. What is said of roles, deaths and halves in lane.c holds for it, and for the
 * lanes of the senders.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/inbox.h>

#include "backend.h"
#include "dir.h"
#include "inbox.h"
#include "internal.h"
#include "lane.h"
#include "owner.h"

#define INBOX_CAPACITY_DEFAULT 64
#define INBOX_CAPACITY_MAX (1U << 31)
#define INBOX_ELEM_DEFAULT 8
#define INBOX_ELEM_MAX (1U << 30)
/* How often a receiver that always finds something looks who has come. */
#define SURVEY_LOOKS 64
/* ".255" and the NUL stay free for the names of lanes. */
#define INBOX_NAME_MAX (EVR_OBJECT_NAME_SZ - 5)

struct evr_inbox_lane {
	struct evr_spsc ring;
	struct evr_peer_id from; /* who has sent what comes next */
	uint64_t turn; /* shared segment: its owner word; 0: of one that we have not met */
};

int evr_inbox_lane_name(char *out, const char *name, uint32_t slot)
{
	if (!name || !name[0] || strnlen(name, EVR_OBJECT_NAME_SZ) > INBOX_NAME_MAX)
		return evr_fail(-EINVAL, "inbox name '%.50s': it must have 1 to %d bytes",
				name ? name : "(null)", INBOX_NAME_MAX);
	snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.%u", INBOX_NAME_MAX, name, slot & 0xff);
	return 0;
}

int evr_inbox_check(const struct evr_lane_geometry *g, const char *name,
		    const struct evr_inbox_type *type)
{
	if (g->layout != EVR_LANE_LAYOUT)
		return evr_fail(-EBADMSG, "inbox '%s': layout is %#llx, not %#llx", name,
				(unsigned long long)g->layout, EVR_LANE_LAYOUT);
	if (!evr_lane_span_is_valid(g->span, 1, INBOX_CAPACITY_MAX) || !g->unit_sz ||
	    g->unit_sz > INBOX_ELEM_MAX || g->data_sz != INBOX_DATA_SZ)
		return evr_fail(-EBADMSG,
				"inbox '%s': capacity is %llu, elem_sz %llu, data_sz %llu", name,
				(unsigned long long)g->span, (unsigned long long)g->unit_sz,
				(unsigned long long)g->data_sz);
	if (type->tag && g->type_tag && type->tag != g->type_tag)
		return evr_fail(-EINVAL, "inbox '%s': type_tag is %#llx, not %#llx", name,
				(unsigned long long)g->type_tag, (unsigned long long)type->tag);
	if (type->elem_sz && type->elem_sz != g->unit_sz)
		return evr_fail(-EINVAL, "inbox '%s': elem_sz is %llu, not %u", name,
				(unsigned long long)g->unit_sz, type->elem_sz);
	return 0;
}

int evr_inbox_create(struct evr_peer *peer, const char *name,
		     const struct evr_inbox_options *options)
{
	struct evr_lane_geometry g = { .data_sz = INBOX_DATA_SZ };
	char lane[EVR_OBJECT_NAME_SZ];
	struct evr_inbox_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_inbox_options");
	if (!err)
		err = evr_inbox_lane_name(lane, name, 0);
	if (err)
		return err;
	g.span = o.capacity ? o.capacity : INBOX_CAPACITY_DEFAULT;
	g.unit_sz = o.elem_sz ? o.elem_sz : INBOX_ELEM_DEFAULT;
	g.type_tag = o.type_tag;
	if (!evr_lane_span_is_valid(g.span, 1, INBOX_CAPACITY_MAX) || g.unit_sz > INBOX_ELEM_MAX)
		return evr_fail(-EINVAL,
				"inbox '%s': capacity %u is no power of two up to 2^31, or "
				"elem_sz %u more than 2^30",
				name, o.capacity, o.elem_sz);
	return evr_lane_create(peer, name, EVR_KIND_INBOX, &g);
}

static int inbox_remove_named(struct evr_peer *peer, const char *name)
{
	struct evr_object object;
	int err = 0;

	/* In an isolated segment others may have one of the same name, which is theirs. */
	if (!evr_dir_is_isolated(peer))
		err = evr_dir_find(peer, name, &object);
	else if (!evr_dir_find_in(peer, evr_peer_self(peer), name, &object))
		err = evr_fail(-ENOENT, "this peer has no object '%s'", name);
	return err ? err : evr_dir_remove(peer, &object);
}

int evr_inbox_remove(struct evr_peer *peer, const char *name)
{
	char lane[EVR_OBJECT_NAME_SZ];
	uint32_t slot;
	int err;

	err = evr_inbox_lane_name(lane, name, 0);
	if (!err)
		err = inbox_remove_named(peer, name);
	/* From now on nobody joins; who is in holds its lane, which stays until it is made again. */
	for (slot = 0; !err && slot < peer->segment->layout.peers_max; slot++) {
		evr_inbox_lane_name(lane, name, slot);
		inbox_remove_named(peer, lane);
	}
	return err;
}

static bool bit_is_set(const uint64_t *words, uint32_t i)
{
	return words[i / 64] >> i % 64 & 1;
}

static void bit_set(uint64_t *words, uint32_t i)
{
	words[i / 64] |= 1ULL << i % 64;
}

static void bit_clear(uint64_t *words, uint32_t i)
{
	words[i / 64] &= ~(1ULL << i % 64);
}

/* The first from @i on; as many as there are bits, when there is none. */
static uint32_t bit_next(const uint64_t *words, uint32_t i)
{
	uint64_t bits;

	for (; i < EVR_INBOX_WORDS * 64; i = (i | 63) + 1) {
		bits = words[i / 64] >> i % 64;
		if (bits)
			return i + (uint32_t)__builtin_ctzll(bits);
	}
	return i;
}

static void lane_drop(struct evr_inbox *box, uint32_t slot)
{
	evr_spsc_close(&box->lanes[slot].ring);
	bit_clear(box->open, slot);
	bit_clear(box->pending, slot);
	if (box->current == slot)
		box->granted = false;
	box->changes++;
	/* There may be another already. */
	box->generation = UINT64_MAX;
}

/* Our half of a lane is as we say, not as the sender's is: that may be nonsense, or a dead one's. */
static int half_make(struct evr_inbox *box, const char *name)
{
	struct evr_lane_geometry g = box->control.geometry;
	struct evr_peer *peer = box->control.peer;
	struct evr_object object;

	if (evr_dir_find_in(peer, evr_peer_self(peer), name, &object))
		return 0;
	g.data_sz = g.span * g.unit_sz;
	return evr_lane_make(peer, name, EVR_KIND_SPSC, &g, 0);
}

/* Take our end of a sender's lane, if it has made one. */
static void lane_try(struct evr_inbox *box, uint32_t slot)
{
	const struct evr_lane_geometry *g = &box->control.geometry;
	struct evr_inbox_lane *lane = &box->lanes[slot];
	struct evr_peer *peer = box->control.peer;
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_peer_id id = { .slot = slot };
	struct evr_object object;

	evr_inbox_lane_name(name, box->control.object.name, slot);
	peer->ops->state(peer, slot, &id.incarnation);
	/* Of two halves it stays with the one whose it was, to the last message. */
	if (bit_is_set(box->open, slot) && box->control.far && !lane->ring.lane.met &&
	    lane->from.incarnation != id.incarnation)
		lane_drop(box, slot);
	if (bit_is_set(box->open, slot))
		return;
	if (box->control.far ? !evr_dir_find_in(peer, id, name, &object) :
			       evr_dir_find(peer, name, &object))
		return;
	if (box->control.far && half_make(box, name))
		return;
	if (evr_spsc_open_sized(&lane->ring, peer, name, EVR_CONSUMER, g->type_tag,
				(uint32_t)g->unit_sz))
		return;
	lane->from = (struct evr_peer_id){ .slot = slot };
	lane->turn = 0;
	if (box->control.far) {
		evr_spsc_expect(&lane->ring, id);
		lane->from = id;
	}
	bit_set(box->open, slot);
	bit_set(box->pending, slot);
	box->changes++;
}

/* Somebody has come, left or died: look for new lanes, and at those whose sender has gone. */
static void inbox_survey(struct evr_inbox *box)
{
	struct evr_peer *peer = box->control.peer;
	uint64_t generation = peer->ops->generation(peer);
	uint64_t turns = box->control.far ? evr_dir_turns(peer, EVR_SLOT_ANY) : 0;
	uint32_t slot;

	if (generation == box->generation && turns == box->turns)
		return;
	/* Whatever comes while we look is looked at the next time. */
	box->generation = generation;
	box->turns = turns;
	for (slot = 0; slot < box->slots; slot++)
		lane_try(box, slot);
	/* Of a lane whose sender has ended the state alone is another. */
	memcpy(box->pending, box->open, sizeof(box->pending));
}

/*
 * Which lanes have something, by the senders' own word. The bits of those that are looked at
 * in any case stay: their senders find them set, and nobody writes the word.
 */
static void inbox_collect(struct evr_inbox *box)
{
	uint64_t u_bits, known;
	uint32_t w, slot;

	for (w = 0; box->ready && w < EVR_INBOX_WORDS; w++) {
		known = box->pending[w];
		if (w == box->current / 64)
			known |= (1ULL << box->current % 64) & box->open[w];
		if (!(evr_a64_load_relaxed(&box->ready[w].word) & ~known))
			continue;
		u_bits = evr_a64_xchg(&box->ready[w].word, 0);
		for (; u_bits; u_bits &= u_bits - 1) {
			slot = w * 64 + (uint32_t)__builtin_ctzll(u_bits);
			if (slot >= box->slots)
				continue;
			lane_try(box, slot);
			if (bit_is_set(box->open, slot))
				bit_set(box->pending, slot);
		}
	}
}

/* The sender of a lane is over and all of it was taken: ready for the next in that slot. */
static void lane_rest(struct evr_inbox *box, uint32_t slot)
{
	struct evr_spsc *ring = &box->lanes[slot].ring;
	enum evr_ring_state state = evr_spsc_state(ring);
	struct evr_peer_id other;

	bit_clear(box->pending, slot);
	if (state == EVR_RING_CORRUPT) {
		/* Its words are nonsense as long as it is there. */
		other = evr_spsc_other(ring);
		if (other.slot == EVR_SLOT_ANY || !evr_peer_is_live(box->control.peer, other))
			lane_drop(box, slot);
		return;
	}
	/* The end was seen first, so this look sees all that was sent before it. */
	if ((state != EVR_RING_CLOSED && state != EVR_RING_PEER_DEAD) || evr_spsc_avail(ring))
		return;
	if (box->control.far)
		lane_drop(box, slot);
	else
		evr_spsc_forget(ring);
}

/* What comes next is of who had the lane before this turn; whom we know if it was the last. */
static void lane_from_before(struct evr_inbox_lane *lane, uint64_t u_owner)
{
	uint64_t session = u_owner >> OWNER_SESSION_SHIFT,
		 known = lane->turn >> OWNER_SESSION_SHIFT;

	if (lane->turn && !((session - known - 1) & 0xff))
		return;
	lane->turn = 0;
	lane->from.incarnation = 0;
}

/*
 * Of the @nr messages that were seen in a lane, those of one sender: in a shared segment a
 * successor in the slot goes on where the last one stopped, and says where.
 */
static uint32_t lane_attribute(struct evr_inbox_lane *lane, uint32_t nr)
{
	struct evr_lane *l = &lane->ring.lane;
	uint64_t u_owner, u_partner, u_base, u_now;

	if (l->far)
		return nr;
	u_owner = evr_a64_load_acquire(l->other_owner);
	u_partner = evr_a64_load_acquire(&l->other->partner); /* INBOX-TURN */
	u_base = evr_a64_load_acquire(&l->other->base); /* INBOX-TURN */
	u_now = evr_a64_load_acquire(l->other_owner);
	/* Until it has said where it begins, and if it came while we looked, nothing seen is its own. */
	if (!owner_same_turn(u_now, u_partner) || !owner_same_turn(u_now, u_owner)) {
		if (!owner_same_turn(u_now, lane->turn))
			lane_from_before(lane, u_now);
		return nr;
	}
	/* Not yet there? Of a hostile one any answer is as good. */
	if (u_base - l->pos - 1 < l->span) {
		lane_from_before(lane, u_now);
		return u_base - l->pos < nr ? (uint32_t)(u_base - l->pos) : nr;
	}
	if (owner_id(u_now).slot != lane->from.slot)
		return nr;
	lane->from = owner_id(u_now);
	lane->turn = u_now;
	return nr;
}

/* What the lane has for us in this turn. */
static const void *lane_peek(struct evr_inbox *box, uint32_t slot, uint32_t *nr,
			     struct evr_peer_id *from)
{
	struct evr_inbox_lane *lane = &box->lanes[slot];
	uint32_t left = box->current == slot ? box->quota - box->taken : box->quota;
	uint32_t seen = left ? evr_spsc_avail(&lane->ring) : 0;
	const void *at;

	*nr = *nr < left ? *nr : left;
	/* What a further look would find may be of the next in that slot. */
	*nr = *nr < seen ? *nr : seen;
	if (!*nr)
		return NULL;
	*nr = lane_attribute(lane, *nr);
	at = evr_spsc_peek(&lane->ring, nr);
	if (at && from)
		*from = lane->from;
	return at;
}

/* What a lane has for us, and that it is its turn; with nothing it rests. */
static const void *lane_turn(struct evr_inbox *box, uint32_t slot, uint32_t *nr,
			     struct evr_peer_id *from)
{
	const void *at;

	if (!bit_is_set(box->open, slot)) {
		*nr = 0;
		return NULL;
	}
	at = lane_peek(box, slot, nr, from);
	if (at) {
		if (slot != box->current)
			box->taken = 0;
		box->current = slot;
		box->granted = true;
	} else if (slot != box->current || box->taken < box->quota) {
		lane_rest(box, slot);
	}
	return at;
}

/* The next lane of the round that has something, among those to be looked at. */
static const void *inbox_round(struct evr_inbox *box, uint32_t *nr, struct evr_peer_id *from)
{
	uint32_t want = *nr, first = box->current, slot;
	const void *at = NULL;

	*nr = 0;
	for (slot = bit_next(box->pending, first + 1); !at && slot < box->slots;
	     slot = bit_next(box->pending, slot + 1)) {
		*nr = want;
		at = lane_turn(box, slot, nr, from);
	}
	for (slot = bit_next(box->pending, 0); !at && slot < first;
	     slot = bit_next(box->pending, slot + 1)) {
		*nr = want;
		at = lane_turn(box, slot, nr, from);
	}
	if (at)
		return at;
	/* The present one has a turn again. */
	box->taken = 0;
	if (!bit_is_set(box->pending, first))
		return NULL;
	*nr = want;
	return lane_turn(box, first, nr, from);
}

/* To be looked at: each lane that has something, whether or not its sender has said so. */
static void inbox_scan(struct evr_inbox *box)
{
	const struct evr_lane *l;
	uint64_t bits;
	uint32_t w;

	for (w = 0; w < EVR_INBOX_WORDS; w++) {
		for (bits = box->open[w]; bits; bits &= bits - 1) {
			l = &box->lanes[w * 64 + (uint32_t)__builtin_ctzll(bits)].ring.lane;
			/* Relaxed: who finds a difference looks at the lane. */
			if (evr_a64_load_relaxed(&l->other->pos) != l->pos)
				box->pending[w] |= bits & -bits;
		}
	}
}

/* One more, in turn, should a change of its sender's state have gone unheard. */
static void inbox_visit(struct evr_inbox *box)
{
	uint32_t slot = bit_next(box->open, box->visited);

	box->visited = slot < box->slots ? slot + 1 : 0;
	if (slot < box->slots)
		bit_set(box->pending, slot);
}

/* Nobody says that he has something: whoever has. */
static void inbox_scan_all(struct evr_inbox *box)
{
	inbox_survey(box);
	if (box->control.far)
		memcpy(box->pending, box->open, sizeof(box->pending));
	else
		inbox_scan(box);
}

const void *evr_inbox_peek(struct evr_inbox *box, uint32_t *nr, struct evr_peer_id *from)
{
	uint32_t want = *nr;
	const void *at = NULL;
	bool is_over;

	box->granted = false;
	*nr = 0;
	if (!box->lanes || !want)
		return NULL;
	/* Who is new, or has not been heard, must not wait until there is nothing else to do. */
	if (++box->looks % SURVEY_LOOKS == 0) {
		inbox_survey(box);
		inbox_scan(box);
		inbox_visit(box);
	}
	*nr = want;
	is_over = box->taken >= box->quota;
	if (!is_over)
		at = lane_turn(box, box->current, nr, from);
	if (at)
		return at;
	inbox_collect(box);
	/* Over two halves nobody can say that he has something. */
	if (is_over && box->control.far)
		inbox_scan(box);
	*nr = want;
	at = inbox_round(box, nr, from);
	if (at)
		return at;
	inbox_scan_all(box);
	*nr = want;
	return inbox_round(box, nr, from);
}

uint32_t evr_inbox_release(struct evr_inbox *box, uint32_t nr)
{
	if (!box->granted)
		return 0;
	box->granted = false;
	nr = evr_spsc_release(&box->lanes[box->current].ring, nr);
	box->taken += nr;
	/* There may be more, and nobody says it again. */
	bit_set(box->pending, box->current);
	return nr;
}

uint32_t evr_inbox_pop(struct evr_inbox *box, void *elems, uint32_t nr, struct evr_peer_id *from)
{
	const void *at = evr_inbox_peek(box, &nr, from);

	if (!at)
		return 0;
	evr_copy_out(elems, at, (size_t)nr * box->control.geometry.unit_sz);
	return evr_inbox_release(box, nr);
}

struct inbox_wait {
	struct evr_inbox *box;
	uint32_t changes; /* when the list of need words was made */
};

bool evr_inbox_is_ready(struct evr_inbox *box, uint32_t changes)
{
	uint32_t nr = 1;

	return evr_inbox_peek(box, &nr, NULL) || box->changes != changes;
}

uint32_t evr_inbox_needs(const struct evr_inbox *box, struct evr_need **needs)
{
	uint32_t slot, nr = 1;

	/* Who joins after this list was made rings for the control's need word. */
	needs[0] = &box->control.mine->need;
	for (slot = 0; slot < box->slots; slot++)
		if (bit_is_set(box->open, slot))
			needs[nr++] = &box->lanes[slot].ring.lane.mine->need;
	return nr;
}

static bool inbox_ready(void *arg)
{
	struct inbox_wait *wait = arg;
	struct evr_peer *peer = wait->box->control.peer;

	return evr_inbox_is_ready(wait->box, wait->changes) ||
	       !evr_peer_is_live(peer, evr_peer_self(peer));
}

int evr_inbox_pop_wait(struct evr_inbox *box, struct evr_waiter *waiter, void *elems, uint32_t nr,
		       struct evr_peer_id *from, uint64_t deadline_ns)
{
	struct inbox_wait wait = { .box = box };
	uint32_t done;
	int err;

	if (!box->lanes)
		return evr_fail(-EPIPE, "this end of the inbox is closed");
	while (nr) {
		done = evr_inbox_pop(box, elems, nr, from);
		if (done)
			return (int)(done < INT32_MAX ? done : INT32_MAX);
		wait.changes = box->changes;
		err = evr_waiter_wait(waiter, box->needs, evr_inbox_needs(box, box->needs),
				      inbox_ready, &wait, deadline_ns);
		if (err == -EOWNERDEAD ||
		    (!err && !evr_peer_is_live(waiter->peer, evr_peer_self(waiter->peer))))
			return -ESHUTDOWN;
		if (err)
			return err;
	}
	return 0;
}

int evr_inbox_open(struct evr_inbox *box, struct evr_peer *peer, const char *name,
		   uint64_t type_tag)
{
	return evr_inbox_open_sized(box, peer, name, type_tag, 0);
}

int evr_inbox_open_sized(struct evr_inbox *box, struct evr_peer *peer, const char *name,
			 uint64_t type_tag, uint32_t elem_sz)
{
	const struct evr_inbox_type type = { .tag = type_tag, .elem_sz = elem_sz };
	char lane[EVR_OBJECT_NAME_SZ];
	int err;

	memset(box, 0, sizeof(*box));
	err = evr_inbox_lane_name(lane, name, 0);
	if (!err)
		err = evr_lane_open(&box->control, peer, name, EVR_KIND_INBOX, EVR_CONSUMER);
	if (err)
		return err;
	box->slots = peer->segment->layout.peers_max;
	err = evr_inbox_check(&box->control.geometry, name, &type);
	if (!err) {
		box->lanes = calloc(box->slots, sizeof(*box->lanes));
		box->needs = calloc(box->slots + 1, sizeof(*box->needs));
		err = box->lanes && box->needs ? 0 : -ENOMEM;
	}
	if (err)
		evr_lane_abandon(&box->control);
	else
		err = evr_lane_start(&box->control);
	if (err) {
		free(box->lanes);
		free(box->needs);
		box->lanes = NULL;
		return err;
	}
	if (!box->control.far)
		box->ready = (struct evr_inbox_ready *)box->control.data;
	box->generation = UINT64_MAX;
	evr_inbox_quota(box, 0);
	inbox_survey(box);
	return 0;
}

void evr_inbox_close(struct evr_inbox *box)
{
	uint32_t slot;

	if (!box->lanes)
		return;
	for (slot = 0; slot < box->slots; slot++)
		if (bit_is_set(box->open, slot))
			lane_drop(box, slot);
	evr_lane_close(&box->control);
	free(box->lanes);
	free(box->needs);
	box->lanes = NULL;
	box->needs = NULL;
}

void evr_inbox_quota(struct evr_inbox *box, uint32_t nr)
{
	box->quota = nr ? nr : (uint32_t)box->control.span;
	box->taken = 0;
}

uint32_t evr_inbox_senders(struct evr_inbox *box)
{
	uint32_t slot, nr = 0;

	if (box->lanes) {
		inbox_survey(box);
		inbox_collect(box);
	}
	for (slot = 0; slot < box->slots && box->lanes; slot++)
		nr += evr_inbox_state(box, slot) == EVR_RING_OK;
	return nr;
}

enum evr_ring_state evr_inbox_state(struct evr_inbox *box, uint32_t slot)
{
	if (!box->lanes || slot >= box->slots || !bit_is_set(box->open, slot))
		return EVR_RING_NO_PEER;
	return evr_spsc_state(&box->lanes[slot].ring);
}

void evr_inbox_counts(struct evr_inbox *box, uint32_t slot, enum evr_role role,
		      struct evr_ring_counts *out)
{
	*out = (struct evr_ring_counts){ .owner = { .slot = EVR_SLOT_ANY } };
	if (box->lanes && slot < box->slots && bit_is_set(box->open, slot))
		evr_spsc_counts(&box->lanes[slot].ring, role, out);
}
