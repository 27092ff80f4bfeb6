/* SPDX-License-Identifier: MIT */
/* The device backend: shared by its two files and nobody else. */
#ifndef EVERING_DEVICE_H
#define EVERING_DEVICE_H

#include <stddef.h>

#include "backend.h"

/* ioctl(2) as the kernel answers it: the result, or -errno. */
int device_call(int fd, unsigned long cmd, void *arg);

/* What to do about an errno of a call, where more can be said than its name. */
struct device_advice {
	int err;
	const char *text;
};

/* Sets the detail text and returns err. */
int device_explain(int err, const char *what, const struct device_advice *advice, size_t nr);

#define DEVICE_EXPLAIN(err, what, advice) \
	device_explain(err, what, advice, sizeof(advice) / sizeof((advice)[0]))

/* device_peers.c: what is done on a peer fd. */
int device_attach(struct evr_peer *peer, const struct evr_peer_options *options);
void device_detach(struct evr_peer *peer);
uint32_t device_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation);
uint64_t device_generation(const struct evr_peer *peer);
void device_check(struct evr_peer *peer);
int device_peer_info(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info);
int device_peers(const struct evr_segment *segment, struct evr_peer_info *infos, uint32_t nr);
int device_reaped(struct evr_peer *peer, struct evr_peer_id dead);
int device_segment_sz(struct evr_peer *peer, uint64_t *sz);
int device_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg);
int device_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr);
int device_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns,
		struct evr_bells *bells);
int device_read(struct evr_peer *peer, struct evr_bells *bells);
int device_bell_fd(struct evr_peer *peer);
int device_bind(struct evr_peer *peer, int eventfd);

#endif
