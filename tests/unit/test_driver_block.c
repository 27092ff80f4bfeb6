/* SPDX-License-Identifier: MIT */
/*
 * Groups of buffers that are blocks of a heap or a pool: what is received is a message
 * already. Every block is somebody's at each moment: the group's, the caller's, or free.
 * Seen to fail: tests/unit/controls, driver-block-*.
 */
#include "loop.h"

#define SZ 256
#define PLACES 8
#define BLOCKS 6 /* of the pool, fewer than places */

struct scene {
	void *pair, *loop;
	struct evr_driver *d;
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_pool pool;
	bool pooled;
	int fds[2], before;
};

static int scene_open(void **state, bool pooled)
{
	struct evr_pool_options pool = { .struct_sz = sizeof(pool),
					 .classes = { { SZ, BLOCKS }, { 0, 0 } } };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 256 << 10 };
	struct scene *s = calloc(1, sizeof(*s));

	s->before = loop_fds();
	if (pair_open(&s->pair))
		return -1;
	s->peer = ((struct pair *)s->pair)->peer;
	s->pooled = pooled;
	if (evr_heap_create(s->peer, "blocks", &heap) || evr_heap_open(&s->heap, s->peer, "blocks"))
		return -1;
	if (evr_pool_create(s->peer, "pool", &pool) || evr_pool_open(&s->pool, s->peer, "pool"))
		return -1;
	if (loop_open(&s->loop) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds))
		return -1;
	s->d = ((struct loop *)s->loop)->d;
	*state = s;
	return 0;
}

static int of_heap(void **state)
{
	return scene_open(state, false);
}

static int of_pool(void **state)
{
	return scene_open(state, true);
}

static uint64_t used(struct scene *s)
{
	static struct evr_heap_usage blocks;
	struct evr_pool_usage usage;

	if (s->pooled) {
		evr_pool_usage(&s->pool, &usage);
		return usage.class_[0].used;
	}
	evr_heap_usage(&s->heap, &blocks);
	return blocks.blocks;
}

static int scene_close(void **state)
{
	struct scene *s = *state;
	struct loop *loop = s->loop;
	struct evr_driver_stats stats;
	int bad = 0;

	close(s->fds[0]);
	if (s->fds[1] >= 0)
		close(s->fds[1]);
	LOOP_HOLDS(evr_driver_stats(s->d, &stats) == 0);
	LOOP_HOLDS(stats.submitted == stats.completed && !stats.slots_used && !stats.stale);
	LOOP_HOLDS(evr_driver_close(s->d, pair_deadline()) == 0);
	/* That has freed what its groups had. */
	LOOP_HOLDS(used(s) == 0);
	evr_heap_close(&s->heap);
	evr_pool_close(&s->pool);
	bad |= pair_close(&s->pair);
	/* The peer's own fds were made when it was first asked for them. */
	loop->d = NULL;
	loop->fds = s->before;
	bad |= loop_close(&s->loop);
	free(s);
	return bad;
}

static struct evr_block_source source_of(struct scene *s)
{
	return (struct evr_block_source){ .struct_sz = sizeof(struct evr_block_source),
					  .heap = s->pooled ? NULL : &s->heap,
					  .pool = s->pooled ? &s->pool : NULL,
					  .sz = SZ };
}

static void group_open(struct scene *s)
{
	struct evr_block_source from = source_of(s);

	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &from), 0);
}

static int block_free(struct scene *s, uint64_t handle)
{
	return s->pooled ? evr_pool_free(&s->pool, handle) : evr_heap_free(&s->heap, handle);
}

/* What of a group came: the blocks, in order. */
struct taken {
	struct scene *scene;
	uint64_t handles[64];
	int nr, terminal, res;
	uint64_t bytes;
	bool keep;
};

static void took(struct evr_driver *d, const struct evr_completion *done)
{
	struct taken *t = done->arg;
	struct scene *s = t->scene;
	uint64_t sz = 0;
	int i;

	if (!(done->flags & EVR_DONE_MORE))
		t->terminal++;
	t->res = done->res;
	if (!(done->flags & EVR_DONE_BUFFER))
		return;
	/* It is the caller's, by its handle, and it is where the bytes are. */
	CHECK((s->pooled ? evr_pool_resolve(&s->pool, done->value, &sz) :
			   evr_heap_resolve(&s->heap, done->value, &sz)) == done->buf);
	CHECK(sz >= SZ && evr_peer_off(s->peer, done->buf) > 0);
	for (i = 0; i < done->res; i++)
		CHECK(((unsigned char *)done->buf)[i] == (unsigned char)(t->bytes + (uint64_t)i));
	t->bytes += (uint64_t)(done->res > 0 ? done->res : 0);
	if (t->keep)
		t->handles[t->nr++ % 64] = done->value;
	else
		CHECK(block_free(s, done->value) == 0);
}

static struct evr_op receive(struct scene *s, struct taken *t, bool multi)
{
	struct evr_op op = evr_op_buffered(evr_op_recv(s->fds[0], NULL, 0, 0), 1);

	return evr_op_then(evr_op_flagged(op, multi ? EVR_OP_MULTISHOT : 0), took, t);
}

/* The byte at each position is its number. */
static void put(struct scene *s, uint64_t *pos, size_t sz)
{
	unsigned char bytes[SZ];
	size_t i;

	assert_true(sz <= SZ);
	for (i = 0; i < sz; i++)
		bytes[i] = (unsigned char)(*pos + i);
	assert_int_equal(write(s->fds[1], bytes, sz), sz);
	*pos += sz;
}

/* Many more than there are blocks: each place is filled again, as they are freed. */
static void block_of_each_receive_is_the_callers(void **state)
{
	struct scene *s = *state;
	struct taken t = { .scene = s };
	struct evr_op op = receive(s, &t, true);
	uint64_t pos = 0;
	int i;

	group_open(s);
	assert_int_equal(used(s), s->pooled ? BLOCKS : PLACES);
	assert_int_equal(evr_buffers_nr(s->d, 1), s->pooled ? BLOCKS : PLACES);
	assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
	for (i = 0; i < 200; i++) {
		put(s, &pos, 1 + (size_t)i % SZ);
		LOOP_UNTIL((struct loop *)s->loop, t.bytes == pos || t.terminal);
		/* 6.1 and 6.12 end a receive with the last buffer that there was. */
		if (t.terminal) {
			assert_true(t.res > 0 || t.res == -ENOBUFS);
			t.terminal = 0;
			assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
			LOOP_UNTIL((struct loop *)s->loop, t.bytes == pos);
		}
	}
	close(s->fds[1]);
	s->fds[1] = -1;
	LOOP_UNTIL((struct loop *)s->loop, t.terminal);
	assert_int_equal(t.res, 0);
	assert_int_equal(evr_buffers_refill(s->d, 1), s->pooled ? BLOCKS : PLACES);
	assert_int_equal(used(s), s->pooled ? BLOCKS : PLACES);
	assert_int_equal(evr_buffers_destroy(s->d, 1), 0);
	assert_int_equal(used(s), 0);
}

/* Take what the heap still has, so that it is as empty as the pool. */
static int exhaust(struct scene *s, uint64_t *handles, int max)
{
	struct evr_block block;
	int nr = 0;

	if (s->pooled)
		return 0;
	/* The small ones too. */
	for (block = evr_heap_alloc(&s->heap, SZ); block.ptr; nr++) {
		assert_true(nr < max);
		handles[nr] = block.handle;
		block = evr_heap_alloc(&s->heap, SZ);
	}
	return nr;
}

static void block_source_that_is_empty_ends_and_goes_on(void **state)
{
	struct scene *s = *state;
	struct taken t = { .scene = s, .keep = true };
	struct evr_op op = receive(s, &t, false);
	static uint64_t others[4096];
	int nr, i, all = s->pooled ? BLOCKS : PLACES;
	uint64_t pos = 0;

	group_open(s);
	nr = exhaust(s, others, 4096);
	for (i = 0; i < all; i++) {
		put(s, &pos, 10);
		t.terminal = 0;
		assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
		LOOP_UNTIL((struct loop *)s->loop, t.terminal);
		assert_int_equal(t.res, 10);
		assert_int_equal(evr_buffers_nr(s->d, 1), all - 1 - i);
	}
	assert_int_equal(t.nr, all);
	put(s, &pos, 10);
	for (i = 0; i < 3; i++) {
		t.terminal = 0;
		assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
		LOOP_UNTIL((struct loop *)s->loop, t.terminal);
		assert_int_equal(t.res, -ENOBUFS);
		assert_int_equal(evr_buffers_refill(s->d, 1), 0);
	}
	/* Two are freed: one by asking for it, one by the next submission. */
	assert_int_equal(block_free(s, t.handles[0]), 0);
	assert_int_equal(evr_buffers_refill(s->d, 1), 1);
	assert_int_equal(block_free(s, t.handles[1]), 0);
	t.terminal = 0;
	assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
	assert_int_equal(evr_buffers_nr(s->d, 1), 2);
	LOOP_UNTIL((struct loop *)s->loop, t.terminal);
	assert_int_equal(t.res, 10);
	assert_int_equal(t.bytes, pos);
	for (i = 2; i <= all; i++)
		assert_int_equal(block_free(s, t.handles[i]), 0);
	while (nr--)
		assert_int_equal(block_free(s, others[nr]), 0);
	assert_int_equal(used(s), 1);
}

/* A multishot that runs dry goes on where it was, when it is submitted again. */
static void block_multishot_runs_dry_and_loses_no_byte(void **state)
{
	struct scene *s = *state;
	struct taken t = { .scene = s, .keep = true };
	struct evr_op op = receive(s, &t, true);
	int round, given, dry = 0;
	uint64_t pos = 0;

	s->pooled = true;
	group_open(s);
	for (round = 0; round < 40; round++) {
		for (given = 0; given < 10; given++)
			put(s, &pos, SZ);
		t.terminal = 0;
		assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
		while (t.bytes < pos) {
			LOOP_UNTIL((struct loop *)s->loop, t.terminal || t.bytes == pos);
			if (!t.terminal)
				break;
			dry++;
			while (t.nr)
				assert_int_equal(block_free(s, t.handles[--t.nr]), 0);
			t.terminal = 0;
			assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
		}
		evr_driver_cancel_fd(s->d, s->fds[0]);
		LOOP_UNTIL((struct loop *)s->loop, t.terminal);
		while (t.nr)
			assert_int_equal(block_free(s, t.handles[--t.nr]), 0);
	}
	assert_int_equal(t.bytes, pos);
	assert_true(dry >= 40);
	assert_int_equal(evr_buffers_destroy(s->d, 1), 0);
	assert_int_equal(used(s), 0);
}

static void block_of_an_abandoned_receive_is_freed(void **state)
{
	struct scene *s = *state;
	struct taken t = { .scene = s };
	struct evr_op op = receive(s, &t, false);
	int i, all = s->pooled ? BLOCKS : PLACES;
	struct evr_driver_stats stats;
	uint64_t id, pos = 0;
	char byte;

	group_open(s);
	for (i = 0; i < 50; i++) {
		assert_int_equal(evr_driver_submit(s->d, &op, &id), 0);
		evr_driver_flush(s->d);
		put(s, &pos, 1);
		assert_int_equal(evr_driver_abandon(s->d, id), 0);
		do {
			assert_true(evr_driver_run(s->d, 0, 0) >= 0);
			evr_driver_stats(s->d, &stats);
		} while (stats.slots_used);
		assert_int_equal(t.terminal, 0);
		assert_int_equal(evr_buffers_refill(s->d, 1), all);
		assert_int_equal(used(s), all);
	}
	/* What the cancels were faster than is still in the socket. */
	while (recv(s->fds[0], &byte, 1, MSG_DONTWAIT) == 1)
		;
	/* The group goes with the driver: see scene_close(). */
	assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
	assert_int_equal(evr_buffers_destroy(s->d, 1), -EBUSY);
	assert_int_equal(evr_driver_cancel_fd(s->d, s->fds[0]), 1);
	LOOP_UNTIL((struct loop *)s->loop, t.terminal);
}

static void block_source_checked(void **state)
{
	struct scene *s = *state;
	struct evr_block_source from = source_of(s), bad;

	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, NULL), -EINVAL);
	bad = from;
	bad.heap = &s->heap;
	bad.pool = &s->pool;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &bad), -EINVAL);
	bad.heap = NULL;
	bad.shared = true;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &bad), -EINVAL);
	bad.shared = false;
	bad.sz = 0;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &bad), -EINVAL);
	bad.sz = SZ + 1;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &bad), -EMSGSIZE);
	bad.sz = SZ;
	bad.struct_sz = 4;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &bad), -EINVAL);
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, 0, &from), -EINVAL);
	assert_int_equal(used(s), 0);
	group_open(s);
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, PLACES, &from), -EEXIST);
	assert_int_equal(evr_buffers_provide(s->d, 1, 0, &bad, 1), -EINVAL);
	assert_int_equal(evr_buffers_return(s->d, 1, 0), -EINVAL);
	assert_int_equal(evr_buffers_refill(s->d, 2), -ENOENT);
	assert_int_equal(evr_buffers_create(s->d, 2, 1), 0);
	assert_int_equal(evr_buffers_refill(s->d, 2), -EINVAL);
	assert_int_equal(evr_buffers_destroy(s->d, 2), 0);
}

/* --- handed on --- */

static void reads_messages(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_heap heap;
	uint64_t pos = 0, i;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_heap_open(&heap, peer, "blocks"));
	CHECK(!evr_channel_open(&ch, peer, "stream", EVR_CHANNEL_B, 0));
	CHECK(!evr_channel_bind(&ch, NULL, &heap));
	while (pos < *(uint64_t *)arg) {
		CHECK(!evr_channel_recv_wait(&ch, &waiter, &m, pair_deadline()));
		CHECK(m.kind == EVR_FRAME_BLOCK);
		for (i = 0; i < m.sz; i++)
			CHECK(((const unsigned char *)m.data)[i] == (unsigned char)(pos + i));
		pos += m.sz;
		evr_channel_release(&ch, &m);
	}
	evr_channel_close(&ch);
	evr_heap_close(&heap);
	evr_waiter_fini(&waiter);
}

/* From a socket to another process: not a byte is copied here, and no block is lost. */
static void block_received_is_sent_as_it_is(void **state)
{
	struct scene *s = *state;
	struct evr_channel_options options = { .struct_sz = sizeof(options), .heap = "blocks" };
	struct taken t = { .scene = s, .keep = true };
	struct evr_op op = receive(s, &t, false);
	uint64_t pos = 0, total = 100 * 100;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	pid_t pid;

	assert_int_equal(evr_channel_create(s->peer, "stream", &options), 0);
	assert_int_equal(evr_waiter_init(&waiter, s->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_channel_open(&ch, s->peer, "stream", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_bind(&ch, &s->heap, NULL), 0);
	group_open(s);
	pid = pair_fork(s->pair, reads_messages, &total);
	while (pos < total) {
		put(s, &pos, 100);
		t.terminal = 0;
		assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
		LOOP_UNTIL((struct loop *)s->loop, t.terminal);
		assert_int_equal(t.res, 100);
		m = (struct evr_message){ .data = evr_heap_resolve(&s->heap, t.handles[0], NULL),
					  .sz = 100,
					  .handle = t.handles[0],
					  .kind = EVR_FRAME_BLOCK };
		t.nr = 0;
		assert_int_equal(evr_channel_send_wait(&ch, &waiter, &m, pair_deadline()), 0);
	}
	pair_join(pid);
	assert_int_equal(evr_buffers_destroy(s->d, 1), 0);
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
	pair_settle(s->pair);
}

/* With room for its holders: several read it, and the last frees it. */
static void block_received_is_shared(void **state)
{
	struct scene *s = *state;
	struct evr_peer_id self = evr_peer_self(s->peer);
	struct evr_block_source from = source_of(s);
	struct taken t = { .scene = s, .keep = true };
	struct evr_op op = receive(s, &t, false);
	uint64_t pos = 0;

	from.shared = true;
	assert_int_equal(evr_buffers_create_blocks(s->d, 1, 1, &from), 0);
	put(s, &pos, 20);
	assert_int_equal(evr_driver_submit(s->d, &op, NULL), 0);
	LOOP_UNTIL((struct loop *)s->loop, t.terminal);
	assert_int_equal(t.res, 20);
	assert_int_equal(evr_heap_share(&s->heap, t.handles[0], &self, 1), 1);
	assert_int_equal(evr_heap_drop(&s->heap, t.handles[0]), 0);
	assert_int_equal(evr_heap_free(&s->heap, t.handles[0]), -ESTALE);
	assert_int_equal(evr_buffers_nr(s->d, 1), 1);
}

#define HEAP(name) cmocka_unit_test_setup_teardown(name, of_heap, scene_close)
#define POOL(name) cmocka_unit_test_setup_teardown(name, of_pool, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HEAP(block_of_each_receive_is_the_callers),
		POOL(block_of_each_receive_is_the_callers),
		HEAP(block_source_that_is_empty_ends_and_goes_on),
		POOL(block_source_that_is_empty_ends_and_goes_on),
		POOL(block_multishot_runs_dry_and_loses_no_byte),
		HEAP(block_of_an_abandoned_receive_is_freed),
		POOL(block_of_an_abandoned_receive_is_freed),
		POOL(block_source_checked),
		HEAP(block_received_is_sent_as_it_is),
		HEAP(block_received_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
