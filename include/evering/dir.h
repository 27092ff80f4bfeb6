/* SPDX-License-Identifier: MIT */
/*
 * The directory: objects of a segment by name. An object is an extent of the
 * segment with a kind and a size; whoever has its name can find all of it.
 *
 * In a shared segment there is one directory, at the start of the shared region.
 * In an isolated segment each peer has one at the start of its own region, and
 * names are looked up in those of all living peers, by ascending slot.
 *
 * model      any peer creates, publishes, finds and removes at any time, and may
 *            die at any step.
 * calls      all together with all.
 * edges      DIR-CLAIM, DIR-ADMIT, DIR-PUBLISH, DIR-REMOVE: see docs/memory-model.md.
 * progress   lock-free: a step is undone only by another's success. No call waits
 *            for another process.
 * limits     names of 1 to 39 bytes; 16 to 4096 objects, see evr_dir_info().
 *            A removed object's extent is used again for an object that needs
 *            at least half of it; extents are neither split nor merged.
 */
#ifndef EVERING_DIR_H
#define EVERING_DIR_H

#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_OBJECT_NAME_SZ 40

/* Kinds below EVR_KIND_USER are the library's. */
#define EVR_KIND_SPSC 1U
#define EVR_KIND_BYTES 2U
#define EVR_KIND_SLOTS 3U
#define EVR_KIND_INBOX 4U
#define EVR_KIND_MPMC 5U
#define EVR_KIND_LOG 6U
#define EVR_KIND_BCAST 7U
#define EVR_KIND_HEAP 8U
#define EVR_KIND_POOL 9U
#define EVR_KIND_CHANNEL 10U
#define EVR_KIND_CALL 11U
#define EVR_KIND_PORT 12U
#define EVR_KIND_HUB 13U
#define EVR_KIND_SEAT 14U /* in an isolated segment: a broadcast's subscriber's own part */
#define EVR_KIND_USER 0x1000U

/* A copy of what the directory says, checked to lie in the segment. */
struct evr_object {
	uint32_t idx, gen; /* which entry, and which of its lives */
	uint64_t off, sz; /* bytes, in the segment; both multiples of 128 */
	uint32_t kind;
	uint32_t slot; /* whose region's directory; EVR_SLOT_ANY: the shared one */
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_peer_id creator;
};

struct evr_dir_info {
	uint32_t entries_max, entries; /* entries: published now */
	uint32_t claimed; /* of a creation or removal under way */
	uint64_t bytes_max, bytes; /* for objects; held by them */
	uint64_t bytes_kept; /* held by removed ones, for use again */
};

/**
 * evr_dir_create() - reserve a name and memory for an object
 * @peer: own attachment, read-write
 * @name: 1 to 39 bytes; unique (in an isolated segment: as far as now visible)
 * @kind: what it is; EVR_KIND_USER or more for applications
 * @sz: bytes, at least 1
 * @out: the object; its memory is evr_peer_at(peer, out->off, out->sz), aligned
 *	to 128 bytes, with any content
 *
 * Nobody finds it before evr_dir_publish(). If the caller dies before, name and
 * memory are free again after its reap.
 *
 * Return: 0; -EEXIST; -ENOSPC with the sizes in evr_error_detail(); -EINVAL;
 * -EROFS for an observer; -EPROTO or -EBADMSG when the directory is not ours.
 */
EVR_API int evr_dir_create(struct evr_peer *peer, const char *name, uint32_t kind, uint64_t sz,
			   struct evr_object *out);

/* Let others find it; all written to it before is visible to who does. -ESTALE when it is not ours to publish. */
EVR_API int evr_dir_publish(struct evr_peer *peer, const struct evr_object *obj);

/* -ENOENT, -EINVAL, -EPROTO, -EBADMSG */
EVR_API int evr_dir_find(struct evr_peer *peer, const char *name, struct evr_object *out);

/* Is it still this object under this name? One load. */
EVR_API bool evr_dir_is_current(struct evr_peer *peer, const struct evr_object *obj);

/**
 * evr_dir_remove() - take an object away: published, or created by the caller
 *
 * Its memory may serve another object at once, so nobody may use it any more. A
 * ring with a role that a living peer holds is not removed.
 *
 * Return: 0; -ESTALE when it is gone already; -EBUSY; -EROFS.
 */
EVR_API int evr_dir_remove(struct evr_peer *peer, const struct evr_object *obj);

/* Calls each() for the published objects until it returns not 0; returns that, or 0. */
EVR_API int evr_dir_walk(struct evr_peer *peer,
			 int (*each)(const struct evr_object *obj, void *arg), void *arg);

/*
 * evr_dir_info() - the directory summed up: in an isolated segment, those of all living peers.
 * Return: 0; -ENOSPC the segment is too small for one; -EPROTO, -EBADMSG it is not ours.
 */
EVR_API int evr_dir_info(struct evr_peer *peer, struct evr_dir_info *out);

#ifdef __cplusplus
}
#endif

#endif
