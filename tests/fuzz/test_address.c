/* SPDX-License-Identifier: MIT */
/*
 * What lies in a segment means the same to every process: no word of it is an address of
 * this one, neither of its mapping nor of anything else that it has, whatever it has done
 * and holds open. A segment that two peers of one process have mapped is at two addresses,
 * and all of it is used through both.
 *
 * Mutants seen to fail here: a lane that notes where its data lie; a granule's side word that
 * notes whose handle has claimed it.
 */
#include "pair.h"

#include "tour.h"
#include "world.h"

#define RANGES_MAX 512
#define TOURS 40

struct ranges {
	uint64_t from[RANGES_MAX], to[RANGES_MAX];
	uint32_t nr;
};

/* What is mapped here; a mapping that came after is none that a word can name. */
static void read_ranges(struct ranges *r)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	char *end;

	assert_non_null(maps);
	for (r->nr = 0; fgets(line, sizeof(line), maps); r->nr++) {
		assert_true(r->nr < RANGES_MAX);
		r->from[r->nr] = strtoull(line, &end, 16);
		assert_int_equal(*end, '-');
		r->to[r->nr] = strtoull(end + 1, NULL, 16);
	}
	fclose(maps);
	assert_true(r->nr > 3);
}

static bool is_address(const struct ranges *r, uint64_t word)
{
	uint32_t i;

	for (i = 0; i < r->nr; i++)
		if (word >= r->from[i] && word < r->to[i])
			return true;
	return false;
}

static const uint64_t *shared_words(struct evr_peer *peer)
{
	struct evr_segment_info info;
	const uint64_t *words;

	assert_int_equal(evr_segment_info(evr_peer_segment(peer), &info), 0);
	words = evr_peer_at(peer, info.shared_off, WORLD_SHARED_SZ);
	assert_non_null(words);
	return words;
}

static void assert_no_address(struct evr_peer *peer, const char *when)
{
	struct ranges *ranges = calloc(1, sizeof(*ranges));
	const uint64_t *words = shared_words(peer);
	uint64_t i;

	assert_non_null(ranges);
	read_ranges(ranges);
	assert_true(is_address(ranges, (uintptr_t)words) && is_address(ranges, (uintptr_t)ranges));
	for (i = 0; i < WORLD_SHARED_SZ / 8; i++)
		if (is_address(ranges, words[i]))
			fail_msg(
				"%s: the word at %#llx of the shared region is %#llx, an address here",
				when, (unsigned long long)i * 8, (unsigned long long)words[i]);
	free(ranges);
}

static int open_world(void **state)
{
	struct pair *pair;
	int err = pair_open_sized(state, WORLD_SHARED_SZ);

	pair = *state;
	return err ? err : world_make(pair->peer);
}

static void address_is_in_no_word_whatever_is_done(void **state)
{
	struct pair *pair = *state;
	struct tour tour = { .peer = pair->peer, .seed = 1 };
	char when[32];
	int i;

	assert_int_equal(evr_waiter_init(&tour.waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	for (i = 0; i < TOURS; i++) {
		tour_all(&tour);
		snprintf(when, sizeof(when), "after tour %d", i);
		assert_no_address(pair->peer, when);
	}
	evr_waiter_fini(&tour.waiter);
}

/* With all of it open, and what was put in by one mapping taken out by the other. */
static void address_is_in_no_word_while_all_is_held(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *other;
	struct evr_spsc out, in;
	struct evr_mpmc put, get;
	struct evr_heap heap[2];
	struct evr_channel a, b;
	struct evr_block block;
	struct evr_message m;
	uint64_t elem = 7;

	assert_int_equal(evr_peer_attach(&other, pair->segment, NULL), 0);
	assert_ptr_not_equal(shared_words(other), shared_words(pair->peer));
	assert_int_equal(evr_spsc_open(&out, pair->peer, "spsc", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&in, other, "spsc", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_mpmc_open(&put, pair->peer, "mpmc", 0), 0);
	assert_int_equal(evr_mpmc_open(&get, other, "mpmc", 0), 0);
	assert_int_equal(evr_heap_open(&heap[0], pair->peer, "heap"), 0);
	assert_int_equal(evr_heap_open(&heap[1], other, "heap"), 0);
	assert_int_equal(evr_channel_open(&a, pair->peer, "channel", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_open(&b, other, "channel", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_channel_bind(&a, &heap[0], &heap[0]), 0);
	assert_int_equal(evr_channel_bind(&b, &heap[1], &heap[1]), 0);
	while (evr_spsc_pop(&in, &elem, 1) || evr_mpmc_pop(&get, &elem, 1))
		;
	elem = 7;
	assert_int_equal(evr_spsc_push(&out, &elem, 1), 1);
	assert_int_equal(evr_mpmc_push(&put, &elem, 1), 1);
	assert_int_equal(evr_channel_alloc(&a, 1000, &m), 0);
	memset((void *)(uintptr_t)m.data, 0x77, 1000);
	assert_int_equal(evr_channel_send_message(&a, &m), 0);
	block = evr_heap_alloc(&heap[0], 300);
	assert_non_null(block.ptr);
	assert_int_equal(evr_heap_transfer(&heap[0], block.handle, evr_peer_self(other)), 0);
	assert_no_address(pair->peer, "held");
	elem = 0;
	assert_true(evr_spsc_pop(&in, &elem, 1) && elem == 7);
	elem = 0;
	assert_true(evr_mpmc_pop(&get, &elem, 1) && elem == 7);
	assert_int_equal(evr_channel_recv(&b, &m), 0);
	assert_true(m.sz == 1000 && *(const uint8_t *)m.data == 0x77);
	evr_channel_release(&b, &m);
	assert_int_equal(evr_heap_accept(&heap[1], block.handle), 0);
	assert_ptr_not_equal(evr_heap_resolve(&heap[1], block.handle, NULL), block.ptr);
	assert_no_address(pair->peer, "received");
	evr_channel_close(&a);
	evr_channel_close(&b);
	evr_heap_close(&heap[0]);
	evr_heap_close(&heap[1]);
	evr_peer_detach(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(address_is_in_no_word_whatever_is_done, open_world,
						pair_close),
		cmocka_unit_test_setup_teardown(address_is_in_no_word_while_all_is_held, open_world,
						pair_close),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
