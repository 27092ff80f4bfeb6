/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The kernel ABI of /dev/evering. docs/abi.md holds behaviour and every errno.
 *
 * Three kinds of file: the control fd (open of /dev/evering), segment fds (the
 * right to attach) and peer fds (one attachment: mmap, doorbells, poll, read).
 * Every ioctl struct starts with its own size in bytes; a caller may pass a
 * longer or shorter struct than the kernel knows (copy_struct_from_user rules).
 * The layout is the same for 32-bit and 64-bit callers.
 */
#ifndef EVERING_UAPI_H
#define EVERING_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define EVERING_ABI_VERSION	1
#define EVERING_DEVICE		"/dev/evering"

/* Limits that are part of the ABI; smaller run-time limits come from INFO. */
#define EVERING_PEERS_MAX	256	/* slots of one segment */
#define EVERING_NAME_SIZE	64	/* bytes of a name with its final NUL */
#define EVERING_RING_MAX	256	/* entries of one BELL_RING */
#define EVERING_BLOCK_SIZE	0x200000 /* bytes of a 2 MiB block */
#define EVERING_SLOT_ANY	0xffffffffU
#define EVERING_NODE_ANY	(-1)
#define EVERING_NO_DEADLINE	0xffffffffffffffffULL

/* Bell 63 is rung by the kernel alone: some peer's state has changed. */
#define EVERING_BELL_PEER_EVENT	63
#define EVERING_BELLS_USER	0x7fffffffffffffffULL

/* What the module and the kernel under it can do; reported by INFO. */
#define EVERING_FEAT_URING_RING		(1ULL << 0) /* uring_cmd BELL_RING */
#define EVERING_FEAT_URING_WAIT		(1ULL << 1) /* uring_cmd BELL_WAIT, cancelable */
#define EVERING_FEAT_FIXED_BUFFERS	(1ULL << 2) /* IORING_REGISTER_BUFFERS takes any segment */
#define EVERING_FEAT_CONTIG_FILL	(1ULL << 3) /* holes of a run can be filled by migration */
#define EVERING_FEAT_BACKING_SHMEM	(1ULL << 4) /* EVERING_BACKING_SHMEM is there */
#define EVERING_FEAT_HUGE_MAPPING	(1ULL << 5) /* 2 MiB blocks are mapped by one entry */
#define EVERING_FEAT_GROW_TAG		(1ULL << 6) /* GROW takes a tag, GROWTHS tells it */

/* Rights of a segment fd (what may be done with it) and of a peer. They only shrink. */
#define EVERING_RIGHT_OBSERVE	(1U << 0) /* attach as observer: map everything read-only */
#define EVERING_RIGHT_WRITE	(1U << 1) /* attach read-write, ring, settle the dead */
#define EVERING_RIGHT_INVITE	(1U << 2) /* make attenuated segment fds */
#define EVERING_RIGHT_GROW	(1U << 3) /* append memory */
#define EVERING_RIGHT_ADMIN	(1U << 4) /* publish, unpublish, revoke */
#define EVERING_RIGHTS_ALL	0x1fU

/* Any fd: what is here, and how much of it may be used. */
struct evering_info {
	__u32 size;
	__u32 abi_version;		/* out: EVERING_ABI_VERSION of the module */
	__aligned_u64 features;		/* out: EVERING_FEAT_* */
	__aligned_u64 segment_bytes_max; /* out: largest segment, bytes */
	__aligned_u64 total_bytes_max;	/* out: all segments together, bytes */
	__aligned_u64 total_bytes;	/* out: in use now */
	__aligned_u64 uid_bytes_max;	/* out: quota of the caller's uid; ~0 is none */
	__aligned_u64 uid_bytes;	/* out: charged to the caller's uid now */
	__u32 segments_max;		/* out */
	__u32 segments;			/* out: alive now */
	__u32 peers_max;		/* out: largest peers_max CREATE takes */
	__u32 page_size;		/* out: bytes */
	__u32 block_size;		/* out: bytes */
	__u32 __resv;
};

/* CREATE flags */
#define EVERING_SEGMENT_F_ISOLATED	(1U << 0) /* mutually hostile peers; shared_size 0 */
#define EVERING_SEGMENT_F_CONTIGUOUS	(1U << 1) /* one run or -ENOSPC */
#define EVERING_SEGMENT_F_ALL		0x3U

#define EVERING_BACKING_PAGES	0 /* contiguous 2 MiB blocks, mapped by the module */
#define EVERING_BACKING_SHMEM	1 /* the same, mapped by shmem; see EVERING_FEAT_BACKING_SHMEM */

/* Control fd: a new segment. The segment fd has all rights. */
struct evering_segment_create {
	__u32 size;
	__u32 flags;			/* EVERING_SEGMENT_F_* */
	__aligned_u64 shared_size;	/* bytes, multiple of the page size */
	__aligned_u64 peer_size;	/* bytes of each peer region, multiple of the page size */
	__u32 peers_max;		/* slots, 1 .. info.peers_max */
	__s32 node;			/* NUMA node or EVERING_NODE_ANY */
	__u32 backing;			/* EVERING_BACKING_* */
	__s32 fd;			/* out: segment fd, O_CLOEXEC */
	__aligned_u64 segment_id;	/* out: unique until reboot */
	__aligned_u64 best_run;		/* out: longest contiguous run, bytes; also on -ENOSPC */
	__u32 extents;			/* out: number of contiguous runs */
	__u32 __resv;
};

/* Control fd: a segment by its name, with the rights its mode gives the caller. */
struct evering_segment_open {
	__u32 size;
	__u32 rights;			/* in: wanted, 0 = all that are allowed; out: given */
	__s32 fd;			/* out: segment fd, O_CLOEXEC */
	__u32 __resv;
	char name[EVERING_NAME_SIZE];
};

/* PUBLISH flags */
#define EVERING_PUBLISH_F_KEEP	(1U << 0) /* the kernel holds the segment until UNPUBLISH */

/* Segment fd with ADMIN: give it a name in the creator's user namespace. */
struct evering_segment_publish {
	__u32 size;
	__u32 flags;			/* EVERING_PUBLISH_F_* */
	__u32 mode;			/* 0777 bits: r = observe, w = write; x must be 0 */
	__u32 uid;			/* owner in the caller's user namespace, ~0 = caller's */
	__u32 gid;			/* group in the caller's user namespace, ~0 = caller's */
	__u32 __resv;
	char name[EVERING_NAME_SIZE];
};

/* Segment fd with ADMIN: take the name away; ends KEEP. */
struct evering_segment_unpublish {
	__u32 size;
	__u32 flags;			/* 0 */
};

/* Where things are in a segment. Segment or peer fd. */
struct evering_segment_info {
	__u32 size;
	__u32 flags;			/* out: EVERING_SEGMENT_F_* of CREATE */
	__aligned_u64 segment_id;	/* out */
	__aligned_u64 segment_size;	/* out: end of the highest mappable offset */
	__aligned_u64 status_size;	/* out: status pages, at offset 0 */
	__aligned_u64 shared_offset;	/* out */
	__aligned_u64 shared_size;	/* out */
	__aligned_u64 peers_offset;	/* out: region of slot i: + i * peer_size */
	__aligned_u64 peer_size;	/* out */
	__aligned_u64 grown_offset;	/* out: first appended byte, or segment_size */
	__aligned_u64 created_ns;	/* out: CLOCK_BOOTTIME */
	__aligned_u64 bytes;		/* out: memory held, status pages not counted */
	__u32 peers_max;		/* out */
	__u32 peers;			/* out: live now */
	__u32 extents;			/* out */
	__u32 backing;			/* out */
	__u32 rights;			/* out: of this fd */
	__u32 uid;			/* out: creator, in the caller's user namespace */
	__u32 published;		/* out: 1 when it has a name */
	__u32 publish_flags;		/* out: EVERING_PUBLISH_F_* */
	__u32 mode;			/* out: of the name */
	__u32 owner_uid;		/* out: of the name, caller's user namespace */
	__u32 owner_gid;		/* out: of the name, caller's user namespace */
	__u32 __resv;
	char name[EVERING_NAME_SIZE];	/* out: "" when not published */
};

struct evering_segment_entry {
	__aligned_u64 segment_id;
	__aligned_u64 segment_size;
	__aligned_u64 bytes;
	__aligned_u64 created_ns;
	__u32 flags;
	__u32 publish_flags;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 peers;
	__u32 peers_max;
	__u32 extents;
	char name[EVERING_NAME_SIZE];
};

/* Control fd: the names in the caller's user namespace, by ascending segment id. */
struct evering_segment_list {
	__u32 size;
	__u32 nr;			/* in: room in entries; out: written */
	__aligned_u64 cursor;		/* in: 0 or as returned; out: pass again, ~0 = no more */
	__aligned_u64 entries;		/* pointer to struct evering_segment_entry[nr] */
};

struct evering_extent {
	__aligned_u64 offset;		/* in the segment, bytes */
	__aligned_u64 length;		/* bytes */
	__aligned_u64 phys;		/* physical address; 0 without CAP_SYS_ADMIN */
	__s32 node;			/* NUMA node */
	__u32 __resv;
};

/* Segment or peer fd: the contiguous runs, by ascending offset. */
struct evering_segment_extents {
	__u32 size;
	__u32 first;			/* in: index of the first wanted */
	__u32 nr;			/* in: room in entries; out: written */
	__u32 total;			/* out */
	__aligned_u64 entries;		/* pointer to struct evering_extent[nr] */
};

/* GROW flags */
#define EVERING_GROW_F_TAG	(1U << 0) /* offset is a tag on the way in */
#define EVERING_GROW_F_ALL	0x1U

/* Segment fd with GROW: append memory that every writer may write. */
struct evering_segment_grow {
	__u32 size;
	__u32 flags;			/* EVERING_GROW_F_* */
	__aligned_u64 bytes;		/* multiple of the block size */
	__aligned_u64 offset;		/* in: the tag, with F_TAG; out: start of the new range */
	__aligned_u64 segment_size;	/* out */
};

struct evering_growth {
	__aligned_u64 offset;		/* in the segment, bytes */
	__aligned_u64 length;		/* bytes */
	__aligned_u64 tag;		/* as GROW was given it; 0 = none */
};

/* Segment or peer fd: what GROW has appended, by ascending offset. */
struct evering_segment_growths {
	__u32 size;
	__u32 first;			/* in: index of the first wanted */
	__u32 nr;			/* in: room in entries; out: written */
	__u32 total;			/* out */
	__aligned_u64 entries;		/* pointer to struct evering_growth[nr] */
};

/* ATTACH flags */
#define EVERING_ATTACH_F_OBSERVER	(1U << 0)

/* Segment fd: become a peer. The peer belongs to the calling process' mm. */
struct evering_peer_attach {
	__u32 size;
	__u32 flags;			/* EVERING_ATTACH_F_* */
	__aligned_u64 cookie;		/* label of the peer's own, shown to all */
	__u32 slot;			/* in: wanted or EVERING_SLOT_ANY; out */
	__u32 rights;			/* out: EVERING_RIGHT_* */
	__aligned_u64 incarnation;	/* out */
	__s32 fd;			/* out: peer fd, O_CLOEXEC */
	__u32 __resv;
};

/* INVITE flags */
#define EVERING_INVITE_F_RESERVE	(1U << 0) /* hold a slot for whoever attaches with the fd */

/* Segment fd with INVITE: a segment fd with fewer rights. */
struct evering_peer_invite {
	__u32 size;
	__u32 flags;			/* EVERING_INVITE_F_* */
	__u32 rights;			/* subset of the fd's own */
	__u32 attaches_max;		/* 0 = no limit; 1 with RESERVE */
	__u32 slot;			/* out: reserved slot or EVERING_SLOT_ANY */
	__s32 fd;			/* out: segment fd, O_CLOEXEC */
};

/* Peer fd: a clean end. The fd stays open and answers -EOWNERDEAD. */
struct evering_peer_detach {
	__u32 size;
	__u32 flags;			/* 0 */
};

/* Segment fd with ADMIN, or CAP_SYS_ADMIN: end a peer and take its mappings away. */
struct evering_peer_revoke {
	__u32 size;
	__u32 slot;
	__aligned_u64 incarnation;
};

/* Peer fd with WRITE: all that this dead peer owned is settled; its slot may be used again. */
struct evering_peer_reaped {
	__u32 size;
	__u32 slot;
	__aligned_u64 incarnation;
};

/* Peer states, in the status page and in PEER_LIST */
#define EVERING_PEER_FREE	0
#define EVERING_PEER_RESERVED	1
#define EVERING_PEER_LIVE	2
#define EVERING_PEER_DYING	3
#define EVERING_PEER_DEAD	4 /* waits for PEER_REAPED */
#define EVERING_PEER_RETIRED	5 /* its incarnations are used up */

/* Why a peer ended */
#define EVERING_EXIT_NONE	0
#define EVERING_EXIT_DETACH	1 /* PEER_DETACH */
#define EVERING_EXIT_EXIT	2 /* its process ended; exit_status is as from wait(2) */
#define EVERING_EXIT_EXEC	3 /* its process called execve */
#define EVERING_EXIT_CLOSE	4 /* the last reference to its fd went away */
#define EVERING_EXIT_REVOKE	5 /* PEER_REVOKE */

struct evering_peer_entry {
	__u32 slot;
	__u32 state;			/* EVERING_PEER_* */
	__aligned_u64 incarnation;
	__aligned_u64 cookie;
	__aligned_u64 rung;		/* bells rung to it */
	__aligned_u64 suppressed;	/* of these, found already pending */
	__aligned_u64 attached_ns;	/* CLOCK_BOOTTIME */
	__u32 rights;
	__u32 exit_reason;		/* EVERING_EXIT_* */
	__u32 exit_status;		/* as from wait(2) */
	__s32 pid;			/* in the caller's pid namespace, 0 = not visible there */
	__u32 uid;			/* in the caller's user namespace */
	__u32 __resv;
};

/* Segment or peer fd: all slots that are not free, by ascending slot. */
struct evering_peer_list {
	__u32 size;
	__u32 first;			/* in: first wanted; out: next, SLOT_ANY = no more */
	__u32 nr;			/* in: room in entries; out: written */
	__u32 __resv;
	__aligned_u64 entries;		/* pointer to struct evering_peer_entry[nr] */
};

/* What BELL_RING takes, and write(2) of a peer fd, for which result is 0. */
struct evering_bell {
	__u32 slot;
	__s32 result;			/* out: 0, -ESTALE, -EINVAL */
	__aligned_u64 incarnation;
	__aligned_u64 bits;		/* within EVERING_BELLS_USER, not 0 */
};

/* Peer fd with WRITE: ring many. Returns how many entries have result 0. */
struct evering_bell_ring {
	__u32 size;
	__u32 nr;			/* 0 .. EVERING_RING_MAX */
	__aligned_u64 bells;		/* pointer to struct evering_bell[nr] */
};

/* What read(2) of a peer fd gives; at least the first 8 bytes must be asked for. */
struct evering_bells {
	__aligned_u64 bits;		/* bells that were pending */
	__aligned_u64 rang[EVERING_PEERS_MAX / 64]; /* slots that rang since the last take */
};

/* Peer fd: sleep until a bell of the mask is pending, and take these bells. */
struct evering_bell_wait {
	__u32 size;
	__u32 flags;			/* 0 */
	__aligned_u64 mask;		/* not 0 */
	__aligned_u64 deadline_ns;	/* CLOCK_MONOTONIC, absolute; EVERING_NO_DEADLINE */
	struct evering_bells bells;	/* out */
};

/* Peer fd: also signal this eventfd on each bell that was not pending; -1 unbinds. */
struct evering_bell_bind {
	__u32 size;
	__s32 eventfd;
};

#define EVERING_IOC_MAGIC 0xEB

#define EVERING_IOC_INFO		_IOWR(EVERING_IOC_MAGIC, 0x00, struct evering_info)
#define EVERING_IOC_SEGMENT_CREATE _IOWR(EVERING_IOC_MAGIC, 0x10, struct evering_segment_create)
#define EVERING_IOC_SEGMENT_OPEN	_IOWR(EVERING_IOC_MAGIC, 0x11, struct evering_segment_open)
#define EVERING_IOC_SEGMENT_LIST	_IOWR(EVERING_IOC_MAGIC, 0x12, struct evering_segment_list)
#define EVERING_IOC_SEGMENT_INFO	_IOWR(EVERING_IOC_MAGIC, 0x13, struct evering_segment_info)
#define EVERING_IOC_SEGMENT_EXTENTS _IOWR(EVERING_IOC_MAGIC, 0x14, struct evering_segment_extents)
#define EVERING_IOC_SEGMENT_PUBLISH _IOW(EVERING_IOC_MAGIC, 0x15, struct evering_segment_publish)
#define EVERING_IOC_SEGMENT_UNPUBLISH \
	_IOW(EVERING_IOC_MAGIC, 0x16, struct evering_segment_unpublish)
#define EVERING_IOC_SEGMENT_GROW	_IOWR(EVERING_IOC_MAGIC, 0x17, struct evering_segment_grow)
#define EVERING_IOC_SEGMENT_GROWTHS _IOWR(EVERING_IOC_MAGIC, 0x18, struct evering_segment_growths)
#define EVERING_IOC_PEER_ATTACH		_IOWR(EVERING_IOC_MAGIC, 0x20, struct evering_peer_attach)
#define EVERING_IOC_PEER_INVITE		_IOWR(EVERING_IOC_MAGIC, 0x21, struct evering_peer_invite)
#define EVERING_IOC_PEER_DETACH		_IOW(EVERING_IOC_MAGIC, 0x22, struct evering_peer_detach)
#define EVERING_IOC_PEER_LIST		_IOWR(EVERING_IOC_MAGIC, 0x23, struct evering_peer_list)
#define EVERING_IOC_PEER_REVOKE		_IOW(EVERING_IOC_MAGIC, 0x24, struct evering_peer_revoke)
#define EVERING_IOC_PEER_REAPED		_IOW(EVERING_IOC_MAGIC, 0x25, struct evering_peer_reaped)
#define EVERING_IOC_BELL_RING		_IOWR(EVERING_IOC_MAGIC, 0x30, struct evering_bell_ring)
#define EVERING_IOC_BELL_WAIT		_IOWR(EVERING_IOC_MAGIC, 0x31, struct evering_bell_wait)
#define EVERING_IOC_BELL_BIND		_IOW(EVERING_IOC_MAGIC, 0x32, struct evering_bell_bind)

/*
 * io_uring: IORING_OP_URING_CMD on a peer fd. cmd_op is one of these; the 16
 * bytes of sqe->cmd are the struct named beside it. cqe->res is 0, a count or
 * -errno.
 */
#define EVERING_URING_BELL_RING		_IOWR(EVERING_IOC_MAGIC, 0x40, struct evering_uring_ring)
#define EVERING_URING_BELL_WAIT		_IOWR(EVERING_IOC_MAGIC, 0x41, struct evering_uring_wait)
#define EVERING_URING_CANCEL		_IOW(EVERING_IOC_MAGIC, 0x42, struct evering_uring_cancel)

/* res: how many entries have result 0 */
struct evering_uring_ring {
	__aligned_u64 bells;		/* pointer to struct evering_bell[nr] */
	__u32 nr;
	__u32 flags;			/* 0 */
};

/* Parks until a bell of the mask is pending. wait->deadline_ns must be EVERING_NO_DEADLINE. */
struct evering_uring_wait {
	__aligned_u64 wait;		/* pointer to struct evering_bell_wait */
	__aligned_u64 cookie;		/* for CANCEL */
};

/* Ends the parked waits of this fd that have this cookie with -ECANCELED; res: how many */
struct evering_uring_cancel {
	__aligned_u64 cookie;
	__aligned_u64 flags;		/* 0 */
};

/*
 * The status page: written by the kernel alone, mapped read-only by every peer
 * at offset 0. An entry's fields are written before its state (store-release);
 * read state with load-acquire, then the fields, then state and incarnation
 * again. segment_size is written with store-release after the memory is there.
 */
#define EVERING_STATUS_MAGIC	0x3130474e49525645ULL /* "EVRING01" */

struct evering_status_header {
	__aligned_u64 magic;
	__u32 abi_version;
	__u32 flags;			/* EVERING_SEGMENT_F_* */
	__aligned_u64 segment_id;
	__aligned_u64 segment_size;
	__aligned_u64 shared_offset;
	__aligned_u64 shared_size;
	__aligned_u64 peers_offset;
	__aligned_u64 peer_size;
	__aligned_u64 grown_offset;
	__u32 peers_max;
	__u32 entries_offset;		/* bytes from the start of the status page */
	__u32 entry_size;		/* bytes */
	__u32 __resv0;
	__aligned_u64 __resv1[5];
	/* On a line of its own: changes with every peer event. */
	__aligned_u64 generation;	/* +1 for each change of any peer's state */
	__aligned_u64 __resv2[15];
};

struct evering_status_entry {
	__u32 state;			/* EVERING_PEER_* */
	__u32 rights;
	__aligned_u64 incarnation;
	__aligned_u64 cookie;
	__u32 exit_reason;
	__u32 exit_status;
	__s32 tgid;			/* in the initial pid namespace; see PEER_LIST */
	__u32 uid;			/* in the initial user namespace; see PEER_LIST */
	__aligned_u64 rung;
	__aligned_u64 suppressed;
	__aligned_u64 attached_ns;	/* CLOCK_BOOTTIME */
};

#define EVERING_STATUS_ENTRIES_OFFSET	256

#endif
