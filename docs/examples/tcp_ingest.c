/* SPDX-License-Identifier: MIT */
/*
 * From the network into the segment: one multishot receive, whose buffers are blocks of
 * a heap. What arrives in a block is a message already, and goes to another process
 * by its handle. One op receives all of it.
 *
 * cc tcp_ingest.c $(pkg-config --cflags --libs evering evering-driver) && ./a.out [URI]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/driver_op.h>
#include <evering/driver_resource.h>
#include <evering/evering.h>

#define BLOCK 4096u
#define PLACES 16
#define GROUP 1
#define TOTAL (1u << 20) /* bytes that the source sends */

static void check(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror((int)err), evr_error_detail());
	exit(1);
}

static unsigned char byte_at(uint32_t pos)
{
	return (unsigned char)(pos % 251);
}

struct ingest {
	struct evr_heap heap;
	struct evr_channel ch;
	struct evr_waiter waiter;
	bool ended, again;
};

/* Until the other side has all, which may have closed by then. */
static void drain(struct ingest *in)
{
	int err = evr_channel_drain_wait(&in->ch, &in->waiter, EVR_NO_DEADLINE);

	check(err == -EPIPE ? 0 : err, "drain");
}

static void received(struct evr_driver *driver, const struct evr_completion *done)
{
	struct ingest *in = done->arg;
	struct evr_message m;

	/* With no block left it ends, and begins again when the other side has freed some. */
	if (!(done->flags & EVR_DONE_MORE))
		in->again = done->res > 0 || done->res == -ENOBUFS;
	if (done->res == -ENOBUFS)
		drain(in);
	else
		check(done->res, "receive");
	in->ended = !done->res;
	if (!(done->flags & EVR_DONE_BUFFER))
		return;
	m = (struct evr_message){ .data = done->buf,
				  .sz = (uint64_t)done->res,
				  .handle = done->value,
				  .kind = EVR_FRAME_BLOCK };
	check(evr_channel_send_wait(&in->ch, &in->waiter, &m, EVR_NO_DEADLINE), "send");
}

static void ingest(struct evr_segment *segment, int fd)
{
	static struct ingest in;
	struct evr_driver *driver;
	struct evr_block_source blocks = { .struct_sz = sizeof(blocks),
					   .heap = &in.heap,
					   .sz = BLOCK };
	struct evr_peer *peer;
	struct evr_op op;

	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_waiter_init(&in.waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_open(&in.heap, peer, "blocks"), "heap");
	check(evr_channel_open(&in.ch, peer, "stream", EVR_CHANNEL_A, 0), "channel");
	check(evr_channel_bind(&in.ch, &in.heap, NULL), "bind");
	check(evr_driver_create(&driver, NULL), "driver");
	check(evr_buffers_create_blocks(driver, GROUP, PLACES, &blocks), "group");
	op = evr_op_flagged(evr_op_buffered(evr_op_recv(fd, NULL, 0, 0), GROUP), EVR_OP_MULTISHOT);
	op = evr_op_then(op, received, &in);
	for (in.again = true; !in.ended;) {
		if (in.again)
			check(evr_driver_submit(driver, &op, NULL), "submit");
		in.again = false;
		check(evr_driver_run(driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
	}
	check(evr_driver_close(driver, EVR_DRIVER_NO_DEADLINE), "close");
	check(evr_channel_shutdown(&in.ch, EVR_SHUT_SEND), "shutdown");
	drain(&in);
	evr_channel_close(&in.ch);
	evr_heap_close(&in.heap);
	evr_waiter_fini(&in.waiter);
	evr_peer_detach(peer);
}

static void source(int fd)
{
	static unsigned char bytes[10000];
	uint32_t pos, i, sz;

	for (pos = 0; pos < TOTAL; pos += sz) {
		sz = 1 + pos * 7919 % sizeof(bytes);
		sz = sz < TOTAL - pos ? sz : TOTAL - pos;
		for (i = 0; i < sz; i++)
			bytes[i] = byte_at(pos + i);
		check(send(fd, bytes, sz, 0) == (ssize_t)sz ? 0 : -EPIPE, "source");
	}
}

static int consume(struct evr_segment *segment)
{
	uint32_t pos = 0, messages = 0, i;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_peer *peer;
	struct evr_heap heap;
	int err;

	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_open(&heap, peer, "blocks"), "heap");
	check(evr_channel_open(&ch, peer, "stream", EVR_CHANNEL_B, 0), "channel");
	check(evr_channel_bind(&ch, NULL, &heap), "bind");
	for (;; messages++) {
		err = evr_channel_recv_wait(&ch, &waiter, &m, EVR_NO_DEADLINE);
		if (err == -EPIPE)
			break;
		check(err, "receive");
		for (i = 0; i < m.sz && ((const unsigned char *)m.data)[i] == byte_at(pos); i++)
			pos++;
		check(m.kind == EVR_FRAME_BLOCK && i == m.sz ? 0 : -EBADMSG, "the bytes differ");
		evr_channel_release(&ch, &m);
	}
	printf("%u bytes in %u messages, in order\n", pos, messages);
	evr_channel_close(&ch);
	evr_heap_close(&heap);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return pos == TOTAL ? 0 : 1;
}

/* Both ends of a TCP connection of this machine with itself. */
static void connection(int fds[2])
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(to);

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	check(bind(listener, (struct sockaddr *)&to, len) || listen(listener, 1) ||
			      getsockname(listener, (struct sockaddr *)&to, &len) ||
			      connect(fds[0], (struct sockaddr *)&to, len) ?
		      -errno :
		      0,
	      "connection");
	fds[1] = accept(listener, NULL, NULL);
	check(fds[1] < 0 ? -errno : 0, "accept");
	close(listener);
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 4 << 20,
					       .peers_max = 4 };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 2 << 20 };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel), .heap = "blocks" };
	int fds[2], status, failed, i;
	struct evr_segment *segment;
	struct evr_peer *peer;

	check(evr_segment_create(&segment, argc > 1 ? argv[1] : "local:", &options), "segment");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_heap_create(peer, "blocks", &heap), "heap");
	check(evr_channel_create(peer, "stream", &channel), "channel");
	connection(fds);
	if (!fork()) {
		close(fds[1]);
		source(fds[0]);
		exit(0);
	}
	if (!fork()) {
		close(fds[0]);
		ingest(segment, fds[1]);
		exit(0);
	}
	close(fds[0]);
	close(fds[1]);
	failed = consume(segment);
	for (i = 0; i < 2; i++) {
		wait(&status);
		failed |= status;
	}
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return failed ? 1 : 0;
}
