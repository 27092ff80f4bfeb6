/* SPDX-License-Identifier: MIT */
/*
 * sendmsg and recvmsg; recvmsg without end, into provided buffers.
 *
 * Mutants seen to fail here: a header of sendmsg that is not copied; of recvmsg, one that is looked at
 * later, or comes once; control data that is not aligned; an end that is not the last, or takes no
 * buffer; a length that is believed; MSG_WAITALL; a buffer that is too small; a group that a thread uses.
 */
#include "loop.h"

#include <netinet/in.h>

static void message_carries_fds(void **state)
{
	struct loop *loop = *state;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} out = { 0 }, in = { 0 };
	char data[8] = { 0 };
	char text[] = "fd";
	struct iovec iov = { text, 2 }, to = { data, sizeof(data) };
	struct msghdr send = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &out, .msg_controllen = sizeof(out)
	};
	struct msghdr recv = {
		.msg_iov = &to, .msg_iovlen = 1, .msg_control = &in, .msg_controllen = sizeof(in)
	};
	struct seen seen, sent;
	struct cmsghdr *cmsg;
	int fds[2], fd;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cmsg = CMSG_FIRSTHDR(&send);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fds[0], sizeof(int));
	loop_submit(loop, evr_op_recvmsg(fds[1], &recv, MSG_CMSG_CLOEXEC), &seen);
	loop_rounds(loop, 1);
	loop_submit(loop, evr_op_sendmsg(fds[0], &send, 0), &sent);
	/* Header and array were copied. */
	memset(&send, 0xff, sizeof(send));
	memset(&iov, 0xff, sizeof(iov));
	assert_int_equal(loop_finish(loop, &sent), 2);
	assert_int_equal(loop_finish(loop, &seen), 2);
	assert_string_equal(data, "fd");
	cmsg = CMSG_FIRSTHDR(&recv);
	assert_non_null(cmsg);
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	assert_true(fd >= 0);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

/* What came of a multishot op. */
struct messages {
	struct seen seen;
	struct msghdr room;
	int nr, control_nr;
	uint16_t ports[16];
	char text[16][32];
	int flags[16];
};

static void message_came(struct evr_driver *d, const struct evr_completion *done)
{
	struct messages *m = (struct messages *)done->arg;
	struct evr_completion counted = *done;
	const struct sockaddr_in *from;
	struct cmsghdr *cmsg;
	struct msghdr msg;
	void *data;
	int len;

	counted.arg = &m->seen;
	seen_done(d, &counted);
	/* With an error some kernels hand the buffer over all the same (6.1). */
	if (!(done->flags & EVR_DONE_BUFFER) || done->res < 0)
		return;
	len = evr_op_received(done, &m->room, &msg, &data);
	CHECK(len >= 0 && len < 32 && (char *)data + len <= (char *)done->buf + done->res);
	memcpy(m->text[m->nr], data, (size_t)len);
	m->flags[m->nr] = msg.msg_flags;
	from = msg.msg_name;
	CHECK(msg.msg_namelen == (from ? sizeof(*from) : 0));
	m->ports[m->nr] = from ? ntohs(from->sin_port) : 0;
	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		CHECK((uintptr_t)cmsg % 8 == 0);
		m->control_nr += cmsg->cmsg_type == IP_PKTINFO;
	}
	m->nr++;
	if (done->flags & EVR_DONE_MORE || !done->res)
		CHECK(evr_buffers_return(d, done->bgid, done->bid) == 0);
}

static int datagram_socket(struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
	return fd;
}

#define MESSAGE_BUFFERS 4

/* Each with its sender and its control data; one that is too long is cut, and says so. */
static void messages_have_their_senders(void **state)
{
	static _Alignas(8) char buffers[MESSAGE_BUFFERS][16 + 32 + 64 + 8];
	struct sockaddr_in to, from[2];
	struct messages m = { .room = { .msg_namelen = 28, .msg_controllen = 64 } };
	struct loop *loop = *state;
	int fd, senders[2], on = 1, i;
	struct evr_op op;
	uint64_t id;

	fd = datagram_socket(&to);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
	for (i = 0; i < 2; i++)
		senders[i] = datagram_socket(&from[i]);
	assert_int_equal(evr_buffers_create(loop->d, 5, MESSAGE_BUFFERS), 0);
	for (i = 0; i < MESSAGE_BUFFERS; i++)
		assert_int_equal(evr_buffers_provide(loop->d, 5, (uint16_t)i, buffers[i],
						     sizeof(buffers[i])),
				 0);
	op = evr_op_buffered(evr_op_recvmsg(fd, &m.room, 0), 5);
	op = evr_op_then(evr_op_flagged(op, EVR_OP_MULTISHOT), message_came, &m);
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
	/* How much room is submitted: what becomes of the header is nobody's business. */
	m.room.msg_iovlen = SIZE_MAX;
	for (i = 0; i < 10; i++) {
		assert_int_equal(sendto(senders[i % 2], "0123456789abcdef", (size_t)i + 1, 0,
					(struct sockaddr *)&to, sizeof(to)),
				 i + 1);
		LOOP_UNTIL(loop, m.nr > i);
		assert_int_equal(m.ports[i], ntohs(from[i % 2].sin_port));
		assert_int_equal(strlen(m.text[i]), i < 8 ? i + 1 : 8);
		assert_memory_equal(m.text[i], "0123456789", strlen(m.text[i]));
		assert_int_equal(m.flags[i] & MSG_TRUNC, i < 8 ? 0 : MSG_TRUNC);
		assert_int_equal(m.control_nr, i + 1);
	}
	assert_int_equal(m.seen.terminal, 0);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &m.seen), -ECANCELED);
	assert_int_equal(evr_buffers_nr(loop->d, 5), MESSAGE_BUFFERS);
	assert_int_equal(evr_buffers_destroy(loop->d, 5), 0);
	for (i = 0; i < 2; i++)
		close(senders[i]);
	close(fd);
}

/* No buffer left, one that is too small, the end: each ends it as in every mode. */
static void messages_end(void **state)
{
	static _Alignas(8) char buffers[2][16 + 8];
	struct messages m = { 0 };
	struct evr_driver_stats stats;
	struct loop *loop = *state;
	struct evr_op op;
	int fds[2], i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(evr_buffers_create(loop->d, 5, 2), 0);
	op = evr_op_buffered(evr_op_recvmsg(fds[0], &m.room, 0), 5);
	op = evr_op_then(evr_op_flagged(op, EVR_OP_MULTISHOT), message_came, &m);
	assert_int_equal(write(fds[1], "one", 3), 3);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	assert_int_equal(loop_finish(loop, &m.seen), -ENOBUFS);
	/* Shorter than the header alone. */
	memset(&m, 0, sizeof(m));
	assert_int_equal(evr_buffers_provide(loop->d, 5, 0, buffers[0], 8), 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	assert_int_equal(loop_finish(loop, &m.seen), -EFAULT);
	assert_int_equal(m.nr, 0);
	assert_int_equal(evr_buffers_destroy(loop->d, 5), 0);
	assert_int_equal(evr_buffers_create(loop->d, 5, 2), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(evr_buffers_provide(loop->d, 5, (uint16_t)i, buffers[i],
						     sizeof(buffers[i])),
				 0);
	memset(&m, 0, sizeof(m));
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	LOOP_UNTIL(loop, m.nr == 1);
	assert_string_equal(m.text[0], "one");
	assert_int_equal(m.ports[0] + m.control_nr, 0);
	close(fds[1]);
	/* The end is a message without data, in a buffer. */
	assert_int_equal(loop_finish(loop, &m.seen), 16);
	assert_int_equal(m.nr, 2);
	assert_string_equal(m.text[1], "");
	assert_int_equal(evr_buffers_nr(loop->d, 5), 1);
	assert_int_equal(evr_buffers_destroy(loop->d, 5), 0);
	assert_int_equal(evr_buffers_create(loop->d, 5, 1), 0);
	memset(&m, 0, sizeof(m));
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	assert_int_equal(loop_finish(loop, &m.seen), -ENOBUFS);
	close(fds[0]);
	/* No socket, and nothing to wait for: no thread is to look into the group. */
	fds[0] = open("/", O_RDONLY | O_CLOEXEC);
	op.fd = fds[0];
	memset(&m, 0, sizeof(m));
	assert_int_equal(evr_buffers_provide(loop->d, 5, 0, buffers[0], 24), 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	assert_int_equal(loop_finish(loop, &m.seen), -ENOTSOCK);
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.pool_threads, 0);
	assert_int_equal(evr_buffers_nr(loop->d, 5), 1);
	assert_int_equal(evr_buffers_destroy(loop->d, 5), 0);
	close(fds[0]);
}

/* Refused when they are submitted; and a header of any content stays within its buffer. */
static void messages_are_checked(void **state)
{
	struct loop *loop = *state;
	struct msghdr room = { .msg_namelen = 16, .msg_controllen = 24 }, msg;
	uint32_t buffer[16 + 4], word;
	struct evr_completion done = { .flags = EVR_DONE_BUFFER, .buf = buffer };
	struct evr_op op;
	void *data;

	assert_int_equal(evr_buffers_create(loop->d, 5, 2), 0);
	op = evr_op_flagged(evr_op_recvmsg(0, &room, 0), EVR_OP_MULTISHOT);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_buffered(evr_op_recvmsg(0, &room, 0), 5);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_flagged(op, EVR_OP_MULTISHOT);
	op.opflags = MSG_WAITALL;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op.code = EVR_OP_RECV;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_flagged(evr_op_buffered(evr_op_recvmsg(0, NULL, 0), 5), EVR_OP_MULTISHOT);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EFAULT);
	room.msg_namelen = sizeof(struct sockaddr_storage) + 1;
	op.addr = (uintptr_t)&room;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	room.msg_namelen = 16;
	room.msg_controllen = (1 << 20) + 1;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	room.msg_controllen = 24;
	assert_int_equal(evr_buffers_destroy(loop->d, 5), 0);

	for (word = 0; word < 4; word++) {
		memset(buffer, 0, sizeof(buffer));
		memset(&msg, 0xff, sizeof(msg));
		buffer[word] = UINT32_MAX;
		done.res = 16 + 16 + 24 + 3;
		assert_int_equal(evr_op_received(&done, &room, &msg, &data), 3);
		assert_ptr_equal(data, (char *)buffer + 56);
		assert_int_equal(msg.msg_namelen, word == 0 ? 16 : 0);
		assert_ptr_equal(msg.msg_name, word == 0 ? (char *)buffer + 16 : NULL);
		assert_int_equal(msg.msg_controllen, word == 1 ? 24 : 0);
		assert_ptr_equal(msg.msg_control, word == 1 ? (char *)buffer + 32 : NULL);
		assert_int_equal(msg.msg_flags, word == 3 ? -1 : 0);
		assert_null(msg.msg_iov);
	}
	done.res = 55;
	assert_int_equal(evr_op_received(&done, &room, &msg, &data), -EBADMSG);
	done.res = -ECANCELED;
	assert_int_equal(evr_op_received(&done, &room, &msg, &data), -EINVAL);
	done.res = 59;
	assert_int_equal(evr_op_received(&done, NULL, &msg, &data), -EFAULT);
	done.flags = 0;
	assert_int_equal(evr_op_received(&done, &room, &msg, &data), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(message_carries_fds),
		EACH_MODE_TEST(messages_have_their_senders),
		EACH_MODE_TEST(messages_end),
		EACH_MODE_TEST(messages_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
