/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's objects and what its files offer each other.
 *
 * Lifetime   file -> dentry -> inode -> object (inode->i_private), freed when the
 *            inode is evicted. A peer's inode holds the segment's inode. The
 *            superblock holds the module, so rmmod waits for the last inode.
 * Locks      names_mutex, segment->grow_mutex, limbo_mutex: sleep, never nested in
 *            each other, never held over an access to user memory or an iput.
 *            segment->lock: slot table and status pages. peer->lock: bells and
 *            waits. limits_lock: sums. These three are spinlocks that are not taken
 *            from interrupts and are never nested. A folio's lock nests in mmap_lock.
 *            evering_alias_cut() takes the mmap_lock of a peer's process, with none of
 *            ours held.
 * RCU        slot->peer: a ringer reads it without a reference; the peer is freed
 *            after a grace period.
 */
#ifndef EVERING_H
#define EVERING_H

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <evering/uapi.h>

#define EVERING_BLOCK_ORDER	(ilog2(EVERING_BLOCK_SIZE) - PAGE_SHIFT)
#define EVERING_BLOCK_PAGES	(EVERING_BLOCK_SIZE >> PAGE_SHIFT)
#define EVERING_DATA_OFFSET	((u64)EVERING_BLOCK_SIZE)
#define EVERING_RANG_WORDS	(EVERING_PEERS_MAX / 64)
#define EVERING_STATUS_PAGES_MAX						\
	DIV_ROUND_UP(EVERING_STATUS_ENTRIES_OFFSET +				\
		     EVERING_PEERS_MAX * sizeof(struct evering_status_entry), PAGE_SIZE)

struct evering_peer;
struct evering_segment;
struct seq_file;
struct io_uring_cmd;

/* ---- inode.c: the pseudo-filesystem that the objects live on ---- */

/* First member of whatever an inode's i_private points to. */
struct evering_node {
	const struct evering_node_ops *ops;
	struct inode *inode;
};

struct evering_node_ops {
	/* The last reference to the inode is gone: frees the object. May sleep. */
	void (*evict)(struct evering_node *node);
	/* For /proc: as snprintf(). */
	int (*name)(const struct evering_node *node, char *buf, size_t size);
};

int evering_fs_pin(void);
void evering_fs_unpin(void);
struct vfsmount *evering_fs_mount(void);
int evering_node_init(struct evering_node *node, const struct evering_node_ops *ops,
		      struct vfsmount *mnt);
struct file *evering_node_file(struct evering_node *node, struct vfsmount *mnt, int flags,
			       const struct file_operations *fops);

/* ---- device.c: ioctls ---- */

/* One ioctl being executed. */
struct evering_call {
	struct file *file;	/* the command was given to this fd */
	void *arg;		/* the kernel's copy of the struct */
	struct file *new_file;	/* installed as new_fd once arg has been copied out */
	int new_fd;
	bool write_back;	/* copy arg out although the command has failed */
	void *made;		/* what commit or undo is about */
	/* Nothing can fail any more: makes what the command did visible. */
	void (*commit)(struct evering_call *call);
	/* The struct could not be copied out: as if nothing had happened. */
	void (*undo)(struct evering_call *call);
};

struct evering_command {
	unsigned int cmd;
	unsigned int size;	/* of the struct in ABI 1, the least that is accepted */
	u32 rights;		/* all of these are needed on the fd */
	long (*run)(struct evering_call *call);
};

#define EVERING_COMMAND(noun, type, needed, handler)				\
	{ .cmd = EVERING_IOC_##noun, .size = sizeof(struct evering_##type),	\
	  .rights = (needed), .run = (handler) }

const struct evering_command *evering_command_find(const struct evering_command *table,
						   unsigned int cmd);
int evering_size_check(u32 usize, u32 ksize);
int evering_call_fd(struct evering_call *call, struct file *file);
long evering_call_info(struct evering_call *call);
long evering_control_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
long evering_segment_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
long evering_peer_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* ---- limits.c: quotas and module parameters ---- */

/* An account; protected by limits_lock. */
struct evering_user {
	struct list_head list;
	u64 refs;
	kuid_t uid;
	u64 bytes;
};

struct evering_limits {
	u64 segment_bytes_max;
	u64 total_bytes_max;
	u64 total_bytes;
	u64 uid_bytes_max;
	u64 uid_bytes;
	u32 segments_max;
	u32 segments;
	u32 peers_max;
};

void evering_limits_get(struct evering_limits *limits);
u64 evering_uid_bytes_max(void);
int evering_sum_check(u64 sum, u64 add, u64 max);
struct evering_user *evering_user_get(void);
void evering_user_put(struct evering_user *user);
int evering_charge(struct evering_user *user, u64 bytes, u64 segment_bytes);
void evering_uncharge(struct evering_user *user, u64 bytes);
int evering_segment_count(void);
void evering_segment_uncount(void);
u64 evering_incarnation_max(void);

/* ---- runs.c: physically contiguous runs, as sorted arrays of frame numbers ---- */

struct evering_run {
	u32 first;	/* index into the array */
	u32 nr;
};

void evering_runs_sort(unsigned long *pfn, u32 nr);
struct evering_run evering_runs_next(const unsigned long *pfn, u32 nr, u32 first,
				     unsigned long step);
struct evering_run evering_runs_longest(const unsigned long *pfn, u32 nr, unsigned long step);
void evering_runs_keep(unsigned long *pfn, u32 nr, unsigned long step, u32 want);

/* ---- pages.c: the memory of a segment ---- */

/* Blocks by number: block n holds the bytes at EVERING_DATA_OFFSET + n * EVERING_BLOCK_SIZE. */
struct evering_memory {
	struct xarray blocks;		/* of struct folio, order <= EVERING_BLOCK_ORDER */
	struct file *shmem;		/* whose page cache has them, or NULL */
	struct evering_user *user;	/* is charged until a block is really free */
	struct list_head limbo;
};

struct evering_request {
	u64 bytes;		/* one block of any order, or whole blocks of order 9 */
	u64 first;		/* block number */
	int node;		/* or NUMA_NO_NODE */
	bool contiguous;	/* or fail */
	u64 best_run;		/* out: bytes */
};

struct evering_memory *evering_memory_create(struct evering_user *user, u32 backing);
int evering_memory_add(struct evering_memory *memory, struct inode *inode,
		       struct evering_request *request);
void evering_memory_destroy(struct evering_memory *memory);
struct folio *evering_memory_folio(struct evering_memory *memory, u64 offset);
u32 evering_memory_extents(struct evering_memory *memory, u64 end, u32 first, u32 nr,
			   struct evering_extent *extents);
struct page *evering_status_page(struct inode *inode, pgoff_t index, int node);
void evering_status_page_free(struct page *page);
u64 evering_limbo_sweep(void);
u64 evering_limbo_bytes(void);
void evering_limbo_exit(void);

/* ---- shmem.c: EVERING_BACKING_SHMEM ---- */

struct file *evering_shmem_create(void);
int evering_shmem_add(struct file *shmem, struct folio *folio, pgoff_t index);
void evering_shmem_remove(struct file *shmem, struct folio *folio);
int evering_alias_create(struct evering_peer *peer);
void evering_alias_destroy(struct evering_peer *peer);
void evering_alias_resize(struct evering_peer *peer, u64 size);
int evering_alias_map(struct file *peer_file, struct vm_area_struct *vma);
int evering_alias_cut(struct evering_peer *peer, bool wait);

/* ---- slot.c: slots and incarnations; the caller holds segment->lock ---- */

struct evering_slot {
	struct evering_peer __rcu *peer; /* while it can be rung */
	struct evering_status_entry *entry; /* what user space sees */
	u32 state;
	u32 before;			/* state to return to when an attach fails */
	u32 rights;
	u32 exit_reason;
	u32 exit_status;
	kuid_t uid;
	struct pid *pid;		/* counted */
	u64 incarnation;
	u64 cookie;
	u64 attached_ns;
};

struct evering_slots {
	struct evering_status_header *header;
	u64 generation;
	u32 nr;
	u32 live;
	u32 writers;			/* live with EVERING_RIGHT_WRITE */
	u64 incarnation_max;
	struct evering_slot slot[];
};

/* Who takes a slot. */
struct evering_tenant {
	struct pid *pid;		/* the slot takes over the reference */
	kuid_t uid;
	u32 rights;
	u64 cookie;
};

int evering_slots_find(const struct evering_slots *slots, u32 wanted, u32 reserved, u32 rights);
void evering_slot_reserve(struct evering_slots *slots, u32 index);
void evering_slot_unreserve(struct evering_slots *slots, u32 index);
void evering_slot_take(struct evering_slots *slots, u32 index);
void evering_slot_cancel(struct evering_slots *slots, u32 index);
struct pid *evering_slot_live(struct evering_slots *slots, u32 index,
			      const struct evering_tenant *tenant);
void evering_slot_dying(struct evering_slots *slots, u32 index);
void evering_slot_dead(struct evering_slots *slots, u32 index, u32 reason, u32 status);
int evering_slot_reap(struct evering_slots *slots, u32 index, u64 incarnation);

/* ---- segment.c ---- */

/*
 * Offsets: [0, status_size) status pages; [shared_offset, + shared_size);
 * [peers_offset, + peers_max * peer_size); up to data_end nobody's;
 * [grown_offset, size) appended.
 */
struct evering_geometry {
	u64 status_size;
	u64 shared_offset;
	u64 shared_size;
	u64 peers_offset;
	u64 peer_size;
	u64 data_end;
	u64 grown_offset;
	u64 size;		/* grows; written under segment->lock */
	u32 peers_max;
};

struct evering_segment {
	struct evering_node node;
	u64 id;
	u64 created_ns;
	u32 flags;
	u32 backing;
	int numa_node;
	kuid_t uid;
	struct user_namespace *user_ns;	/* the creator's; where a name of it lives */
	struct evering_memory *memory;
	struct page *status_page[EVERING_STATUS_PAGES_MAX];
	struct mutex grow_mutex;	/* one growth at a time */
	u32 growths_max;		/* room in growths; protected by grow_mutex */
	struct list_head list;		/* of all segments */

	/* Protected by names_mutex. */
	char name[EVERING_NAME_SIZE];
	u32 publish_flags;
	u32 mode;
	u32 name_rights;		/* of the fd that published: the most a name gives */
	kuid_t owner;
	kgid_t group;
	struct vfsmount *keep_mnt;	/* with a reference to the inode, while KEEP */

	/* Protected by lock. */
	spinlock_t lock;
	struct evering_geometry geometry;
	struct evering_slots *slots;
	struct evering_growth *growths;	/* what was appended; also written under grow_mutex only */
	u32 growths_nr;
};

/* What a segment fd may do. */
struct evering_grant {
	struct evering_segment *segment;
	u32 rights;
	/* Protected by segment->lock. */
	u32 attaches_left;		/* EVERING_NO_LIMIT: any number */
	u32 reserved;			/* slot or EVERING_SLOT_ANY */
};

#define EVERING_NO_LIMIT	U32_MAX

int evering_geometry_init(struct evering_geometry *geometry, u64 shared_size, u64 peer_size,
			  u32 peers_max);
long evering_call_create(struct evering_call *call);
struct file *evering_grant_file(struct evering_segment *segment, struct vfsmount *mnt, u32 rights);
struct evering_segment *evering_file_segment(struct file *file);
u32 evering_file_rights(struct file *file);
long evering_call_segment_info(struct evering_call *call);
long evering_call_extents(struct evering_call *call);
long evering_call_invite(struct evering_call *call);
void evering_segments_show(struct seq_file *m);
u64 evering_segment_bytes(const struct evering_geometry *geometry);
u32 evering_segment_extents(struct evering_segment *segment);
extern const struct file_operations evering_segment_fops;

/* ---- grow.c ---- */

long evering_call_grow(struct evering_call *call);
long evering_call_growths(struct evering_call *call);

/* ---- names.c ---- */

bool evering_name_valid(const char name[EVERING_NAME_SIZE]);
u32 evering_mode_rights(u32 bits);
void evering_names_forget(struct evering_segment *segment);
void evering_names_info(struct evering_segment *segment, struct evering_segment_info *info);
long evering_call_publish(struct evering_call *call);
long evering_call_unpublish(struct evering_call *call);
long evering_call_open(struct evering_call *call);
long evering_call_segment_list(struct evering_call *call);

/* ---- peer.c ---- */

struct evering_peer {
	struct evering_node node;
	struct evering_segment *segment; /* its inode is held */
	struct mm_struct *mm;		/* mmgrab()ed; only compared */
	struct pid *pid;		/* thread group of the attacher, counted */
	u32 slot;
	u32 rights;
	u64 incarnation;
	u64 cookie;
	kuid_t uid;
	bool used_reservation;		/* of the grant that it attaches with */
	struct file *alias;		/* maps blocks with EVERING_BACKING_SHMEM, or NULL */

	/* Death, see death.c */
	unsigned long flags;		/* EVERING_PEER_BIT_* */
	wait_queue_entry_t pid_wait;
	struct work_struct death_work;
	struct list_head unmapped;	/* see evering_death_unmapped() */
	atomic_t mappings;		/* in its own mm; of an alias: files */
	u32 exit_status;		/* kept by the pid hook */
	u32 end_reason;			/* these two: what somebody ends it for */
	u32 end_status;
	struct delayed_work end_work;	/* completes the end of one with an alias */
	const struct mm_struct *passed;	/* how far it is; only compared */

	/* Bells. Protected by lock. */
	spinlock_t lock;
	bool ended;			/* also read without it, by fault */
	u64 pending;
	u64 rang[EVERING_RANG_WORDS];
	struct eventfd_ctx *eventfd;
	struct list_head parked;	/* struct evering_parked, uring.c */
	struct list_head waits;		/* these, and those on their way to complete */
	u32 waits_nr;
	struct evering_status_entry *entry; /* its counters are ours while we live */

	wait_queue_head_t wq;
	struct rcu_head rcu;
};

#define EVERING_PEER_BIT_LIVE	0	/* was attached */
#define EVERING_PEER_BIT_ENDING	1	/* somebody ends it: exactly once */
#define EVERING_PEER_BIT_STATUS	2	/* exit_status is known */
#define EVERING_PEER_BIT_DEAD	3	/* its end is complete */

long evering_call_attach(struct evering_call *call);
long evering_call_peer_list(struct evering_call *call);
extern const struct file_operations evering_peer_fops;

static inline struct evering_peer *evering_file_peer(struct file *file)
{
	return file_inode(file)->i_private;
}

/* ---- map.c ---- */

int evering_range_access(const struct evering_geometry *geometry, u32 slot, u32 rights,
			 u64 offset, u64 length);
int evering_vma_check(struct evering_peer *peer, struct vm_area_struct *vma);
int evering_peer_mmap(struct file *file, struct vm_area_struct *vma);
void evering_mapping_gone(struct evering_peer *peer);
int evering_peer_unmap(struct evering_peer *peer, bool wait);

/* ---- death.c ---- */

/* What is to be done about the mappings of a peer that ends. */
enum evering_unmap {
	EVERING_UNMAP_LATER,	/* its mm is gone, or it has none; must not sleep now */
	EVERING_UNMAP_TRY,
	EVERING_UNMAP_WAIT,	/* until it is done, or a fatal signal comes */
};

void evering_death_init(struct evering_peer *peer);
void evering_death_watch(struct evering_peer *peer);
void evering_death_unmapped(struct evering_peer *peer);
void evering_death_exit(void);
void evering_death_unwatch(struct evering_peer *peer);
bool evering_peer_end(struct evering_peer *peer, u32 reason, u32 status,
		      enum evering_unmap unmap);
void evering_peer_lost(struct evering_peer *peer, bool mm_gone);
long evering_call_detach(struct evering_call *call);
long evering_call_revoke(struct evering_call *call);
long evering_call_reaped(struct evering_call *call);

/* ---- doorbell.c ---- */

int evering_bells_ring(struct evering_peer *from, struct evering_bell __user *bells, u32 nr);
int evering_bells_take(struct evering_peer *peer, u64 mask, struct evering_bells *bells,
		       u32 words);
int __evering_bells_take(struct evering_peer *peer, u64 mask, struct evering_bells *bells,
			 u32 words);
void evering_bells_give_back(struct evering_peer *peer, const struct evering_bells *bells);
void evering_bells_end(struct evering_peer *peer);
void evering_peer_event(struct evering_segment *segment, const struct evering_peer *except);
long evering_call_ring(struct evering_call *call);
long evering_call_wait(struct evering_call *call);
long evering_call_bind(struct evering_call *call);
ssize_t evering_peer_read(struct kiocb *iocb, struct iov_iter *to);
ssize_t evering_peer_write(struct file *file, const char __user *bells, size_t len, loff_t *pos);
__poll_t evering_peer_poll(struct file *file, struct poll_table_struct *table);

/* ---- uring.c ---- */

int evering_peer_uring(struct io_uring_cmd *cmd, unsigned int issue_flags);
void evering_parked_pick(struct evering_peer *peer, struct list_head *picked);
void evering_parked_complete(struct list_head *picked);

/* ---- seen.c: tracepoints, sysfs, debugfs ---- */

extern const struct attribute_group *evering_groups[];
void evering_seen_init(void);
void evering_seen_exit(void);

#endif
