// SPDX-License-Identifier: MIT
/*
 * The part of the demo that tries what an isolated segment forbids: a process of its own, so
 * that it can be ended for it, attaches and writes one byte into another peer's region; first
 * where the library has mapped it, as by a stray pointer, then by a mapping of its own.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

#define REGION_SZ (64ULL << 10)

/* How an intruder ended, as an exit status; by a signal it is the signal, negative. */
#define INTRUDED 10 /* it was written */
#define NOT_MAPPED 11
#define NOT_BEGUN 12

enum way { BY_ACCIDENT, ON_PURPOSE };

struct intrusion {
	enum evr_backend backend;
	struct evr_segment *segment;
	uint64_t off; /* of a byte in another peer's region in which nothing lies */
};

/* The byte by a mapping that the library has not made. */
static volatile uint8_t *map_byte(const struct intrusion *in, struct evr_segment *segment,
				  struct evr_peer *peer)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), in_page = in->off % page;
	/* On the device a peer's own fd is what can be mapped. */
	int fd = in->backend == EVR_BACKEND_DEVICE ? evr_bell_fd(peer) : evr_segment_fd(segment);
	uint8_t *at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   (off_t)(in->off - in_page));

	return at == MAP_FAILED ? NULL : at + in_page;
}

/* The byte stays what it was. */
static void intrude(const struct intrusion *in, enum way way)
{
	const struct rlimit no_core = { 0, 0 };
	struct evr_segment *segment;
	volatile uint8_t *at;
	struct evr_peer *peer;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGSEGV, SIG_DFL);
	err = evr_segment_adopt(&segment, fcntl(evr_segment_fd(in->segment), F_DUPFD_CLOEXEC, 3));
	if (!err)
		err = evr_peer_attach(&peer, segment, NULL);
	if (err)
		_exit(NOT_BEGUN);
	at = way == BY_ACCIDENT ? evr_peer_at(peer, in->off, 1) : map_byte(in, segment, peer);
	if (!at)
		_exit(way == BY_ACCIDENT ? NOT_BEGUN : NOT_MAPPED);
	*at = *at;
	_exit(INTRUDED);
}

static int send_intruder(const struct intrusion *in, enum way way)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		intrude(in, way);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Is it what the backend's guarantee says? */
static int try_both(const struct intrusion *in)
{
	bool is_device = in->backend == EVR_BACKEND_DEVICE;
	int how = send_intruder(in, BY_ACCIDENT);

	if (how != -SIGSEGV)
		return -EPROTO;
	printf("  by accident    the library has it read-only: ended at the first byte (SIGSEGV)\n");
	how = send_intruder(in, ON_PURPOSE);
	if (how == NOT_MAPPED)
		printf("  on purpose     the kernel maps nothing of it writable: refused\n");
	else if (how == INTRUDED)
		printf("  on purpose     it was written: the file is its own to map, on this backend\n");
	return how == (is_device ? NOT_MAPPED : INTRUDED) ? 0 : -EPROTO;
}

int demo_intruder(enum evr_backend backend)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = REGION_SZ,
					       .peers_max = 4 };
	bool is_device = backend == EVR_BACKEND_DEVICE;
	struct intrusion in = { .backend = backend };
	struct evr_segment_info info;
	struct evr_peer *peer = NULL;
	int err;

	err = evr_segment_create(&in.segment, is_device ? "device:" : "local:", &options);
	if (!err)
		err = evr_peer_attach(&peer, in.segment, NULL);
	if (!err)
		err = evr_segment_info(in.segment, &info);
	if (!err) {
		in.off = info.peers_off + (evr_peer_self(peer).slot + 1) * info.peer_sz - 1;
		err = try_both(&in);
	}
	if (err)
		message_failed("a write into another's region", err);
	if (peer)
		evr_peer_detach(peer);
	if (in.segment)
		evr_segment_close(in.segment);
	return err ? EXIT_FAILED : EXIT_OK;
}
