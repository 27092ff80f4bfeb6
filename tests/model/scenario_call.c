/* SPDX-License-Identifier: MIT */
/*
 * Calls: each request ends exactly once, by its answer, its deadline, its cancellation or
 * the end of the server, with its own user value and the answer that was meant for it, in
 * whatever order the two threads of the caller, those of the server, and deaths come.
 * The answer to the request {user} is {user + ANSWER}.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"

#include "channel.h"

#define CAPACITY 1024
#define INLINE_MAX 32
#define ANSWER 100
#define USERS 4

/* How a request has ended; 0: not yet. */
enum { NOT_YET, ANSWERED, EXPIRED, CANCELLED, DIED, REFUSED };

struct state {
	/* Shared by the threads of a process each: see model_alloc(). */
	struct evr_channel *a, *b;
	struct evr_call *call;
	struct evr_call_server *server;
	struct evr_waiter waiters[3]; /* submitting, completing, server */
	uint64_t ids[USERS]; /* of submitted requests, by user - 1 */
	uint64_t deadlines[USERS];
	uint8_t ends[USERS];
	uint32_t items;
	struct {
		uint64_t id, user;
	} taken[USERS]; /* by the server, and not answered */
	uint32_t taken_nr;
	uint32_t answers[USERS]; /* how many calls said that they have answered it */
	int caller_end, server_end; /* what the last call of each said */
};

/* The caller is peer 0, the server that of process @server. */
static void make(struct state *s, uint32_t items, uint32_t ops, uint32_t server)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = CAPACITY,
					       .urgent_capacity = CAPACITY,
					       .inline_max = INLINE_MAX };
	struct evr_peer *peers[] = { model_peer(0), model_peer(0), model_peer(server) };
	uint32_t i;

	s->items = items;
	s->a = model_alloc(sizeof(*s->a));
	s->b = model_alloc(sizeof(*s->b));
	s->call = model_alloc(sizeof(*s->call));
	s->server = model_alloc(sizeof(*s->server));
	MODEL_CHECK(!evr_channel_create(model_auditor(), "c", &options));
	MODEL_CHECK(!evr_channel_open(s->a, peers[0], "c", EVR_CHANNEL_A, 0));
	MODEL_CHECK(!evr_channel_open(s->b, peers[2], "c", EVR_CHANNEL_B, 0));
	MODEL_CHECK(evr_channel_state(s->a) == EVR_RING_OK);
	MODEL_CHECK(evr_channel_state(s->b) == EVR_RING_OK);
	MODEL_CHECK(!evr_call_init(s->call, s->a, ops));
	MODEL_CHECK(!evr_call_server_init(s->server, s->b, USERS));
	for (i = 0; i < 3; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], peers[i], EVR_WAIT_SLEEP));
	model_name_lane(&s->a->tx[0].lane);
	model_name(s->call->ops, ops * sizeof(*s->call->ops), "op");
	model_name(s->call->free, 8, "free");
	model_name(&s->call->next_ns, 8, "next_ns");
}

/* A request has ended: once, and it was under way. */
static void ends(struct state *s, uint64_t user, uint8_t how)
{
	model_note("request %llu ends: %u", (unsigned long long)user, how);
	MODEL_CHECK(user >= 1 && user <= s->items);
	MODEL_CHECK(s->ends[user - 1] == NOT_YET);
	s->ends[user - 1] = how;
}

static uint32_t ended(const struct state *s)
{
	uint32_t i, nr = 0;

	for (i = 0; i < s->items; i++)
		nr += s->ends[i] != NOT_YET;
	return nr;
}

static int submit(struct state *s, uint64_t user, uint64_t deadline_ns)
{
	struct evr_call_request r = { .message = { .data = &user, .sz = 8 },
				      .user = user,
				      .deadline_ns = deadline_ns };

	s->deadlines[user - 1] = deadline_ns;
	return evr_call_submit(s->call, &r, &s->ids[user - 1]);
}

static void submit_all(struct state *s, uint64_t deadline_ns)
{
	uint64_t user;

	for (user = 1; user <= s->items; user++)
		MODEL_CHECK(!submit(s, user, deadline_ns));
}

static void completed(struct state *s, struct evr_call_completion *done)
{
	uint64_t value;

	if (done->result == -ETIMEDOUT) {
		ends(s, done->user, EXPIRED);
		MODEL_CHECK(evr_now_ns() >= s->deadlines[done->user - 1]);
		return;
	}
	MODEL_CHECK(done->id == s->ids[done->user - 1] || !s->ids[done->user - 1]);
	if (done->result) {
		MODEL_CHECK(done->result == -EOWNERDEAD || done->result == -EPIPE);
		ends(s, done->user, DIED);
		return;
	}
	ends(s, done->user, ANSWERED);
	MODEL_CHECK(done->message.sz == 8);
	evr_copy_out(&value, done->message.data, 8);
	MODEL_CHECK(value == done->user + ANSWER);
	evr_channel_release(s->a, &done->message);
}

static void complete_all(struct state *s)
{
	struct evr_call_completion done;

	while (ended(s) < s->items) {
		s->caller_end =
			evr_call_complete_wait(s->call, &s->waiters[1], &done, EVR_NO_DEADLINE);
		if (s->caller_end)
			return;
		completed(s, &done);
	}
}

static void took(struct state *s, const struct evr_message *m)
{
	uint64_t user;

	MODEL_CHECK(m->sz == 8);
	evr_copy_out(&user, m->data, 8);
	MODEL_CHECK(user >= 1 && user <= s->items);
	s->taken[s->taken_nr].id = m->id;
	s->taken[s->taken_nr++].user = user;
}

static int take(struct state *s)
{
	struct evr_message m;
	int err = evr_call_take(s->server, &m);

	if (!err)
		took(s, &m);
	return err;
}

static int answer(struct state *s, uint64_t id, uint64_t user)
{
	uint64_t value = user + ANSWER;
	int err = evr_call_answer(s->server, id, &(struct evr_message){ .data = &value, .sz = 8 });

	s->answers[user - 1] += !err;
	return err;
}

/* One of those that are taken, which nobody can answer again. */
static int answer_nth(struct state *s, uint32_t n)
{
	uint64_t id = s->taken[n].id, user = s->taken[n].user;
	int err = answer(s, id, user);

	s->taken[n] = s->taken[--s->taken_nr];
	MODEL_CHECK(answer(s, id, user) == -ENOENT);
	return err;
}

static void nothing_is_left(struct state *s)
{
	struct evr_call_counts counts;

	evr_call_counts(s->call, &counts);
	MODEL_CHECK(ended(s) == s->items);
	MODEL_CHECK(!evr_call_outstanding(s->call));
	MODEL_CHECK(counts.submitted ==
		    counts.answered + counts.expired + counts.cancelled + counts.ended);
	MODEL_CHECK(!counts.strange);
}

/* Both at once, in any order; who has answered sleeps for nobody. */
static void call_and_complete(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	submit_all(s, EVR_NO_DEADLINE);
	complete_all(s);
}

static void take_all_and_answer(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t left = s->items;
	struct evr_message m;

	while (left) {
		if (s->taken_nr < left && !take(s))
			continue;
		if (!s->taken_nr) {
			MODEL_CHECK(!evr_call_take_wait(s->server, &s->waiters[2], &m,
							EVR_NO_DEADLINE));
			took(s, &m);
			continue;
		}
		MODEL_CHECK(!answer_nth(s, model_pick(s->taken_nr)));
		left--;
	}
}

static void setup_two(void *state)
{
	make(state, 2, 2, 1);
}

static void all_answered(void *state)
{
	struct state *s = state;
	uint32_t i;

	nothing_is_left(s);
	for (i = 0; i < s->items; i++)
		MODEL_CHECK(s->ends[i] == ANSWERED && s->answers[i] == 1);
}

SCENARIO(call_answers) = {
	.name = "call-answers",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_and_complete }, { "server", take_all_and_answer } },
	.setup = setup_two,
	.end = all_answered,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/*
 * Two threads of one caller: what one cancels the other does not complete, and the op that
 * is free again serves the next request, whatever comes late for the last one.
 */
static void submit_and_cancel(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	MODEL_CHECK(!submit(s, 1, EVR_NO_DEADLINE));
	err = evr_call_cancel(s->call, s->ids[0]);
	MODEL_CHECK(!err || err == -ENOENT);
	if (!err)
		ends(s, 1, CANCELLED);
	while ((err = submit(s, 2, EVR_NO_DEADLINE))) {
		MODEL_CHECK(err == -EBUSY);
		evr_pause();
	}
}

static void complete_until_all_ended(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_call_completion done;
	int err;

	while (ended(s) < s->items) {
		err = evr_call_complete(s->call, &done);
		if (!err)
			completed(s, &done);
		else
			evr_pause();
		MODEL_CHECK(!err || err == -EAGAIN || err == -EPIPE);
	}
}

static void take_and_answer_one(struct state *s)
{
	int err;

	while (take(s))
		evr_pause();
	err = answer_nth(s, 0);
	MODEL_CHECK(!err || err == -ECANCELED);
}

/* The cancelled one is taken too: it overtakes nothing. */
static void take_and_answer(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < s->items; i++)
		take_and_answer_one(s);
}

static void setup_threads(void *state)
{
	make(state, 2, 1, 2);
}

static void one_cancelled_or_none(void *state)
{
	struct state *s = state;

	nothing_is_left(s);
	MODEL_CHECK(s->ends[0] == CANCELLED || (s->ends[0] == ANSWERED && s->answers[0]));
	MODEL_CHECK(s->ends[1] == ANSWERED && s->answers[1] == 1);
}

SCENARIO(call_cancel) = {
	.name = "call-cancel",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "submitter", submit_and_cancel },
		   { "completer", complete_until_all_ended },
		   { "server", take_and_answer } },
	.setup = setup_threads,
	.end = one_cancelled_or_none,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 17 },
		    { MODEL_TSO, 2, 0, 1 },
		    { MODEL_WEAK, 2, 0, 1, .sample = 2 } },
};

/*
 * Nobody answers: each ends by its deadline, whether that has passed when it is submitted, or
 * the completing thread slept before it was known.
 */
static void submit_with_deadlines(struct evr_peer *peer, void *state)
{
	submit_all(state, evr_now_ns() + model_pick(2));
}

static void complete_asleep(struct evr_peer *peer, void *state)
{
	complete_all(state);
}

/* Each pause lets the deadlines pass. */
static void let_time_pass(struct evr_peer *peer, void *state)
{
	evr_pause();
	evr_pause();
}

static void setup_deadlines(void *state)
{
	make(state, 2, 2, 2);
}

static void all_expired(void *state)
{
	struct state *s = state;
	uint32_t i;

	nothing_is_left(s);
	for (i = 0; i < s->items; i++)
		MODEL_CHECK(s->ends[i] == EXPIRED);
}

SCENARIO(call_deadline) = {
	.name = "call-deadline",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "submitter", submit_with_deadlines },
		   { "completer", complete_asleep },
		   { "clock", let_time_pass } },
	.setup = setup_deadlines,
	.end = all_expired,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A deadline and an answer, whichever is first; then the other finds nothing to end. */
static void call_with_deadlines(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	submit_all(s, evr_now_ns() + 1);
	complete_all(s);
}

static void setup_race(void *state)
{
	make(state, 2, 2, 1);
}

static void each_answer_ended_one_or_came_late(void *state)
{
	struct state *s = state;
	struct evr_call_completion done;
	struct evr_call_counts counts;

	MODEL_CHECK(evr_call_complete(s->call, &done) == -EAGAIN);
	nothing_is_left(s);
	evr_call_counts(s->call, &counts);
	MODEL_CHECK(s->answers[0] == 1 && s->answers[1] == 1);
	MODEL_CHECK(counts.answered + counts.late == 2 && counts.answered + counts.expired == 2);
}

SCENARIO(call_expires) = {
	.name = "call-expires",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_with_deadlines },
		   { "server", take_and_answer },
		   { "clock", let_time_pass } },
	.setup = setup_race,
	.end = each_answer_ended_one_or_came_late,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 11 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* The server goes while one thread submits and one completes: one of the two tells of each end. */
static void submit_or_be_refused(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t user;
	int err;

	for (user = 1; user <= s->items; user++) {
		err = submit(s, user, EVR_NO_DEADLINE);
		MODEL_CHECK(!err || err == -EPIPE);
		if (err)
			ends(s, user, REFUSED);
	}
}

static void serve_nobody(struct evr_peer *peer, void *state)
{
	evr_channel_close(((struct state *)state)->b);
}

static void setup_refused(void *state)
{
	make(state, 2, 2, 2);
}

static void none_answered(void *state)
{
	struct state *s = state;
	uint32_t i;

	MODEL_CHECK(ended(s) == s->items && !evr_call_outstanding(s->call));
	for (i = 0; i < s->items; i++)
		MODEL_CHECK(s->ends[i] == DIED || s->ends[i] == REFUSED);
}

SCENARIO(call_refused) = {
	.name = "call-refused",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "submitter", submit_or_be_refused },
		   { "completer", complete_until_all_ended },
		   { "server", serve_nobody } },
	.setup = setup_refused,
	.end = none_answered,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* Either dies at any access: who is left is told, and has every answer that was sent. */
static void call_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t user;
	int err;

	for (user = 1; user <= s->items; user++) {
		err = submit(s, user, EVR_NO_DEADLINE);
		MODEL_CHECK(!err || err == -EOWNERDEAD);
		if (err)
			ends(s, user, REFUSED);
	}
	complete_all(s);
	MODEL_CHECK(!s->caller_end);
	evr_channel_close(s->a);
}

static void setup_one(void *state)
{
	make(state, 1, 1, 1);
}

static void serve_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	uint32_t nr = 0;
	int err;

	for (;;) {
		s->server_end = evr_call_take_wait(s->server, &s->waiters[2], &m, EVR_NO_DEADLINE);
		if (s->server_end)
			break;
		took(s, &m);
		if (++nr < s->items && model_pick(2))
			continue;
		while (s->taken_nr) {
			err = answer_nth(s, s->taken_nr - 1);
			MODEL_CHECK(!err || err == -EOWNERDEAD);
		}
	}
	evr_call_server_fini(s->server);
	evr_channel_close(s->b);
}

static void left_one_was_told(void *state)
{
	struct state *s = state;
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
	if (!model_died(1))
		MODEL_CHECK(s->server_end == (model_died(0) ? -EOWNERDEAD : -EPIPE) ||
			    s->server_end == -EPIPE);
	for (i = 0; i < s->items && !model_died(0); i++) {
		if (s->answers[i] || !model_crashes())
			MODEL_CHECK(s->ends[i] == ANSWERED);
		MODEL_CHECK(s->ends[i] != NOT_YET);
	}
	MODEL_CHECK(model_died(0) || !evr_call_outstanding(s->call));
	/* The channel serves others. */
	memset(s->a, 0, sizeof(*s->a));
	memset(s->b, 0, sizeof(*s->b));
	MODEL_CHECK(!evr_channel_open(s->a, model_auditor(), "c", EVR_CHANNEL_A, 0));
	MODEL_CHECK(!evr_channel_open(s->b, model_auditor(), "c", EVR_CHANNEL_B, 0));
	MODEL_CHECK(!evr_channel_send(s->a, "4444", 4, 0));
}

SCENARIO(call_dies) = {
	.name = "call-dies",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_and_close }, { "server", serve_to_end } },
	.setup = setup_one,
	.end = left_one_was_told,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 7 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

SCENARIO(call_server_dies) = {
	.name = "call-server-dies",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_and_close, .immortal = true }, { "server", serve_to_end } },
	.setup = setup_two,
	.end = left_one_was_told,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* Two threads of a server: of two that answer the same request one does, while one takes the next. */
static void call_once_more(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!submit(s, s->items, EVR_NO_DEADLINE));
	complete_all(s);
}

static void answer_first(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err = answer(s, s->ids[0], 1);

	MODEL_CHECK(!err || err == -ENOENT);
}

static void answer_first_and_next(struct evr_peer *peer, void *state)
{
	answer_first(peer, state);
	take_and_answer_one(state);
}

static void setup_server_threads(void *state)
{
	struct state *s = state;

	make(s, 2, 2, 1);
	MODEL_CHECK(!submit(s, 1, EVR_NO_DEADLINE));
	MODEL_CHECK(!take(s));
	s->taken_nr = 0;
}

static void each_was_answered_once(void *state)
{
	struct state *s = state;
	struct evr_call_completion done;
	struct evr_call_counts counts;

	MODEL_CHECK(evr_call_complete(s->call, &done) == -EAGAIN);
	all_answered(s);
	evr_call_counts(s->call, &counts);
	MODEL_CHECK(!counts.late);
}

SCENARIO(call_server_threads) = {
	.name = "call-server-threads",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_once_more },
		   { "server", answer_first_and_next },
		   { "server-too", answer_first } },
	.setup = setup_server_threads,
	.end = each_was_answered_once,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 2 } },
};

/* A server that answers what it likes, as often as it likes: each still ends once, as itself. */
static void forge(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t id = s->ids[0];
	const uint64_t ids[] = { id, id - (1ULL << 32), id + (1ULL << 32), id + 1, 0 };
	struct evr_message m = { 0 };
	int i;

	for (i = 0; i < 3; i++) {
		m.id = ids[model_pick(5)];
		m.flags = i == 1 && model_pick(2) ? EVR_MESSAGE_REQUEST : EVR_MESSAGE_ANSWER;
		MODEL_CHECK(!evr_channel_send_message(s->b, &m));
	}
}

static void complete_forged(struct state *s)
{
	struct evr_call_completion done;
	int i;

	for (i = 0; i < 2; i++) {
		if (evr_call_complete(s->call, &done))
			continue;
		MODEL_CHECK(!done.result && done.id == s->ids[done.user - 1]);
		ends(s, done.user, ANSWERED);
		evr_channel_release(s->a, &done.message);
	}
}

static void call_the_hostile(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t user;

	for (user = 1; user <= s->items; user++) {
		if (user > 1)
			MODEL_CHECK(!submit(s, user, EVR_NO_DEADLINE));
		complete_forged(s);
		if (!evr_call_cancel(s->call, s->ids[user - 1]))
			ends(s, user, CANCELLED);
	}
}

static void setup_forged(void *state)
{
	struct state *s = state;

	make(s, 2, 1, 1);
	MODEL_CHECK(!submit(s, 1, EVR_NO_DEADLINE));
}

static void each_ended(void *state)
{
	struct state *s = state;

	MODEL_CHECK(ended(s) == s->items && !evr_call_outstanding(s->call));
}

SCENARIO(call_hostile) = {
	.name = "call-hostile-server",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.threads_sz = 16 << 10,
	.procs = { { "caller", call_the_hostile }, { "hostile", forge } },
	.setup = setup_forged,
	.end = each_ended,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};
