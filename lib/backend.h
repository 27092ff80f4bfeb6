/* SPDX-License-Identifier: MIT */
/*
 * The one interface behind which the device and the local backend live. What is
 * above it (segment.c, peer.c, bell.c) checks the caller's arguments; what is below
 * it does the work, sets the detail text and returns negative errnos.
 */
#ifndef EVERING_BACKEND_H
#define EVERING_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <evering/atomic.h>
#include <evering/bell.h>
#include <evering/peer.h>
#include <evering/segment.h>

#include "layout.h"

/* What one call has appended: sz bytes from off on. */
struct evr_growth {
	uint64_t off, sz;
};

typedef int evr_growth_fn(const struct evr_growth *growth, void *arg);

struct evr_backend_ops {
	enum evr_backend backend;
	bool (*available)(void);
	int (*system_info)(struct evr_system_info *info);
	int (*list)(int (*each)(const struct evr_segment_info *info, void *arg), void *arg);
	int (*remove)(const char *name);

	/*
	 * Set fd, rights and layout of the segment, and what is the backend's own.
	 * segment->name is "" or the wanted name; options are complete.
	 */
	int (*create)(struct evr_segment *segment, const struct evr_segment_options *options);
	int (*open)(struct evr_segment *segment);
	/* segment->fd is the fd to take. -ENOTTY: not of this backend. */
	int (*adopt)(struct evr_segment *segment);
	/* Undo any of the three; also after their failure. Closes segment->fd. */
	void (*close)(struct evr_segment *segment);
	int (*info)(const struct evr_segment *segment, struct evr_segment_info *info);
	int (*extents)(const struct evr_segment *segment, struct evr_extent *extents, uint32_t nr);
	int (*peers)(const struct evr_segment *segment, struct evr_peer_info *infos, uint32_t nr);
	int (*invite)(struct evr_segment *segment, uint32_t rights, uint32_t flags);
	/* Append growth->sz bytes, whole blocks, and set its off. @tag: what for; 0 is nothing. */
	int (*grow)(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth);
	int (*revoke)(struct evr_segment *segment, struct evr_peer_id id);

	/* Claim a slot; set self, rights and fd of the peer. */
	int (*attach)(struct evr_peer *peer, const struct evr_peer_options *options);
	/* Undo attach; also after its failure. The mappings are gone already. */
	void (*detach)(struct evr_peer *peer);
	/* One load each; *incarnation belongs to the state. */
	uint32_t (*state)(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation);
	uint64_t (*generation)(const struct evr_peer *peer);
	void (*check)(struct evr_peer *peer);
	int (*peer_info)(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info);
	/* DEAD becomes FREE. -EBUSY not dead, -ESTALE another incarnation. */
	int (*reaped)(struct evr_peer *peer, struct evr_peer_id dead);
	/* End of the segment now; what lies below it can be mapped. */
	int (*segment_sz)(struct evr_peer *peer, uint64_t *sz);
	/* Call each() for what was appended with this tag, until it returns not 0; returns that. */
	int (*growths)(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg);

	int (*ring)(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr);
	int (*wait)(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns,
		    struct evr_bells *bells);
	int (*read)(struct evr_peer *peer, struct evr_bells *bells);
	int (*bell_fd)(struct evr_peer *peer);
	int (*bind)(struct evr_peer *peer, int eventfd);
};

extern const struct evr_backend_ops evr_device_ops;
extern const struct evr_backend_ops evr_local_ops;

const struct evr_backend_ops *evr_backend_ops(enum evr_backend backend);

/* uri.c: as evr_uri_parse(); may_be_unnamed takes "", "device:" and "local:". */
int evr_uri_read(const char *uri, bool may_be_unnamed, struct evr_uri *out);

/* One reference is the handle's, one for each peer attached through it. */
struct evr_segment {
	const struct evr_backend_ops *ops;
	struct evr_a32 refs;
	int fd;
	uint32_t rights;
	bool observes; /* opened for that alone: before the op open() */
	uint64_t reserve_sz;
	struct evr_layout layout;
	void *own; /* the backend's */
	char name[EVR_NAME_SIZE]; /* "" when not known by a name */
};

/*
 * segment.c: evr_segment_grow() for something: who of its users comes next finds the
 * growth by this tag if the caller dies. A module without EVERING_FEAT_GROW_TAG
 * forgets it. growth->sz: rounded up.
 */
int evr_segment_grow_for(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth);

void evr_segment_get(struct evr_segment *segment);
void evr_segment_put(struct evr_segment *segment);

struct evr_peer {
	const struct evr_backend_ops *ops;
	struct evr_segment *segment;
	struct evr_peer_id self;
	uint32_t rights;
	int32_t pid; /* who attached; a forked child must not detach it */
	int fd; /* what is mapped */
	unsigned char *base; /* address of offset 0 */
	uint64_t reserved_sz; /* addresses from base on that are ours */
	struct evr_a64 mapped_sz; /* end of what is mapped; grows under the lock */
	pthread_mutex_t grow_lock;
	struct evr_a64 claimed; /* bells given out by evr_bell_claim() */
	struct evr_a64 asleep; /* of these, of waiters that sleep or are about to */
	struct evr_a32 reap_manual; /* 1: the application reaps, see evr_reap_auto() */
	pthread_mutex_t members_lock;
	uint16_t *uses; /* evr_dir_join()s of each entry; NULL before the first */
	struct evr_port_door *doors; /* under members_lock; port_far.c */
	uint64_t turns_key; /* isolated: secret, see evr_dir_turns() */
	void *own; /* the backend's */
};

/* mapping.c: the address range of a peer. */
int evr_mapping_init(struct evr_peer *peer, uint64_t reserve_sz, bool populate);
void evr_mapping_fini(struct evr_peer *peer);
/* Map what was appended. 0; -ERANGE beyond the reserved addresses; -ENOMEM ... */
int evr_mapping_grow(struct evr_peer *peer);

/*
 * bell.c: bells were taken that others sleep for: a waiter's own bell, or bell 63,
 * which is one for all. Ring them again. @own: the taker's bells.
 */
void evr_bell_pass_on(struct evr_peer *peer, uint64_t taken, uint64_t own);

/* peer.c, for reap.c: as the op. */
int evr_peer_reaped(struct evr_peer *peer, struct evr_peer_id dead);

#endif
