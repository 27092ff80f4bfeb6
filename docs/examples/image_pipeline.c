/* SPDX-License-Identifier: MIT */
/*
 * A pipeline of three processes: a camera makes images of 1 MiB, a filter inverts each in
 * place, a screen shows them. An image is written once, into a block of a heap in the
 * segment; what goes through the channels is its handle, and whoever has it owns the block.
 * So nothing is copied, which the image itself proves: it says where it lies, and each
 * stage looks whether it still does. The filter is killed with an image in its hands; what
 * it had is freed, another filter takes its place, and the others go on.
 *
 * cc image_pipeline.c $(pkg-config --cflags --libs evering) && ./a.out [URI]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <evering/evering.h>

#define IMAGES 60
#define KILLED_AT 20 /* the image that the first filter dies with */
#define WINDOW 3 /* images on their way to one stage */
#define PIXELS ((1 << 20) - 32)

struct image {
	uint64_t number;
	int64_t off; /* in the segment: where the camera has made it */
	uint64_t filtered; /* how often */
	uint64_t resv;
	uint8_t pixels[PIXELS];
};

/* What went wrong and why: the library has a text for it. */
static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror(err), evr_error_detail());
	_exit(1);
}

static void expect(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "it is not so that %s\n", what);
	_exit(1);
}

/* One process of the pipeline. A channel that it has not is zeros, which is a closed one. */
struct stage {
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_waiter waiter;
	struct evr_channel in, out;
};

static void stage_open(struct stage *stage, struct evr_segment *segment)
{
	memset(stage, 0, sizeof(*stage));
	check(evr_peer_attach(&stage->peer, segment, NULL), "attach");
	check(evr_heap_open(&stage->heap, stage->peer, "images"), "heap");
	check(evr_waiter_init(&stage->waiter, stage->peer, EVR_WAIT_ADAPTIVE), "waiter");
}

static void stage_close(struct stage *stage)
{
	evr_channel_close(&stage->in);
	evr_channel_close(&stage->out);
	evr_waiter_fini(&stage->waiter);
	evr_heap_close(&stage->heap);
	evr_peer_detach(stage->peer);
}

/* Who takes the place of one that died comes in when the other end has let that one go. */
static void join(struct stage *stage, struct evr_channel *channel, const char *name,
		 enum evr_channel_role role)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	int err;

	while ((err = evr_channel_open(channel, stage->peer, name, role, 0)) == -EBUSY)
		nanosleep(&moment, NULL);
	check(err, name);
	check(evr_channel_bind(channel, &stage->heap, &stage->heap), name);
}

/* The block itself goes on; until it has it is ours, whatever happens to the next stage. */
static void hand_over(struct stage *stage, const struct evr_message *m)
{
	int err;

	for (;;) {
		err = evr_channel_send_wait(&stage->out, &stage->waiter, m, EVR_NO_DEADLINE);
		if (err != -EOWNERDEAD)
			break;
		/* What that one had not taken is freed; the next message is for its successor. */
		check(evr_channel_forget(&stage->out), "forget");
	}
	check(err, "send");
}

/* The next image; 0: there will be none. */
static int take(struct stage *stage, struct evr_message *m)
{
	struct image *image;
	int err;

	for (;;) {
		err = evr_channel_recv_wait(&stage->in, &stage->waiter, m, EVR_NO_DEADLINE);
		if (err != -EOWNERDEAD)
			break;
		check(evr_channel_forget(&stage->in), "forget");
	}
	if (err == -EPIPE)
		return 0;
	check(err, "receive");
	image = m->data;
	expect(m->kind == EVR_FRAME_BLOCK && m->sz == sizeof(*image), "a message is an image");
	expect(evr_peer_off(stage->peer, image) == image->off, "the image lies where it was made");
	return 1;
}

static int camera(struct evr_segment *segment)
{
	struct stage stage;
	int err;

	stage_open(&stage, segment);
	join(&stage, &stage.out, "camera-filter", EVR_CHANNEL_A);
	for (uint64_t number = 0; number < IMAGES; number++) {
		struct evr_message m = { 0 };
		struct image *image;

		check(evr_channel_alloc(&stage.out, sizeof(*image), &m), "allocate");
		image = m.data;
		image->number = number;
		image->off = evr_peer_off(stage.peer, image);
		image->filtered = 0;
		memset(image->pixels, (int)number, sizeof(image->pixels));
		hand_over(&stage, &m);
	}
	check(evr_channel_shutdown(&stage.out, EVR_SHUT_SEND), "shut");
	err = evr_channel_drain_wait(&stage.out, &stage.waiter, EVR_NO_DEADLINE);
	/* A filter closes when it has taken the last one. */
	if (err != -EPIPE)
		check(err, "drain");
	stage_close(&stage);
	return 0;
}

static int filter(struct evr_segment *segment, int is_first)
{
	struct evr_message m;
	struct stage stage;

	stage_open(&stage, segment);
	join(&stage, &stage.in, "camera-filter", EVR_CHANNEL_B);
	join(&stage, &stage.out, "filter-screen", EVR_CHANNEL_A);
	while (take(&stage, &m)) {
		struct image *image = m.data;

		for (size_t i = 0; i < sizeof(image->pixels); i++)
			image->pixels[i] ^= 0xff;
		image->filtered++;
		/* It is no message any more, but our block. */
		check(evr_channel_keep(&stage.in, &m), "keep");
		if (is_first && image->number == KILLED_AT)
			raise(SIGKILL);
		hand_over(&stage, &m);
	}
	stage_close(&stage);
	return 0;
}

static int screen(struct evr_segment *segment)
{
	uint64_t shown = 0, next = 0;
	struct evr_message m;
	struct stage stage;

	stage_open(&stage, segment);
	join(&stage, &stage.in, "filter-screen", EVR_CHANNEL_B);
	while (take(&stage, &m)) {
		const struct image *image = m.data;
		uint8_t pixel = (uint8_t)image->number ^ 0xff;

		expect(image->filtered == 1, "the image was filtered once");
		expect(image->pixels[0] == pixel && image->pixels[PIXELS - 1] == pixel,
		       "all of it was filtered");
		expect(image->number >= next, "images come in their order");
		if (image->number != next)
			printf("screen: images %d to %d went down with the filter\n", (int)next,
			       (int)image->number - 1);
		next = image->number + 1;
		shown++;
		evr_channel_release(&stage.in, &m);
	}
	stage_close(&stage);
	printf("screen: %d of %d images, none of them copied\n", (int)shown, IMAGES);
	/* The one in its hands; and those that were on their way to it, no more than there could be. */
	expect(next == IMAGES, "the last image has come");
	expect(shown < IMAGES && shown >= IMAGES - 1 - 2 * WINDOW, "a death costs what it had");
	return 0;
}

static pid_t start(struct evr_segment *segment, int (*run)(struct evr_segment *))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		int status = run(segment);

		fflush(NULL);
		_exit(status);
	}
	return pid;
}

static int first_filter(struct evr_segment *segment)
{
	return filter(segment, 1);
}

static int second_filter(struct evr_segment *segment)
{
	return filter(segment, 0);
}

static void make_channels(struct evr_peer *peer)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 20 << 20 };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel),
					       .window_messages = WINDOW,
					       .heap = "images" };

	check(evr_heap_create(peer, "images", &heap), "heap");
	check(evr_channel_create(peer, "camera-filter", &channel), "channel");
	check(evr_channel_create(peer, "filter-screen", &channel), "channel");
}

/* Blocks that are still somebody's: of the dead there must be none. */
static uint64_t blocks_left(struct evr_peer *peer)
{
	struct evr_object_stat stat;
	struct evr_object heap;

	check(evr_reap_dead(peer, NULL), "reap");
	check(evr_dir_find(peer, "images", &heap), "images");
	check(evr_object_stat(peer, &heap, &stat), "images");
	return stat.blocks;
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 24 << 20,
					       .peers_max = 8 };
	int status, failed = 0;
	struct evr_segment *segment;
	struct evr_peer *peer;
	pid_t pids[3], victim;

	check(evr_segment_create(&segment, argc > 1 ? argv[1] : "local:", &options), "segment");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	make_channels(peer);
	pids[0] = start(segment, screen);
	victim = start(segment, first_filter);
	pids[1] = start(segment, camera);
	check(waitpid(victim, &status, 0) < 0 ? -errno : 0, "wait");
	printf("filter: %s\n", WIFSIGNALED(status) ? "was killed; another takes its place" :
						     "was not killed");
	failed |= !WIFSIGNALED(status);
	pids[2] = start(segment, second_filter);
	for (int i = 0; i < 3; i++) {
		waitpid(pids[i], &status, 0);
		failed |= status;
	}
	failed |= blocks_left(peer) != 0;
	printf("%d images are left in the heap\n", (int)blocks_left(peer));
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return failed ? 1 : 0;
}
