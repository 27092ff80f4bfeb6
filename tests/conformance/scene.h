/* SPDX-License-Identifier: MIT */
/*
 * What the conformance suite plays on: segments and peers of the backend that
 * EVERING_BACKEND names (local when it is not set). The cases are the same on both.
 */
#ifndef EVERING_TESTS_SCENE_H
#define EVERING_TESTS_SCENE_H

#include "child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evering/atomic.h>
#include <evering/bell.h>
#include <evering/error.h>
#include <evering/peer.h>
#include <evering/segment.h>

#include "backend.h"

#define BLOCK ((uint64_t)2 << 20)
#define PAGE 4096u

bool on_device(void);
/* "local:" or "device:", and with a name that no other run has. */
const char *unnamed_uri(void);
const char *named_uri(const char *name);

/* 4 peers, one shared block, a page for each peer; edited by the caller. */
struct evr_segment_options plain_options(void);
struct evr_segment *plain_segment(void);
struct evr_segment *isolated_segment(void);
struct evr_segment *segment_of(const struct evr_segment_options *options);
struct evr_peer *attach(struct evr_segment *segment);
struct evr_peer *attach_observer(struct evr_segment *segment);
struct evr_peer *attach_slot(struct evr_segment *segment, uint32_t slot);
struct evr_segment_info info_of(const struct evr_segment *segment);
/* What DEAD leaves to be settled: the reaper of the library does it in this way. */
int reaped(struct evr_peer *peer, struct evr_peer_id dead);
/* Sleep for peer events until that peer is DEAD. */
void await_dead(struct evr_peer *peer, struct evr_peer_id id);
/* The next bell that anybody rings is taken now. */
void drop_bells(struct evr_peer *peer);

/* A plain segment with two peers of this process, no bell pending. */
struct pair {
	struct evr_segment *segment;
	struct evr_peer *a, *b;
	struct evr_peer_id a_id, b_id;
};

struct pair make_pair(void);
void drop_pair(struct pair *pair);

/* Runs a suite, or skips it when the device is wanted and not there. */
#define run_suite(tests) run_suite_of(#tests, tests, sizeof(tests) / sizeof((tests)[0]))
int run_suite_of(const char *name, const struct CMUnitTest *tests, size_t nr);

#endif
