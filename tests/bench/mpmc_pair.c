/* SPDX-License-Identifier: MIT */
/*
 * mpmc_pair evering|vyukov NR: NR times one element of 8 bytes into a queue of many and out again,
 * by one member alone. check_mpmc_cost.sh counts its instructions.
 */
#include <evering/evering.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vyukov.h"

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

static uint64_t run_evering(unsigned long nr)
{
	struct evr_segment_options segment_options = { .struct_sz = sizeof(segment_options),
						       .shared_sz = 4 << 20,
						       .peers_max = 8 };
	struct evr_segment *segment;
	struct evr_mpmc queue;
	struct evr_peer *peer;
	uint64_t elem, sum = 0;

	if (evr_segment_create(&segment, "local:", &segment_options) ||
	    evr_peer_attach(&peer, segment, NULL) || evr_mpmc_create(peer, "queue", NULL) ||
	    evr_mpmc_open(&queue, peer, "queue", 0))
		exit(77);
	for (unsigned long i = 0; i < nr; i++) {
		elem = i;
		evr_mpmc_push(&queue, &elem, 1);
		evr_mpmc_pop(&queue, &elem, 1);
		sum += elem;
	}
	evr_mpmc_close(&queue);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return sum;
}

int main(int argc, char **argv)
{
	unsigned long nr = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	uint64_t sum;

	if (!nr)
		return 2;
	sum = strcmp(argv[1], "vyukov") ? run_evering(nr) : run_vyukov(nr);
	/* All that went in came out. */
	return sum != (uint64_t)nr * (nr - 1) / 2;
}
