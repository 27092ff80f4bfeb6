/* SPDX-License-Identifier: MIT */
/*
 * Sequences of calls on rings and queues, compared with a list: what was pushed comes
 * out once, whole and in order, copied or in place, whatever is closed and opened in
 * between; and there is room when the list says so.
 *
 * input      {which} {op} ...
 */
#include "fuzz.h"

#include <errno.h>

#include "world.h"

#define MESSAGE_MAX 200
#define QUEUE_MAX 4096

enum how { COPY, IN_PLACE, LOOK };

/* One noun, with its two ends; the same calls for all. */
struct ring {
	int (*open)(bool is_producer);
	void (*close)(bool is_producer);
	bool (*push)(const void *data, uint32_t sz, enum how how);
	/* 0: nothing there. LOOK leaves it. */
	uint32_t (*pop)(void *data, enum how how);
	uint32_t capacity; /* messages, exactly; 0: it depends on their sizes */
	uint32_t sz_min, sz_max;
};

static struct evr_peer *me;

static struct evr_spsc spsc[2];

static int spsc_open(bool is_producer)
{
	return evr_spsc_open_sized(&spsc[is_producer], me, "spsc",
				   is_producer ? EVR_PRODUCER : EVR_CONSUMER, 0, 8);
}

static void spsc_close(bool is_producer)
{
	evr_spsc_close(&spsc[is_producer]);
}

static bool spsc_push(const void *data, uint32_t sz, enum how how)
{
	uint32_t nr = 1;
	void *at;

	if (how == COPY)
		return evr_spsc_push(&spsc[1], data, 1);
	at = evr_spsc_reserve(&spsc[1], &nr);
	if (!nr)
		return false;
	memcpy(at, data, sz);
	evr_spsc_commit(&spsc[1], 1);
	return true;
}

static uint32_t spsc_pop(void *data, enum how how)
{
	const void *at;
	uint32_t nr = 1;

	if (how == COPY)
		return 8 * evr_spsc_pop(&spsc[0], data, 1);
	at = evr_spsc_peek(&spsc[0], &nr);
	if (!nr)
		return 0;
	memcpy(data, at, 8);
	if (how != LOOK)
		FUZZ_CHECK(evr_spsc_release(&spsc[0], 1) == 1);
	return 8;
}

static struct evr_bytes bytes[2];

static int bytes_open(bool is_producer)
{
	return evr_bytes_open(&bytes[is_producer], me, "bytes",
			      is_producer ? EVR_PRODUCER : EVR_CONSUMER);
}

static void bytes_close(bool is_producer)
{
	evr_bytes_close(&bytes[is_producer]);
}

static bool bytes_push(const void *data, uint32_t sz, enum how how)
{
	void *at;

	if (how == COPY)
		return !evr_bytes_write(&bytes[1], data, sz);
	/* More than is used in the end. */
	at = evr_bytes_reserve(&bytes[1], sz + (how == LOOK ? 17 : 0));
	if (!at)
		return false;
	memcpy(at, data, sz);
	FUZZ_CHECK(!evr_bytes_commit(&bytes[1], sz));
	return true;
}

static uint32_t bytes_pop(void *data, enum how how)
{
	const void *at;
	uint64_t sz;
	int64_t got;

	if (how == COPY) {
		got = evr_bytes_read(&bytes[0], data, MESSAGE_MAX);
		FUZZ_CHECK(got > 0 || got == -EAGAIN || got == -EPIPE);
		return got > 0 ? (uint32_t)got : 0;
	}
	at = evr_bytes_peek(&bytes[0], &sz);
	if (!at)
		return 0;
	FUZZ_CHECK(sz <= MESSAGE_MAX);
	memcpy(data, at, sz);
	if (how != LOOK)
		FUZZ_CHECK(evr_bytes_release(&bytes[0]));
	return (uint32_t)sz;
}

static struct evr_slots slots[2];

static int slots_open(bool is_producer)
{
	return evr_slots_open_sized(&slots[is_producer], me, "slots",
				    is_producer ? EVR_PRODUCER : EVR_CONSUMER, 0, 8);
}

static void slots_close(bool is_producer)
{
	evr_slots_close(&slots[is_producer]);
}

static bool slots_push(const void *data, uint32_t sz, enum how how)
{
	void *at;

	if (how == COPY)
		return evr_slots_push(&slots[1], data, sz);
	at = evr_slots_reserve(&slots[1]);
	if (!at)
		return false;
	memcpy(at, data, sz);
	FUZZ_CHECK(evr_slots_commit(&slots[1], sz));
	if (how == LOOK)
		evr_slots_flush(&slots[1]);
	return true;
}

static uint32_t slots_pop(void *data, enum how how)
{
	const void *at;
	uint32_t sz;

	if (how == COPY)
		return evr_slots_pop(&slots[0], data, MESSAGE_MAX, &sz) ? sz : 0;
	at = evr_slots_peek(&slots[0], &sz);
	if (!at)
		return 0;
	memcpy(data, at, sz);
	if (how != LOOK)
		FUZZ_CHECK(evr_slots_release(&slots[0]));
	return sz;
}

static struct evr_inbox inbox;
static struct evr_inbox_sender sender;

static int inbox_open(bool is_producer)
{
	return is_producer ? evr_inbox_join_sized(&sender, me, "inbox", 0, 8) :
			     evr_inbox_open_sized(&inbox, me, "inbox", 0, 8);
}

static void inbox_close(bool is_producer)
{
	if (is_producer)
		evr_inbox_leave(&sender);
	else
		evr_inbox_close(&inbox);
}

static bool inbox_push(const void *data, uint32_t sz, enum how how)
{
	uint32_t nr = 1;
	void *at;

	if (how == COPY)
		return evr_inbox_push(&sender, data, 1);
	at = evr_inbox_reserve(&sender, &nr);
	if (!nr)
		return false;
	memcpy(at, data, sz);
	evr_inbox_commit(&sender, 1);
	return true;
}

static uint32_t inbox_pop(void *data, enum how how)
{
	struct evr_peer_id from = { 0 };
	const void *at;
	uint32_t nr = 1;

	if (how == COPY) {
		nr = evr_inbox_pop(&inbox, data, 1, &from);
	} else {
		at = evr_inbox_peek(&inbox, &nr, &from);
		if (!at)
			nr = 0;
		else
			memcpy(data, at, 8);
		if (at && how != LOOK)
			FUZZ_CHECK(evr_inbox_release(&inbox, 1) == 1);
	}
	if (!nr)
		return 0;
	FUZZ_CHECK(from.slot == evr_peer_self(me).slot);
	/* 0: it has left and come again since, which to this receiver may be another. */
	FUZZ_CHECK(!from.incarnation || from.incarnation == evr_peer_self(me).incarnation);
	return 8;
}

static struct evr_mpmc mpmc[2];

static int mpmc_open(bool is_producer)
{
	return evr_mpmc_open_sized(&mpmc[is_producer], me, "mpmc", 0, 8);
}

static void mpmc_close(bool is_producer)
{
	evr_mpmc_close(&mpmc[is_producer]);
}

static bool mpmc_push(const void *data, uint32_t sz, enum how how)
{
	void *at;

	if (how == COPY)
		return evr_mpmc_push(&mpmc[1], data, 1);
	at = evr_mpmc_reserve(&mpmc[1]);
	if (!at)
		return false;
	memcpy(at, data, sz);
	evr_mpmc_commit(&mpmc[1]);
	return true;
}

static uint32_t mpmc_pop(void *data, enum how how)
{
	const void *at;

	/* To look is to claim it. */
	if (how != IN_PLACE)
		return 8 * evr_mpmc_pop(&mpmc[0], data, 1);
	at = evr_mpmc_peek(&mpmc[0]);
	if (!at)
		return 0;
	memcpy(data, at, 8);
	evr_mpmc_release(&mpmc[0]);
	return 8;
}

static struct evr_log logs[2];

static int log_open(bool is_producer)
{
	return evr_log_open(&logs[is_producer], me, "log",
			    is_producer ? EVR_PRODUCER : EVR_CONSUMER);
}

static void log_close(bool is_producer)
{
	evr_log_close(&logs[is_producer]);
}

static bool log_push(const void *data, uint32_t sz, enum how how)
{
	void *at;

	if (how == COPY)
		return !evr_log_write(&logs[1], data, sz);
	at = evr_log_reserve(&logs[1], how == LOOK ? MESSAGE_MAX : sz);
	if (!at)
		return false;
	memcpy(at, data, sz);
	FUZZ_CHECK(!evr_log_commit(&logs[1], sz));
	return true;
}

static uint32_t log_pop(void *data, enum how how)
{
	const void *at;
	uint64_t sz;
	int64_t got;

	if (how == COPY) {
		got = evr_log_read(&logs[0], data, MESSAGE_MAX);
		FUZZ_CHECK(got > 0 || got == -EAGAIN);
		return got > 0 ? (uint32_t)got : 0;
	}
	at = evr_log_peek(&logs[0], &sz);
	if (!at)
		return 0;
	FUZZ_CHECK(sz <= MESSAGE_MAX);
	memcpy(data, at, sz);
	if (how != LOOK)
		evr_log_release(&logs[0]);
	return (uint32_t)sz;
}

static const struct ring rings[] = {
	{ spsc_open, spsc_close, spsc_push, spsc_pop, 8, 8, 8 },
	{ bytes_open, bytes_close, bytes_push, bytes_pop, 0, 8, MESSAGE_MAX },
	{ slots_open, slots_close, slots_push, slots_pop, 4, 8, 56 },
	{ inbox_open, inbox_close, inbox_push, inbox_pop, 4, 8, 8 },
	{ mpmc_open, mpmc_close, mpmc_push, mpmc_pop, 8, 8, 8 },
	{ log_open, log_close, log_push, log_pop, 0, 8, MESSAGE_MAX },
};

/* The model: sizes and numbers of what is on its way. */
static struct list {
	uint32_t sz[QUEUE_MAX];
	uint64_t first, next;
} list;

/* The message of a number: it begins with it, and all of it depends on it. */
static void message(unsigned char *data, uint64_t nr, uint32_t sz)
{
	memset(data, (int)(nr * 37 + sz), sz);
	memcpy(data, &nr, 8);
}

static void model_push(const struct ring *ring, struct fuzz_input *in, enum how how)
{
	uint32_t sz = ring->sz_min + fuzz_take(in, 1) % (ring->sz_max - ring->sz_min + 1);
	unsigned char data[MESSAGE_MAX];
	bool pushed;

	if (list.next == QUEUE_MAX)
		return;
	message(data, list.next, sz);
	pushed = ring->push(data, sz, how);
	if (ring->capacity)
		FUZZ_CHECK(pushed == (list.next - list.first < ring->capacity));
	else
		FUZZ_CHECK(pushed || list.next > list.first);
	if (pushed)
		list.sz[list.next++] = sz;
}

static void model_pop(const struct ring *ring, enum how how)
{
	unsigned char data[MESSAGE_MAX], wanted[MESSAGE_MAX];
	uint32_t sz = ring->pop(data, how);

	FUZZ_CHECK(!sz == (list.first == list.next));
	if (!sz)
		return;
	FUZZ_CHECK(sz == list.sz[list.first]);
	message(wanted, list.first, sz);
	FUZZ_CHECK(!memcmp(data, wanted, sz));
	if (how != LOOK || ring->pop == mpmc_pop)
		list.first++;
}

static void reopen(const struct ring *ring, bool is_producer)
{
	ring->close(is_producer);
	FUZZ_CHECK(!ring->open(is_producer));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	struct fuzz_input in = { data, sz };
	const struct ring *ring = &rings[fuzz_take(&in, 1) % (sizeof(rings) / sizeof(rings[0]))];
	uint64_t op;

	me = world_begin();
	list.first = list.next = 0;
	FUZZ_CHECK(!ring->open(true) && !ring->open(false));
	/* What the world has put there is none of ours. */
	while (ring->pop((unsigned char[MESSAGE_MAX]){ 0 }, IN_PLACE))
		;
	while (in.left) {
		op = fuzz_take(&in, 1);
		if (op < 0x70)
			model_push(ring, &in, op % 3);
		else if (op < 0xf0)
			model_pop(ring, op % 3);
		else
			reopen(ring, op % 2);
	}
	while (list.first < list.next)
		model_pop(ring, IN_PLACE);
	ring->close(true);
	ring->close(false);
	return 0;
}
