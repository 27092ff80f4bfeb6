/* SPDX-License-Identifier: MIT */
/*
 * Ops in random sequences against a model, which knows of each pipe how many bytes are in
 * it and of each op what it may end with. The same sequence runs in every mode.
 *
 * model     An op ends exactly once. A read ends with bytes that were written, in their
 *           order, or cancelled, and then only if it was asked to be; all bytes that
 *           went in come out. What was refused with -EAGAIN never comes.
 *
 * EVERING_SEED replays; EVERING_FUZZ says how many sequences (16).
 */
#include "loop.h"

#define PIPES 4
#define OPS 64
#define STEPS 400

enum kind { READ, READ_EXACT, POLL, TIMER, NOP, FSYNC, KINDS };

struct op {
	struct seen seen;
	enum kind kind;
	uint64_t id;
	int pipe;
	bool live, asked; /* asked to end: a cancel, a deadline */
	unsigned char buf[8];
	uint32_t len;
};

struct world {
	struct loop *loop;
	uint64_t seed, first;
	int pipes[PIPES][2];
	/* Of each pipe the bytes are 0, 1, 2 ... modulo 251: so their order shows. */
	uint32_t written[PIPES], got[PIPES];
	/* Reads of one pipe complete in any order: each byte is counted by its value. */
	uint32_t in[PIPES][256], out[PIPES][256];
	struct op ops[OPS];
	int file;
	uint32_t submitted, ended;
};

#define HOLDS(w, cond)                                                                             \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_msg("%s: EVERING_SEED=%#llx", #cond, (unsigned long long)(w)->first); \
	} while (0)

static uint32_t below(struct world *w, uint32_t n)
{
	return (uint32_t)(pair_random(&w->seed) >> 33) % n;
}

static void begin(struct world *w)
{
	struct op *op = &w->ops[below(w, OPS)];
	struct evr_op what;
	int err;

	if (op->live)
		return;
	memset(op, 0, sizeof(*op));
	op->kind = (enum kind)below(w, KINDS);
	op->pipe = (int)below(w, PIPES);
	op->len = 1 + below(w, sizeof(op->buf));
	switch (op->kind) {
	case READ:
		what = evr_op_read(w->pipes[op->pipe][0], op->buf, op->len, UINT64_MAX);
		break;
	case READ_EXACT:
		what = evr_op_flagged(evr_op_read(w->pipes[op->pipe][0], op->buf, op->len,
						  UINT64_MAX),
				      EVR_OP_EXACT);
		break;
	case POLL:
		what = evr_op_poll(w->pipes[op->pipe][1], POLLOUT);
		break;
	case TIMER:
		what = evr_op_timer(evr_now_ns() + below(w, 200000), 0);
		break;
	case FSYNC:
		what = evr_op_fsync(w->file);
		break;
	default:
		what = evr_op_nop();
		break;
	}
	if (op->kind != TIMER && !below(w, 8)) {
		what = evr_op_until(what, evr_now_ns() + below(w, 300000));
		op->asked = true;
	}
	what = evr_op_then(what, seen_done, &op->seen);
	err = evr_driver_submit(w->loop->d, &what, &op->id);
	HOLDS(w, !err || err == -EAGAIN);
	op->live = !err;
	w->submitted += !err;
}

static void feed(struct world *w)
{
	int pipe = (int)below(w, PIPES);
	unsigned char bytes[4];
	uint32_t nr = 1 + below(w, sizeof(bytes)), i;

	/* So little that reads wait; and no write ever does. */
	if (w->written[pipe] - w->got[pipe] > 2048)
		return;
	for (i = 0; i < nr; i++) {
		bytes[i] = (unsigned char)((w->written[pipe] + i) % 251);
		w->in[pipe][bytes[i]]++;
	}
	w->written[pipe] += nr;
	HOLDS(w, write(w->pipes[pipe][1], bytes, nr) == (ssize_t)nr);
}

static void end(struct world *w)
{
	struct op *op = &w->ops[below(w, OPS)];
	int err;

	if (!op->id)
		return;
	err = evr_driver_cancel(w->loop->d, op->id);
	HOLDS(w, !err || err == -ENOENT || err == -EALREADY);
	/* Of an op that is over the id names nothing, whoever has its slot. */
	HOLDS(w, op->live || err == -ENOENT);
	if (!err)
		op->asked = true;
}

static void settle_read(struct world *w, struct op *op, int res)
{
	uint32_t i;

	HOLDS(w, res > 0 && (uint32_t)res <= op->len);
	HOLDS(w, op->kind != READ_EXACT || (uint32_t)res == op->len || op->asked);
	for (i = 0; i < (uint32_t)res; i++) {
		/* One read takes neighbours. */
		HOLDS(w, op->kind != READ || !i || op->buf[i] == (op->buf[i - 1] + 1) % 251);
		w->out[op->pipe][op->buf[i]]++;
	}
	w->got[op->pipe] += (uint32_t)res;
}

static void collect(struct world *w)
{
	struct op *op;
	int res, i;

	for (i = 0; i < OPS; i++) {
		op = &w->ops[i];
		res = op->seen.res;
		if (!op->live || !op->seen.terminal)
			continue;
		HOLDS(w, op->seen.terminal == 1 && op->seen.all == 1);
		op->live = false;
		w->ended++;
		if (res == -ECANCELED || res == -ETIME || res == -EINTR) {
			HOLDS(w, op->asked);
			continue;
		}
		if (op->kind <= READ_EXACT)
			settle_read(w, op, res);
		else if (op->kind == POLL)
			HOLDS(w, res == POLLOUT);
		else
			HOLDS(w, res == 0);
	}
}

static void step(struct world *w)
{
	switch (below(w, 8)) {
	case 0:
	case 1:
	case 2:
		begin(w);
		break;
	case 3:
		feed(w);
		break;
	case 4:
	case 5:
		end(w);
		break;
	case 6:
		HOLDS(w, !evr_driver_flush(w->loop->d));
		break;
	default:
		HOLDS(w, evr_driver_run(w->loop->d, 0, 0) >= 0);
		collect(w);
		break;
	}
}

/* What is left: cancelled, and the bytes that nobody read are still there. */
static void finish(struct world *w)
{
	unsigned char byte;
	int i;

	for (i = 0; i < OPS; i++) {
		if (!w->ops[i].live)
			continue;
		w->ops[i].asked = true;
		evr_driver_cancel(w->loop->d, w->ops[i].id);
	}
	LOOP_UNTIL(w->loop, !loop_busy(w->loop));
	collect(w);
	HOLDS(w, w->submitted == w->ended);
	for (i = 0; i < PIPES; i++) {
		close(w->pipes[i][1]);
		while (read(w->pipes[i][0], &byte, 1) == 1)
			w->out[i][byte]++;
		HOLDS(w, !memcmp(w->in[i], w->out[i], sizeof(w->in[i])));
		close(w->pipes[i][0]);
	}
	close(w->file);
}

static void sequence(void **state, uint64_t seed)
{
	static const uint32_t entries[] = { 1, 2, 8, 64 };
	struct evr_driver_options options = { .struct_sz = sizeof(options) };
	struct world *w = calloc(1, sizeof(*w));
	int i;

	w->first = w->seed = seed;
	options.entries = entries[below(w, 4)];
	options.flags = below(w, 4) ? 0 : EVR_DRIVER_FAIL_FAST;
	assert_int_equal(loop_open_with(state, &options), 0);
	w->loop = *state;
	w->file = memfd_create("fuzz", MFD_CLOEXEC);
	for (i = 0; i < PIPES; i++)
		assert_int_equal(pipe2(w->pipes[i], O_CLOEXEC), 0);
	for (i = 0; i < STEPS; i++)
		step(w);
	finish(w);
	if (loop_close(state))
		fail_msg("EVERING_SEED=%#llx", (unsigned long long)seed);
	free(w);
}

static void sequences_agree_with_the_model(void **state)
{
	const char *replay = getenv("EVERING_SEED"), *times = getenv("EVERING_FUZZ");
	long nr = replay ? 1 : times ? atol(times) : 16, i;

	for (i = 0; i < nr; i++)
		sequence(state, replay ? strtoull(replay, NULL, 0) :
					 0x9e3779b97f4a7c15ULL * (uint64_t)(i + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences_agree_with_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
