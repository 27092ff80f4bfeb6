/* SPDX-License-Identifier: MIT */
/*
 * The driver's injector and the ops of other threads: what was brought is called once, in
 * time and in the order of each who brings; nobody gets in after the close, and whoever got in is
 * served; a remote op is done once, wakes who waits for it, and its memory is the caller's from
 * then on; completions are taken once each, in order. All processes here are threads of one.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "driver/driver.h"
#include "explore.h"

int system_ppoll(struct pollfd *fds, nfds_t nr, const struct timespec *timeout,
		 const void *signals);

#define THREADS 3
#define OP_ID 7

struct scene {
	struct evr_driver *d;
	struct evr_injector *injector;
	struct evr_remote *remote;
	struct life life;
	uint32_t items; /* of each thread */
	uint32_t in[THREADS]; /* calls that said that they have injected */
	uint32_t called[THREADS];
	uint32_t wanted; /* calls that end the run */
	uint32_t over; /* threads that inject no more */
	bool is_closed; /* evr_injector_close() has returned */
	bool is_pending; /* the op */
	struct evr_op op;
	uint32_t done; /* completions of it */
	int submit_err, cancel_err;
	bool submitted, waited, cancelled; /* these calls have returned */
	uint32_t taken;
	uint32_t pushed;
};

/* The handle of the driver, whose options lead to the state. */
static struct scene *state_of(const struct evr_driver *d)
{
	return d->options.user;
}

static void make(struct scene *s, uint32_t items, uint32_t room)
{
	s->d = model_alloc(sizeof(*s->d));
	s->d->life = &s->life;
	s->life.owner = &evr_thread_token;
	s->d->unusual = true;
	s->d->options.user = s;
	s->items = items;
	s->wanted = 2 * items;
	s->remote = model_alloc(sizeof(*s->remote));
	MODEL_CHECK(!evr_injector_make(s->d, room));
	s->injector = evr_driver_injector(s->d);
	model_name(&s->injector->tail, 8, "tail");
	model_name(&s->injector->sleep, 4, "sleep");
	model_name(&s->injector->news, 4, "news");
	model_name(&s->injector->refs, 4, "refs");
	model_name(s->injector->entries, room * sizeof(*s->injector->entries), "entry");
	model_name(&s->remote->state, 4, "remote.state");
}

/* arg: {number:8 | thread:8} + 1 */
static void called(struct evr_driver *d, void *arg)
{
	struct scene *s = state_of(d);
	uint32_t at = (uint32_t)(uintptr_t)arg - 1, thread = at & 0xff;

	MODEL_CHECK(!s->is_closed);
	MODEL_CHECK(thread < THREADS && at >> 8 == s->called[thread]);
	s->called[thread]++;
	/* A run counts completions: this is its last. */
	if (s->called[0] + s->called[1] + s->called[2] == s->wanted)
		d->delivered++;
}

static int inject_one(struct scene *s)
{
	uint32_t self = model_self();
	uintptr_t arg = (s->in[self] << 8 | self) + 1;
	int err = evr_inject(s->injector, called, (void *)arg);

	s->in[self] += !err;
	return err;
}

static void inject_all(struct evr_peer *peer, void *state)
{
	struct scene *s = state;
	int err;

	while (s->in[model_self()] < s->items) {
		err = inject_one(s);
		MODEL_CHECK(!err || err == -EAGAIN);
		if (err)
			evr_pause();
	}
}

/* Until all is called, asleep in between. */
static void run(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	MODEL_CHECK(evr_driver_run(s->d, 1, EVR_DRIVER_NO_DEADLINE) == 1);
}

static void all_called(void *state)
{
	struct scene *s = state;

	MODEL_CHECK(s->called[0] == s->items && s->called[1] == s->items);
}

static void setup_one_each(void *state)
{
	make(state, 1, 2);
}

static void setup_two_each(void *state)
{
	make(state, 2, 2);
}

SCENARIO(inject_sleep) = {
	.name = "inject-sleep",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", inject_all }, { "thread-too", inject_all }, { "driver", run } },
	.setup = setup_one_each,
	.end = all_called,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
};

/* A loop of somebody else's, which sleeps on the driver's fd and has it run when that is readable. */
static void run_foreign(struct evr_peer *peer, void *state)
{
	struct scene *s = state;
	struct pollfd p = { .events = POLLIN };

	p.fd = evr_driver_fd(s->d);
	for (;;) {
		MODEL_CHECK(evr_driver_run(s->d, 0, 0) >= 0);
		if (s->d->delivered)
			return;
		system_ppoll(&p, 1, NULL, NULL);
	}
}

SCENARIO(inject_foreign) = {
	.name = "inject-foreign",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", inject_all }, { "thread-too", inject_all }, { "loop", run_foreign } },
	.setup = setup_one_each,
	.end = all_called,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
};

SCENARIO(inject_full) = {
	.name = "inject-full",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", inject_all }, { "thread-too", inject_all }, { "driver", run } },
	.setup = setup_two_each,
	.end = all_called,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A close while others inject: who got in is served before it returns, nobody after it. */
static void inject_or_stop(struct evr_peer *peer, void *state)
{
	struct scene *s = state;
	uint32_t i;
	int err;

	for (i = 0; i < s->items; i++) {
		err = inject_one(s);
		MODEL_CHECK(!err || err == -EAGAIN || err == -ESHUTDOWN);
		if (err == -ESHUTDOWN)
			break;
	}
	evr_injector_put(s->injector);
	s->over++;
}

static void close_it(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	if (model_pick(2))
		evr_injector_drain(s->d);
	evr_injector_close(s->d);
	s->is_closed = true;
	evr_injector_put(s->d->injector);
}

static void who_got_in_was_served(void *state)
{
	struct scene *s = state;

	MODEL_CHECK(s->called[0] == s->in[0] && s->called[1] == s->in[1]);
	MODEL_CHECK(!model_peek32(&s->injector->refs));
}

static void setup_close(void *state)
{
	struct scene *s = state;

	make(s, 2, 2);
	s->wanted = UINT32_MAX;
	evr_injector_get(s->injector);
}

SCENARIO(inject_close) = {
	.name = "inject-close",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", inject_or_stop },
		   { "thread-too", inject_or_stop },
		   { "driver", close_it } },
	.setup = setup_close,
	.end = who_got_in_was_served,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
};

/* The ops of the model: one, until it is done or cancelled. */
int evr_driver_submit(struct evr_driver *d, const struct evr_op *op, uint64_t *id)
{
	struct scene *s = state_of(d);

	MODEL_CHECK(!s->is_pending);
	if (d->closing)
		return -ESHUTDOWN;
	s->op = *op;
	s->is_pending = true;
	*id = OP_ID;
	return 0;
}

static void op_done(struct evr_driver *d, int res)
{
	struct scene *s = state_of(d);
	struct evr_completion done = { .id = OP_ID, .arg = s->op.arg, .res = res };

	s->is_pending = false;
	MODEL_CHECK(!s->done++);
	s->op.fn(d, &done);
}

int evr_driver_cancel(struct evr_driver *d, uint64_t id)
{
	struct scene *s = state_of(d);

	/* What it reads is the op's still; 0: it was refused. */
	MODEL_CHECK(id == OP_ID || (!id && d->closing));
	if (!s->is_pending)
		return -ENOENT;
	op_done(d, -ECANCELED);
	return 0;
}

/* The device says that the op is over; the driver's run ends with the last of these calls. */
static void device_says(struct evr_driver *d, void *arg)
{
	struct scene *s = state_of(d);

	if (s->is_pending)
		op_done(d, 1);
	d->delivered += !--s->wanted;
}

static bool op_is_pending(void *state)
{
	struct scene *s = state;

	return s->is_pending || s->done;
}

static void device(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	model_until(op_is_pending, s);
	MODEL_CHECK(!evr_inject(s->injector, device_says, NULL));
}

static bool both_returned(void *state)
{
	struct scene *s = state;

	return s->cancelled;
}

/* From here on nobody touches the remote op any more. */
static void reuse(struct scene *s)
{
	/* It is plain memory from here on. */
	evr_fence();
	memset(s->remote, 0x55, sizeof(*s->remote));
}

/* Who says that it has returned says so after its stores, as any way to tell another thread does. */
static void has_cancelled(struct scene *s)
{
	evr_fence();
	s->cancelled = true;
}

static void submit_and_wait(struct evr_peer *peer, void *state)
{
	struct scene *s = state;
	struct evr_remote *r = s->remote;

	s->submit_err = evr_remote_submit(s->injector, r);
	s->submitted = true;
	if (!s->submit_err) {
		MODEL_CHECK(!evr_remote_wait(r, EVR_DRIVER_NO_DEADLINE));
		MODEL_CHECK(r->res == 1 || r->res == -ECANCELED || r->res == -ESHUTDOWN);
	}
	s->waited = true;
	model_until(both_returned, s);
	reuse(s);
}

static bool is_reused(const struct scene *s)
{
	const uint8_t *bytes = (const uint8_t *)s->remote;
	size_t i;

	for (i = 0; i < sizeof(*s->remote); i++)
		if (bytes[i] != 0x55)
			return false;
	return true;
}

static void done_once(void *state)
{
	struct scene *s = state;

	MODEL_CHECK(s->waited && s->done == 1);
	MODEL_CHECK(is_reused(s));
}

static void setup_remote(void *state)
{
	struct scene *s = state;

	make(s, 1, 4);
	s->wanted = 1;
	s->cancelled = true;
}

SCENARIO(inject_remote) = {
	.name = "inject-remote",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", submit_and_wait }, { "device", device }, { "driver", run } },
	.setup = setup_remote,
	.end = done_once,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
};

/* One waits, one cancels, and the op ends by itself at the same time. */
static bool is_submitted(void *state)
{
	return ((struct scene *)state)->submitted;
}

static void end_run(struct evr_driver *d, void *arg)
{
	struct scene *s = state_of(d);

	d->delivered += !--s->wanted;
}

static void cancel(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	model_until(is_submitted, s);
	/* It has learned of it somehow. */
	evr_fence();
	s->cancel_err = evr_remote_cancel(s->remote);
	MODEL_CHECK(!s->cancel_err || s->cancel_err == -ENOENT);
	has_cancelled(s);
	MODEL_CHECK(!evr_inject(s->injector, end_run, NULL));
}

static void setup_cancel(void *state)
{
	struct scene *s = state;

	make(s, 1, 4);
	s->wanted = 1;
}

SCENARIO(inject_cancel) = {
	.name = "inject-cancel",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", submit_and_wait }, { "canceller", cancel }, { "driver", run } },
	.setup = setup_cancel,
	.end = done_once,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

static void setup_cancel_race(void *state)
{
	struct scene *s = state;

	setup_cancel(s);
	s->wanted = 2;
}

SCENARIO(inject_cancel_race) = {
	.name = "inject-cancel-race",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", submit_and_wait },
		   { "canceller", cancel },
		   { "device", device },
		   { "driver", run } },
	.setup = setup_cancel_race,
	.end = done_once,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/* The driver is closed: a remote op that got in ends with it, one that did not is idle. */
static void close_driver(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	if (model_pick(2))
		evr_injector_drain(s->d);
	s->d->closing = true;
	evr_injector_close(s->d);
	s->is_closed = true;
	if (s->is_pending)
		op_done(s->d, -ECANCELED);
}

static void cancel_or_stop(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	model_until(is_submitted, s);
	/* It has learned of it somehow. */
	evr_fence();
	s->cancel_err = evr_remote_cancel(s->remote);
	MODEL_CHECK(!s->cancel_err || s->cancel_err == -ENOENT || s->cancel_err == -ESHUTDOWN);
	has_cancelled(s);
}

static void ended_or_idle(void *state)
{
	struct scene *s = state;

	MODEL_CHECK(s->waited && is_reused(s));
	MODEL_CHECK(!s->submit_err || s->submit_err == -ESHUTDOWN);
	MODEL_CHECK(s->done <= !s->submit_err && !s->is_pending);
}

SCENARIO(inject_remote_close) = {
	.name = "inject-remote-close",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "thread", submit_and_wait },
		   { "canceller", cancel_or_stop },
		   { "driver", close_driver } },
	.setup = setup_cancel,
	.end = ended_or_idle,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 1 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Completions that another thread takes, asleep while there is none. */
static void push(struct evr_peer *peer, void *state)
{
	struct scene *s = state;

	while (s->pushed < s->items) {
		s->pushed++;
		evr_take_push(s->d, &(struct evr_completion){ .id = s->pushed });
	}
	MODEL_CHECK(!evr_driver_take_stop(s->d));
}

static void take_all(struct evr_peer *peer, void *state)
{
	struct scene *s = state;
	struct evr_completion done[2];
	int nr, i;

	while ((nr = evr_driver_take_wait(s->d, done, 2, EVR_DRIVER_NO_DEADLINE)) > 0)
		for (i = 0; i < nr; i++)
			MODEL_CHECK(done[i].id == ++s->taken);
	MODEL_CHECK(nr == -ESHUTDOWN);
}

static void all_taken(void *state)
{
	struct scene *s = state;

	MODEL_CHECK(s->taken == s->items);
}

static void setup_take(void *state)
{
	struct scene *s = state;

	make(s, 2, 2);
	s->d->take.entries = model_alloc(8 * sizeof(*s->d->take.entries));
	s->d->take.mask = 7;
	model_name(&s->d->take.tail, 4, "take.tail");
	model_name(&s->d->take.news, 4, "take.news");
	model_name(&s->d->take.closed, 4, "take.closed");
	model_name(&s->d->take.sleepers, 4, "take.sleepers");
}

SCENARIO(inject_take) = {
	.name = "inject-take",
	.state_sz = sizeof(struct scene),
	.threads_sz = 8 << 10,
	.procs = { { "driver", push }, { "taker", take_all } },
	.setup = setup_take,
	.end = all_taken,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
	.longer = { { MODEL_SC, 6, 0, 0 }, { MODEL_TSO, 5, 0, 3 }, { MODEL_WEAK, 4, 0, 3 } },
};
