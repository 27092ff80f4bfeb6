/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue; mpmc.h has what their words mean.
 */
#include <string.h>

#include <evering/mpmc.h>

#include "crowd.h"
#include "internal.h"
#include "mpmc_cell.h"

/* Steps from one cell to the next after which a search by halves is sooner there. */
#define MPMC_WALK_MAX 16
/* So often in one call a cell was of another lap than all around it say. */
#define MPMC_STRAYS_MAX 64

/* So many cells of 16 bytes are a line. */
#define MPMC_AHEAD 4

/* With the role and the size constants a loop has a few instructions. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static const uint64_t wanted_states[] = { CELL_EMPTY, CELL_FULL };

/* The lap in which this end comes to that cell next. */
static uint64_t cell_turn(enum evr_role role, uint64_t u_word)
{
	uint64_t state = cell_state(u_word);
	bool passed = role == EVR_PRODUCER ? state != CELL_EMPTY : state == CELL_READING;

	return (cell_lap(u_word) + passed) & LAP_MASK;
}

/* Of the last cell that this end has passed, in the order of positions. */
static uint64_t last_passed(const struct evr_mpmc *q, enum evr_role role)
{
	uint64_t lo = 0, hi = q->mask + 1, mid, turn;
	uint64_t first = cell_turn(role, evr_a64_load_acquire(cell_at(q, 0)));

	while (hi - lo > 1) {
		mid = (lo + hi) / 2;
		turn = cell_turn(role, evr_a64_load_acquire(cell_at(q, mid))); /* MPMC-CELL */
		if (lap_diff(turn, first) >= 0)
			lo = mid;
		else
			hi = mid;
	}
	return ((first - 1) & LAP_MASK) << q->shift | lo;
}

void evr_mpmc_search(struct evr_mpmc *q, enum evr_role role)
{
	q->ends[role].pos = last_passed(q, role);
}

/* How far the claim, or whatever passed it, reaches that this end finds at a position. */
static uint64_t passed_nr(enum evr_role role, uint64_t u_word, uint64_t lap)
{
	return is_claim(role, u_word) && cell_lap(u_word) == lap ? cell_run(u_word) : 1;
}

uint64_t evr_mpmc_front_pos(const struct evr_mpmc *q, enum evr_role role)
{
	uint64_t pos = last_passed(q, role);
	uint64_t u_word = evr_a64_load_acquire(cell_at(q, pos));

	return (pos + passed_nr(role, u_word, lap_of(q, pos))) & ((LAP_MASK << q->shift) | q->mask);
}

enum verdict {
	CELL_IS_READY,
	CELL_IS_NOT,
	CELL_IS_PASSED,
	CELL_IS_CLAIMED,
	CELL_IS_HOLE,
	CELL_IS_ASTRAY,
	CELL_IS_NONSENSE
};

/* What this word says to an end that comes to its cell in @lap. */
static inline enum verdict cell_judge(const struct evr_mpmc *q, enum evr_role role, uint64_t u_word,
				      uint64_t lap)
{
	uint64_t state = cell_state(u_word);
	int32_t ahead = lap_diff(cell_lap(u_word), lap);
	bool is_behind = ahead == (role == EVR_PRODUCER ? -1 : 0);

	if (__builtin_expect(u_word == cell_word(lap, 0, CELL_EMPTY), 1))
		return role == EVR_PRODUCER ? CELL_IS_READY : CELL_IS_NOT;
	if (role == EVR_CONSUMER && !ahead && state == CELL_FULL)
		return CELL_IS_READY;
	if (state > CELL_HOLE || (!q->data_off && state != CELL_EMPTY && state != CELL_FULL))
		return CELL_IS_NONSENSE;
	if ((state == CELL_WRITING || state == CELL_READING) &&
	    cell_run(u_word) - 1 > (q->mask < MPMC_RUN_MAX - 1 ? q->mask : MPMC_RUN_MAX - 1))
		return CELL_IS_NONSENSE;
	if (ahead == 1 || (!ahead && (role == EVR_PRODUCER || state == CELL_READING)))
		return CELL_IS_PASSED;
	if (is_behind && state == CELL_HOLE)
		return CELL_IS_HOLE;
	if (is_behind && (state == CELL_WRITING || state == CELL_READING))
		return CELL_IS_CLAIMED;
	/* Full; or the cell is still read in the lap before. */
	if (ahead == -1 && state == (role == EVR_PRODUCER ? CELL_FULL : CELL_READING))
		return CELL_IS_NOT;
	return CELL_IS_ASTRAY;
}

static void mpmc_wake(struct evr_mpmc *q, enum evr_role whom, uint32_t nr)
{
	struct evr_mpmc_end *end = &q->ends[whom];
	uint32_t rung = evr_crowd_wake(q->peer, end->waiting, &end->waker, nr);

	if (rung)
		evr_a64_fetch_add(&q->shared->tallies.rings[!whom], rung);
}

/*
 * The next lap's cell, over what was dropped there. A producer that comes here sees for
 * itself; but one that waits for room for a run does not come as far as a consumer, and
 * there is no element whose removal would wake it.
 */
static void cell_pass(struct evr_mpmc *q, enum evr_role role, uint64_t pos, uint64_t u_word)
{
	uint64_t next = cell_word((cell_lap(u_word) + 1) & LAP_MASK, 0, CELL_EMPTY);
	struct evr_mpmc_end *in = &q->ends[EVR_PRODUCER];

	evr_a64_cas(cell_at(q, pos), &u_word, next); /* MPMC-CELL */
	if (role == EVR_CONSUMER && evr_crowd_is_alert(in->waiting, &in->waker))
		mpmc_wake(q, EVR_PRODUCER, UINT32_MAX);
}

enum mpmc_front evr_mpmc_front(struct evr_mpmc *q, enum evr_role role, uint64_t *u_word)
{
	struct evr_mpmc_end *end = &q->ends[role];
	uint32_t tries, walked = 0, strays = 0;
	enum evr_role holder;
	uint64_t lap;

	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		lap = lap_of(q, end->pos);
		*u_word = evr_a64_load_acquire(cell_at(q, end->pos)); /* MPMC-CELL */
		switch (cell_judge(q, role, *u_word, lap)) {
		case CELL_IS_READY:
			return MPMC_READY;
		case CELL_IS_NOT:
			return MPMC_NONE;
		case CELL_IS_PASSED:
			end->pos += passed_nr(role, *u_word, lap);
			if (++walked % MPMC_WALK_MAX == 0)
				evr_mpmc_search(q, role);
			break;
		case CELL_IS_ASTRAY:
			if (++strays > MPMC_STRAYS_MAX)
				return MPMC_NONSENSE;
			evr_mpmc_search(q, role);
			break;
		case CELL_IS_HOLE:
			cell_pass(q, role, end->pos, *u_word);
			break;
		case CELL_IS_CLAIMED:
			if (!claim_is_dead(q, *u_word))
				return MPMC_BUSY;
			holder = is_claim(EVR_PRODUCER, *u_word) ? EVR_PRODUCER : EVR_CONSUMER;
			evr_mpmc_drop(q, holder, end->pos & q->mask, false);
			break;
		case CELL_IS_NONSENSE:
			return MPMC_NONSENSE;
		}
	}
	return MPMC_BUSY;
}

static bool mpmc_is_shut(struct evr_mpmc *q)
{
	if (!q->shared || q->why == EVR_RING_CORRUPT)
		return true;
	q->why = EVR_RING_OK;
	return false;
}

void evr_mpmc_corrupt(struct evr_mpmc *q, enum evr_role role, uint64_t u_word)
{
	q->why = EVR_RING_CORRUPT;
	evr_a64_fetch_add(&q->shared->tallies.corrupt, 1);
	evr_error_set("queue '%s': cell %llu is %#llx; close the handle", q->object.name,
		      (unsigned long long)(q->ends[role].pos & q->mask),
		      (unsigned long long)u_word);
}

/* Say why nothing can be claimed. */
static void mpmc_stop(struct evr_mpmc *q, enum evr_role role, enum mpmc_front front,
		      uint64_t u_word)
{
	if (front == MPMC_BUSY)
		q->why = EVR_RING_BUSY;
	if (front == MPMC_NONSENSE)
		evr_mpmc_corrupt(q, role, u_word);
}

/* So many cells from here on lie side by side, and are of one lap. */
static inline uint32_t stretch_of(const struct evr_mpmc *q, uint64_t pos, uint32_t nr)
{
	uint64_t left = q->mask + 1 - (pos & q->mask);

	return nr < left ? nr : (uint32_t)left;
}

static inline uint32_t stretch_extent(const struct evr_mpmc *q, enum evr_role role, uint64_t pos,
				      uint32_t nr)
{
	uint64_t wanted = cell_word(lap_of(q, pos), 0, wanted_states[role]);
	const uint8_t *cell = (const uint8_t *)cell_at(q, pos);
	const uint64_t stride = q->stride;
	uint32_t left = nr;

	for (; left; left--, cell += stride)
		if (evr_a64_load_acquire((const struct evr_a64 *)cell) != wanted) /* MPMC-CELL */
			break;
	return nr - left;
}

/* How many cells from the front on are free, or full; the first is. */
static uint32_t cells_extent(const struct evr_mpmc *q, enum evr_role role, uint64_t pos,
			     uint32_t nr)
{
	uint32_t first = stretch_of(q, pos, nr), run;

	run = 1 + stretch_extent(q, role, pos + 1, first - 1);
	return run < first || run == nr ? run : run + stretch_extent(q, role, pos + run, nr - run);
}

/* The front, when it is where it was left, as mostly. */
static inline enum mpmc_front cells_front(struct evr_mpmc *q, enum evr_role role, uint64_t *u_word)
{
	uint64_t pos = q->ends[role].pos;

	*u_word = evr_a64_load_acquire(cell_at(q, pos)); /* MPMC-CELL */
	if (__builtin_expect(*u_word == cell_word(lap_of(q, pos), 0, wanted_states[role]), 1))
		return MPMC_READY;
	return evr_mpmc_front(q, role, u_word);
}

/* Claim @least to @nr cells from *pos on. Return: how many, or 0. */
static inline uint32_t cells_claim(struct evr_mpmc *q, enum evr_role role, uint32_t least,
				   uint32_t nr, uint64_t *pos)
{
	struct evr_mpmc_end *end = &q->ends[role];
	enum mpmc_front front = MPMC_BUSY;
	uint64_t u_word = 0, word;
	uint32_t run;
	int tries;

	if (nr > MPMC_RUN_MAX)
		nr = MPMC_RUN_MAX;
	if (nr > q->mask + 1)
		nr = (uint32_t)q->mask + 1;
	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		front = cells_front(q, role, &u_word);
		if (front != MPMC_READY)
			break;
		run = cells_extent(q, role, end->pos, nr);
		if (run < least)
			return 0;
		word = cell_word(lap_of(q, end->pos), q->stamp << STAMP_SHIFT | run,
				 role == EVR_PRODUCER ? CELL_WRITING : CELL_READING);
		if (evr_a64_cas(cell_at(q, end->pos), &u_word, word)) { /* MPMC-CELL */
			*pos = end->pos;
			end->pos += run;
			return run;
		}
		front = MPMC_BUSY;
	}
	mpmc_stop(q, role, front, u_word);
	return 0;
}

/* What comes with the end of a claim. */
struct ending {
	enum evr_role role;
	uint64_t value; /* what the word of the first cell says */
	uint8_t *to; /* elements are copied there; or */
	const uint8_t *from; /* from there; or both NULL */
	uint32_t sz; /* of one; with the size a constant a copy is a move */
};

/* The cells [@begin, @end) of a run, which lie side by side. */
static ALWAYS_INLINE void stretch_settle(const struct evr_mpmc *q, uint64_t pos, uint32_t begin,
					 uint32_t end, struct ending e)
{
	const uint64_t stride = q->stride, data_off = q->data_off;
	uint64_t lap = lap_of(q, pos + begin), word;
	uint8_t *cell = (uint8_t *)cell_at(q, pos + begin) + (end - begin) * stride;

	word = e.role == EVR_PRODUCER ? cell_word(lap, 0, CELL_FULL) :
					cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY);
	while (end-- > begin) {
		cell -= stride;
		if (e.from)
			evr_copy_in(cell + data_off, e.from + (size_t)end * e.sz, e.sz);
		if (e.to)
			evr_copy_out(e.to + (size_t)end * e.sz, cell + data_off, e.sz);
		evr_a64_store_release((struct evr_a64 *)cell, /* MPMC-CELL */
				      end ? word : word | e.value << CELL_VALUE_SHIFT);
	}
}

/*
 * End a claim: the last cell first, see mpmc.h. So each element can be copied just before
 * its cell is given over: nobody comes to it before the first.
 */
static ALWAYS_INLINE void cells_settle(const struct evr_mpmc *q, uint64_t pos, uint32_t run,
				       struct ending e)
{
	uint32_t first = stretch_of(q, pos, run), begin = first < run ? first : 0;

	for (; run; run = begin, begin = 0)
		stretch_settle(q, pos, begin, run, e);
}

/*
 * After @nr cells went over to the other end: wake who waits for them. And wake the next
 * of this end, if there is more: it may have been rung while a cell before was at work.
 */
static inline void mpmc_moved(struct evr_mpmc *q, enum evr_role role, uint32_t nr)
{
	struct evr_mpmc_end *mine = &q->ends[role], *other = &q->ends[!role];
	uint64_t u_word;

	if (__builtin_expect(evr_crowd_is_alert(other->waiting, &other->waker), 0))
		mpmc_wake(q, (enum evr_role) !role, nr);
	if (__builtin_expect(evr_crowd_is_alert(mine->waiting, &mine->waker), 0) &&
	    evr_mpmc_front(q, role, &u_word) == MPMC_READY)
		mpmc_wake(q, role, 1);
}

/* One element of up to 4 bytes: it is there with the claim. */
static bool word_move(struct evr_mpmc *q, enum evr_role role, uint32_t *value)
{
	struct evr_mpmc_end *end = &q->ends[role];
	enum mpmc_front front = MPMC_BUSY;
	uint64_t u_word = 0, lap, next;
	int tries;

	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		front = evr_mpmc_front(q, role, &u_word);
		if (front != MPMC_READY)
			break;
		lap = lap_of(q, end->pos);
		next = role == EVR_PRODUCER ? cell_word(lap, *value, CELL_FULL) :
					      cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY);
		if (evr_a64_cas(cell_at(q, end->pos), &u_word, next)) { /* MPMC-CELL */
			*value = cell_value(u_word);
			end->pos++;
			return true;
		}
		front = MPMC_BUSY;
	}
	mpmc_stop(q, role, front, u_word);
	return false;
}

static uint32_t push_words(struct evr_mpmc *q, const uint8_t *from, uint32_t nr)
{
	uint32_t done, value;

	for (done = 0; done < nr; done++, from += q->elem_sz) {
		value = 0;
		memcpy(&value, from, q->elem_sz);
		if (!word_move(q, EVR_PRODUCER, &value))
			break;
	}
	return done;
}

static uint32_t pop_words(struct evr_mpmc *q, uint8_t *to, uint32_t nr)
{
	uint32_t done, value;

	for (done = 0; done < nr; done++, to += q->elem_sz) {
		if (!word_move(q, EVR_CONSUMER, &value))
			break;
		memcpy(to, &value, q->elem_sz);
	}
	return done;
}

/*
 * A consumer comes to this cell soon, and will write it: have its line for that at once, not to
 * read first. (Compilers make a prefetch for reading of __builtin_prefetch() on x86-64.)
 */
static inline void cell_expect(const struct evr_mpmc *q, uint64_t pos)
{
#if defined(__x86_64__)
	__asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)cell_at(q, pos)));
#else
	__builtin_prefetch(cell_at(q, pos), 1);
#endif
}

/*
 * One element, when the front is where it was left and nobody else takes it: what a claim,
 * a copy and the end of it come to for a run of one, its place worked out once, in a third of
 * the instructions. Return: false, and nothing has happened, when there is more to it.
 */
static inline bool one_move(struct evr_mpmc *q, enum evr_role role, void *to, const void *from,
			    uint32_t sz)
{
	struct evr_mpmc_end *end = &q->ends[role];
	uint64_t pos = end->pos, lap = lap_of(q, pos);
	struct evr_a64 *word = cell_at(q, pos);
	void *data = (uint8_t *)word + q->data_off;
	uint64_t u_word = evr_a64_load_acquire(word); /* MPMC-CELL */
	bool is_in = role == EVR_PRODUCER;

	if (u_word != cell_word(lap, 0, wanted_states[role]) ||
	    !evr_a64_cas(word, &u_word, /* MPMC-CELL */
			 cell_word(lap, q->stamp << STAMP_SHIFT | 1,
				   is_in ? CELL_WRITING : CELL_READING)))
		return false;
	end->pos = pos + 1;
	if (!is_in)
		cell_expect(q, pos + MPMC_AHEAD);
	if (is_in && sz == 8)
		evr_copy_in(data, from, 8);
	else if (is_in)
		evr_copy_in(data, from, sz);
	else if (sz == 8)
		evr_copy_out(to, data, 8);
	else
		evr_copy_out(to, data, sz);
	evr_a64_store_release(word, is_in ? cell_word(lap, 0, CELL_FULL) : /* MPMC-CELL */
					    cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY));
	return true;
}

/* Both ways: with the role a constant it is one of the two. */
static ALWAYS_INLINE uint32_t run_move(struct evr_mpmc *q, uint32_t nr, struct ending e)
{
	uint64_t pos = 0;
	uint32_t run = cells_claim(q, e.role, 1, nr, &pos);

	if (q->elem_sz == 8) {
		e.sz = 8;
		cells_settle(q, pos, run, e);
	} else {
		e.sz = q->elem_sz;
		cells_settle(q, pos, run, e);
	}
	return run;
}

static uint32_t push_run(struct evr_mpmc *q, const uint8_t *from, uint32_t nr)
{
	return run_move(q, nr, (struct ending){ .role = EVR_PRODUCER, .from = from });
}

static uint32_t pop_run(struct evr_mpmc *q, uint8_t *to, uint32_t nr)
{
	return run_move(q, nr, (struct ending){ .role = EVR_CONSUMER, .to = to });
}

uint32_t evr_mpmc_push(struct evr_mpmc *queue, const void *elems, uint32_t nr)
{
	const uint8_t *from = elems;
	uint32_t done = 0, run;

	if (mpmc_is_shut(queue))
		return 0;
	if (nr == 1 && queue->data_off &&
	    one_move(queue, EVR_PRODUCER, NULL, from, queue->elem_sz)) {
		mpmc_moved(queue, EVR_PRODUCER, 1);
		return 1;
	}
	while (done < nr) {
		run = queue->data_off ? push_run(queue, from, nr - done) :
					push_words(queue, from, nr - done);
		if (!run)
			break;
		done += run;
		from += (size_t)run * queue->elem_sz;
		mpmc_moved(queue, EVR_PRODUCER, run);
	}
	return done;
}

uint32_t evr_mpmc_pop(struct evr_mpmc *queue, void *elems, uint32_t nr)
{
	uint32_t done = 0, run;
	uint8_t *to = elems;

	if (mpmc_is_shut(queue))
		return 0;
	if (nr == 1 && queue->data_off && one_move(queue, EVR_CONSUMER, to, NULL, queue->elem_sz)) {
		mpmc_moved(queue, EVR_CONSUMER, 1);
		return 1;
	}
	while (done < nr) {
		run = queue->data_off ? pop_run(queue, to, nr - done) :
					pop_words(queue, to, nr - done);
		if (!run)
			break;
		done += run;
		to += (size_t)run * queue->elem_sz;
		mpmc_moved(queue, EVR_CONSUMER, run);
	}
	return done;
}

static void *grant_get(struct evr_mpmc *q, enum evr_role role)
{
	struct evr_mpmc_end *end = &q->ends[role];

	if (mpmc_is_shut(q) || !q->data_off)
		return NULL;
	if (!end->granted)
		end->granted = cells_claim(q, role, 1, 1, &end->grant) == 1;
	return end->granted ? data_at(q, end->grant) : NULL;
}

static void grant_settle(struct evr_mpmc *q, enum evr_role role)
{
	struct evr_mpmc_end *end = &q->ends[role];

	if (!q->shared || !end->granted)
		return;
	end->granted = false;
	cells_settle(q, end->grant, 1, (struct ending){ .role = role });
	mpmc_moved(q, role, 1);
}

void *evr_mpmc_reserve(struct evr_mpmc *queue)
{
	return grant_get(queue, EVR_PRODUCER);
}

void evr_mpmc_commit(struct evr_mpmc *queue)
{
	grant_settle(queue, EVR_PRODUCER);
}

void evr_mpmc_cancel_claim(struct evr_mpmc *q, uint64_t pos)
{
	evr_mpmc_drop(q, EVR_PRODUCER, pos & q->mask, true);
	mpmc_moved(q, EVR_PRODUCER, 1);
}

void evr_mpmc_cancel(struct evr_mpmc *queue)
{
	struct evr_mpmc_end *end = &queue->ends[EVR_PRODUCER];

	if (!queue->shared || !end->granted)
		return;
	end->granted = false;
	evr_mpmc_cancel_claim(queue, end->grant);
}

const void *evr_mpmc_peek(struct evr_mpmc *queue)
{
	return grant_get(queue, EVR_CONSUMER);
}

void evr_mpmc_release(struct evr_mpmc *queue)
{
	grant_settle(queue, EVR_CONSUMER);
}

/* What a log is made of: runs of one length, claimed wholly or not at all. */
uint32_t evr_mpmc_claim_all(struct evr_mpmc *q, uint32_t nr, uint64_t *pos)
{
	return mpmc_is_shut(q) ? 0 : cells_claim(q, EVR_PRODUCER, nr, nr, pos);
}

bool evr_mpmc_has_room(struct evr_mpmc *q, uint32_t nr)
{
	uint64_t u_word;

	return evr_mpmc_front(q, EVR_PRODUCER, &u_word) == MPMC_READY &&
	       cells_extent(q, EVR_PRODUCER, q->ends[EVR_PRODUCER].pos, nr) == nr;
}

void evr_mpmc_publish(struct evr_mpmc *q, uint64_t pos, uint32_t run)
{
	cells_settle(q, pos, run, (struct ending){ .role = EVR_PRODUCER, .value = run });
	mpmc_moved(q, EVR_PRODUCER, 1);
}

uint32_t evr_mpmc_oldest(struct evr_mpmc *q)
{
	enum mpmc_front front;
	uint64_t u_word = 0;

	if (mpmc_is_shut(q))
		return 0;
	front = evr_mpmc_front(q, EVR_CONSUMER, &u_word);
	if (front == MPMC_READY && (!cell_run(u_word) || cell_run(u_word) - 1 > q->mask))
		front = MPMC_NONSENSE;
	if (front == MPMC_READY)
		return (uint32_t)cell_run(u_word);
	mpmc_stop(q, EVR_CONSUMER, front, u_word);
	return 0;
}

void evr_mpmc_take(struct evr_mpmc *q, uint32_t run)
{
	struct evr_mpmc_end *end = &q->ends[EVR_CONSUMER];

	cells_settle(q, end->pos, run, (struct ending){ .role = EVR_CONSUMER });
	end->pos += run;
	/* All who wait for room: some want more of it than others. */
	if (evr_crowd_is_alert(q->ends[EVR_PRODUCER].waiting, &q->ends[EVR_PRODUCER].waker))
		mpmc_wake(q, EVR_PRODUCER, UINT32_MAX);
}
