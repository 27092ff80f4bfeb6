/* SPDX-License-Identifier: MIT */
/*
 * Reaping: by two at once, by one that dies in it, by one that comes late and meets
 * the successor in the slot. It does not matter how often, and nothing living is touched.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"

struct state {
	struct evr_spsc ring;
	struct evr_reap_report reports[3];
	struct evr_object object;
	int result;
};

/* Holds a role, then is at work on an entry: dies in the one, the other, or both. */
static void hold_and_create(struct evr_peer *peer, void *state)
{
	struct evr_object object;
	struct state *s = state;

	MODEL_CHECK(!evr_spsc_open(&s->ring, peer, "ring", EVR_PRODUCER, 0));
	MODEL_CHECK(!evr_dir_create(peer, "of-the-dead", EVR_KIND_USER, 128, &object));
}

static bool victim_ended(void *state)
{
	return model_ended(0) || model_finished(0);
}

static void reap(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(victim_ended, s);
	MODEL_CHECK(evr_reap_dead(peer, &s->reports[model_self()]) >= 0);
}

static void reap_and_create(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	reap(peer, state);
	s->result = evr_dir_create(peer, "new", EVR_KIND_USER, 128, &s->object);
	if (!s->result)
		s->result = evr_dir_publish(peer, &s->object);
	MODEL_CHECK(!s->result);
}

static void setup(void *state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 2 };

	MODEL_CHECK(!evr_spsc_create(model_auditor(), "ring", &options));
}

/*
 * What is counted is what was held, once, as far as the reapers lived to tell; the rest
 * is found now. A second pass finds nothing.
 */
static void settled_once(void *state)
{
	struct evr_peer *peer = model_auditor();
	struct evr_reap_report all = { 0 }, again = { 0 };
	struct evr_dir_info info;
	struct evr_object object;
	struct evr_spsc ring;
	struct state *s = state;
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(peer, &all) >= 0);
	for (i = 1; i < 3; i++) {
		all.peers += s->reports[i].peers;
		all.objects += s->reports[i].objects;
		all.sides += s->reports[i].sides;
	}
	MODEL_CHECK(all.peers <= model_crashes() && all.objects <= 1 && all.sides <= 1);
	if (model_died(0) && !model_died(1) && !model_died(2))
		MODEL_CHECK(all.peers == 1);
	MODEL_CHECK(evr_reap_dead(peer, &again) == 0);
	MODEL_CHECK(!again.peers && !again.objects && !again.sides && !again.bytes);
	MODEL_CHECK(!evr_dir_info(peer, &info));
	if (!model_died(0))
		return;
	MODEL_CHECK(!info.claimed);
	MODEL_CHECK(evr_dir_find(peer, "of-the-dead", &object) == -ENOENT);
	MODEL_CHECK(!evr_spsc_open(&ring, peer, "ring", EVR_PRODUCER, 0));
	if (s->object.gen && !s->result && !model_died(2))
		MODEL_CHECK(!evr_dir_find(peer, "new", &object));
}

SCENARIO(two_reapers) = {
	.name = "reap-two-reapers",
	.state_sz = sizeof(struct state),
	.procs = { { "victim", hold_and_create },
		   { "reaper", reap },
		   { "reaper-creator", reap_and_create, .immortal = true } },
	.setup = setup,
	.end = settled_once,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0 },
		    { MODEL_WEAK, 1, 2, 1, .sample = 7 } },
};

SCENARIO(reapers_die) = {
	.name = "reap-reapers-die",
	.state_sz = sizeof(struct state),
	.procs = { { "victim", hold_and_create }, { "reaper", reap }, { "second", reap } },
	.setup = setup,
	.end = settled_once,
	.check = { { MODEL_SC, 1, 2, 0 }, { MODEL_TSO, 1, 1, 1 } },
	.longer = { { MODEL_SC, 1, 3, 0 }, { MODEL_SC, 2, 2, 0, .sample = 7 } },
};

/* Another takes the slot as soon as it is free, while a reaper is still at work. */
static bool slot_is_free(void *state)
{
	return model_finished(0) || model_slot_state(0) == EVR_PEER_FREE;
}

static void succeed(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(slot_is_free, s);
	if (!model_attach(0))
		return;
	s->result = evr_dir_create(peer, "new", EVR_KIND_USER, 128, &s->object);
	if (!s->result)
		s->result = evr_dir_publish(peer, &s->object);
	MODEL_CHECK(!s->result);
	MODEL_CHECK(!evr_spsc_open(&s->ring, peer, "ring", EVR_PRODUCER, 0));
}

static void successor_is_whole(void *state)
{
	struct state *s = state;
	struct evr_object object;
	struct evr_dir_info info;
	struct evr_spsc ring;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	if (!model_died(0) || model_died(3))
		return;
	MODEL_CHECK(!evr_dir_info(model_auditor(), &info) && !info.claimed);
	if (!s->ring.lane.mine || model_slot_state(0) != EVR_PEER_LIVE)
		return;
	MODEL_CHECK(!evr_dir_find(model_auditor(), "new", &object));
	MODEL_CHECK(object.creator.slot == 0 && object.creator.incarnation == 2);
	MODEL_CHECK(evr_spsc_open(&ring, model_auditor(), "ring", EVR_PRODUCER, 0) == -EBUSY);
}

SCENARIO(successor) = {
	.name = "reap-successor-in-slot",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.procs = { { "victim", hold_and_create },
		   { "reaper", reap, .immortal = true },
		   { "late", reap, .immortal = true },
		   { "successor", succeed, .absent = true, .immortal = true } },
	.setup = setup,
	.end = successor_is_whole,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1, .sample = 5 } },
};
