// SPDX-License-Identifier: MIT
/*
 * The last part of the demo: a producer is killed in the middle of its work.
 *
 * Model      The survivor consumes; the victim produces as fast as it can, and holds an
 *            object that it has not published. The victim is forked before the
 *            survivor attaches, so that it holds nothing of the survivor's.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "segment.h"
#include "terminal.h"

#define RING_NAME "demo"
#define UNPUBLISHED_SZ (64ULL << 10)
#define WORK_NS 300000000ULL
#define BATCH 16

/* What the victim tells about itself, outside of the segment: nothing to trust, all to compare with. */
struct ledger {
	struct evr_a64 published; /* messages */
	struct evr_a32 ready; /* 1, or 2 when it could not begin */
};

struct survivor {
	enum evr_backend backend;
	bool isolated;
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_waiter waiter;
	struct evr_spsc ring;
	struct ledger *ledger;
	pid_t victim;
	struct evr_peer_id victim_id;
	uint64_t received;
	uint64_t expected; /* the next message's number */
	bool is_out_of_order;
	uint64_t killed_ns, noticed_ns, reaped_ns;
	struct evr_reap_report report;
};

static int begin_work(struct evr_segment *segment, struct evr_peer **peer, struct evr_spsc *ring)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = 4096,
					    .elem_sz = 8 };
	struct evr_object object;
	int err = evr_peer_attach(peer, segment, NULL);

	if (!err)
		err = evr_spsc_create(*peer, RING_NAME, &options);
	if (!err)
		err = evr_spsc_open(ring, *peer, RING_NAME, EVR_PRODUCER, 0);
	if (!err)
		err = evr_dir_create(*peer, "never published", EVR_KIND_USER, UNPUBLISHED_SZ,
				     &object);
	return err;
}

/* Produces until it is killed. */
static void live_as_victim(struct evr_segment *inherited, struct ledger *ledger)
{
	struct evr_segment *segment;
	struct evr_waiter waiter;
	struct evr_peer *peer;
	struct evr_spsc ring;
	uint64_t next = 0;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = evr_segment_adopt(&segment, fcntl(evr_segment_fd(inherited), F_DUPFD_CLOEXEC, 3));
	if (!err)
		err = begin_work(segment, &peer, &ring);
	if (!err)
		err = evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE);
	evr_a32_store_release(&ledger->ready, err ? 2 : 1);
	while (!err) {
		uint64_t batch[BATCH];
		int pushed;

		for (int i = 0; i < BATCH; i++)
			batch[i] = next + (uint64_t)i;
		pushed = evr_spsc_push_wait(&ring, &waiter, batch, BATCH, EVR_NO_DEADLINE);
		if (pushed < 0)
			break;
		next += (uint64_t)pushed;
		/* relaxed: the survivor reads it after the death, of which the kernel told it. */
		evr_a64_store_relaxed(&ledger->published, next);
	}
	_exit(1);
}

static int start_victim(struct survivor *survivor)
{
	survivor->ledger = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (survivor->ledger == MAP_FAILED)
		return -errno;
	fflush(NULL);
	survivor->victim = fork();
	if (survivor->victim < 0)
		return -errno;
	if (!survivor->victim)
		live_as_victim(survivor->segment, survivor->ledger);
	while (!evr_a32_load_acquire(&survivor->ledger->ready)) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		if (waitpid(survivor->victim, NULL, WNOHANG))
			return -ECHILD;
	}
	return evr_a32_load_acquire(&survivor->ledger->ready) == 1 ? 0 : -ECHILD;
}

static int prepare(struct survivor *survivor)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 4ULL << 20,
					       .peers_max = 4 };
	int err;

	if (survivor->isolated) {
		options.flags = EVR_SEGMENT_ISOLATED;
		options.peer_sz = options.shared_sz;
		options.shared_sz = 0;
	}
	err = evr_segment_create(
		&survivor->segment,
		survivor->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
	if (!err)
		err = start_victim(survivor);
	if (!err)
		err = evr_peer_attach(&survivor->peer, survivor->segment, NULL);
	if (err)
		return err;
	/* The demo shows the settling as a step of its own. */
	evr_reap_auto(survivor->peer, false);
	err = evr_waiter_init(&survivor->waiter, survivor->peer, EVR_WAIT_ADAPTIVE);
	if (!err)
		err = evr_spsc_open(&survivor->ring, survivor->peer, RING_NAME, EVR_CONSUMER, 0);
	/* Of two halves the other is known once it was looked for. */
	if (!err && evr_spsc_state(&survivor->ring) != EVR_RING_OK)
		err = -ECHILD;
	if (!err)
		survivor->victim_id = evr_spsc_other(&survivor->ring);
	return err;
}

static void take(struct survivor *survivor, const uint64_t *batch, int nr)
{
	for (int i = 0; i < nr; i++)
		survivor->is_out_of_order |= batch[i] != survivor->expected++;
	survivor->received += (uint64_t)nr;
}

/* Consumes until the deadline, or the end. */
static int consume(struct survivor *survivor, uint64_t deadline_ns)
{
	while (evr_now_ns() < deadline_ns) {
		uint64_t batch[BATCH];
		int got = evr_spsc_pop_wait(&survivor->ring, &survivor->waiter, batch, BATCH,
					    deadline_ns);

		if (got < 0)
			return got == -ETIMEDOUT ? 0 : got;
		take(survivor, batch, got);
	}
	return 0;
}

static int kill_and_notice(struct survivor *survivor)
{
	survivor->killed_ns = evr_now_ns();
	kill(survivor->victim, SIGKILL);
	while (evr_peer_is_live(survivor->peer, survivor->victim_id)) {
		int err = evr_bell_wait(survivor->peer, 1ULL << EVR_BELL_PEER_EVENT,
					EVR_NO_DEADLINE, NULL);

		if (err && err != -EINTR)
			return err;
	}
	survivor->noticed_ns = evr_now_ns();
	return 0;
}

static void print_death(const struct survivor *survivor, const struct evr_peer_info *info)
{
	uint64_t published = evr_a64_load_relaxed(&survivor->ledger->published);
	const struct evr_reap_report *report = &survivor->report;
	char text[SEGMENT_TEXT_SZ], time[FORMAT_SZ], bytes[FORMAT_SZ];

	printf("  the producer (pid %d) got SIGKILL after %" PRIu64 " messages\n", survivor->victim,
	       published);
	printf("  the consumer was told:  %s%s%s, %s%s%s after the kill\n",
	       terminal_style(stdout, TERMINAL_BOLD), peer_exit_text(text, info, survivor->backend),
	       terminal_style(stdout, TERMINAL_PLAIN), terminal_style(stdout, TERMINAL_BOLD),
	       format_time(time, (double)(survivor->noticed_ns - survivor->killed_ns)),
	       terminal_style(stdout, TERMINAL_PLAIN));
	printf("  delivered:              %" PRIu64 " messages, %s\n", survivor->received,
	       survivor->is_out_of_order ? "OUT OF ORDER" : "in order, none lost, none twice");
	printf("  settled in %s:     ",
	       format_time(time, (double)(survivor->reaped_ns - survivor->noticed_ns)));
	if (survivor->isolated) {
		printf("%u peer; what it had lies in its region\n", report->peers);
		return;
	}
	printf("%u peer, %u role%s of rings, %u unpublished object%s, %s\n", report->peers,
	       report->sides, report->sides == 1 ? "" : "s", report->objects,
	       report->objects == 1 ? "" : "s", format_size(bytes, report->bytes));
}

/*
 * All that was published must have come. The ledger is written after the
 * publication, so one batch may be missing in it.
 */
static bool is_conserved(const struct survivor *survivor)
{
	uint64_t published = evr_a64_load_relaxed(&survivor->ledger->published);

	return !survivor->is_out_of_order && survivor->received >= published &&
	       survivor->received <= published + BATCH;
}

static int show_death(struct survivor *survivor)
{
	struct evr_peer_info info;
	int err = consume(survivor, evr_now_ns() + WORK_NS);

	if (!err)
		err = kill_and_notice(survivor);
	if (!err)
		err = evr_peer_info(survivor->peer, survivor->victim_id.slot, &info);
	if (err)
		return err;
	err = consume(survivor, EVR_NO_DEADLINE);
	if (err != -EOWNERDEAD)
		return err ? err : -EPROTO;
	err = evr_reap_dead(survivor->peer, &survivor->report);
	survivor->reaped_ns = evr_now_ns();
	if (err < 0)
		return err;
	print_death(survivor, &info);
	return is_conserved(survivor) ? 0 : -EBADMSG;
}

static void clean_up(struct survivor *survivor)
{
	if (survivor->victim > 0) {
		kill(survivor->victim, SIGKILL);
		waitpid(survivor->victim, NULL, 0);
	}
	if (survivor->peer) {
		evr_spsc_close(&survivor->ring);
		evr_waiter_fini(&survivor->waiter);
		evr_peer_detach(survivor->peer);
	}
	if (survivor->segment)
		evr_segment_close(survivor->segment);
}

int demo_death(enum evr_backend backend, bool isolated)
{
	struct survivor survivor = { .backend = backend, .isolated = isolated };
	int err = prepare(&survivor);

	if (!err)
		err = show_death(&survivor);
	if (err)
		message_failed("the death of a producer", err);
	clean_up(&survivor);
	return err ? EXIT_FAILED : EXIT_OK;
}
