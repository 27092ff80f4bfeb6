/* SPDX-License-Identifier: MIT */
/*
 * mpmc_pair evering|vyukov [BATCH] NR: NR elements of 8 bytes into a queue of many and out again,
 * by one member alone; ours BATCH in a call. check_mpmc_cost.sh counts its instructions.
 */
#include <evering/evering.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vyukov.h"

#define BATCH_MAX 32

static uint64_t run_vyukov(unsigned long nr)
{
	static struct vyukov queue;
	uint64_t elem, sum = 0;

	vyukov_init(&queue);
	for (unsigned long i = 0; i < nr; i++) {
		elem = i;
		vyukov_push(&queue, &elem, 1);
		vyukov_pop(&queue, &elem, 1);
		sum += elem;
	}
	return sum;
}

static void open_queue(struct evr_mpmc *queue)
{
	struct evr_segment_options segment_options = { .struct_sz = sizeof(segment_options),
						       .shared_sz = 4 << 20,
						       .peers_max = 8 };
	struct evr_segment *segment;
	struct evr_peer *peer;

	if (evr_segment_create(&segment, "local:", &segment_options) ||
	    evr_peer_attach(&peer, segment, NULL) || evr_mpmc_create(peer, "queue", NULL) ||
	    evr_mpmc_open(queue, peer, "queue", 0))
		exit(77);
}

static uint64_t run_evering(unsigned long nr)
{
	struct evr_mpmc queue;
	uint64_t elem, sum = 0;

	open_queue(&queue);
	for (unsigned long i = 0; i < nr; i++) {
		elem = i;
		evr_mpmc_push(&queue, &elem, 1);
		evr_mpmc_pop(&queue, &elem, 1);
		sum += elem;
	}
	evr_mpmc_close(&queue);
	return sum;
}

static uint64_t run_evering_by(unsigned long nr, uint32_t batch)
{
	uint64_t elems[BATCH_MAX], sum = 0;
	struct evr_mpmc queue;

	open_queue(&queue);
	for (unsigned long i = 0; i < nr; i += batch) {
		for (uint32_t k = 0; k < batch; k++)
			elems[k] = i + k;
		evr_mpmc_push(&queue, elems, batch);
		evr_mpmc_pop(&queue, elems, batch);
		for (uint32_t k = 0; k < batch; k++)
			sum += elems[k];
	}
	evr_mpmc_close(&queue);
	return sum;
}

int main(int argc, char **argv)
{
	unsigned long nr = argc >= 3 ? strtoul(argv[argc - 1], NULL, 10) : 0;
	unsigned long batch = argc == 4 ? strtoul(argv[2], NULL, 10) : 1;
	uint64_t sum;

	if (!nr || !batch || batch > BATCH_MAX || nr % batch)
		return 2;
	if (!strcmp(argv[1], "vyukov"))
		sum = run_vyukov(nr);
	else
		sum = batch > 1 ? run_evering_by(nr, (uint32_t)batch) : run_evering(nr);
	/* All that went in came out. */
	return sum != (uint64_t)nr * (nr - 1) / 2;
}
