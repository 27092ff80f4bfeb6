// SPDX-License-Identifier: MIT
/* POSIX message queues. What an unprivileged user may have bounds them: 10 messages of 8 KiB. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <unistd.h>

#include "carrier.h"
#include "rivals.h"

/* A descriptor is a file descriptor here, and belongs in the stage's. The name goes at once. */
static int make_queue(struct stage *stage, const char *way, int *fd)
{
	struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)stage->size };
	char name[64];

	snprintf(name, sizeof(name), "/evering-bench-%d-%s", (int)getpid(), way);
	mq_unlink(name);
	*fd = (int)mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr);
	if (*fd < 0)
		return -EOPNOTSUPP;
	mq_unlink(name);
	return 0;
}

static int prepare(struct stage *stage)
{
	int err = make_queue(stage, "back", &stage->fds[0]);

	if (!err)
		err = make_queue(stage, "forth", &stage->fds[2]);
	if (err)
		return err;
	stage->fds[1] = dup(stage->fds[2]);
	stage->fds[3] = dup(stage->fds[0]);
	return 0;
}

/* stage_read_fd() is where a side receives; it sends into the other's. */
static int send_fd(const struct stage *stage)
{
	return stage->fds[stage->side == STAGE_NEAR ? 1 : 3];
}

static void queue_send(struct stage *stage, const void *data, uint64_t size)
{
	if (mq_send((mqd_t)send_fd(stage), data, size, 0))
		stage_fail(stage, "mq_send", -errno);
}

static void queue_receive(struct stage *stage, void *data, uint64_t size)
{
	if (mq_receive((mqd_t)stage_read_fd(stage), data, size, NULL) != (ssize_t)size)
		stage_fail(stage, "mq_receive", -errno);
}

static const struct carrier carrier = { NULL, NULL, queue_send, queue_receive };

const struct rival mq_trips = { "POSIX mq",    RIVAL_SLEEPS,  prepare,
				carrier_trips, carrier_trips, &carrier };
const struct rival mq_stream = { "POSIX mq",	 RIVAL_SLEEPS,	 prepare,
				 carrier_stream, carrier_stream, &carrier };
const struct rival mq_calls = { "POSIX mq",    RIVAL_SLEEPS,  prepare,
				carrier_calls, carrier_calls, &carrier };
