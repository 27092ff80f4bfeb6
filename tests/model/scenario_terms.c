/* SPDX-License-Identifier: MIT */
/*
 * On what terms the ends of a channel of two halves meet: a hub's listener meets the turn that has
 * asked it, and no stranger nor a later turn; of all that open one port one is met. Who is not met
 * is told, and waits for nobody.
 */
#include <errno.h>

#include "explore.h"

#include "channel.h"
#include "channel_far.h"

#define CAPACITY 1024
#define REGION_SZ (16U << 10) /* a directory, a half, a port */

struct state {
	struct evr_channel ends[3]; /* by process */
	struct evr_port port;
	uint64_t asked; /* the client's turn */
	enum evr_ring_state met[3]; /* how it ended, by process */
	bool has_left; /* the client, its first turn */
};

static void make_half(uint32_t proc)
{
	struct evr_channel_options o = { .struct_sz = sizeof(o),
					 .capacity = CAPACITY,
					 .urgent_capacity = CAPACITY,
					 .inline_max = 32 };

	MODEL_CHECK(!evr_channel_create(model_peer(proc), "c", &o));
}

static void open_on(struct state *s, uint32_t proc, struct channel_terms terms)
{
	MODEL_CHECK(!evr_channel_open_on(&s->ends[proc], model_peer(proc), "c", &terms));
	model_name(s->ends[proc].mine, EVR_LINE_SZ, "link of an end");
	model_name(s->ends[proc].rx[0].lane.owner, 8, "owner of an end");
}

static void idle(struct evr_peer *peer, void *state)
{
}

static void look(struct state *s, uint32_t proc)
{
	s->met[proc] = evr_channel_state(&s->ends[proc]);
}

/* Nobody is at work any more: a few looks of each in turn, and all know how it ends. */
static void look_all(struct state *s, uint32_t nr)
{
	uint32_t round, i;

	for (round = 0; round < 4; round++)
		for (i = 0; i < nr; i++)
			if (s->ends[i].mine)
				look(s, i);
}

/* It waits, or has gone, or has gone and come again, by the time that the listener looks. */
static void be_client(struct evr_peer *peer, void *state)
{
	const struct channel_terms terms = { .role = EVR_CHANNEL_A,
					     .other = evr_peer_self(model_peer(1)),
					     .once = true };
	struct state *s = state;
	uint32_t way = model_pick(3);
	int err;

	look(s, 0);
	if (!way)
		return;
	s->has_left = true;
	evr_channel_close(&s->ends[0]);
	if (way == 1)
		return;
	/* Not before a listener that has met the last turn lets go of it. */
	err = evr_channel_open_on(&s->ends[0], peer, "c", &terms);
	MODEL_CHECK(!err || err == -EBUSY);
}

static void be_listener(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	open_on(s, 1,
		(struct channel_terms){ .role = EVR_CHANNEL_B,
					.other = evr_peer_self(model_peer(0)),
					.once = true,
					.turn = s->asked });
	look(s, 1);
}

static void setup_asked(void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < 3; i++)
		make_half(i);
	open_on(s, 0,
		(struct channel_terms){ .role = EVR_CHANNEL_A,
					.other = evr_peer_self(model_peer(1)),
					.once = true });
	s->asked = s->ends[0].rx[0].lane.held;
	/* It proposes to the listener, too, whom it was not asked by. */
	open_on(s, 2,
		(struct channel_terms){ .role = EVR_CHANNEL_A,
					.other = evr_peer_self(model_peer(1)) });
}

static void the_asked_was_met(void *state)
{
	struct state *s = state;

	look_all(s, 3);
	MODEL_CHECK(s->met[1] == EVR_RING_OK || s->met[1] == EVR_RING_CLOSED);
	if (evr_a64_load_relaxed(&s->ends[1].partner))
		MODEL_CHECK(s->ends[1].far->half.u_owner == s->asked);
	if (!s->has_left)
		MODEL_CHECK(s->met[0] == EVR_RING_OK && s->met[1] == EVR_RING_OK);
	MODEL_CHECK(s->met[2] == EVR_RING_NO_PEER);
}

SCENARIO(terms_asked) = {
	.name = "terms-who-asked",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "client", be_client }, { "listener", be_listener }, { "stranger", idle } },
	.setup = setup_asked,
	.end = the_asked_was_met,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_WEAK, 2, 0, 1 } },
};

/* One port, and two that have its bytes. */
static void be_maker(struct evr_peer *peer, void *state)
{
	look(state, 0);
	look(state, 0);
}

static void come_by_port(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	int err = evr_port_open(&s->ends[self], peer, &s->port, 0);

	MODEL_CHECK(!err || err == -ESTALE);
	s->met[self] = EVR_RING_CLOSED;
	if (!err)
		look(s, self);
}

static void setup_port(void *state)
{
	struct state *s = state;

	make_half(0);
	open_on(s, 0,
		(struct channel_terms){ .role = EVR_CHANNEL_A, .other = { .slot = EVR_SLOT_ANY } });
	MODEL_CHECK(!evr_port_make(&s->port, model_peer(0), "c", EVR_CHANNEL_B));
}

static void one_was_met(void *state)
{
	struct state *s = state;
	uint32_t i, nr = 0;

	look_all(s, 3);
	for (i = 1; i < 3; i++) {
		MODEL_CHECK(s->met[i] == EVR_RING_OK || s->met[i] == EVR_RING_CLOSED);
		nr += s->met[i] == EVR_RING_OK;
	}
	MODEL_CHECK(nr == 1 && s->met[0] == EVR_RING_OK);
}

SCENARIO(terms_port) = {
	.name = "terms-port",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "maker", be_maker }, { "comes", come_by_port }, { "comes-too", come_by_port } },
	.setup = setup_port,
	.end = one_was_met,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_WEAK, 1, 0, 1 } },
};
