/* SPDX-License-Identifier: MIT */
/*
 * A file is copied by two processes: one reads it into blocks of the segment, the other
 * writes these blocks into another file. Neither touches a byte: the disk's bytes go
 * into the segment and out of it. The blocks go back as soon as they are written.
 *
 * cc copy_through_peer.c $(pkg-config --cflags --libs evering evering-driver) && ./a.out FROM TO [URI]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/driver_op.h>
#include <evering/driver_resource.h>
#include <evering/evering.h>

#define PIECE 32768u
#define WRITES 8 /* at once */

static void check(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror((int)err), evr_error_detail());
	exit(1);
}

/* What both sides have. */
struct side {
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_channel ch;
	struct evr_waiter waiter;
	struct evr_driver *driver;
	uint16_t region;
};

static void side_open(struct side *s, struct evr_segment *segment, enum evr_channel_role role)
{
	check(evr_peer_attach(&s->peer, segment, NULL), "attach");
	check(evr_waiter_init(&s->waiter, s->peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_open(&s->heap, s->peer, "blocks"), "heap");
	check(evr_channel_open(&s->ch, s->peer, "pieces", role, 0), "channel");
	check(evr_channel_bind(&s->ch, &s->heap, &s->heap), "bind");
	check(evr_driver_create(&s->driver, NULL), "driver");
	check(evr_region_add_peer(s->driver, s->peer, &s->region), "region");
}

static void side_close(struct side *s)
{
	check(evr_driver_close(s->driver, EVR_DRIVER_NO_DEADLINE), "close");
	evr_channel_close(&s->ch);
	evr_heap_close(&s->heap);
	evr_waiter_fini(&s->waiter);
	evr_peer_detach(s->peer);
}

static uint64_t offset_of(struct side *s, uint64_t handle)
{
	struct evr_block_info info;

	check(evr_heap_info(&s->heap, handle, &info), "block");
	return info.off;
}

static void got(struct evr_driver *driver, const struct evr_completion *done)
{
	*(int32_t *)done->arg = done->res;
}

/* Until the other side has all, which may have closed by then. */
static void drain(struct side *s)
{
	int err = evr_channel_drain_wait(&s->ch, &s->waiter, EVR_NO_DEADLINE);

	check(err == -EPIPE ? 0 : err, "drain");
}

/*
 * One at a time, with EXACT: only the last piece is short, and there is always one: of an
 * end that sends nothing and goes, who comes later would not know. The other side works
 * meanwhile.
 */
static void reader(struct evr_segment *segment, int fd)
{
	static struct side s;
	struct evr_message m;
	int32_t res = PIECE;
	struct evr_op op;
	uint64_t off;

	side_open(&s, segment, EVR_CHANNEL_A);
	for (off = 0; res == PIECE; off += PIECE) {
		check(evr_channel_alloc(&s.ch, PIECE, &m), "block");
		op = evr_op_in(evr_op_read(fd, NULL, PIECE, off), s.region,
			       offset_of(&s, m.handle));
		op = evr_op_then(evr_op_flagged(op, EVR_OP_EXACT), got, &res);
		check(evr_driver_submit(s.driver, &op, NULL), "read");
		check(evr_driver_run(s.driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
		check(res, "read");
		m.sz = (uint64_t)res;
		m.tag = off;
		check(evr_channel_send_wait(&s.ch, &s.waiter, &m, EVR_NO_DEADLINE), "send");
	}
	check(evr_channel_shutdown(&s.ch, EVR_SHUT_SEND), "shutdown");
	drain(&s);
	side_close(&s);
	close(fd);
}

/* A block while its bytes are written. */
struct write {
	struct side *s;
	struct evr_message m;
	bool busy;
};

static void written(struct evr_driver *driver, const struct evr_completion *done)
{
	struct write *write = done->arg;

	check(done->res, "write");
	check((uint64_t)done->res == write->m.sz ? 0 : -ENOSPC, "write");
	evr_channel_release(&write->s->ch, &write->m);
	write->busy = false;
}

static struct write *free_write(struct side *s, struct write *writes)
{
	int i;

	for (;;) {
		for (i = 0; i < WRITES; i++)
			if (!writes[i].busy)
				return &writes[i];
		check(evr_driver_run(s->driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
	}
}

static uint64_t writer(struct evr_segment *segment, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err, i;
	static struct write writes[WRITES];
	static struct side s;
	uint64_t bytes = 0;
	struct write *write;
	struct evr_op op;

	check(fd < 0 ? -errno : 0, path);
	side_open(&s, segment, EVR_CHANNEL_B);
	for (;;) {
		write = free_write(&s, writes);
		err = evr_channel_recv_wait(&s.ch, &s.waiter, &write->m, EVR_NO_DEADLINE);
		if (err == -EPIPE)
			break;
		check(err, "receive");
		write->s = &s;
		write->busy = true;
		bytes += write->m.sz;
		op = evr_op_in(evr_op_write(fd, NULL, (uint32_t)write->m.sz, write->m.tag),
			       s.region, offset_of(&s, write->m.handle));
		op = evr_op_then(evr_op_flagged(op, EVR_OP_EXACT), written, write);
		check(evr_driver_submit(s.driver, &op, NULL), "write");
		check(evr_driver_flush(s.driver), "flush");
	}
	for (i = 0; i < WRITES; i++)
		while (writes[i].busy)
			check(evr_driver_run(s.driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
	side_close(&s);
	close(fd);
	return bytes;
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 8 << 20,
					       .peers_max = 4 };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 4 << 20 };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel), .heap = "blocks" };
	struct evr_segment *segment;
	struct evr_peer *peer;
	uint64_t bytes;
	int fd, status;

	if (argc < 3) {
		fprintf(stderr, "usage: copy_through_peer FROM TO [URI]\n");
		return 2;
	}
	/* Before anybody waits for it. */
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	check(fd < 0 ? -errno : 0, argv[1]);
	check(evr_segment_create(&segment, argc > 3 ? argv[3] : "local:", &options), "segment");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_heap_create(peer, "blocks", &heap), "heap");
	/* So many pieces at most, so that the heap has room for them. */
	channel.window_messages = 64;
	check(evr_channel_create(peer, "pieces", &channel), "channel");
	if (!fork()) {
		reader(segment, fd);
		exit(0);
	}
	bytes = writer(segment, argv[2]);
	wait(&status);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	printf("%llu bytes\n", (unsigned long long)bytes);
	return status ? 1 : 0;
}
