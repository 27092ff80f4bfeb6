/* SPDX-License-Identifier: MIT */
/*
 * The directory: names are unique, extents disjoint, what is found is complete, what
 * is used is not removed; also when creators, removers and reapers die anywhere.
 */
#include <errno.h>
#include <string.h>

#include "backend.h"
#include "dir.h"
#include "dir_table.h"
#include "explore.h"

#define OBJECT_SZ 128
#define WORDS (OBJECT_SZ / 8)

struct state {
	struct evr_object objects[3]; /* by process: what it has made */
	int results[3];
	struct evr_spsc ring;
	struct evr_reap_report report; /* of all reapers that lived */
	uint64_t seen; /* words of an object that was found */
};

static struct dir_header *header(void)
{
	return evr_peer_at(model_auditor(), model_auditor()->segment->layout.shared_off,
			   sizeof(struct dir_header));
}

static struct dir_entry *entries(void)
{
	return (struct dir_entry *)(header() + 1);
}

static void name_words(void)
{
	static const char *const ctl[] = { "ctl[0]", "ctl[1]", "ctl[2]", "ctl[3]" };
	static const char *const rest[] = { "entry[0]", "entry[1]", "entry[2]", "entry[3]" };
	uint32_t i;

	model_name(&header()->admit, 8, "admit");
	for (i = 0; i < 4; i++) {
		model_name(&entries()[i].ctl, 8, ctl[i]);
		model_name(&entries()[i], sizeof(struct dir_entry), rest[i]);
	}
}

static void setup(void *state)
{
	struct evr_dir_info info;

	MODEL_CHECK(!evr_dir_info(model_auditor(), &info));
	name_words();
}

/* An object full of one word that says who made it. */
static int make(struct state *s, struct evr_peer *peer, const char *name)
{
	uint64_t words[WORDS];
	struct evr_object *object = &s->objects[model_self()];
	int i, err;

	err = evr_dir_create(peer, name, EVR_KIND_USER, OBJECT_SZ, object);
	if (err)
		return err;
	MODEL_CHECK(object->sz >= OBJECT_SZ);
	for (i = 0; i < WORDS; i++)
		words[i] = model_self() + 1;
	evr_copy_in(evr_peer_at(peer, object->off, OBJECT_SZ), words, OBJECT_SZ);
	return evr_dir_publish(peer, object);
}

/* It is whole, and of who is said to have made it. */
static void check_object(struct evr_peer *peer, const struct evr_object *object)
{
	uint64_t words[WORDS];
	int i;

	MODEL_CHECK(object->sz >= OBJECT_SZ);
	evr_copy_out(words, evr_peer_at(peer, object->off, OBJECT_SZ), OBJECT_SZ);
	for (i = 0; i < WORDS; i++)
		MODEL_CHECK(words[i] == object->creator.slot + 1);
}

/* Unpublished claims of the dead are gone, what was published is whole, and another fits. */
static void check_settled(struct state *s, uint32_t entries_nr)
{
	struct evr_peer *peer = model_auditor();
	struct evr_dir_info info, after;
	struct evr_object object;

	MODEL_CHECK(evr_reap_dead(peer, &s->report) >= 0);
	MODEL_CHECK(!evr_dir_info(peer, &info));
	MODEL_CHECK(!info.claimed && info.entries == entries_nr);
	MODEL_CHECK(info.bytes == entries_nr * (uint64_t)OBJECT_SZ);
	MODEL_CHECK(info.bytes_kept <= (uint64_t)OBJECT_SZ * (model_crashes() + 1));
	MODEL_CHECK(s->report.objects <= model_crashes());
	MODEL_CHECK(!evr_dir_create(peer, "another", EVR_KIND_USER, OBJECT_SZ, &object));
	MODEL_CHECK(!evr_dir_publish(peer, &object));
	MODEL_CHECK(!evr_dir_remove(peer, &object));
	MODEL_CHECK(!evr_dir_info(peer, &after));
	MODEL_CHECK(!after.claimed && after.entries == entries_nr && after.bytes == info.bytes);
	MODEL_CHECK(evr_reap_dead(peer, NULL) == 0);
}

/* One name, two creators. */
static void make_same(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->results[model_self()] = make(s, peer, "n");
}

static void same_name_is_of_one(void *state)
{
	struct state *s = state;
	struct evr_object object;
	int found = evr_dir_find(model_auditor(), "n", &object);

	if (!model_died(0) && !model_died(1)) {
		MODEL_CHECK(!s->results[0] + !s->results[1] == 1);
		MODEL_CHECK(s->results[0] == -EEXIST || s->results[1] == -EEXIST);
	}
	if ((!model_died(0) && !s->results[0]) || (!model_died(1) && !s->results[1]))
		MODEL_CHECK(!found);
	if (!found)
		check_object(model_auditor(), &object);
	check_settled(s, !found);
}

SCENARIO(same_name) = {
	.name = "dir-same-name",
	.state_sz = sizeof(struct state),
	.procs = { { "first", make_same }, { "second", make_same } },
	.setup = setup,
	.end = same_name_is_of_one,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0, .sample = 2 },
		    { MODEL_SC, 2, 2, 0, .sample = 4 },
		    { MODEL_WEAK, 2, 1, 2, .sample = 2 } },
};

/* The same where admit still names the first entry, in its life before. */
static void setup_reused(void *state)
{
	struct state *s = state;

	setup(s);
	MODEL_CHECK(
		!evr_dir_create(model_auditor(), "old", EVR_KIND_USER, OBJECT_SZ, &s->objects[2]));
	MODEL_CHECK(!evr_dir_publish(model_auditor(), &s->objects[2]));
	MODEL_CHECK(!evr_dir_remove(model_auditor(), &s->objects[2]));
}

SCENARIO(reused) = {
	.name = "dir-reused-entry",
	.state_sz = sizeof(struct state),
	.procs = { { "first", make_same }, { "second", make_same } },
	.setup = setup_reused,
	.end = same_name_is_of_one,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0, .sample = 2 },
		    { MODEL_SC, 2, 2, 0, .sample = 2 },
		    { MODEL_WEAK, 2, 1, 1 } },
};

/* Two names: both, and side by side. A third process reaps as soon as one has died. */
static void make_first(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->results[0] = make(s, peer, "n0");
}

static void make_second(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->results[1] = make(s, peer, "n1");
}

static bool somebody_ended(void *state)
{
	return model_ended(0) || model_ended(1) || (model_finished(0) && model_finished(1));
}

static void reap_first(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(somebody_ended, s);
	MODEL_CHECK(evr_reap_dead(peer, &s->report) >= 0);
}

static void names_lie_apart(void *state)
{
	struct state *s = state;
	static const char *const names[] = { "n0", "n1" };
	struct evr_object objects[2];
	uint32_t i, nr = 0;

	for (i = 0; i < 2; i++) {
		if (evr_dir_find(model_auditor(), names[i], &objects[nr])) {
			MODEL_CHECK(model_died(i));
			continue;
		}
		MODEL_CHECK(objects[nr].creator.slot == i);
		check_object(model_auditor(), &objects[nr++]);
	}
	if (nr == 2)
		MODEL_CHECK(objects[0].off + objects[0].sz <= objects[1].off ||
			    objects[1].off + objects[1].sz <= objects[0].off);
	check_settled(s, nr);
}

SCENARIO(two_names) = {
	.name = "dir-two-names",
	.state_sz = sizeof(struct state),
	.procs = { { "first", make_first }, { "second", make_second }, { "reaper", reap_first } },
	.setup = setup,
	.end = names_lie_apart,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 },
		    { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0 },
		    { MODEL_SC, 1, 3, 0, .sample = 11 },
		    { MODEL_WEAK, 2, 1, 1 } },
};

/* What is found is complete. */
static void find_until_there(struct evr_peer *peer, void *state)
{
	struct evr_object object;
	int i;

	for (i = 0; i < 2; i++) {
		if (!evr_dir_find(peer, "n0", &object)) {
			MODEL_CHECK(object.creator.slot == 0);
			check_object(peer, &object);
			return;
		}
		evr_pause();
	}
}

static void first_is_whole(void *state)
{
	struct evr_object object;

	MODEL_CHECK(!evr_dir_find(model_auditor(), "n0", &object));
	check_object(model_auditor(), &object);
	check_settled(state, 1);
}

SCENARIO(found) = {
	.name = "dir-found-is-complete",
	.state_sz = sizeof(struct state),
	.procs = { { "creator", make_first }, { "finder", find_until_there } },
	.setup = setup,
	.end = first_is_whole,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_WEAK, 3, 0, 2 } },
};

/*
 * One removes and makes another object of the memory while a second finds: never half
 * of the one and half of the other.
 */
static void replace(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_dir_remove(peer, &s->objects[2]));
	s->results[0] = make(s, peer, "n0");
	MODEL_CHECK(!s->results[0]);
}

static void find_either(struct evr_peer *peer, void *state)
{
	struct evr_object object;

	if (!evr_dir_find(peer, "old", &object))
		MODEL_CHECK(object.creator.slot == evr_peer_self(model_auditor()).slot);
	if (!evr_dir_find(peer, "n0", &object))
		MODEL_CHECK(object.creator.slot == 0);
}

static void setup_old(void *state)
{
	struct state *s = state;

	setup(s);
	MODEL_CHECK(
		!evr_dir_create(model_auditor(), "old", EVR_KIND_USER, OBJECT_SZ, &s->objects[2]));
	MODEL_CHECK(!evr_dir_publish(model_auditor(), &s->objects[2]));
}

SCENARIO(replaced) = {
	.name = "dir-replaced-while-found",
	.state_sz = sizeof(struct state),
	.procs = { { "replacer", replace }, { "finder", find_either } },
	.setup = setup_old,
	.end = first_is_whole,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A ring is removed, or a role of it is taken: never both. Its memory serves another. */
static void remove_ring(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err = evr_dir_remove(peer, &s->objects[2]);

	s->results[0] = err;
	MODEL_CHECK(!err || err == -EBUSY || err == -ESTALE);
}

static void take_role(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elem = 7;

	s->results[1] = evr_spsc_open(&s->ring, peer, "ring", EVR_PRODUCER, 0);
	MODEL_CHECK(!s->results[1] || s->results[1] == -ENOENT);
	if (!s->results[1])
		MODEL_CHECK(evr_spsc_push(&s->ring, &elem, 1) == 1);
}

static void setup_ring(void *state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 2 };
	struct state *s = state;

	MODEL_CHECK(!evr_spsc_create(model_auditor(), "ring", &options));
	MODEL_CHECK(!evr_dir_find(model_auditor(), "ring", &s->objects[2]));
	name_words();
}

static void not_both(void *state)
{
	struct state *s = state;
	struct evr_object object;
	struct evr_dir_info info;
	bool is_there;

	MODEL_CHECK(evr_reap_dead(model_auditor(), &s->report) >= 0);
	is_there = !evr_dir_find(model_auditor(), "ring", &object);
	if (!model_died(0) && !model_died(1)) {
		MODEL_CHECK(s->results[0] || s->results[1]);
		MODEL_CHECK(is_there == !!s->results[0]);
	}
	if (!model_died(1) && !s->results[1])
		MODEL_CHECK(is_there);
	MODEL_CHECK(!evr_dir_info(model_auditor(), &info) && !info.claimed);
	MODEL_CHECK(info.entries == is_there);
	if (is_there && (model_died(1) || s->results[1]))
		MODEL_CHECK(!evr_dir_remove(model_auditor(), &object));
}

SCENARIO(removed_or_held) = {
	.name = "dir-removed-or-held",
	.state_sz = sizeof(struct state),
	.procs = { { "remover", remove_ring }, { "claimer", take_role } },
	.setup = setup_ring,
	.end = not_both,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_SC, 2, 2, 0 }, { MODEL_WEAK, 3, 0, 2 } },
};

/* The same of an object without roles: removed, or joined. */
static void join(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->results[1] = evr_dir_join(peer, &s->objects[2]);
	MODEL_CHECK(!s->results[1] || s->results[1] == -ENOENT);
}

SCENARIO(removed_or_joined) = {
	.name = "dir-removed-or-joined",
	.state_sz = sizeof(struct state),
	.procs = { { "remover", remove_ring }, { "member", join } },
	.setup = setup_ring,
	.end = not_both,
	.check = { { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
	.longer = { { MODEL_SC, 3, 2, 0 }, { MODEL_WEAK, 4, 0, 3 } },
};

/* Two remove one object: one of them has done it. */
static void remove_too(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->results[1] = evr_dir_remove(peer, &s->objects[2]);
}

static void removed_once(void *state)
{
	struct state *s = state;
	struct evr_object object;

	if (!model_died(0) && !model_died(1))
		MODEL_CHECK(!s->results[0] + !s->results[1] == 1);
	MODEL_CHECK(evr_reap_dead(model_auditor(), &s->report) >= 0);
	if (!evr_dir_find(model_auditor(), "old", &object))
		MODEL_CHECK(!evr_dir_remove(model_auditor(), &object));
	check_settled(s, 0);
}

SCENARIO(two_removers) = {
	.name = "dir-two-removers",
	.state_sz = sizeof(struct state),
	.procs = { { "first", remove_ring }, { "second", remove_too } },
	.setup = setup_old,
	.end = removed_once,
	.check = { { MODEL_SC, 3, 1, 0 }, { MODEL_WEAK, 3, 0, 2 } },
	.longer = { { MODEL_SC, 4, 2, 0 }, { MODEL_WEAK, 4, 1, 2 } },
};

/* Words of the table turn to nonsense: the others stay in the segment and come to an end. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct evr_a64 *words[] = { &header()->admit, &entries()[0].ctl, &entries()[0].off,
				    &entries()[0].sz, &entries()[0].name[4] };

	model_scribble(words, 5, 2);
}

static void use_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_object object;
	struct evr_dir_info info;
	uint64_t word = 1;
	uint8_t *at;

	if (!evr_dir_find(peer, "old", &object)) {
		at = evr_peer_at(peer, object.off, object.sz);
		MODEL_CHECK(at && object.off % OBJECT_ALIGN == 0 && object.sz);
		evr_copy_in(at, &word, 8);
		evr_copy_in(at + object.sz - 8, &word, 8);
	}
	if (!evr_dir_create(peer, "n0", EVR_KIND_USER, OBJECT_SZ, &s->objects[1])) {
		at = evr_peer_at(peer, s->objects[1].off, s->objects[1].sz);
		MODEL_CHECK(at && s->objects[1].sz >= OBJECT_SZ);
		evr_copy_in(at, &word, 8);
		evr_copy_in(at + s->objects[1].sz - 8, &word, 8);
		evr_dir_publish(peer, &s->objects[1]);
	}
	evr_reap_dead(peer, NULL);
	evr_dir_info(peer, &info);
	evr_dir_remove(peer, &s->objects[2]);
}

SCENARIO(hostile) = {
	.name = "dir-hostile-words",
	.state_sz = sizeof(struct state),
	.procs = { { "hostile", scribble }, { "user", use_all } },
	.setup = setup_old,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};
