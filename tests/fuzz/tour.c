/* SPDX-License-Identifier: MIT */
/* A tour; tour.h has the rules. Deadlines have passed already, so nothing sleeps for long. */
#include "tour.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAST_NS 1
#define MESSAGE_MAX 512
#define OPS 12
#define OBJECTS_MAX 64

static uint32_t pick(struct tour *t, uint32_t nr)
{
	return (uint32_t)(tour_random(&t->seed) >> 16) % nr;
}

/* Memory that a call has given: all of it must be there. */
static void touch(const void *at, uint64_t sz, bool is_mine)
{
	volatile unsigned char *bytes = (volatile unsigned char *)(uintptr_t)at;
	uint64_t i, step = sz > 4096 ? 4096 : 64;
	unsigned char c;

	for (i = 0; at && i < sz; i += step) {
		c = bytes[i];
		if (is_mine)
			bytes[i] = c;
	}
	if (at && sz) {
		c = bytes[sz - 1];
		if (is_mine)
			bytes[sz - 1] = c;
	}
}

static void tour_spsc(struct tour *t, const char *name)
{
	struct evr_spsc out = { 0 }, in = { 0 };
	struct evr_ring_counts counts;
	uint64_t elems[16] = { 0 };
	const void *got;
	uint32_t i, nr;
	void *at;
	bool is_out = !evr_spsc_open_sized(&out, t->peer, name, EVR_PRODUCER, 0, 8);
	bool is_in = !evr_spsc_open_sized(&in, t->peer, name, EVR_CONSUMER, 0, 8);

	for (i = 0; i < OPS; i++) {
		nr = 1 + pick(t, 16);
		if (is_out && pick(t, 2)) {
			evr_spsc_push(&out, elems, nr);
			evr_spsc_push_wait(&out, &t->waiter, elems, nr, PAST_NS);
		} else if (is_out) {
			at = evr_spsc_reserve(&out, &nr);
			touch(at, 8ULL * nr, true);
			evr_spsc_commit(&out, nr);
		}
		nr = 1 + pick(t, 16);
		if (is_in && pick(t, 2)) {
			evr_spsc_pop(&in, elems, nr);
			evr_spsc_pop_wait(&in, &t->waiter, elems, nr, PAST_NS);
		} else if (is_in) {
			got = evr_spsc_peek(&in, &nr);
			touch(got, 8ULL * nr, false);
			evr_spsc_release(&in, nr);
			evr_spsc_state(&in);
			evr_spsc_counts(&in, EVR_PRODUCER, &counts);
		}
	}
	if (is_out)
		evr_spsc_close(&out);
	if (is_in)
		evr_spsc_close(&in);
}

static void tour_bytes(struct tour *t, const char *name)
{
	struct evr_bytes out = { 0 }, in = { 0 };
	unsigned char data[MESSAGE_MAX] = { 0 };
	const void *got;
	uint64_t sz;
	void *at;
	uint32_t i;
	bool is_out = !evr_bytes_open(&out, t->peer, name, EVR_PRODUCER);
	bool is_in = !evr_bytes_open(&in, t->peer, name, EVR_CONSUMER);

	for (i = 0; i < OPS; i++) {
		sz = pick(t, MESSAGE_MAX);
		if (is_out && pick(t, 2)) {
			evr_bytes_write(&out, data, sz);
		} else if (is_out) {
			at = evr_bytes_reserve(&out, sz);
			touch(at, sz, true);
			if (at && pick(t, 2))
				evr_bytes_commit_more(&out, sz / 2, EVR_FRAME_BLOCK);
			else if (at)
				evr_bytes_commit(&out, sz);
			evr_bytes_flush(&out);
		}
		if (is_in && pick(t, 2)) {
			evr_bytes_read(&in, data, sizeof(data));
		} else if (is_in) {
			got = evr_bytes_peek(&in, &sz);
			touch(got, got ? sz : 0, false);
			evr_bytes_kind(&in);
			evr_bytes_release(&in);
			evr_bytes_read_wait(&in, &t->waiter, data, sizeof(data), PAST_NS);
		}
	}
	if (is_out)
		evr_bytes_close(&out);
	if (is_in)
		evr_bytes_close(&in);
}

static void tour_slots(struct tour *t, const char *name)
{
	struct evr_slots out = { 0 }, in = { 0 };
	unsigned char data[MESSAGE_MAX] = { 0 };
	const void *got;
	uint32_t i, sz;
	bool is_out = !evr_slots_open_sized(&out, t->peer, name, EVR_PRODUCER, 0, 8);
	bool is_in = !evr_slots_open_sized(&in, t->peer, name, EVR_CONSUMER, 0, 8);

	for (i = 0; i < OPS; i++) {
		if (is_out && pick(t, 2)) {
			evr_slots_push(&out, data, pick(t, 64));
		} else if (is_out) {
			touch(evr_slots_reserve(&out), evr_slots_msg_max(&out), true);
			evr_slots_commit(&out, pick(t, 100));
			evr_slots_flush(&out);
		}
		if (is_in && pick(t, 2)) {
			evr_slots_pop(&in, data, sizeof(data), &sz);
			evr_slots_pop_wait(&in, &t->waiter, data, sizeof(data), PAST_NS);
		} else if (is_in) {
			got = evr_slots_peek(&in, &sz);
			touch(got, got ? sz : 0, false);
			evr_slots_release(&in);
			evr_slots_state(&in);
		}
	}
	if (is_out)
		evr_slots_close(&out);
	if (is_in)
		evr_slots_close(&in);
}

static void tour_inbox(struct tour *t, const char *name)
{
	struct evr_inbox_sender out = { 0 };
	struct evr_ring_counts counts;
	struct evr_inbox in = { 0 };
	uint64_t elems[16] = { 0 };
	struct evr_peer_id from;
	const void *got;
	uint32_t i, nr;
	bool is_in = !evr_inbox_open_sized(&in, t->peer, name, 0, 8);
	bool is_out = !evr_inbox_join_sized(&out, t->peer, name, 0, 8);

	for (i = 0; i < OPS; i++) {
		nr = 1 + pick(t, 16);
		if (is_out)
			evr_inbox_push(&out, elems, nr);
		if (is_in) {
			got = evr_inbox_peek(&in, &nr, &from);
			touch(got, got ? 8ULL * nr : 0, false);
			evr_inbox_release(&in, got ? nr : 0);
			evr_inbox_state(&in, pick(t, 8));
			evr_inbox_counts(&in, pick(t, 8), EVR_CONSUMER, &counts);
			evr_inbox_senders(&in);
		}
		if (is_in) {
			evr_inbox_pop(&in, elems, 1 + pick(t, 16), &from);
			evr_inbox_pop_wait(&in, &t->waiter, elems, 1, &from, PAST_NS);
		}
	}
	if (is_out)
		evr_inbox_leave(&out);
	if (is_in)
		evr_inbox_close(&in);
}

void tour_bcast_writer(struct tour *t, struct evr_bcast *b)
{
	uint64_t elems[16] = { 0 };
	uint32_t nr = 1 + pick(t, 16);
	void *at;

	switch (pick(t, 4)) {
	case 0:
		evr_bcast_push(b, elems, nr);
		break;
	case 1:
		evr_bcast_push_wait(b, &t->waiter, elems, nr, PAST_NS);
		break;
	case 2:
		at = evr_bcast_reserve(b, &nr);
		touch(at, 8ULL * nr, true);
		evr_bcast_commit(b, at ? pick(t, nr + 2) : 0);
		break;
	default:
		evr_bcast_expel(b, (struct evr_peer_id){ pick(t, 4), pick(t, 4) });
		evr_bcast_state(b);
	}
}

void tour_bcast_reader(struct tour *t, struct evr_bcast *b)
{
	struct evr_bcast_counts counts;
	struct evr_bcast_tally tally;
	uint64_t elems[16] = { 0 };
	uint32_t nr = 1 + pick(t, 16);
	const void *got;

	switch (pick(t, 5)) {
	case 0:
		evr_bcast_pop(b, elems, nr);
		break;
	case 1:
		evr_bcast_pop_wait(b, &t->waiter, elems, nr, PAST_NS);
		break;
	case 2:
		got = evr_bcast_peek(b, &nr);
		touch(got, got ? 8ULL * nr : 0, false);
		evr_bcast_release(b, got ? pick(t, nr + 2) : 0);
		break;
	case 3:
		evr_bcast_rewind(b);
		evr_bcast_state(b);
		evr_bcast_counts(b, &counts);
		break;
	default:
		if (!pick(t, 4))
			evr_bcast_forget(b);
	}
	evr_bcast_tally(b, &tally);
}

static void tour_bcast(struct tour *t, const char *name)
{
	struct evr_bcast out = { 0 }, in = { 0 }, eye = { 0 };
	struct evr_bcast_counts counts;
	bool is_out = !evr_bcast_open_sized(&out, t->peer, name, EVR_PRODUCER, 0, 8);
	bool is_in = !evr_bcast_open_sized(&in, t->peer, name, EVR_CONSUMER, 0, 8);
	bool is_eye = !evr_bcast_observe_sized(&eye, t->peer, name, NULL, 0, 8);
	uint32_t i;

	evr_bcast_stat(t->peer, name, &counts);
	for (i = 0; i < OPS; i++) {
		if (is_out)
			tour_bcast_writer(t, &out);
		if (is_in)
			tour_bcast_reader(t, &in);
		if (is_eye)
			tour_bcast_reader(t, &eye);
	}
	if (is_out)
		evr_bcast_close(&out);
	if (is_in)
		evr_bcast_close(&in);
	if (is_eye)
		evr_bcast_close(&eye);
}

static void tour_mpmc(struct tour *t, const char *name)
{
	struct evr_mpmc_counts counts;
	struct evr_mpmc queue = { 0 };
	uint64_t elems[16] = { 0 };
	void *at;
	uint32_t i;

	evr_mpmc_stat(t->peer, name, &counts);
	if (evr_mpmc_open_sized(&queue, t->peer, name, 0, 8))
		return;
	for (i = 0; i < OPS; i++) {
		switch (pick(t, 5)) {
		case 0:
			evr_mpmc_push(&queue, elems, 1 + pick(t, 16));
			break;
		case 1:
			evr_mpmc_pop(&queue, elems, 1 + pick(t, 16));
			break;
		case 2:
			at = evr_mpmc_reserve(&queue);
			touch(at, 8, true);
			if (at && pick(t, 2))
				evr_mpmc_commit(&queue);
			else if (at)
				evr_mpmc_cancel(&queue);
			break;
		case 3:
			at = (void *)(uintptr_t)evr_mpmc_peek(&queue);
			touch(at, 8, false);
			if (at)
				evr_mpmc_release(&queue);
			break;
		default:
			evr_mpmc_push_wait(&queue, &t->waiter, elems, 16, PAST_NS);
			evr_mpmc_pop_wait(&queue, &t->waiter, elems, 16, PAST_NS);
			evr_mpmc_state(&queue);
			evr_mpmc_counts(&queue, &counts);
		}
	}
	evr_mpmc_close(&queue);
}

static void tour_log(struct tour *t, const char *name)
{
	struct evr_log out = { 0 }, in = { 0 };
	unsigned char data[MESSAGE_MAX] = { 0 };
	struct evr_log_counts counts;
	const void *got;
	uint64_t sz;
	uint32_t i;
	void *at;
	bool is_out = !evr_log_open(&out, t->peer, name, EVR_PRODUCER);
	bool is_in = !evr_log_open(&in, t->peer, name, EVR_CONSUMER);

	evr_log_stat(t->peer, name, &counts);
	for (i = 0; i < OPS; i++) {
		sz = pick(t, MESSAGE_MAX);
		if (is_out && pick(t, 2)) {
			evr_log_write(&out, data, sz);
			evr_log_write_wait(&out, &t->waiter, data, sz, PAST_NS);
		} else if (is_out) {
			at = evr_log_reserve(&out, sz);
			touch(at, sz, true);
			if (at && pick(t, 4))
				evr_log_commit(&out, sz / 2);
			else if (at)
				evr_log_cancel(&out);
		}
		if (is_in && pick(t, 2)) {
			evr_log_read(&in, data, sizeof(data));
			evr_log_read_wait(&in, &t->waiter, data, sizeof(data), PAST_NS);
		} else if (is_in) {
			got = evr_log_peek(&in, &sz);
			touch(got, got ? sz : 0, false);
			if (got)
				evr_log_release(&in);
			evr_log_state(&in);
			evr_log_counts(&in, &counts);
		}
	}
	if (is_out)
		evr_log_close(&out);
	if (is_in)
		evr_log_close(&in);
}

static int walk_block(const struct evr_block_info *info, void *arg)
{
	struct evr_heap *heap = arg;
	uint64_t sz;
	void *at = evr_heap_resolve(heap, info->handle, &sz);

	touch(at, sz, false);
	return 0;
}

/* Handles as a liar gives them: near one that is true, or anything. */
static uint64_t forge(struct tour *t, uint64_t handle)
{
	switch (pick(t, 4)) {
	case 0:
		return handle ^ 1ULL << pick(t, 64);
	case 1:
		return handle + pick(t, 5000) - 2500;
	case 2:
		return (handle & EVR_CTL_GEN_MASK) | (tour_random(&t->seed) & 0xffff);
	default:
		return tour_random(&t->seed);
	}
}

static void tour_handle(struct tour *t, struct evr_heap *heap, uint64_t handle)
{
	struct evr_peer_id self = evr_peer_self(t->peer);
	struct evr_block_info info;
	uint64_t sz;

	void *at = evr_heap_resolve(heap, handle, &sz);

	touch(at, sz, false);
	evr_heap_info(heap, handle, &info);
	switch (pick(t, 8)) {
	case 0:
		evr_heap_accept(heap, handle);
		break;
	case 1:
		evr_heap_hold(heap, handle);
		break;
	case 2:
		evr_heap_drop(heap, handle);
		break;
	case 3:
		evr_heap_transfer(heap, handle, self);
		break;
	case 4:
		evr_heap_recall(heap, handle, self);
		break;
	case 5:
		evr_heap_transition(heap, handle, EVR_BLOCK_LIVE, EVR_BLOCK_USER + pick(t, 9));
		break;
	case 6:
		evr_heap_share(heap, handle, &self, 1);
		break;
	default:
		evr_heap_free(heap, handle);
	}
}

static void tour_heap(struct tour *t, const char *name)
{
	struct evr_peer_id self = evr_peer_self(t->peer), gone = self;
	struct evr_block blocks[OPS] = { { 0 } };
	struct evr_heap_usage *usage = malloc(sizeof(*usage));
	struct evr_heap *heap = calloc(1, sizeof(*heap));
	uint64_t sz;
	uint32_t i;

	if (usage && heap && !evr_heap_open(heap, t->peer, name)) {
		for (i = 0; i < OPS; i++) {
			sz = pick(t, 2) ? pick(t, 600) : pick(t, 20000);
			blocks[i] = pick(t, 5) ? evr_heap_alloc(heap, sz) :
						 evr_heap_alloc_shared(heap, sz);
			touch(blocks[i].ptr, blocks[i].ptr ? sz : 0, true);
			tour_handle(t, heap, blocks[pick(t, i + 1)].handle);
			tour_handle(t, heap, forge(t, blocks[pick(t, i + 1)].handle));
		}
		evr_heap_walk(heap, walk_block, heap);
		evr_heap_usage(heap, usage);
		gone.incarnation += 1 + pick(t, 3);
		evr_heap_settle(heap, gone);
		for (i = 0; i < OPS; i++) {
			if (blocks[i].ptr && pick(t, 2))
				evr_heap_realloc(heap, &blocks[i], pick(t, 9000));
			evr_heap_free(heap, blocks[i].handle);
			evr_heap_take_back(heap, blocks[i].handle, self);
		}
		evr_heap_trim(heap);
		evr_heap_close(heap);
	}
	free(usage);
	free(heap);
}

static void tour_pool(struct tour *t, const char *name)
{
	struct evr_peer_id self = evr_peer_self(t->peer), gone = self;
	struct evr_pool_usage usage;
	struct evr_pool pool = { 0 };
	struct evr_block block;
	uint64_t sz;
	uint32_t i;
	void *at;

	if (evr_pool_open(&pool, t->peer, name))
		return;
	for (i = 0; i < OPS; i++) {
		block = (struct evr_block){ 0 };
		if (pick(t, 3))
			evr_pool_alloc(&pool, pick(t, 300), &block);
		else
			evr_pool_alloc_wait(&pool, &t->waiter, pick(t, 300), &block, PAST_NS);
		at = evr_pool_resolve(&pool, block.handle, &sz);
		touch(at, sz, true);
		at = evr_pool_resolve(&pool, forge(t, block.handle), &sz);
		touch(at, sz, false);
		if (pick(t, 2)) {
			evr_pool_transfer(&pool, block.handle, self);
			evr_pool_accept(&pool, block.handle);
			evr_pool_recall(&pool, block.handle, self);
		}
		evr_pool_free(&pool, forge(t, block.handle));
		if (pick(t, 3))
			evr_pool_free(&pool, block.handle);
	}
	evr_pool_usage(&pool, &usage);
	gone.incarnation++;
	evr_pool_settle(&pool, gone);
	evr_pool_close(&pool);
}

static void tour_receive(struct tour *t, struct evr_channel *ch)
{
	struct evr_message m = { 0 };

	if (!evr_channel_peek(ch, &m))
		touch(m.data, m.sz, false);
	if (evr_channel_recv(ch, &m))
		return;
	touch(m.data, m.sz, false);
	if (pick(t, 4))
		evr_channel_release(ch, &m);
	else
		evr_channel_keep(ch, &m);
}

static void tour_send(struct tour *t, struct evr_channel *ch)
{
	unsigned char data[MESSAGE_MAX] = { 0 };
	struct evr_message m = { .data = data, .sz = pick(t, MESSAGE_MAX) };
	void *at;

	switch (pick(t, 4)) {
	case 0:
		if (!evr_channel_reserve(ch, m.sz, &at)) {
			touch(at, m.sz, true);
			evr_channel_commit(ch, m.sz / 2, 1);
		}
		evr_channel_cancel(ch);
		break;
	case 1:
		if (!evr_channel_alloc(ch, m.sz, &m)) {
			touch(m.data, m.sz, true);
			evr_channel_send_message(ch, &m);
		}
		break;
	case 2:
		m.flags = EVR_MESSAGE_URGENT;
		m.sz = pick(t, 32);
		evr_channel_send_message(ch, &m);
		break;
	default:
		evr_channel_send_wait(ch, &t->waiter, &m, PAST_NS);
	}
}

void tour_channel_end(struct tour *t, struct evr_channel *ch)
{
	tour_send(t, ch);
	evr_channel_state(ch);
	tour_receive(t, ch);
	if (!pick(t, 8))
		evr_channel_grant(ch, pick(t, 4), pick(t, 4000));
}

/* Requests from one end, and answers from the other. */
static void tour_call(struct tour *t, struct evr_channel *a, struct evr_channel *b)
{
	uint64_t value = 1, id = 0;
	struct evr_call_request request = { .message = { .data = &value, .sz = sizeof(value) } };
	struct evr_call_completion done;
	struct evr_call_server server;
	struct evr_call call;
	struct evr_message m;
	uint32_t i;

	if (evr_call_init(&call, a, 4))
		return;
	if (!evr_call_server_init(&server, b, 4)) {
		for (i = 0; i < OPS; i++) {
			evr_call_submit(&call, &request, &id);
			if (!pick(t, 4))
				evr_call_cancel(&call, pick(t, 2) ? id : forge(t, id));
			if (!evr_call_take(&server, &m)) {
				touch(m.data, m.sz, false);
				evr_call_answer(&server, pick(t, 4) ? m.id : forge(t, m.id),
						&request.message);
			}
			evr_call_complete(&call, &done);
		}
		evr_call_server_fini(&server);
	}
	evr_call_fini(&call);
}

static void tour_channel(struct tour *t, const char *name)
{
	struct evr_channel ch[2] = { 0 };
	struct evr_heap *heap = calloc(1, sizeof(*heap));
	bool is_open[2];
	uint32_t i, end;

	is_open[0] = !evr_channel_open(&ch[0], t->peer, name, EVR_CHANNEL_A, 0);
	is_open[1] = !evr_channel_open(&ch[1], t->peer, name, EVR_CHANNEL_B, 0);
	if (heap && !evr_heap_open(heap, t->peer, "heap"))
		for (end = 0; end < 2; end++)
			if (is_open[end])
				evr_channel_bind(&ch[end], heap, heap);
	if (is_open[0] && is_open[1] && pick(t, 2))
		tour_call(t, &ch[0], &ch[1]);
	for (i = 0; i < 2 * OPS; i++) {
		end = pick(t, 2);
		if (!is_open[end])
			continue;
		tour_channel_end(t, &ch[end]);
	}
	for (end = 0; end < 2; end++) {
		if (!is_open[end])
			continue;
		evr_channel_drain_wait(&ch[end], &t->waiter, PAST_NS);
		evr_channel_shutdown(&ch[end], EVR_SHUT_SEND);
		evr_channel_close(&ch[end]);
		if (is_open[!end])
			evr_channel_forget(&ch[!end]);
	}
	if (heap)
		evr_heap_close(heap);
	free(heap);
}

void tour_object(struct tour *t, const struct evr_object *object)
{
	static void (*const tours[])(struct tour *t, const char *name) = {
		[EVR_KIND_SPSC] = tour_spsc,	[EVR_KIND_BYTES] = tour_bytes,
		[EVR_KIND_SLOTS] = tour_slots,	[EVR_KIND_INBOX] = tour_inbox,
		[EVR_KIND_MPMC] = tour_mpmc,	[EVR_KIND_LOG] = tour_log,
		[EVR_KIND_HEAP] = tour_heap,	[EVR_KIND_POOL] = tour_pool,
		[EVR_KIND_CHANNEL] = tour_channel, [EVR_KIND_BCAST] = tour_bcast,
		[EVR_KIND_HUB] = tour_hub,
	};

	tour_look(t, object);
	if (object->kind == EVR_KIND_CHANNEL && !pick(t, 4))
		tour_ports(t, object->name);
	if (object->kind < sizeof(tours) / sizeof(tours[0]) && tours[object->kind])
		tours[object->kind](t, object->name);
	else
		touch(evr_peer_at(t->peer, object->off, object->sz), object->sz, false);
	/* Of what it has left there, too. */
	tour_look(t, object);
}

void tour_directory(struct tour *t)
{
	struct evr_object made, found;
	struct evr_dir_info info;
	char name[16];

	snprintf(name, sizeof(name), "tour-%u", pick(t, 3));
	if (!evr_dir_create(t->peer, name, EVR_KIND_USER, 1 + pick(t, 2000), &made)) {
		touch(evr_peer_at(t->peer, made.off, made.sz), made.sz, false);
		if (pick(t, 4))
			evr_dir_publish(t->peer, &made);
		evr_dir_is_current(t->peer, &made);
		evr_dir_remove(t->peer, &made);
	}
	if (!evr_dir_find(t->peer, name, &found))
		evr_dir_remove(t->peer, &found);
	evr_dir_info(t->peer, &info);
	evr_reap_dead(t->peer, t->report);
}

struct collection {
	struct evr_object objects[OBJECTS_MAX];
	uint32_t nr;
};

static int collect(const struct evr_object *object, void *arg)
{
	struct collection *c = arg;

	c->objects[c->nr++] = *object;
	return c->nr == OBJECTS_MAX;
}

void tour_all(struct tour *t)
{
	struct collection c = { .nr = 0 };
	uint32_t i;

	tour_directory(t);
	evr_dir_walk(t->peer, collect, &c);
	for (i = 0; i < c.nr; i++)
		tour_object(t, &c.objects[i]);
	tour_directory(t);
}
