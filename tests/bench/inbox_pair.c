/* SPDX-License-Identifier: MIT */
/*
 * inbox_pair SENDERS one|none NR: NR messages of one of SENDERS senders into an inbox, each
 * taken before the next; or NR looks that find nothing. All by one process: check_inbox_cost.sh
 * counts its instructions.
 */
#include <evering/evering.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each peer of this process has a descriptor for each other. */
#define SENDERS_MAX 64
#define SHARED_SZ (8 << 20)

static struct evr_inbox_sender senders[SENDERS_MAX];
static struct evr_inbox box;

static void check(int err)
{
	if (!err)
		return;
	fprintf(stderr, "inbox_pair: %d: %s\n", err, evr_error_detail());
	exit(77);
}

static void join_all(unsigned long nr)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = SHARED_SZ,
					       .peers_max = 255 };
	/* Valgrind has not as many addresses as 64 peers reserve. */
	struct evr_peer_options small = { .struct_sz = sizeof(small), .reserve_sz = 4 * SHARED_SZ };
	struct evr_segment *segment;
	struct evr_peer *peer;
	uint64_t elem = 0;

	check(evr_segment_create(&segment, "local:", &options));
	check(evr_peer_attach(&peer, segment, &small));
	check(evr_inbox_create(peer, "box", NULL));
	check(evr_inbox_open(&box, peer, "box", 0));
	for (unsigned long i = 0; i < nr; i++) {
		check(evr_peer_attach(&peer, segment, &small));
		check(evr_inbox_join(&senders[i], peer, "box", 0));
		evr_inbox_push(&senders[i], &elem, 1);
	}
	for (unsigned long i = 0; i < nr; i++)
		check(evr_inbox_pop(&box, &elem, 1, NULL) != 1);
	check(evr_inbox_pop(&box, &elem, 1, NULL) != 0);
}

int main(int argc, char **argv)
{
	unsigned long nr = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	unsigned long senders_nr = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	bool is_one = argc == 4 && !strcmp(argv[2], "one");
	uint64_t elem, sum = 0;

	if (!nr || !senders_nr || senders_nr > SENDERS_MAX)
		return 2;
	join_all(senders_nr);
	for (unsigned long i = 0; i < nr; i++) {
		elem = i;
		if (is_one)
			evr_inbox_push(&senders[senders_nr / 2], &elem, 1);
		if (evr_inbox_pop(&box, &elem, 1, NULL))
			sum += elem;
	}
	/* All that went in came out. */
	return sum != (is_one ? (uint64_t)nr * (nr - 1) / 2 : 0);
}
