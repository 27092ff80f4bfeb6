/* SPDX-License-Identifier: MIT */
/*
 * Bells by the device's own io_uring command (EVR_DRIVER_BELL_COMMAND), and by what is
 * done where there is none: the same is asserted of both. With EVERING_BACKEND=device on
 * a kernel that can take a command back, the command must have been used.
 *
 * Mutants seen to fail here. On the device: a cancel with another cookie, or sent to another
 * file; bells that the command brings and nobody keeps; a command that is not begun again, or not
 * anew for a bell that it is not for. By a poll: a bell that a cancelled wait was given; an event
 * for the first wait alone; a wait that nobody tells that there is no fd; bells in store that
 * are thrown away; a multishot that ends with its first bell; a hub that goes while it tells; a peer
 * event that a thread asleep in the library has taken, and a hub that forgets which it has told.
 */
#include "loop.h"

#include <sys/resource.h>

#include "driver/driver.h"

#define PEER_EVENT (1ULL << EVR_BELL_PEER_EVENT)

struct stage {
	void *pair, *loop;
	struct loop *l;
	struct evr_peer *peer;
	int fds;
};

static const struct evr_driver_options by_command = { .struct_sz = sizeof(by_command),
						      .flags = EVR_DRIVER_BELL_COMMAND };

static bool device(void)
{
	return !strcmp(pair_uri(), "device:");
}

static int stage_open(void **state)
{
	struct stage *s = calloc(1, sizeof(*s));

	s->fds = loop_fds();
	if (pair_open(&s->pair) || loop_open_with(&s->loop, &by_command))
		return -1;
	s->l = s->loop;
	s->peer = ((struct pair *)s->pair)->peer;
	*state = s;
	return 0;
}

static int stage_close(void **state)
{
	struct stage *s = *state;
	int bad = 0;

	/* A bell that nobody has waited for yet needs no op. */
	if (s->l->d)
		LOOP_UNTIL(s->l, !loop_busy(s->l));
	pair_close(&s->pair);
	s->l->fds = s->fds;
	bad |= loop_close(&s->loop);
	free(s);
	return bad;
}

static void bell_command_is_used_where_it_is(void **state)
{
	struct stage *s = *state;
	struct evr_driver_caps caps;
	struct evr_system_info info = { 0 };
	struct evr_driver *d;
	struct evr_op op = { .code = EVR_OPS_NR };

	evr_driver_caps(s->l->d, &caps);
	if (evr_system_info(EVR_BACKEND_DEVICE, &info))
		info.features = 0;
	assert_int_equal(caps.bell_command,
			 s->l->mode != EVR_DRIVER_NONE && info.features & (1ULL << 1));
	print_message("# by %s\n", device() && caps.bell_command ? "the command" : "a poll");
	/* Not asked for, not used; and it is no op for others. */
	assert_int_equal(evr_driver_create(&d, NULL), 0);
	evr_driver_caps(d, &caps);
	assert_false(caps.bell_command);
	assert_int_equal(evr_driver_close(d, pair_deadline()), 0);
	assert_int_equal(evr_driver_submit(s->l->d, &op, NULL), -EOPNOTSUPP);
	assert_int_equal(evr_driver_submit_chain(s->l->d, &op, 1, NULL), -EOPNOTSUPP);
}

/* Each new wait is for a bell that what listens so far is not for. */
static void bell_waits_of_many_masks_get_their_own(void **state)
{
	struct stage *s = *state;
	struct seen seen[40], all;
	uint64_t id;
	int i, round;

	for (round = 0; round < 10; round++) {
		for (i = 0; i < 40; i++) {
			loop_submit(s->l, evr_op_bell_wait(s->peer, 1ULL << i), &seen[i]);
			if (i % (round + 1) == 0)
				loop_rounds(s->l, 1);
		}
		id = loop_submit(s->l,
				 evr_op_flagged(evr_op_bell_wait(s->peer, 1ULL << 50),
						EVR_OP_MULTISHOT),
				 &all);
		for (i = 39; i >= 0; i--) {
			assert_int_equal(seen[i].all, 0);
			assert_int_equal(evr_bell_ring(s->peer, evr_peer_self(s->peer), 1ULL << i),
					 0);
			assert_int_equal(loop_finish(s->l, &seen[i]), 0);
			assert_int_equal(seen[i].value, 1ULL << i);
		}
		for (i = 0; i < 3; i++) {
			int before = all.all;

			assert_int_equal(evr_bell_ring(s->peer, evr_peer_self(s->peer), 1ULL << 50),
					 0);
			LOOP_UNTIL(s->l, all.all > before);
		}
		assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
		assert_int_equal(loop_finish(s->l, &all), -ECANCELED);
	}
}

/* Handed over or not, alone or beside another, with a ring in between or not: once, and no bell lost. */
static void bell_wait_cancelled_loses_no_bell(void **state)
{
	struct stage *s = *state;
	struct evr_peer_id self = evr_peer_self(s->peer);
	struct seen seen, other;
	uint64_t id, second;
	bool early;
	int when;

	for (when = 0; when < 64; when++) {
		second = when & 4 ? loop_submit(s->l, evr_op_bell_wait(s->peer, 4), &other) : 0;
		/* There before the wait, which is given it at once, and not yet told. */
		early = (when & 17) == 17 && !(when & 2);
		if (early)
			assert_int_equal(evr_bell_ring(s->peer, self, 1), 0);
		id = loop_submit(s->l,
				 evr_op_flagged(evr_op_bell_wait(s->peer, 1),
						when & 1 ? EVR_OP_MULTISHOT : 0),
				 &seen);
		if (when & 2)
			loop_rounds(s->l, 1 + when % 3);
		/* Rung, and not heard of yet: the cancel and the bell meet. */
		if (when & 8 && !early)
			assert_int_equal(evr_bell_ring(s->peer, self, 1), 0);
		assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
		assert_int_equal(loop_finish(s->l, &seen), -ECANCELED);
		assert_int_equal(evr_driver_cancel(s->l->d, id), -ENOENT);
		if (!(when & 8) && !early)
			assert_int_equal(evr_bell_ring(s->peer, self, 1), 0);
		loop_submit(s->l, evr_op_bell_wait(s->peer, 1), &seen);
		assert_int_equal(loop_finish(s->l, &seen), 0);
		assert_int_equal(seen.value, 1);
		if (!second)
			loop_submit(s->l, evr_op_bell_wait(s->peer, 4), &other);
		assert_int_equal(evr_bell_ring(s->peer, self, 4), 0);
		assert_int_equal(loop_finish(s->l, &other), 0);
	}
}

static void leaves(struct evr_peer *peer, void *arg)
{
	CHECK(evr_bell_ring(peer, *(struct evr_peer_id *)arg, 2) == 0);
}

/* The peer event is for all: beside bells, before and after them. */
static void bell_and_peer_event_beside_each_other(void **state)
{
	struct stage *s = *state;
	struct evr_peer_id self = evr_peer_self(s->peer);
	struct seen event, both, bell;
	uint64_t id;
	pid_t pid;

	id = loop_submit(s->l, evr_op_bell_wait(s->peer, 1), &bell);
	loop_rounds(s->l, 1);
	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT | 4), &both);
	loop_rounds(s->l, 1);
	pid = pair_fork(s->pair, leaves, &self);
	assert_int_equal(loop_finish(s->l, &event), 0);
	assert_int_equal(event.value, PEER_EVENT);
	assert_int_equal(loop_finish(s->l, &both), 0);
	assert_int_equal(both.value, PEER_EVENT);
	loop_submit(s->l, evr_op_bell_wait(s->peer, 2), &event);
	assert_int_equal(loop_finish(s->l, &event), 0);
	pair_join(pid);
	assert_int_equal(bell.all, 0);
	assert_int_equal(evr_bell_ring(s->peer, self, 1), 0);
	assert_int_equal(loop_finish(s->l, &bell), 0);
	assert_int_equal(evr_driver_cancel(s->l->d, id), -ENOENT);
	pair_settle(s->pair);
}

/* One event, and no second that could make up for it: all hear of it that have it in their mask. */
static void bell_one_peer_event_is_for_all(void **state)
{
	struct stage *s = *state;
	struct seen seen[3];
	struct evr_peer *peer;
	uint64_t id;
	int i;

	id = loop_submit(s->l,
			 evr_op_flagged(evr_op_bell_wait(s->peer, PEER_EVENT), EVR_OP_MULTISHOT),
			 &seen[0]);
	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT | 1), &seen[1]);
	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &seen[2]);
	loop_rounds(s->l, 1);
	assert_int_equal(seen[0].all + seen[1].all + seen[2].all, 0);
	assert_int_equal(evr_peer_attach(&peer, ((struct pair *)s->pair)->segment, NULL), 0);
	for (i = 0; i < 3; i++) {
		LOOP_UNTIL(s->l, seen[i].all);
		assert_int_equal(seen[i].value, PEER_EVENT);
	}
	assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
	loop_finish(s->l, &seen[0]);
	evr_peer_detach(peer);
	pair_settle(s->pair);
}

static void ends_itself(struct evr_driver *d, const struct evr_completion *done)
{
	seen_done(d, done);
	if (done->flags & EVR_DONE_MORE)
		CHECK(evr_driver_cancel(d, done->id) == 0);
}

/* The last who waits goes while it is told, and nothing listens in that moment. */
static void bell_told_to_one_that_ends_with_it(void **state)
{
	struct stage *s = *state;
	struct evr_peer_id self = evr_peer_self(s->peer);
	struct seen first, seen;
	struct evr_op op;
	uint64_t id;
	int round;

	for (round = 0; round < 20; round++) {
		id = loop_submit(s->l, evr_op_bell_wait(s->peer, 1), &first);
		loop_rounds(s->l, 2);
		assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
		/* What listened for it is taken back, and the loop has not heard of that. */
		assert_int_equal(evr_driver_flush(s->l->d), 0);
		memset(&seen, 0, sizeof(seen));
		op = evr_op_flagged(evr_op_bell_wait(s->peer, 2), EVR_OP_MULTISHOT);
		op = evr_op_then(op, ends_itself, &seen);
		assert_int_equal(evr_driver_submit(s->l->d, &op, NULL), 0);
		assert_int_equal(evr_bell_ring(s->peer, self, 2), 0);
		assert_int_equal(loop_finish(s->l, &seen), -ECANCELED);
		assert_int_equal(seen.all, 2);
		assert_int_equal(seen.value, 2);
		loop_finish(s->l, &first);
	}
}

struct onlooker {
	struct evr_peer *peer;
	struct evr_a64 gone; /* incarnation of who is to go; slot in the upper bits */
	struct evr_a32 is_up, heard;
};

static bool other_is_gone(void *arg)
{
	struct onlooker *o = arg;
	uint64_t other = evr_a64_load_acquire(&o->gone);
	struct evr_peer_id id = { .slot = other >> 48, .incarnation = other << 16 >> 16 };

	return other && !evr_peer_is_live(o->peer, id);
}

static void *onlooker_thread(void *arg)
{
	struct onlooker *o = arg;
	struct evr_waiter waiter;
	int i;

	CHECK(evr_waiter_init(&waiter, o->peer, EVR_WAIT_SLEEP) == 0);
	for (i = 0; i < 20; i++) {
		evr_a32_store_release(&o->is_up, i + 1);
		CHECK(TIMELY(evr_waiter_wait(&waiter, NULL, 0, other_is_gone, o, until_ns)) == 0);
		evr_a64_store_release(&o->gone, 0);
		evr_a32_store_release(&o->heard, i + 1);
	}
	evr_waiter_fini(&waiter);
	return NULL;
}

/* One event that a thread asleep in the library and the driver wait for: both hear of it. */
static void bell_peer_event_is_for_who_sleeps_elsewhere_too(void **state)
{
	struct stage *s = *state;
	struct evr_segment *segment = ((struct pair *)s->pair)->segment;
	struct onlooker o = { .peer = s->peer };
	struct evr_peer *peer;
	struct evr_peer_id id;
	struct seen event;
	uint64_t last = 0;
	pthread_t thread;
	int i;

	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
	assert_int_equal(pthread_create(&thread, NULL, onlooker_thread, &o), 0);
	for (i = 0; i < 20; i++) {
		while (evr_a32_load_acquire(&o.is_up) != (uint32_t)i + 1)
			sched_yield();
		/* Its coming, which may have been an event of its own before this wait. */
		assert_int_equal(evr_peer_attach(&peer, segment, NULL), 0);
		assert_int_equal(loop_finish(s->l, &event), 0);
		id = evr_peer_self(peer);
		evr_a64_store_release(&o.gone, (uint64_t)id.slot << 48 | id.incarnation);
		/* The thread has it first, now and then: before anybody waits, or as we sleep. */
		if (i % 2)
			evr_peer_detach(peer);
		if (i % 4 == 1)
			while (evr_a32_load_acquire(&o.heard) != (uint32_t)i + 1)
				sched_yield();
		loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
		if (i % 2 == 0) {
			loop_rounds(s->l, 3);
			evr_peer_detach(peer);
		}
		assert_int_equal(loop_finish(s->l, &event), 0);
		while (evr_a32_load_acquire(&o.heard) != (uint32_t)i + 1)
			sched_yield();
		pair_settle(s->pair);
		last = loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
	}
	evr_driver_cancel(s->l->d, last);
	loop_finish(s->l, &event);
	pthread_join(thread, NULL);
}

/* Between two waits somebody else took it: the second is told all the same, and the third waits. */
static void bell_peer_event_that_was_taken_is_told(void **state)
{
	struct stage *s = *state;
	struct evr_peer *peer;
	struct seen event;
	uint64_t id;
	int i;

	loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
	for (i = 0; i < 3; i++) {
		assert_int_equal(event.all, 0);
		assert_int_equal(evr_peer_attach(&peer, ((struct pair *)s->pair)->segment, NULL),
				 0);
		assert_int_equal(loop_finish(s->l, &event), 0);
		LOOP_UNTIL(s->l, !loop_busy(s->l));
		evr_peer_detach(peer);
		pair_settle(s->pair);
		while (!evr_bell_wait(s->peer, PEER_EVENT, 0, NULL))
			;
		loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
		assert_int_equal(loop_finish(s->l, &event), 0);
		assert_int_equal(event.value, PEER_EVENT);
		id = loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
		loop_rounds(s->l, 2);
	}
	assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
	assert_int_equal(loop_finish(s->l, &event), -ECANCELED);
}

/* Peers that come, are waited for and go do not add up. */
static void bell_peers_that_went_are_forgotten(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options), .peers_max = 64 };
	struct stage *s = *state;
	struct evr_segment *segment;
	struct evr_peer *peers[60];
	struct seen seen;
	void **hub;
	uint64_t id;
	int i, nr = 0;

	assert_int_equal(evr_segment_create(&segment, pair_uri(), &options), 0);
	for (i = 0; i < 60; i++) {
		assert_int_equal(evr_peer_attach(&peers[i], segment, NULL), 0);
		id = loop_submit(s->l, evr_op_bell_wait(peers[i], PEER_EVENT), &seen);
		evr_driver_cancel(s->l->d, id);
		loop_finish(s->l, &seen);
		LOOP_UNTIL(s->l, !loop_busy(s->l));
	}
	/* A hub's first word is the next one. */
	for (hub = (void **)s->l->d->hubs; hub; hub = *hub)
		nr++;
	while (i--)
		evr_peer_detach(peers[i]);
	evr_segment_close(segment);
	print_message("# %d hubs\n", nr);
	assert_true(nr >= 30 && nr <= 40);
}

struct parked {
	struct evr_peer_id parent;
	bool multi;
};

/* Waits on a driver of its own, says so, and never comes back. */
static void waits_until_killed(struct evr_peer *peer, void *arg)
{
	struct parked *p = arg;
	struct seen seen[3];
	struct loop own = { 0 };
	int i;

	CHECK(!evr_driver_create(&own.d, &by_command));
	for (i = 0; i < 3; i++)
		loop_submit(&own,
			    evr_op_flagged(evr_op_bell_wait(peer, 1ULL << (10 + i)),
					   p->multi ? EVR_OP_MULTISHOT : 0),
			    &seen[i]);
	CHECK(evr_driver_run(own.d, 0, 0) >= 0);
	CHECK(evr_bell_ring(peer, p->parent, 1) == 0);
	for (;;)
		CHECK(evr_driver_run(own.d, 1, EVR_DRIVER_NO_DEADLINE) >= 0);
}

/* SIGKILL with waits parked: the others hear of it, its slot is free again, nothing hangs. */
static void bell_waiter_killed_is_heard_of_and_settled(void **state)
{
	struct stage *s = *state;
	struct parked p = { .parent = evr_peer_self(s->peer) };
	struct evr_peer_info infos[16];
	struct evr_peer_id child;
	struct seen up, event;
	int i, nr, round;
	pid_t pid;

	for (round = 0; round < 8; round++) {
		p.multi = round % 2;
		loop_submit(s->l, evr_op_bell_wait(s->peer, 1), &up);
		pid = pair_fork(s->pair, waits_until_killed, &p);
		assert_int_equal(loop_finish(s->l, &up), 0);
		nr = evr_peer_list(s->peer, infos, 16);
		assert_int_equal(nr, 2);
		for (i = 0; i < 2; i++)
			if (infos[i].id.slot != p.parent.slot)
				child = infos[i].id;
		/* Its coming was an event; then its end is one. */
		loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
		assert_int_equal(loop_finish(s->l, &event), 0);
		loop_submit(s->l, evr_op_bell_wait(s->peer, PEER_EVENT), &event);
		/* It is woken as it dies, now and then. */
		if (round & 2)
			assert_int_equal(evr_bell_ring(s->peer, child, 1ULL << 10), 0);
		pair_kill(pid);
		assert_int_equal(loop_finish(s->l, &event), 0);
		pair_settle(s->pair);
		assert_int_equal(evr_bell_ring(s->peer, child, 1ULL << 11), -ESTALE);
	}
}

static void rings_until_killed(struct evr_peer *peer, void *arg)
{
	struct parked *p = arg;
	int i;

	for (i = 0;; i++)
		CHECK(evr_bell_ring(peer, p->parent, 1ULL << (i % 3)) == 0);
}

/* Who rings is killed in the middle of it: each wait ends, also those that begin afterwards. */
static void bell_ringer_killed_leaves_waits_whole(void **state)
{
	struct stage *s = *state;
	struct parked p = { .parent = evr_peer_self(s->peer) };
	struct seen seen[3];
	int i, round;
	uint64_t id;
	pid_t pid;

	for (round = 0; round < 8; round++) {
		pid = pair_fork(s->pair, rings_until_killed, &p);
		for (i = 0; i < 60; i++) {
			loop_submit(s->l, evr_op_bell_wait(s->peer, 1ULL << (i % 3)), &seen[0]);
			assert_int_equal(loop_finish(s->l, &seen[0]), 0);
		}
		for (i = 0; i < 3; i++)
			loop_submit(s->l, evr_op_bell_wait(s->peer, 1ULL << i), &seen[i]);
		pair_kill(pid);
		assert_int_equal(evr_bell_ring(s->peer, p.parent, 7), 0);
		for (i = 0; i < 3; i++)
			assert_int_equal(loop_finish(s->l, &seen[i]), 0);
		pair_settle(s->pair);
	}
	/* What was rung last may be in store: this one is nobody's. */
	id = loop_submit(s->l, evr_op_bell_wait(s->peer, 8), &seen[0]);
	loop_rounds(s->l, 2);
	assert_int_equal(seen[0].all, 0);
	assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
	assert_int_equal(loop_finish(s->l, &seen[0]), -ECANCELED);
}

/* Revoked while it waits, and asked afterwards: told so, every wait, once. */
static void bell_wait_of_a_revoked_peer_is_told(void **state)
{
	struct stage *s = *state;
	struct pair *pair = s->pair;
	struct evr_driver_stats before, after;
	struct evr_peer *peer;
	struct seen seen[4];
	int i;

	if (!device())
		skip();
	assert_int_equal(evr_peer_attach(&peer, pair->segment, NULL), 0);
	for (i = 0; i < 3; i++)
		loop_submit(s->l,
			    evr_op_flagged(evr_op_bell_wait(peer, 1ULL << i),
					   i == 1 ? EVR_OP_MULTISHOT : 0),
			    &seen[i]);
	loop_rounds(s->l, 2);
	assert_int_equal(evr_driver_stats(s->l->d, &before), 0);
	assert_int_equal(evr_segment_revoke(pair->segment, evr_peer_self(peer)), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(loop_finish(s->l, &seen[i]), -EOWNERDEAD);
	/* What listened has said so: nothing else was asked. */
	assert_int_equal(evr_driver_stats(s->l->d, &after), 0);
	assert_int_equal(after.submitted, before.submitted);
	loop_submit(s->l, evr_op_bell_wait(peer, 1), &seen[3]);
	assert_int_equal(loop_finish(s->l, &seen[3]), -EOWNERDEAD);
	evr_peer_detach(peer);
	pair_settle(s->pair);
}

/* Detached as soon as its last wait is over: what takes the command back needs no peer. */
static void bell_wait_over_needs_no_peer(void **state)
{
	struct stage *s = *state;
	struct pair *pair = s->pair;
	struct evr_peer *peer;
	struct seen seen;
	uint64_t id;
	int i, fd;

	for (i = 0; i < 20; i++) {
		assert_int_equal(evr_peer_attach(&peer, pair->segment, NULL), 0);
		id = loop_submit(s->l, evr_op_bell_wait(peer, 1), &seen);
		if (i % 2)
			loop_rounds(s->l, 1);
		assert_int_equal(evr_driver_cancel(s->l->d, id), 0);
		assert_int_equal(loop_finish(s->l, &seen), -ECANCELED);
		evr_peer_detach(peer);
		/* The number is another file's now. */
		fd = memfd_create("another", MFD_CLOEXEC);
		LOOP_UNTIL(s->l, !loop_busy(s->l));
		close(fd);
	}
	pair_settle(s->pair);
}

/* No file can be held for it: it says so, and does not try for ever. */
static void bell_wait_without_an_fd_fails(void **state)
{
	struct stage *s = *state;
	struct rlimit old, none;
	struct seen seen, first;
	struct evr_peer *peer;
	int fd;

	assert_true(evr_bell_fd(s->peer) >= 0);
	/* This one has no bell fd yet, where that is not its own. */
	assert_int_equal(evr_peer_attach(&peer, ((struct pair *)s->pair)->segment, NULL), 0);
	fd = dup(0);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	loop_submit(s->l, evr_op_bell_wait(s->peer, 1), &seen);
	loop_finish(s->l, &seen);
	loop_submit(s->l, evr_op_bell_wait(peer, 1), &first);
	loop_finish(s->l, &first);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(seen.res, -EMFILE);
	assert_int_equal(first.res, -EMFILE);
	evr_peer_detach(peer);
	pair_settle(s->pair);
}

/* Closed with waits parked: each ends, once. */
static void bell_waits_end_with_the_driver(void **state)
{
	struct stage *s = *state;
	struct seen seen[8];
	int i;

	for (i = 0; i < 8; i++)
		loop_submit(s->l,
			    evr_op_flagged(evr_op_bell_wait(s->peer, 1ULL << i),
					   i % 2 ? EVR_OP_MULTISHOT : 0),
			    &seen[i]);
	loop_rounds(s->l, 2);
	assert_int_equal(evr_driver_close(s->l->d, pair_deadline()), 0);
	s->l->d = NULL;
	for (i = 0; i < 8; i++) {
		assert_int_equal(seen[i].terminal, 1);
		assert_int_equal(seen[i].res, -ECANCELED);
	}
}

#define TURNS 3000

struct turns {
	struct evr_peer_id parent;
	uint64_t off; /* of the word that says how far the parent is */
};

/* One ring for each turn, aimed at the moment in which the parent parks again. */
static void rings_each_turn(struct evr_peer *peer, void *arg)
{
	struct turns *t = arg;
	struct evr_a32 *heard = evr_peer_at(peer, t->off, 4);
	uint64_t seed = 7, deadline, spins;
	uint32_t i;

	for (i = 0; i < TURNS; i++) {
		for (spins = pair_random(&seed) % 2000; spins; spins--)
			evr_pause();
		CHECK(evr_bell_ring(peer, t->parent, 1ULL << (i % 2)) == 0);
		/* Of one turn: all of them take long in a slow machine. */
		deadline = pair_deadline();
		pair_alive();
		while (evr_a32_load_acquire(heard) != i + 1) {
			CHECK(evr_now_ns() < deadline);
			sched_yield();
		}
	}
}

static void bell_as_it_parks_is_not_lost(void **state)
{
	struct stage *s = *state;
	struct pair *pair = s->pair;
	struct evr_segment_info info;
	struct turns t = { .parent = evr_peer_self(s->peer) };
	struct evr_a32 *heard;
	struct seen seen;
	uint32_t i;
	pid_t pid;

	assert_int_equal(evr_segment_info(pair->segment, &info), 0);
	t.off = info.shared_off + (1 << 20);
	heard = evr_peer_at(s->peer, t.off, 4);
	pid = pair_fork(s->pair, rings_each_turn, &t);
	for (i = 0; i < TURNS; i++) {
		loop_submit(s->l, evr_op_bell_wait(s->peer, 1ULL << (i % 2)), &seen);
		assert_int_equal(loop_finish(s->l, &seen), 0);
		evr_a32_store_release(heard, i + 1);
	}
	pair_join(pid);
	pair_settle(s->pair);
}

#define STAGE_TEST(name) cmocka_unit_test_setup_teardown(name, stage_open, stage_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGE_TEST(bell_command_is_used_where_it_is),
		STAGE_TEST(bell_waits_of_many_masks_get_their_own),
		STAGE_TEST(bell_wait_cancelled_loses_no_bell),
		STAGE_TEST(bell_and_peer_event_beside_each_other),
		STAGE_TEST(bell_one_peer_event_is_for_all),
		STAGE_TEST(bell_told_to_one_that_ends_with_it),
		STAGE_TEST(bell_peer_event_is_for_who_sleeps_elsewhere_too),
		STAGE_TEST(bell_peer_event_that_was_taken_is_told),
		STAGE_TEST(bell_peers_that_went_are_forgotten),
		STAGE_TEST(bell_waiter_killed_is_heard_of_and_settled),
		STAGE_TEST(bell_ringer_killed_leaves_waits_whole),
		STAGE_TEST(bell_wait_of_a_revoked_peer_is_told),
		STAGE_TEST(bell_wait_over_needs_no_peer),
		STAGE_TEST(bell_wait_without_an_fd_fails),
		STAGE_TEST(bell_waits_end_with_the_driver),
		STAGE_TEST(bell_as_it_parks_is_not_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
