// SPDX-License-Identifier: MIT
/*
 * An application to be looked at from outside: hung_app URI. Two processes, A (this one, slot
 * 0) and B (its child, slot 1), bring one object of each kind to a state that the tests
 * know, and then stop: no instruction of theirs runs any more until SIGCONT. Writes "A PID"
 * and "B PID" when that is so. B ends then; A puts 3 numbers, a frame and a record more, writes
 * "more", stops again, and ends after another SIGCONT.
 *
 *   numbers  spsc     A has put 5 of 8 in, B has taken 2
 *   ping     slots    A 3, B none
 *   frames   bytes    A 4, B 1: "frame 0" ...
 *   chan     channel  A has sent 3, B has received 1 and sent 2
 *   jobs     mpmc     A has put 4 in and reserved one more; B has popped 1 and peeks at the next
 *   log      log      A has written 3, B has read 1, then B has reserved one
 *   heap     heap     A has 2 blocks of 1000 bytes, B has 3, and a sixth is on its way from A to B
 *   pool     pool     A has 1 block of 4, B has 2
 *   news     bcast    A has put 5 into 4 places; nobody has read any
 *   half     -        B has begun to make it
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/evering.h>

#define CHECK(cond)                                                                   \
	do {                                                                          \
		if (!(cond)) {                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, \
				evr_error_detail());                                  \
			exit(1);                                                      \
		}                                                                     \
	} while (0)

struct job {
	uint64_t words[3];
};

static const struct evr_spsc_options numbers = { .struct_sz = sizeof(numbers), .capacity = 8 };
static const struct evr_slots_options ping = { .struct_sz = sizeof(ping) };
static const struct evr_bytes_options frames = { .struct_sz = sizeof(frames), .capacity = 4096 };
static const struct evr_mpmc_options jobs = { .struct_sz = sizeof(jobs),
					      .capacity = 16,
					      .elem_sz = sizeof(struct job) };
static const struct evr_log_options records = { .struct_sz = sizeof(records), .capacity = 4096 };
static const struct evr_bcast_options news = { .struct_sz = sizeof(news), .capacity = 4 };
static const struct evr_heap_options heap_options = { .struct_sz = sizeof(heap_options),
						      .sz = 256 << 10 };
static const struct evr_pool_options pool_options = { .struct_sz = sizeof(pool_options),
						      .classes = { { 256, 4 } } };

static struct evr_spsc number_ring;
static struct evr_slots ping_ring;
static struct evr_bytes frame_ring;
static struct evr_channel channel;
static struct evr_mpmc job_queue;
static struct evr_log log_end;
static struct evr_bcast news_ring;
static struct evr_heap heap;
static struct evr_pool pool;

static struct evr_peer *join(struct evr_segment *segment, uint32_t slot)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .slot = slot,
					    .slot_set = true };
	struct evr_peer *peer;

	CHECK(!evr_peer_attach(&peer, segment, &options));
	return peer;
}

static void open_all(struct evr_peer *peer, enum evr_role role)
{
	CHECK(!evr_spsc_open(&number_ring, peer, "numbers", role, 0));
	CHECK(!evr_slots_open(&ping_ring, peer, "ping", role, 0));
	CHECK(!evr_bytes_open(&frame_ring, peer, "frames", role));
	CHECK(!evr_channel_open(&channel, peer, "chan",
				role == EVR_PRODUCER ? EVR_CHANNEL_A : EVR_CHANNEL_B, 0));
	CHECK(!evr_mpmc_open(&job_queue, peer, "jobs", 0));
	CHECK(!evr_log_open(&log_end, peer, "log", role));
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	CHECK(!evr_pool_open(&pool, peer, "pool"));
}

static void take_blocks(int heap_nr, int pool_nr)
{
	struct evr_block block;

	while (heap_nr--)
		CHECK(evr_heap_alloc(&heap, 1000).ptr);
	while (pool_nr--)
		CHECK(!evr_pool_alloc(&pool, 200, &block));
}

static void put_all(struct evr_peer_id other)
{
	struct job job = { { 0 } };
	struct evr_block block;
	char text[32];

	for (uint64_t i = 0; i < 5; i++)
		CHECK(evr_spsc_push(&number_ring, &i, 1) == 1);
	for (uint64_t i = 0; i < 5; i++)
		CHECK(evr_bcast_push(&news_ring, &i, 1) == 1);
	for (uint64_t i = 0; i < 3; i++)
		CHECK(evr_slots_push(&ping_ring, &i, sizeof(i)));
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "frame %d", i);
		CHECK(!evr_bytes_write(&frame_ring, text, strlen(text)));
	}
	for (int i = 0; i < 3; i++)
		CHECK(!evr_channel_send(&channel, "message", 7, 0));
	for (int i = 0; i < 4; i++)
		CHECK(evr_mpmc_push(&job_queue, &job, 1) == 1);
	CHECK(evr_mpmc_reserve(&job_queue));
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "record %d", i);
		CHECK(!evr_log_write(&log_end, text, strlen(text)));
	}
	take_blocks(2, 1);
	block = evr_heap_alloc(&heap, 1000);
	CHECK(block.ptr && !evr_heap_transfer(&heap, block.handle, other));
}

static void take_all(struct evr_peer *peer)
{
	struct evr_object object;
	static struct evr_log writer;
	struct evr_message message;
	struct job job;
	char text[32];
	uint64_t number;

	CHECK(evr_spsc_pop(&number_ring, &number, 1) == 1 && number == 0);
	CHECK(evr_spsc_pop(&number_ring, &number, 1) == 1 && number == 1);
	CHECK(evr_bytes_read(&frame_ring, text, sizeof(text)) == 7);
	CHECK(!evr_channel_recv(&channel, &message));
	evr_channel_release(&channel, &message);
	CHECK(!evr_channel_send(&channel, "answer", 6, 0));
	CHECK(!evr_channel_send(&channel, "answer", 6, 0));
	CHECK(evr_mpmc_pop(&job_queue, &job, 1) == 1 && evr_mpmc_peek(&job_queue));
	CHECK(evr_log_read(&log_end, text, sizeof(text)) == 8);
	CHECK(!evr_log_open(&writer, peer, "log", EVR_PRODUCER) && evr_log_reserve(&writer, 100));
	take_blocks(3, 2);
	CHECK(!evr_dir_create(peer, "half", EVR_KIND_USER, 4096, &object));
}

static void run_b(struct evr_segment *segment, int from_a)
{
	struct evr_peer *peer = join(segment, 1);
	char byte;

	open_all(peer, EVR_CONSUMER);
	/* Enter the session, so that A can send. */
	evr_channel_state(&channel);
	printf("B %d\n", (int)getpid());
	fflush(stdout);
	CHECK(read(from_a, &byte, 1) == 1);
	take_all(peer);
	raise(SIGSTOP);
	_exit(0);
}

static void put_more(void)
{
	for (uint64_t i = 5; i < 8; i++)
		CHECK(evr_spsc_push(&number_ring, &i, 1) == 1);
	CHECK(!evr_bytes_write(&frame_ring, "frame 4", 7));
	CHECK(!evr_log_write(&log_end, "record 3", 8));
	printf("more\n");
	fflush(stdout);
	raise(SIGSTOP);
}

int main(int argc, char **argv)
{
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_peer_info info;
	int to_b[2], status;
	pid_t pid;

	CHECK(argc == 2 && !evr_segment_open(&segment, argv[1]) && !pipe(to_b));
	peer = join(segment, 0);
	CHECK(!evr_spsc_create(peer, "numbers", &numbers) && !evr_slots_create(peer, "ping", &ping));
	CHECK(!evr_bytes_create(peer, "frames", &frames) && !evr_channel_create(peer, "chan", NULL));
	CHECK(!evr_mpmc_create(peer, "jobs", &jobs) && !evr_log_create(peer, "log", &records));
	CHECK(!evr_heap_create(peer, "heap", &heap_options) &&
	      !evr_pool_create(peer, "pool", &pool_options));
	CHECK(!evr_bcast_create(peer, "news", &news));
	CHECK(!evr_bcast_open(&news_ring, peer, "news", EVR_PRODUCER, 0));
	open_all(peer, EVR_PRODUCER);
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		run_b(segment, to_b[0]);
	/* B has opened all before it enters. */
	while (evr_channel_state(&channel) != EVR_RING_OK)
		;
	CHECK(!evr_peer_info(peer, 1, &info));
	put_all(info.id);
	CHECK(write(to_b[1], "", 1) == 1);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	printf("A %d\n", (int)getpid());
	fflush(stdout);
	raise(SIGSTOP);
	put_more();
	return 0;
}
