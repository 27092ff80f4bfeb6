// SPDX-License-Identifier: MIT
/* Two processes that measure something together, and the parent that waits for them. */
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"
#include "message.h"

/* Against hangs only: no run is meant to come near it. */
#define RUN_SECONDS_MAX 120
#define SEGMENT_SLACK_SZ (4ULL << 20)
#define PIPE_SZ (1 << 20)
#define SOCKET_SZ (1 << 20)

static uint64_t cpu_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void stage_meet(struct stage *stage)
{
	uint32_t wanted = 2 * ++stage->meetings;
	struct timespec pause = { .tv_nsec = 20000 };

	evr_a32_fetch_add(&stage->shared->arrived, 1);
	while (evr_a32_load_acquire(&stage->shared->arrived) < wanted)
		nanosleep(&pause, NULL);
}

void stage_begin(struct stage *stage)
{
	stage_meet(stage);
	stage->cpu_begin_ns = cpu_now_ns();
	stage->shared->halves[stage->side].begin_ns = evr_now_ns();
}

void stage_end(struct stage *stage)
{
	struct stage_half *half = &stage->shared->halves[stage->side];

	half->end_ns = evr_now_ns();
	half->cpu_ns = cpu_now_ns() - stage->cpu_begin_ns;
}

/* Its half has no times: those of the other count. */
void stage_look_on(struct stage *stage)
{
	stage_meet(stage);
}

void stage_fail(struct stage *stage, const char *what, int err)
{
	struct stage_half *half = &stage->shared->halves[stage->side];
	const char *detail = evr_error_detail();

	snprintf(half->message, sizeof(half->message), "%s: %s", what,
		 *detail ? detail : evr_strerror(err));
	half->error = err ? err : -EIO;
	_exit(1);
}

void stage_attach(struct stage *stage)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options), .populate = true };
	int fd = fcntl(evr_segment_fd(stage->segment), F_DUPFD_CLOEXEC, 3);
	int err = fd < 0 ? -errno : evr_segment_adopt(&stage->own_segment, fd);

	if (err)
		stage_fail(stage, "segment", err);
	err = evr_peer_attach(&stage->peer, stage->own_segment, &options);
	if (err)
		stage_fail(stage, "attach", err);
	err = evr_waiter_init(&stage->waiter, stage->peer, stage->policy);
	if (err)
		stage_fail(stage, "waiter", err);
	stage->shared->ids[stage->side] = evr_peer_self(stage->peer);
}

void stage_detach(struct stage *stage)
{
	evr_waiter_fini(&stage->waiter);
	evr_peer_detach(stage->peer);
	evr_segment_close(stage->own_segment);
}

int stage_prepare_nothing(struct stage *stage)
{
	(void)stage;
	return 0;
}

int stage_prepare_segment(struct stage *stage)
{
	struct evr_segment_options options = {
		.struct_sz = sizeof(options),
		.shared_sz = SEGMENT_SLACK_SZ + 16 * stage->size * stage->batch,
		.peers_max = 8,
	};

	/* The rings lie in the regions of the two sides, and nothing else. */
	if (stage->isolated) {
		options.flags = EVR_SEGMENT_ISOLATED;
		options.peer_sz = options.shared_sz;
		options.shared_sz = 0;
		options.peers_max = 2;
	}
	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

/* In the order that stage_read_fd() and stage_write_fd() know. */
static void set_fds(struct stage *stage, int near_reads, int far_writes, int far_reads,
		    int near_writes)
{
	stage->fds[0] = near_reads;
	stage->fds[1] = far_writes;
	stage->fds[2] = far_reads;
	stage->fds[3] = near_writes;
}

int stage_prepare_pipes(struct stage *stage)
{
	int forth[2], back[2];

	if (pipe2(back, O_CLOEXEC))
		return -errno;
	if (pipe2(forth, O_CLOEXEC)) {
		close(back[0]);
		close(back[1]);
		return -errno;
	}
	/* Best effort: an unprivileged user may have used up his pages. */
	fcntl(forth[1], F_SETPIPE_SZ, PIPE_SZ);
	fcntl(back[1], F_SETPIPE_SZ, PIPE_SZ);
	set_fds(stage, back[0], back[1], forth[0], forth[1]);
	return 0;
}

int stage_prepare_sockets(struct stage *stage)
{
	int ends[2], room = SOCKET_SZ;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	set_fds(stage, ends[0], ends[1], dup(ends[1]), dup(ends[0]));
	return 0;
}

int stage_prepare_eventfds(struct stage *stage)
{
	int to_near = eventfd(0, EFD_CLOEXEC);
	int to_far = eventfd(0, EFD_CLOEXEC);

	if (to_near < 0 || to_far < 0)
		return -errno;
	set_fds(stage, to_near, dup(to_near), to_far, dup(to_far));
	return 0;
}

int stage_prepare_memory(struct stage *stage, uint64_t sz)
{
	stage->page = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stage->page == MAP_FAILED) {
		stage->page = NULL;
		return -errno;
	}
	stage->page_sz = sz;
	return 0;
}

int stage_prepare_page(struct stage *stage)
{
	return stage_prepare_memory(stage, STAGE_PAGE_SZ);
}

int stage_prepare_lines(struct stage *stage)
{
	return stage_prepare_memory(stage, 4096 + 2 * stage_lines_sz(stage));
}

void stage_read_all(struct stage *stage, void *data, uint64_t size)
{
	char *at = data;

	while (size) {
		ssize_t got = read(stage_read_fd(stage), at, size);

		if (got <= 0 && errno != EINTR)
			stage_fail(stage, "read", got ? -errno : -EPIPE);
		at += got > 0 ? got : 0;
		size -= (uint64_t)(got > 0 ? got : 0);
	}
}

void stage_write_all(struct stage *stage, const void *data, uint64_t size)
{
	const char *at = data;

	while (size) {
		ssize_t put = write(stage_write_fd(stage), at, size);

		if (put < 0 && errno != EINTR)
			stage_fail(stage, "write", -errno);
		at += put > 0 ? put : 0;
		size -= (uint64_t)(put > 0 ? put : 0);
	}
}

static pid_t start_side(struct stage *stage, const struct rival *rival, enum stage_side side)
{
	static const enum evr_wait_policy policies[] = {
		[RIVAL_SPINS] = EVR_WAIT_BUSY,
		[RIVAL_ADAPTS] = EVR_WAIT_ADAPTIVE,
		[RIVAL_SLEEPS] = EVR_WAIT_SLEEP,
	};
	pid_t parent = getpid();
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	alarm(RUN_SECONDS_MAX);
	stage->side = side;
	stage->rival = rival;
	stage->policy = policies[rival->manner];
	machine_pin(stage->cpus[side]);
	(side == STAGE_NEAR ? rival->near : rival->far)(stage);
	_exit(0);
}

/* Waits for both; when one fails, the other has nobody to talk to and is killed. */
static int await_sides(const pid_t sides[2])
{
	int running = 2, failed = 0;

	while (running) {
		int status;
		pid_t ended = waitpid(-1, &status, 0);

		if (ended < 0 && errno == EINTR)
			continue;
		if (ended < 0)
			return -errno;
		if (ended != sides[0] && ended != sides[1])
			continue;
		running--;
		if (!status)
			continue;
		failed = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? -ETIMEDOUT :
			 failed						    ? failed :
									      -EIO;
		if (running)
			kill(ended == sides[0] ? sides[1] : sides[0], SIGKILL);
	}
	return failed;
}

static void collect(const struct stage *stage, struct outcome *outcome)
{
	const struct stage_half *near = &stage->shared->halves[STAGE_NEAR];
	const struct stage_half *far = &stage->shared->halves[STAGE_FAR];
	uint64_t end_ns = near->end_ns > far->end_ns ? near->end_ns : far->end_ns;
	uint64_t begin_ns = near->begin_ns > far->begin_ns ? near->begin_ns : far->begin_ns;

	outcome->seconds = (double)(end_ns - begin_ns) / 1e9;
	outcome->cpu_seconds = (double)(near->cpu_ns + far->cpu_ns) / 1e9;
	outcome->operations = (double)stage->count;
	outcome->counted = stage->shared->counted;
	outcome->ticks = stage->shared->ticks;
}

static int tell_failure(const struct stage *stage, const struct rival *rival, int err)
{
	for (int side = 0; side < 2; side++) {
		const struct stage_half *half = &stage->shared->halves[side];

		if (!half->error)
			continue;
		message("%s: %s", rival->name, half->message);
		return half->error;
	}
	message("%s: a side of the run ended: %s", rival->name, strerror(-err));
	return err;
}

static void clean_up(struct stage *stage)
{
	for (int i = 0; i < STAGE_FDS_MAX; i++) {
		if (stage->fds[i] >= 0)
			close(stage->fds[i]);
	}
	if (stage->page)
		munmap(stage->page, stage->page_sz);
	if (stage->segment)
		evr_segment_close(stage->segment);
	munmap(stage->shared, sizeof(*stage->shared));
}

static int run_sides(struct stage *stage, const struct rival *rival)
{
	pid_t sides[2];
	int err;

	fflush(NULL);
	sides[STAGE_NEAR] = start_side(stage, rival, STAGE_NEAR);
	if (sides[STAGE_NEAR] < 0)
		return -errno;
	sides[STAGE_FAR] = start_side(stage, rival, STAGE_FAR);
	if (sides[STAGE_FAR] < 0) {
		err = -errno;
		kill(sides[STAGE_NEAR], SIGKILL);
		waitpid(sides[STAGE_NEAR], NULL, 0);
		return err;
	}
	return await_sides(sides);
}

int stage_run(struct stage *stage, const struct rival *rival, struct outcome *outcome)
{
	int err;

	memset(stage->fds, -1, sizeof(stage->fds));
	stage->segment = NULL;
	stage->page = NULL;
	stage->meetings = 0;
	stage->rival = rival;
	stage->shared = mmap(NULL, sizeof(*stage->shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stage->shared == MAP_FAILED)
		return message_failed(rival->name, -errno), -errno;
	err = rival->prepare(stage);
	if (err == -EOPNOTSUPP) {
		message("%s: not to be had here, or not with %llu bytes: left out", rival->name,
			(unsigned long long)stage->size);
	} else if (err) {
		message_failed(rival->name, err);
	} else {
		err = run_sides(stage, rival);
		if (err)
			err = tell_failure(stage, rival, err);
		else
			collect(stage, outcome);
	}
	clean_up(stage);
	return err;
}
