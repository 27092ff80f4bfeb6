// SPDX-License-Identifier: MIT
/* See uring_cmd.h. */

#include "uring_cmd.h"

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

const struct uring_kind uring_kinds[] = {
	{ "plain", 0 },
	{ "defer_taskrun", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN },
	{ "sqpoll", IORING_SETUP_SQPOLL },
};
const unsigned int uring_kinds_nr = sizeof(uring_kinds) / sizeof(uring_kinds[0]);

bool uring_start(struct io_uring *ring, const struct uring_kind *kind)
{
	int ret = io_uring_queue_init(32, ring, kind->flags);

	if (ret == 0)
		return true;
	print_message("# no %s ring here: %s\n", kind->name, strerror(-ret));
	return false;
}

void uring_put(struct io_uring *ring, int fd, uint32_t op, const void *cmd, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	EV_CHECK(sqe);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	/* Not sqe->cmd: an array of no size to the compiler's bounds checks. */
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), cmd, 16);
	io_uring_sqe_set_data64(sqe, user_data);
}

void uring_put_ring(struct io_uring *ring, int fd, struct evering_bell *bells, uint32_t nr,
		    uint64_t user_data)
{
	struct evering_uring_ring cmd = { .bells = (uintptr_t)bells, .nr = nr };

	uring_put(ring, fd, EVERING_URING_BELL_RING, &cmd, user_data);
}

void uring_put_wait(struct io_uring *ring, int fd, struct evering_bell_wait *wait, uint64_t mask,
		    uint64_t cookie)
{
	struct evering_uring_wait cmd = { .wait = (uintptr_t)wait, .cookie = cookie };

	poison(wait, sizeof(*wait));
	wait->size = sizeof(*wait);
	wait->flags = 0;
	wait->mask = mask;
	wait->deadline_ns = EVERING_NO_DEADLINE;
	uring_put(ring, fd, EVERING_URING_BELL_WAIT, &cmd, cookie);
}

void uring_put_cancel(struct io_uring *ring, int fd, uint64_t cookie, uint64_t user_data)
{
	struct evering_uring_cancel cmd = { .cookie = cookie };

	uring_put(ring, fd, EVERING_URING_CANCEL, &cmd, user_data);
}

/* The completion with this user_data, wherever it is in the queue; then take it out. */
static bool take(struct io_uring *ring, uint64_t user_data, int *res)
{
	struct io_uring_cqe *cqe, *first = NULL;
	unsigned int head;

	io_uring_for_each_cqe(ring, head, cqe)
	{
		if (!first)
			first = cqe;
		if (cqe->user_data != user_data)
			continue;
		*res = cqe->res;
		*cqe = *first;
		io_uring_cq_advance(ring, 1);
		return true;
	}
	return false;
}

int uring_result(struct io_uring *ring, uint64_t user_data)
{
	int ms, res;

	EV_CHECK(io_uring_submit(ring) >= 0);
	for (ms = 0; ms < EV_HANG_MS; ms++) {
		io_uring_get_events(ring);
		if (take(ring, user_data, &res))
			return res;
		usleep(1000);
	}
	ev_fail(__FILE__, __LINE__, "no completion of %#llx in %d s", (unsigned long long)user_data,
		EV_HANG_MS / 1000);
}

int uring_one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	EV_EQ(io_uring_submit(ring), 1);
	EV_EQ(io_uring_wait_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

bool uring_is_done(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ms;

	EV_CHECK(io_uring_submit(ring) >= 0);
	/* A polling thread takes its time. */
	for (ms = 0; ms < EV_HANG_MS && io_uring_sq_ready(ring); ms++)
		usleep(1000);
	io_uring_get_events(ring);
	return io_uring_peek_cqe(ring, &cqe) == 0;
}
