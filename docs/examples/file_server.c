/* SPDX-License-Identifier: MIT */
/*
 * A file server: asked for a file by a peer, it reads it from the disk straight into
 * blocks of the segment, several at once, past the page cache where the file system can,
 * and hands each block over as it comes. The bytes are never copied, and never touched
 * by the server. The client puts the pieces where they belong and compares. For many
 * clients, in order, by a hub and by sockets it is 'evering serve'.
 *
 * cc -D_GNU_SOURCE file_server.c $(pkg-config --cflags --libs evering evering-driver) && ./a.out FILE [URI]
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/driver_op.h>
#include <evering/driver_resource.h>
#include <evering/evering.h>

#define PIECE 65536u /* a multiple of what O_DIRECT wants, and so is a block's address */
#define READS 8 /* at once */
#define END UINT64_MAX /* tag of the last message */

static void check(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror((int)err), evr_error_detail());
	exit(1);
}

/* A piece on its way from the disk. */
struct read {
	struct evr_block block;
	uint64_t off;
	int32_t got;
	bool busy, done;
};

struct server {
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_channel ch;
	struct evr_waiter waiter;
	struct evr_driver *driver;
	uint16_t region;
	struct read reads[READS];
	int fd;
	uint64_t next, sz;
};

static void read_done(struct evr_driver *driver, const struct evr_completion *done)
{
	struct read *read = done->arg;

	check(done->res, "read");
	read->got = done->res;
	read->done = true;
}

static void read_begin(struct server *s, struct read *read)
{
	struct evr_block_info info;
	struct evr_op op;

	read->block = evr_heap_alloc_aligned(&s->heap, PIECE, 4096);
	check(read->block.ptr ? 0 : evr_heap_error(&s->heap), "block");
	check(evr_heap_info(&s->heap, read->block.handle, &info), "block");
	read->off = s->next;
	read->busy = true;
	read->done = false;
	s->next += PIECE;
	/* By its offset in the segment: memory that the kernel knows already, where it may. */
	op = evr_op_in(evr_op_read(s->fd, NULL, PIECE, read->off), s->region, info.off);
	op = evr_op_then(op, read_done, read);
	check(evr_driver_submit(s->driver, &op, NULL), "submit");
}

/* The block itself is the message: from here on it is the client's. */
static void hand_over(struct server *s, struct read *read)
{
	struct evr_message m = { .data = read->block.ptr,
				 .sz = (uint64_t)read->got,
				 .tag = read->off,
				 .handle = read->block.handle,
				 .kind = EVR_FRAME_BLOCK };

	read->busy = false;
	check(evr_channel_send_wait(&s->ch, &s->waiter, &m, EVR_NO_DEADLINE), "send");
}

static void serve_file(struct server *s, const char *path)
{
	struct evr_message end = { .data = &s->reads, .sz = 1, .tag = END };
	struct stat st;
	int i, busy;

	s->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (s->fd < 0)
		s->fd = open(path, O_RDONLY | O_CLOEXEC);
	check(s->fd < 0 ? -errno : 0, path);
	check(fstat(s->fd, &st) ? -errno : 0, path);
	s->sz = (uint64_t)st.st_size;
	do {
		for (i = 0, busy = 0; i < READS; i++) {
			if (s->reads[i].busy && s->reads[i].done)
				hand_over(s, &s->reads[i]);
			if (!s->reads[i].busy && s->next < s->sz)
				read_begin(s, &s->reads[i]);
			busy += s->reads[i].busy;
		}
		if (busy)
			check(evr_driver_run(s->driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
	} while (busy);
	check(evr_channel_send_wait(&s->ch, &s->waiter, &end, EVR_NO_DEADLINE), "end");
	close(s->fd);
}

/* Until the other side has all, which may have closed by then. */
static void drain(struct server *s)
{
	int err = evr_channel_drain_wait(&s->ch, &s->waiter, EVR_NO_DEADLINE);

	check(err == -EPIPE ? 0 : err, "drain");
}

static int server(struct evr_segment *segment)
{
	static struct server s;
	struct evr_message m;
	char path[4096];

	check(evr_peer_attach(&s.peer, segment, NULL), "attach");
	check(evr_waiter_init(&s.waiter, s.peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_open(&s.heap, s.peer, "blocks"), "heap");
	check(evr_channel_open(&s.ch, s.peer, "files", EVR_CHANNEL_A, 0), "channel");
	check(evr_channel_bind(&s.ch, &s.heap, NULL), "bind");
	check(evr_driver_create(&s.driver, NULL), "driver");
	check(evr_region_add_peer(s.driver, s.peer, &s.region), "region");
	check(evr_channel_recv_wait(&s.ch, &s.waiter, &m, EVR_NO_DEADLINE), "request");
	/* Copied before it is looked at: it lies where the client can write. */
	snprintf(path, sizeof(path), "%.*s", (int)(m.sz < 4095 ? m.sz : 4095),
		 (const char *)m.data);
	evr_channel_release(&s.ch, &m);
	serve_file(&s, path);
	drain(&s);
	check(evr_driver_close(s.driver, EVR_DRIVER_NO_DEADLINE), "close");
	evr_channel_close(&s.ch);
	evr_heap_close(&s.heap);
	evr_waiter_fini(&s.waiter);
	evr_peer_detach(s.peer);
	return 0;
}

static int client(struct evr_segment *segment, const char *path)
{
	static unsigned char want[PIECE];
	struct evr_message m = { .sz = strlen(path) };
	int fd = open(path, O_RDONLY | O_CLOEXEC), pieces = 0;
	struct evr_waiter waiter;
	uint64_t bytes = 0, tag;
	struct evr_channel ch;
	struct evr_peer *peer;
	struct evr_heap heap;
	struct stat st;

	check(fd < 0 || fstat(fd, &st) ? -errno : 0, path);
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_open(&heap, peer, "blocks"), "heap");
	check(evr_channel_open(&ch, peer, "files", EVR_CHANNEL_B, 0), "channel");
	check(evr_channel_bind(&ch, NULL, &heap), "bind");
	m.data = memcpy(want, path, m.sz < PIECE ? m.sz : PIECE);
	check(evr_channel_send_wait(&ch, &waiter, &m, EVR_NO_DEADLINE), "request");
	for (;; pieces++) {
		check(evr_channel_recv_wait(&ch, &waiter, &m, EVR_NO_DEADLINE), "piece");
		tag = m.tag;
		if (tag == END)
			break;
		if (m.sz > PIECE || pread(fd, want, m.sz, (off_t)tag) != (ssize_t)m.sz ||
		    memcmp(want, m.data, m.sz))
			check(-EBADMSG, "a piece differs");
		bytes += m.sz;
		evr_channel_release(&ch, &m);
	}
	evr_channel_release(&ch, &m);
	printf("%d pieces, %llu bytes, the same as in the file\n", pieces,
	       (unsigned long long)bytes);
	evr_channel_close(&ch);
	evr_heap_close(&heap);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return bytes != (uint64_t)st.st_size;
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 16 << 20,
					       .peers_max = 4 };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 8 << 20 };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel), .heap = "blocks" };
	const char *path = argc > 1 ? argv[1] : argv[0];
	struct evr_segment *segment;
	struct evr_peer *peer;
	int status, failed = 0;
	pid_t pid;

	check(evr_segment_create(&segment, argc > 2 ? argv[2] : "local:", &options), "segment");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_heap_create(peer, "blocks", &heap), "heap");
	check(evr_channel_create(peer, "files", &channel), "channel");
	pid = fork();
	check(pid < 0 ? -errno : 0, "fork");
	if (!pid)
		exit(server(segment));
	failed = client(segment, path);
	waitpid(pid, &status, 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return failed || status ? 1 : 0;
}
