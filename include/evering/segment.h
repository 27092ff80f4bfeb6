/* SPDX-License-Identifier: MIT */
/*
 * Segments: the shared memory that peers attach to, made, found, handed over and
 * looked at. None of these calls is for a hot path; each may make system calls.
 *
 * A segment handle may be used by several threads at once. Closing it while
 * another thread uses it is the caller's race.
 */
#ifndef EVERING_SEGMENT_H
#define EVERING_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_segment;
struct evr_peer_id;
struct evr_peer_info;

#define EVR_NAME_SIZE 64 /* bytes of a name with its final NUL */
#define EVR_PEERS_MAX 256 /* slots of one segment */
#define EVR_NO_DEADLINE UINT64_MAX

enum evr_backend {
	EVR_BACKEND_AUTO, /* the device when it can be opened, else local */
	EVR_BACKEND_DEVICE,
	EVR_BACKEND_LOCAL,
};

/* evr_backend_name() - "device", "local"; "auto" for AUTO, "unknown" otherwise. */
EVR_API const char *evr_backend_name(enum evr_backend backend);

/* evr_backend_available() - can this backend be used by this process now? */
EVR_API bool evr_backend_available(enum evr_backend backend);

struct evr_uri {
	enum evr_backend backend; /* resolved: never AUTO */
	char name[EVR_NAME_SIZE];
};

/*
 * evr_uri_parse() - "device:NAME", "local:NAME", or "NAME" for the backend that a
 * plain name picks here. A name has 1 to 63 of the characters A-Z a-z 0-9 . _ -
 * and starts with neither dot nor dash.
 * Return: 0; -EINVAL with a detail.
 */
EVR_API int evr_uri_parse(const char *uri, struct evr_uri *out);

enum {
	EVR_SEGMENT_ISOLATED = 1, /* mutually hostile peers: no shared region */
	EVR_SEGMENT_CONTIGUOUS = 2, /* one physical run or -ENOSPC; device only */
	EVR_SEGMENT_KEEP = 4, /* a named segment outlives its processes */
};

/* What the memory of a segment is, and so what can be done with it. */
enum evr_backing {
	EVR_BACKING_PAGES, /* the backend's own */
	EVR_BACKING_SHMEM, /* mapped by shmem: io_uring fixed buffers also before Linux 6.5 */
};

/* evr_backing_name() - "pages", "shmem"; "unknown" otherwise. */
EVR_API const char *evr_backing_name(uint32_t backing);

/* What a holder of a segment fd may do. Rights only shrink. */
enum {
	EVR_RIGHT_OBSERVE = 1, /* attach as observer */
	EVR_RIGHT_WRITE = 2, /* attach read-write, ring, settle the dead */
	EVR_RIGHT_INVITE = 4, /* make fds with fewer rights */
	EVR_RIGHT_GROW = 8, /* append memory */
	EVR_RIGHT_ADMIN = 16, /* publish, remove, revoke */
	EVR_RIGHTS_ALL = 31,
};

enum {
	EVR_INVITE_RESERVE = 1, /* hold a slot for whoever attaches with the fd */
};

/*
 * Zeros are the defaults: 64 MiB shared and no regions of the peers' own, or none
 * shared and 2 MiB for each peer when ISOLATED; 16 peers, mode 0600. Sizes are
 * rounded up to the page size.
 */
struct evr_segment_options {
	size_t struct_sz; /* sizeof(struct evr_segment_options) */
	uint64_t shared_sz; /* bytes; 0 = default; must be 0 when ISOLATED */
	uint64_t peer_sz; /* bytes of each peer's own region; 0 = default */
	uint32_t peers_max; /* 1..EVR_PEERS_MAX; 0 = default */
	uint32_t flags; /* EVR_SEGMENT_* */
	int32_t node; /* NUMA node, used when node_set */
	uint32_t mode; /* of the name: r = observe, w = write; used when mode_set */
	uint32_t uid, gid; /* owner of the name, used when owner_set */
	uint64_t reserve_sz; /* address space kept for growth by attaching; 0 = 4 GiB */
	uint32_t mode_set;
	uint32_t node_set;
	uint32_t owner_set;
	uint32_t backing; /* EVR_BACKING_*; the local backend's memory is shmem's always */
};

/*
 * evr_segment_create() - make a segment.
 * @uri: NULL or "" is unnamed on the backend that a plain name would pick;
 *       "device:" and "local:" are unnamed on that one. An unnamed segment can only
 *       be handed over, by evr_segment_fd().
 * On success the handle is the caller's, to be closed; on failure *out is NULL.
 * Return: 0; -EINVAL; -EEXIST the name is taken; -ENOSPC no contiguous run;
 * -ENOMEM, -EDQUOT; -ENODEV no device; -EACCES; -EOPNOTSUPP also: no such backing here.
 */
EVR_API int evr_segment_create(struct evr_segment **out, const char *uri,
			       const struct evr_segment_options *options);

/*
 * evr_segment_open() - find a segment by its name, with all rights that its mode
 * gives the caller.
 * Return: 0; -ENOENT; -EACCES; -ENODEV; -EPROTO another version of the layout;
 * -EBADMSG a header that is not one (the detail names the field).
 */
EVR_API int evr_segment_open(struct evr_segment **out, const char *uri);

/*
 * evr_segment_open_observer() - the same with the right to observe and no other. For
 * monitors: on the local backend not a byte of the segment is written through it and no
 * lock is taken, an observer that attaches has no slot, and what its users have abandoned
 * can be seen as long as its file is there. On the device an observer takes a slot.
 * Return: as evr_segment_open().
 */
EVR_API int evr_segment_open_observer(struct evr_segment **out, const char *uri);

/*
 * evr_segment_adopt() - take a segment fd that was inherited or received.
 * On success the fd belongs to the handle; on failure it stays the caller's.
 * Return: as evr_segment_open(); -EBADF; -EINVAL the fd is no segment.
 */
EVR_API int evr_segment_adopt(struct evr_segment **out, int fd);

/* evr_segment_fd() - the fd to hand over; O_CLOEXEC; stays the handle's. */
EVR_API int evr_segment_fd(const struct evr_segment *segment);

/*
 * evr_segment_invite() - an fd of the same segment with fewer rights.
 * @rights: EVR_RIGHT_*, a subset of the handle's own.
 * @flags: EVR_INVITE_*.
 * @fd: out, O_CLOEXEC, the caller's.
 * Return: 0; -EINVAL; -EACCES; -EUSERS no slot to reserve; -EOPNOTSUPP: the local
 * backend knows only all rights and OBSERVE alone, and reserves nothing.
 */
EVR_API int evr_segment_invite(struct evr_segment *segment, uint32_t rights, uint32_t flags,
			       int *fd);

/*
 * evr_segment_remove() - take the name away. Peers that are attached stay so; the
 * memory goes when the last of them does.
 * Return: 0; -ENOENT; -EACCES; -EINVAL; -EBUSY another process was stopped while it took it
 * away (local).
 */
EVR_API int evr_segment_remove(const char *uri);

/* evr_segment_close() - give up the handle. Peers attached through it are not touched. */
EVR_API void evr_segment_close(struct evr_segment *segment);

struct evr_segment_info {
	enum evr_backend backend;
	uint32_t flags; /* EVR_SEGMENT_* */
	uint64_t segment_id;
	uint64_t size; /* end of the highest offset, bytes */
	uint64_t shared_off;
	uint64_t shared_sz;
	uint64_t peers_off; /* region of slot i is at peers_off + i * peer_sz */
	uint64_t peer_sz;
	uint64_t grown_off; /* first appended byte; == size when not grown */
	uint64_t bytes; /* memory held */
	uint64_t created_ns; /* CLOCK_BOOTTIME */
	uint32_t peers_max;
	uint32_t peers; /* live now */
	uint32_t extents; /* physically contiguous runs; 0 = not known */
	uint32_t rights; /* EVR_RIGHT_* of the handle; 0 in a list */
	uint32_t uid; /* creator */
	uint32_t mode; /* of the name */
	uint32_t owner_uid; /* of the name */
	uint32_t owner_gid;
	uint32_t backing; /* EVR_BACKING_* */
	bool published; /* has a name now */
	bool keep;
	char name[EVR_NAME_SIZE];
};

/* evr_segment_info() - what it is and who is there. 0; or -errno and zeros. */
EVR_API int evr_segment_info(const struct evr_segment *segment, struct evr_segment_info *info);

struct evr_extent {
	uint64_t off; /* in the segment, bytes */
	uint64_t sz; /* bytes */
	uint64_t phys; /* 0 = not told: needs CAP_SYS_ADMIN */
	int32_t node; /* NUMA node, -1 = not known */
	uint32_t __resv;
};

/*
 * evr_segment_extents() - the physically contiguous runs, by ascending offset.
 * @extents: room for @nr; what does not fit is left out.
 * Return: how many there are in all; -EOPNOTSUPP on the local backend.
 */
EVR_API int evr_segment_extents(const struct evr_segment *segment, struct evr_extent *extents,
				uint32_t nr);

/*
 * evr_segment_grow() - append memory. Nothing moves and nothing shrinks. Peers see
 * it at once: evr_peer_at() maps what is new.
 * @bytes: rounded up to 2 MiB.
 * @off: out, where the new range starts.
 * Return: 0; -EACCES; -EINVAL; -EOPNOTSUPP the segment is isolated; -ENOMEM,
 * -ENOSPC, -EDQUOT.
 */
EVR_API int evr_segment_grow(struct evr_segment *segment, uint64_t bytes, uint64_t *off);

/*
 * evr_segment_revoke() - end a peer and take its mappings away, whatever it does.
 * With EVR_BACKING_SHMEM that is complete, and the call returns, once no thread of the
 * peer's process is in the middle of a page fault or of a change of its mappings.
 * Return: 0; -EACCES; -ESTALE; -EOPNOTSUPP on the local backend.
 */
EVR_API int evr_segment_revoke(struct evr_segment *segment, struct evr_peer_id id);

/*
 * evr_segment_list() - call each() for every named segment that the caller can see.
 * A non-zero result of each() ends the walk and is returned.
 * Return: 0; what each() gave; -ENODEV, -EACCES.
 */
EVR_API int evr_segment_list(enum evr_backend backend,
			     int (*each)(const struct evr_segment_info *info, void *arg),
			     void *arg);

/*
 * evr_segment_peers() - who is attached, without attaching.
 * @infos: room for @nr, by ascending slot; what does not fit is left out.
 * Return: how many slots are not free.
 */
EVR_API int evr_segment_peers(const struct evr_segment *segment, struct evr_peer_info *infos,
			      uint32_t nr);

/* What a backend can do here, and how much of it may be used. */
struct evr_system_info {
	enum evr_backend backend;
	uint32_t abi_version;
	uint64_t features; /* EVERING_FEAT_*; 0 on the local backend */
	uint64_t segment_bytes_max; /* UINT64_MAX is no limit */
	uint64_t total_bytes_max;
	uint64_t total_bytes; /* in use now */
	uint64_t uid_bytes_max; /* quota of the caller's uid */
	uint64_t uid_bytes; /* charged to it now */
	uint32_t segments_max;
	uint32_t segments;
	uint32_t peers_max;
	uint32_t page_size;
	uint32_t block_size;
	uint32_t __resv;
};

/* evr_system_info() - 0; -ENODEV when there is no device; -EINVAL no backend. */
EVR_API int evr_system_info(enum evr_backend backend, struct evr_system_info *info);

#ifdef __cplusplus
}
#endif

#endif
