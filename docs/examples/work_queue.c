/* SPDX-License-Identifier: MIT */
/*
 * A work queue whose workers are killed and whose jobs are done all the same. The master
 * listens at a hub and starts its workers, which are this program again, each invited to
 * the segment with no more rights than it needs. A worker connects, and gets one job after
 * the other: how many primes are below a number. Now and then one is killed with a job
 * half done. The master learns of the death, gives the job to another worker, starts a
 * new worker in place of the dead one, and counts how each has ended.
 *
 * cc work_queue.c $(pkg-config --cflags --libs evering) && ./a.out [URI]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evering/evering.h>

#define HUB "work"
#define WORKERS 3
#define JOBS 60
#define LIFE 7 /* jobs after which a worker is killed, as long as lives are left */
#define LIVES 5 /* workers that are killed */
#define NO_JOB UINT64_MAX
#define PATIENCE_NS 60000000000ULL /* nobody has connected or answered for so long */

/* One worker as the master sees it. */
struct worker {
	struct evr_child child;
	struct evr_channel ch;
	uint64_t job; /* that it has now */
	uint32_t done; /* by this one */
};

struct master {
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_waiter waiter;
	struct evr_hub hub;
	struct worker workers[WORKERS];
	struct evr_channel *chs[WORKERS]; /* of those that are connected */
	uint32_t nr;
	uint64_t again[WORKERS]; /* jobs whose worker has died */
	uint32_t again_nr;
	uint64_t next; /* job that nobody has had yet */
	uint64_t results[JOBS];
	uint32_t answered, redone, killed;
};

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror(err), evr_error_detail());
	exit(1);
}

static uint64_t primes_below(uint64_t limit)
{
	uint64_t n, d, nr = 0;

	for (n = 2; n < limit; n++) {
		for (d = 2; d * d <= n && n % d; d++)
			;
		nr += d * d > n;
	}
	return nr;
}

static uint64_t limit_of(uint64_t job)
{
	return 100 + 30 * job;
}

static int work(void)
{
	struct evr_segment *segment;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_peer *peer;
	uint64_t limit, result;
	int err;

	check(evr_spawn_adopt(&segment), "invitation");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
	check(evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP), "waiter");
	check(evr_hub_connect_wait(&ch, peer, HUB, 0, &waiter, EVR_NO_DEADLINE), "connect");
	while (!(err = evr_channel_recv_wait(&ch, &waiter, &m, EVR_NO_DEADLINE))) {
		memcpy(&limit, m.data, sizeof(limit));
		evr_channel_release(&ch, &m);
		if (!limit) /* to be killed in the middle of a job, as any worker might be */
			raise(SIGKILL);
		result = primes_below(limit);
		check(evr_channel_send(&ch, &result, sizeof(result), m.tag), "answer");
	}
	/* The master has no more, and has said so by closing. */
	check(err == -EPIPE ? 0 : err, "job");
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return 0;
}

static void worker_start(struct master *master, struct worker *worker)
{
	char name[] = "work_queue", role[] = "worker", *argv[] = { name, role, NULL };
	struct evr_spawn_options options = { .struct_sz = sizeof(options),
					     .argv = argv,
					     .segment = master->segment };

	*worker = (struct worker){ .job = NO_JOB };
	check(evr_spawn(&worker->child, "/proc/self/exe", &options), "worker");
}

/* Whose process is the peer at the other end? */
static struct worker *worker_of(struct master *master, struct evr_peer_id id)
{
	struct evr_peer_info info;
	int i;

	check(evr_peer_info(master->peer, id.slot, &info), "peer");
	for (i = 0; i < WORKERS; i++)
		if (info.pid == master->workers[i].child.pid)
			return &master->workers[i];
	return NULL;
}

static void job_give(struct master *master, struct worker *worker)
{
	uint64_t limit;

	if (master->again_nr)
		worker->job = master->again[--master->again_nr];
	else if (master->next < JOBS)
		worker->job = master->next++;
	else
		return;
	limit = limit_of(worker->job);
	if (worker->done == LIFE && master->killed < LIVES)
		limit = 0;
	/* Its death is learnt of when it is received from. */
	if (evr_channel_send(&worker->ch, &limit, sizeof(limit), worker->job) == -EMSGSIZE)
		exit(1);
}

static void worker_accept(struct master *master)
{
	struct evr_peer_id from;
	struct evr_channel ch;
	struct worker *worker;
	int err = evr_hub_accept(&master->hub, &ch, &from);

	if (err == -EAGAIN)
		return;
	check(err, "accept");
	worker = worker_of(master, from);
	if (!worker) {
		evr_channel_close(&ch); /* not one of ours */
		return;
	}
	worker->ch = ch;
	master->chs[master->nr++] = &worker->ch;
	job_give(master, worker);
}

static void worker_died(struct master *master, struct worker *worker)
{
	struct evr_child_exit how;

	check(evr_child_wait(&worker->child, EVR_NO_DEADLINE, &how), "end of a worker");
	printf("a worker was killed by signal %d", how.value);
	if (how.end != EVR_CHILD_SIGNAL)
		exit(1);
	master->killed++;
	if (worker->job != NO_JOB) {
		printf(", job %d is done again", (int)worker->job);
		master->again[master->again_nr++] = worker->job;
		master->redone++;
	}
	printf("\n");
	evr_channel_close(&worker->ch);
	evr_child_close(&worker->child);
	worker_start(master, worker);
}

static void worker_answered(struct master *master, uint32_t at)
{
	struct worker *worker =
		(struct worker *)((char *)master->chs[at] - offsetof(struct worker, ch));
	struct evr_message m;
	int err = evr_channel_recv(&worker->ch, &m);

	if (err == -EAGAIN)
		return;
	if (err) {
		master->chs[at] = master->chs[--master->nr];
		worker_died(master, worker);
		return;
	}
	memcpy(&master->results[worker->job], m.data, sizeof(uint64_t));
	evr_channel_release(&worker->ch, &m);
	master->answered++;
	worker->done++;
	worker->job = NO_JOB;
	job_give(master, worker);
}

/* All jobs are done: what is left to be told is that there are no more. */
static int workers_end(struct master *master)
{
	struct evr_child_exit how;
	int i, clean = 0;

	evr_hub_close(&master->hub);
	for (i = 0; i < WORKERS; i++) {
		evr_channel_close(&master->workers[i].ch);
		/* One that has come too late to connect would wait for the next master. */
		if (!master->workers[i].done)
			evr_child_kill(&master->workers[i].child, SIGTERM);
		check(evr_child_wait(&master->workers[i].child, EVR_NO_DEADLINE, &how), "end");
		clean += how.end == EVR_CHILD_CLEAN || !master->workers[i].done;
		evr_child_close(&master->workers[i].child);
	}
	return clean == WORKERS;
}

static int serve(struct master *master)
{
	uint32_t i, wrong = 0;
	int at = 0;

	check(evr_hub_create(master->peer, HUB, NULL), "hub");
	check(evr_hub_listen(&master->hub, master->peer, HUB, 0), "listen");
	check(evr_waiter_init(&master->waiter, master->peer, EVR_WAIT_SLEEP), "waiter");
	for (i = 0; i < WORKERS; i++)
		worker_start(master, &master->workers[i]);
	while (master->answered < JOBS) {
		at = evr_hub_wait(&master->hub, master->chs, master->nr, (uint32_t)at,
				  &master->waiter, evr_now_ns() + PATIENCE_NS);
		check(at, "wait");
		if ((uint32_t)at == master->nr)
			worker_accept(master);
		else
			worker_answered(master, (uint32_t)at);
	}
	for (i = 0; i < JOBS; i++)
		wrong += master->results[i] != primes_below(limit_of(i));
	printf("%d jobs, %u wrong; %u workers killed, %u jobs done again\n", JOBS, wrong,
	       master->killed, master->redone);
	evr_waiter_fini(&master->waiter);
	return workers_end(master) && !wrong && master->killed && master->redone == master->killed;
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 4 << 20,
					       .peers_max = 2 * WORKERS + 2 };
	static struct master master;
	int ok;

	if (argc > 1 && !strcmp(argv[1], "worker"))
		return work();
	check(evr_segment_create(&master.segment, argc > 1 ? argv[1] : "local:", &options),
	      "segment");
	check(evr_peer_attach(&master.peer, master.segment, NULL), "attach");
	ok = serve(&master);
	evr_peer_detach(master.peer);
	evr_segment_close(master.segment);
	printf("%s\n", ok ? "all jobs are done, whoever died" : "failed");
	return ok ? 0 : 1;
}
