// SPDX-License-Identifier: MIT
/*
 * One sends to several: a broadcast is written once, a pipe or a socket once for each. The
 * readers are processes of their own, all on the far CPU; a message counts once, when all
 * have it. Observers may miss some, which then count as had. In an isolated segment the
 * subscribers' positions lie in regions of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "payload.h"

#define READERS_MAX 8
#define CAPACITY 2048

enum means { BY_SEATS, BY_REGIONS, BY_OBSERVERS, BY_PIPES, BY_SOCKETS };

/* How a rival does it. */
struct fan {
	enum means means;
	uint32_t readers_nr;
};

/* What the readers tell the one of them that is the far side, in the stage's page. */
struct told {
	struct evr_a32 open, warm, done; /* how many are */
	struct evr_a64 cpu_ns; /* of the others together */
};

struct reader {
	struct evr_bcast b;
	uint8_t *buffer;
	int fd;
};

static const struct fan *fan_of(const struct stage *stage)
{
	return stage->rival->with;
}

static bool is_bcast(const struct stage *stage)
{
	return fan_of(stage)->means <= BY_OBSERVERS;
}

static int prepare_bcast(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = (4 << 20) + 2 * CAPACITY * stage->size,
					       .peers_max = 2 * READERS_MAX };
	int err;

	if (fan_of(stage)->means == BY_REGIONS) {
		options.flags = EVR_SEGMENT_ISOLATED;
		options.shared_sz = 0;
		options.peer_sz = (1 << 20) + 2 * CAPACITY * stage->size;
		options.peers_max = 2 + fan_of(stage)->readers_nr;
	}
	err = evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);

	return err ? err : stage_prepare_page(stage);
}

/* fds: of each reader the end that it reads, and the one that is written. */
static int prepare_streams(struct stage *stage)
{
	for (uint32_t i = 0; i < fan_of(stage)->readers_nr; i++) {
		int *ends = stage->fds + 2 * i;
		int failed = fan_of(stage)->means == BY_PIPES ?
				     pipe2(ends, O_CLOEXEC) :
				     socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);

		if (failed)
			return -errno;
	}
	return stage_prepare_page(stage);
}

static struct told *told_of(const struct stage *stage)
{
	return stage->page;
}

static uint8_t *make_buffer(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size * stage->batch);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	return buffer;
}

static void write_to_each(struct stage *stage, const uint8_t *data, uint64_t size)
{
	for (uint32_t i = 0; i < fan_of(stage)->readers_nr; i++) {
		for (uint64_t put = 0; put < size;) {
			ssize_t got = write(stage->fds[2 * i + 1], data + put, size - put);

			if (got < 0 && errno != EINTR)
				stage_fail(stage, "write", -errno);
			put += got > 0 ? (uint64_t)got : 0;
		}
	}
}

static void publish(struct stage *stage, struct evr_bcast *b, const uint8_t *data, uint32_t nr)
{
	for (uint32_t done = 0; done < nr;) {
		int put = evr_bcast_push_wait(b, &stage->waiter, data + done * stage->size,
					      nr - done, EVR_NO_DEADLINE);

		if (put < 0)
			stage_fail(stage, "push", put);
		done += (uint32_t)put;
	}
}

static void send_all(struct stage *stage, struct evr_bcast *b, uint8_t *buffer, uint64_t count)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		payload_fill(buffer, stage->size, nr, left);
		if (is_bcast(stage))
			publish(stage, b, buffer, nr);
		else
			write_to_each(stage, buffer, nr * stage->size);
		left -= nr;
	}
}

static void open_writer(struct stage *stage, struct evr_bcast *b)
{
	const struct fan *fan = fan_of(stage);
	struct evr_bcast_options options = {
		.struct_sz = sizeof(options),
		.capacity = CAPACITY,
		.elem_sz = (uint32_t)stage->size,
		.seats = fan->means == BY_OBSERVERS ? 0 : fan->readers_nr,
	};
	int err;

	stage_attach(stage);
	err = evr_bcast_create(stage->peer, "all", &options);
	if (!err)
		err = evr_bcast_open(b, stage->peer, "all", EVR_PRODUCER, 0);
	if (err)
		stage_fail(stage, "broadcast", err);
	/* A reader that the machine has no CPU for is none that hangs. */
	evr_bcast_patience(b, EVR_NO_DEADLINE);
}

static void near(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_bcast b = { 0 };

	if (is_bcast(stage))
		open_writer(stage, &b);
	stage_meet(stage);
	stage_meet(stage);
	send_all(stage, &b, buffer, stage->warmup);
	stage_begin(stage);
	send_all(stage, &b, buffer, stage->count);
	stage_end(stage);
	stage_meet(stage);
	if (is_bcast(stage)) {
		evr_bcast_close(&b);
		stage_detach(stage);
	}
	free(buffer);
}

static void open_reader(struct stage *stage, struct reader *r, uint32_t nr)
{
	int err = 0;

	*r = (struct reader){ .buffer = make_buffer(stage), .fd = stage->fds[2 * nr] };
	if (!is_bcast(stage))
		return;
	stage_attach(stage);
	if (fan_of(stage)->means != BY_OBSERVERS)
		err = evr_bcast_open(&r->b, stage->peer, "all", EVR_CONSUMER, 0);
	else
		err = evr_bcast_observe(&r->b, stage->peer, "all", NULL, 0);
	if (err)
		stage_fail(stage, "reader", err);
}

static void close_reader(struct stage *stage, struct reader *r)
{
	free(r->buffer);
	if (!is_bcast(stage))
		return;
	evr_bcast_close(&r->b);
	stage_detach(stage);
}

/* Until the position has moved so far, with what was lost. */
static uint64_t take_all(struct stage *stage, struct reader *r, uint64_t count)
{
	struct evr_bcast_tally tally;
	uint64_t sum = 0, end;

	evr_bcast_tally(&r->b, &tally);
	end = tally.next + count;
	while (tally.next < end) {
		uint64_t left = end - tally.next;
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);
		int got = evr_bcast_pop_wait(&r->b, &stage->waiter, r->buffer, nr, EVR_NO_DEADLINE);

		if (got < 0)
			stage_fail(stage, "pop", got);
		sum += payload_read(r->buffer, (uint64_t)got * stage->size);
		evr_bcast_tally(&r->b, &tally);
	}
	return sum;
}

static uint64_t read_all(struct stage *stage, struct reader *r, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count * stage->size; left;) {
		uint64_t most = stage->batch * stage->size;
		ssize_t got = read(r->fd, r->buffer, left < most ? left : most);

		if (got <= 0 && errno != EINTR)
			stage_fail(stage, "read", got ? -errno : -EPIPE);
		sum += got > 0 ? payload_read(r->buffer, (uint64_t)got) : 0;
		left -= got > 0 ? (uint64_t)got : 0;
	}
	return sum;
}

static uint64_t consume(struct stage *stage, struct reader *r, uint64_t count)
{
	return is_bcast(stage) ? take_all(stage, r, count) : read_all(stage, r, count);
}

/* The far side waits for its readers; one that has failed has said why. */
static void await(struct stage *stage, const struct evr_a32 *nr)
{
	struct timespec pause = { .tv_nsec = 20000 };
	int status;

	while (evr_a32_load_acquire(nr) < fan_of(stage)->readers_nr) {
		if (waitpid(-1, &status, WNOHANG) > 0 && status)
			_exit(1);
		nanosleep(&pause, NULL);
	}
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static _Noreturn void other_reader(struct stage *stage, uint32_t nr)
{
	struct told *told = told_of(stage);
	uint64_t before;
	struct reader r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	open_reader(stage, &r, nr);
	evr_a32_fetch_add(&told->open, 1);
	consume(stage, &r, stage->warmup);
	evr_a32_fetch_add(&told->warm, 1);
	before = cpu_ns();
	consume(stage, &r, stage->count);
	evr_a64_fetch_add(&told->cpu_ns, cpu_ns() - before);
	evr_a32_fetch_add(&told->done, 1);
	close_reader(stage, &r);
	_exit(0);
}

static void far(struct stage *stage)
{
	struct told *told = told_of(stage);
	struct reader r;

	stage_meet(stage);
	for (uint32_t i = 1; i < fan_of(stage)->readers_nr; i++) {
		pid_t pid = fork();

		if (pid < 0)
			stage_fail(stage, "fork", -errno);
		if (!pid)
			other_reader(stage, i);
	}
	open_reader(stage, &r, 0);
	evr_a32_fetch_add(&told->open, 1);
	await(stage, &told->open);
	stage_meet(stage);
	consume(stage, &r, stage->warmup);
	evr_a32_fetch_add(&told->warm, 1);
	await(stage, &told->warm);
	stage_begin(stage);
	stage->shared->halves[STAGE_FAR].check = consume(stage, &r, stage->count);
	evr_a32_fetch_add(&told->done, 1);
	await(stage, &told->done);
	stage_end(stage);
	stage->shared->halves[STAGE_FAR].cpu_ns += evr_a64_load_relaxed(&told->cpu_ns);
	stage_meet(stage);
	close_reader(stage, &r);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

#define FANOUT_RIVALS(id, text, prepare, means)                                             \
	static const struct fan id##_fans[] = { { means, 1 }, { means, 2 }, { means, 8 } }; \
	static const struct rival id##_1 = { text ", 1", RIVAL_SLEEPS, prepare,             \
					     near,	 far,	       &id##_fans[0] };     \
	static const struct rival id##_2 = { text ", 2", RIVAL_SLEEPS, prepare,             \
					     near,	 far,	       &id##_fans[1] };     \
	static const struct rival id##_8 = { text ", 8", RIVAL_SLEEPS, prepare,             \
					     near,	 far,	       &id##_fans[2] }

FANOUT_RIVALS(seats, "evering subscribers", prepare_bcast, BY_SEATS);
FANOUT_RIVALS(regions, "evering isolated subscribers", prepare_bcast, BY_REGIONS);
FANOUT_RIVALS(observers, "evering observers", prepare_bcast, BY_OBSERVERS);
FANOUT_RIVALS(pipes, "pipes", prepare_streams, BY_PIPES);
FANOUT_RIVALS(sockets, "UNIX sockets", prepare_streams, BY_SOCKETS);

const struct bench fanout_bench = {
	.name = "fanout",
	.summary = "small messages from one to 1, 2 and 8 others",
	.unit = BENCH_MESSAGES,
	.sizes = { 64 },
	.batch = 32,
	.rivals = { &seats_1, &regions_1, &observers_1, &pipes_1, &sockets_1, &seats_2, &regions_2,
		    &observers_2, &pipes_2, &sockets_2, &seats_8, &regions_8, &observers_8, &pipes_8,
		    &sockets_8 },
	.ratios = { { &seats_1, &pipes_1 },
		    { &seats_1, &sockets_1 },
		    { &regions_1, &pipes_1 },
		    { &observers_1, &pipes_1 },
		    { &seats_2, &pipes_2 },
		    { &seats_2, &sockets_2 },
		    { &regions_2, &pipes_2 },
		    { &observers_2, &pipes_2 },
		    { &seats_8, &pipes_8 },
		    { &seats_8, &sockets_8 },
		    { &regions_8, &pipes_8 },
		    { &observers_8, &pipes_8 } },
};
