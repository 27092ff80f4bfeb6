/* SPDX-License-Identifier: MIT */
/*
 * What the files of the driver share.
 *
 * An op is a slot of 64 bytes, and all that needs more room an extra of the same
 * index. Both lie in pages that never move. How an op is done is its way:
 *
 *	RING	io_uring
 *	POOL	a system call that may block, in a thread of the pool
 *	READY	epoll, then a system call that does not block, in the loop
 *	INLINE	by the driver itself, when it is submitted
 *
 * Whatever the way, an op ends in evr_event(): the one place that decides whether it
 * is over, starts again, or goes to the caller.
 *
 *	FREE -> BACKLOG -> ACTIVE -> DONE -> FREE
 *	     -> HELD (a member of a chain whose turn has not come)
 *
 * invariants	in_flight == number of ACTIVE ops whose way is not INLINE
 *		credits + sum of slot.credits == credits_max
 *		a slot is on at most one list: free, backlog, done, or cancels (ACTIVE)
 */
#ifndef EVERING_DRIVER_DRIVER_H
#define EVERING_DRIVER_DRIVER_H

#include <errno.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <evering/atomic.h>
#include <evering/bell.h>
#include <evering/driver.h>
#include <evering/driver_inject.h>
#include <evering/driver_op.h>
#include <evering/driver_resource.h>
#include <evering/error.h>
#include <evering/uapi.h>

#include "internal.h"
#include "uring_abi.h"

#define NONE UINT32_MAX
#define PAGE_SLOTS 256u
#define LIKELY(cond) __builtin_expect(!!(cond), 1)
#define UNLIKELY(cond) __builtin_expect(!!(cond), 0)

/* user_data: {generation:32 | kind:8 | index:24}; of an op it is the caller's id. */
#define INDEX_BITS 24
#define INDEX_MASK ((1u << INDEX_BITS) - 1)

enum kind {
	KIND_NONE, /* a zeroed CQE matches nothing */
	KIND_OP,
	KIND_CANCEL,
	KIND_WAKE,
};

enum state { FREE, BACKLOG, HELD, ACTIVE, DONE };

/* slot.flags */
enum {
	S_CANCEL = 1, /* asked to end */
	S_LISTED = 2, /* on the list of cancels */
	S_ABANDONED = 4, /* nobody is to hear of it */
	S_BACKGROUND = 8,
	S_EXPIRED = 16, /* its deadline has passed */
	S_LINKED = 32, /* a member of a chain in the kernel */
	S_SEQUENCE = 64, /* a member of a chain that the driver runs */
	S_EXTRA = 128, /* the extra is in use */
	S_GROUP = 1024, /* holds a reference of its group of buffers */
	S_MULTI = 256,
	S_REGION = 512, /* holds a reference of its region */
};

/* slot.plain */
enum { PLAIN = 1, PLAIN_REGION = 2 /* holds a reference of its region */ };

struct slot {
	uint32_t self; /* kind and index: the lower half of the id */
	uint32_t gen;
	uint8_t op;
	uint8_t state;
	uint8_t way;
	uint8_t plain; /* PLAIN*: ACTIVE, by io_uring, and evr_event() would only deliver it */
	uint32_t next, prev; /* in a list */
	uint32_t heap; /* place among the timers + 1, or 0 */
	evr_done_fn *fn;
	union {
		void *arg;
		struct slot *free; /* while FREE: the next that is */
	};
	int32_t res; /* while DONE */
	uint32_t cflags; /* while DONE; as in a CQE */
	int32_t fd;
	uint32_t before; /* S_LINKED: the member before this one, or NONE */
	struct {
		uint32_t link; /* next member of the chain, or NONE */
		uint16_t flags; /* S_* */
		uint8_t credits;
		uint8_t tries;
	};
};

EVR_STATIC_ASSERT(sizeof(struct slot) == 64, "a slot is one cache line");

#define INLINE_IOVS 4

struct extra {
	struct evr_op op; /* pointers point to the copies below */
	union {
		struct sockaddr_storage address;
		struct open_how how;
		struct iovec iov[INLINE_IOVS];
		struct evering_bell_wait bell; /* the kernel writes what was rung */
		struct {
			uint64_t deadline_ns, period_ns, count;
		} timer;
	};
	struct msghdr msg;
	void *mem; /* copies that did not fit; freed with the slot */
	uint64_t value; /* of the next completion: expirations, bells */
	uint64_t until_ns; /* key of the heap: deadline of the op, or of the timer */
	uint32_t moved; /* EXACT: bytes so far */
	int32_t held_fd; /* a reference of our own to the file, or -1 */
	int32_t held_in; /* the same of the second file of splice and tee */
	uint32_t turn; /* FIXED_FD, of the kernel's table: whose turn in the slot it was */
	int32_t result; /* of the pool */
	uint16_t bid; /* emulated: the provided buffer that was used */
	uint32_t index;
	struct extra *next; /* in the pool's lists */
	bool running; /* pool: protected by pool.lock */
	bool waits; /* emulated by epoll: calls must not block */
	struct evr_a32 cancelled; /* pool: a call that waits looks at it now and then */
};

struct list {
	uint32_t head, tail, nr;
};

struct page {
	struct slot slots[PAGE_SLOTS];
	struct extra *extras; /* made when first needed */
};

struct ring {
	struct io_uring uring;
	struct evr_a32 *sq_head, *sq_tail, *sq_flags;
	struct evr_a32 *cq_head, *cq_tail;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	uint32_t sq_mask, sq_entries, cq_mask, cq_entries;
	uint32_t tail; /* next SQE to fill */
	uint32_t sent; /* below: the kernel has them */
	int enter_fd;
	uint32_t enter_flags;
	uint32_t setup_flags;
	struct io_uring_probe *probe; /* what it can do */
	bool exists;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct extra *queue, **queue_end; /* protected by lock */
	struct extra *done, **done_end;
	pthread_t *threads;
	uint32_t threads_nr, threads_max, idle, queued;
	bool stop;
};

/* Completions to be taken: one producer, the driver's thread; one consumer. */
struct take {
	struct evr_completion *entries;
	uint32_t mask;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a32 tail;
	struct evr_a32 news; /* counts; futex */
	struct evr_a32 closed;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a32 sleepers;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a32 head;
};

/* The ops of the driver itself, which nobody can submit. */
enum {
	EVR_OP_BELL_PARK = EVR_OPS_NR, /* op_bell.c */
	ROWS_NR,
};

struct region;
struct group;
struct hub;
struct life; /* slot.c: a page that a child of fork finds empty */

struct evr_driver {
	/* what every op touches */
	struct life *life;
	struct page **pages;
	struct slot *free;
	uint32_t slots_nr;
	uint32_t credits, credits_max;
	/* So many plain ops find room everywhere, at least; 0: look again. */
	uint32_t quick;
	uint32_t in_flight, slots_used;
	uint64_t delivered; /* completions */
	bool unusual; /* evr_ring_turn() is not for it: no ring, SQPOLL, or a foreign loop */
	bool due; /* work() of run.c has something to look at */
	bool closing, running, starved, wake_wanted;
	uint32_t starved_credits, starved_slots; /* what a refused submission needs */
	uint8_t way[ROWS_NR];
	bool plain[ROWS_NR]; /* evr_driver_submit() has a short way */
	struct ring ring;
	struct list backlog, done, cancels;
	uint32_t cancels_out;
	struct evr_driver_stats stats;

	/* timers: a heap of slots by until_ns */
	uint32_t *heap;
	uint32_t heap_nr, heap_max;

	struct evr_injector *injector;
	struct take take;
	struct pool pool;
	int epoll_fd;
	bool wake_armed;
	struct hub *hubs; /* op_bell.c */
	bool bell_command; /* waits for bells by the device's own command */
	bool bells_due; /* a multishot wait has bells to be told */
	bool foreign; /* evr_driver_fd() was called: a sleeper also outside run */

	struct region *regions;
	uint32_t regions_nr;
	uint32_t buffers_nr; /* of the kernel's table; 0: none there */
	bool buffers_refused;
	uint8_t *buffers_used;
	bool files_native;
	uint32_t files_nr;
	int *files; /* the own table: fds, or -1 */
	uint32_t *files_turn; /* how often a slot has changed its file */
	struct group *groups;
	bool groups_refused;
	bool zc_silent; /* op_socket.c */

	struct evr_driver_options options;
	int uring_error, buffers_error;
	struct evr_driver *leaked; /* next of those that were given up */
};

/* A row of the table of operations; op_<family>.c has them. */
enum {
	ROW_BARE = 1, /* nothing of it is needed after it was handed over */
	ROW_FD = 2, /* fd is a file that the op works on */
	ROW_RETRY = 4, /* -EAGAIN is tried again a few times */
	ROW_FULL = 8, /* less than len ends a chain */
	ROW_INLINE = 16, /* emulated by the driver when it is submitted */
	ROW_EDGE = 32, /* emulated: every edge, not every level */
	ROW_UNCHAINED = 64, /* no member of a chain */
	ROW_NO_RING = 128, /* never by io_uring */
	ROW_NOTIFIES = 256, /* has a second completion */
	ROW_BEGINS = 512, /* emulated: the call comes before the wait too */
	ROW_ONCE = 1024, /* an interrupted call has done its work */
	ROW_IN = 2048, /* x[1] is a file too */
	ROW_HOLDS = 4096, /* its file is needed to the end, whoever closes the number */
	ROW_KEEP_FLAGGED = 8192, /* by io_uring keep() is for BUFFER, MULTISHOT, EXACT alone */
};

struct row {
	const char *name;
	uint16_t opcode; /* IORING_OP_* */
	uint16_t flags; /* ROW_* */
	uint16_t allowed; /* EVR_OP_* */
	/* Copy what op points to. 0 or -errno. */
	int (*keep)(struct evr_driver *d, struct extra *extra);
	/* All of the SQE but user_data and what is common. */
	void (*prep)(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe);
	/* The emulation: result, or -EAGAIN when it would block and fd is to be waited for. */
	int (*call)(struct evr_driver *d, struct extra *extra, int fd);
	/* Emulated by epoll: for what to wait. NULL: by the pool. */
	uint32_t (*events)(const struct extra *extra);
	/* Look at a result first. True: it was dealt with, the op goes on. */
	bool (*done)(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
		     uint32_t *cflags);
	/* Give back what a result brings that nobody wants. */
	void (*cleanup)(struct evr_driver *d, const struct evr_op *op, int res, uint32_t cflags);
	/* All of an SQE that cancels it but user_data; NULL: io_uring knows how. */
	void (*cancel)(struct extra *extra, uint64_t id, struct io_uring_sqe *sqe);
};

extern const struct row *const evr_rows[ROWS_NR]; /* optab.c */

/* May it go to the pool when the kernel's file system lacks it? */
static inline bool row_has_pool(const struct row *row)
{
	return row->call && !row->events;
}

/* An op that may start again keeps its file: the number may be another's by then. */
static inline bool op_holds_fd(const struct row *row, const struct evr_op *op)
{
	if (!(row->flags & ROW_FD) || op->flags & EVR_OP_FIXED_FD)
		return false;
	return row_has_pool(row) || row->flags & (ROW_NOTIFIES | ROW_HOLDS) ||
	       op->flags & (EVR_OP_EXACT | EVR_OP_MULTISHOT | EVR_OP_ASYNC);
}

/* slot.c */
int evr_slots_init(struct evr_driver *d);
void evr_slots_fini(struct evr_driver *d);
int evr_slots_grow(struct evr_driver *d);
int evr_extras_make(struct evr_driver *d, uint32_t page);
void evr_life_bind(struct evr_driver *d);
bool evr_life_is_bound(const struct evr_driver *d);
int evr_life_bad(const struct evr_driver *d);
void evr_list_push(struct evr_driver *d, struct list *list, uint32_t index);
void evr_list_push_front(struct evr_driver *d, struct list *list, uint32_t index);
void evr_list_remove(struct evr_driver *d, struct list *list, uint32_t index);

extern _Thread_local char evr_thread_token __attribute__((tls_model("initial-exec")));

struct life {
	const void *owner; /* its thread; NULL in a child of fork, and when DETACHED */
	uint64_t made; /* 0 in a child of fork */
};

/* 0: this thread may use the driver. */
static inline int driver_check(const struct evr_driver *d)
{
	if (LIKELY(d->life->owner == &evr_thread_token))
		return 0;
	return evr_life_bad(d);
}

static inline struct slot *slot_at(const struct evr_driver *d, uint32_t index)
{
	return &d->pages[index / PAGE_SLOTS]->slots[index % PAGE_SLOTS];
}

static inline struct extra *extra_at(const struct evr_driver *d, uint32_t index)
{
	return &d->pages[index / PAGE_SLOTS]->extras[index % PAGE_SLOTS];
}

static inline uint64_t id_of(const struct slot *s)
{
	return (uint64_t)s->gen << 32 | s->self;
}

static inline uint32_t index_of(const struct slot *s)
{
	return s->self & INDEX_MASK;
}

/* The slot that this id names, if it still does. */
static inline struct slot *slot_of(const struct evr_driver *d, uint64_t id, uint32_t *index)
{
	struct slot *s;

	/* Another kind makes this a large number. */
	*index = (uint32_t)id - ((uint32_t)KIND_OP << INDEX_BITS);
	if (UNLIKELY(*index >= d->slots_nr))
		return NULL;
	s = slot_at(d, *index);
	return LIKELY(id_of(s) == id) ? s : NULL;
}

static inline void slot_free(struct evr_driver *d, struct slot *s)
{
	d->credits += s->credits;
	s->credits = 0;
	s->state = FREE;
	s->plain = 0;
	s->gen++;
	s->free = d->free;
	d->free = s;
	d->slots_used--;
}

/* driver.c */
void evr_driver_scrap(struct evr_driver *d);

/* run.c */
int evr_run_on(struct evr_driver *d, uint32_t min, uint64_t deadline_ns, uint64_t start, int err);
int evr_driver_drain(struct evr_driver *d, uint64_t deadline_ns);

/* submit.c */
int evr_op_submit(struct evr_driver *d, const struct evr_op *op, uint64_t *id);
int evr_op_start(struct evr_driver *d, struct slot *s, uint32_t index);
int evr_op_restart(struct evr_driver *d, struct slot *s, uint32_t index);
void evr_backlog_flush(struct evr_driver *d);
int evr_refuse(struct evr_driver *d, int err, uint32_t credits, uint32_t slots);
int evr_slot_take(struct evr_driver *d, const struct evr_op *op, uint32_t *index);
int evr_slot_keep(struct evr_driver *d, uint32_t index, const struct evr_op *op);
void evr_slot_put_back(struct evr_driver *d, uint32_t index);

/* event.c */
void evr_event(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags);
void evr_op_finish(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags);
void evr_go_on(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags);
void evr_done_flush(struct evr_driver *d);
void evr_deliver(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags);

/* take.c */
int evr_take_init(struct evr_driver *d, uint32_t nr);

/* How many completions may still be pushed, but for those that one round may add. */
#define TAKE_MARGIN 128

static inline uint32_t take_room(const struct evr_driver *d)
{
	const struct take *t = &d->take;
	/* Relaxed: the tail is ours. TAKE */
	uint32_t used = evr_a32_load_relaxed(&t->tail) - evr_a32_load_acquire(&t->head);

	return used < t->mask - TAKE_MARGIN ? t->mask - TAKE_MARGIN - used : 0;
}

/* A close pushes nothing, and nobody may be there to take. */
static inline bool take_has_room(const struct evr_driver *d)
{
	return d->closing || take_room(d);
}

void evr_take_push(struct evr_driver *d, const struct evr_completion *done);

/* ring.c */
int evr_ring_init(struct evr_driver *d, enum evr_driver_mode mode);
void evr_ring_fini(struct evr_driver *d);
int evr_ring_start(struct evr_driver *d, struct slot *s, uint32_t index, const struct evr_op *op);
struct io_uring_sqe *evr_ring_sqe(struct evr_driver *d);
int evr_ring_enter(struct evr_driver *d, bool wait, uint64_t until_ns);
void evr_ring_reap(struct evr_driver *d);

int evr_ring_turn(struct evr_driver *d, uint32_t min);
void evr_ring_cancel(struct evr_driver *d);
void evr_ring_arm_wake(struct evr_driver *d);

static inline bool ring_has_room(struct evr_driver *d, uint32_t nr)
{
	struct ring *r = &d->ring;

	/* By what evr_ring_sqe() goes by: it is not to enter in the middle of a chain. */
	return r->sq_entries - (r->tail - r->sent) >= nr;
}

/* cancel.c */
void evr_cancel_slot(struct evr_driver *d, struct slot *s, uint32_t index);
void evr_cancel_all(struct evr_driver *d);
void evr_cancel_later(struct evr_driver *d, struct slot *s, uint32_t index);
void evr_cancel_again(struct evr_driver *d, struct slot *s, uint32_t index);

/* chain.c */
void evr_chain_next(struct evr_driver *d, struct slot *s, uint32_t index, int res);
void evr_chain_not_found(struct evr_driver *d, struct slot *s, uint32_t index);
void evr_chain_turn(struct evr_driver *d, struct slot *s, uint32_t index);
int evr_chain_flush(struct evr_driver *d, uint32_t index);
void evr_chain_drop(struct evr_driver *d, uint32_t index);
bool evr_chain_is_broken(const struct row *row, const struct extra *extra, int res);

/* timer.c */
int evr_heap_reserve(struct evr_driver *d, uint32_t nr);
void evr_heap_add(struct evr_driver *d, uint32_t index, uint64_t until_ns);
void evr_heap_remove(struct evr_driver *d, struct slot *s);
void evr_heap_fire(struct evr_driver *d);

static inline uint64_t heap_next_ns(const struct evr_driver *d)
{
	return d->heap_nr ? extra_at(d, d->heap[0])->until_ns : UINT64_MAX;
}

/* pool.c */
void evr_workers_init(struct evr_driver *d);
void evr_workers_fini(struct evr_driver *d);
void evr_workers_start(struct evr_driver *d, uint32_t index);
bool evr_workers_unqueue(struct evr_driver *d, uint32_t index);
void evr_workers_reap(struct evr_driver *d);

/* ready.c */
int evr_ready_init(struct evr_driver *d);
int evr_ready_start(struct evr_driver *d, struct slot *s, uint32_t index);
void evr_ready_stop(struct evr_driver *d, uint32_t index);
int evr_ready_wait(struct evr_driver *d, uint64_t until_ns);
int evr_hold_fd(struct extra *extra);
void evr_release_fd(struct extra *extra);
bool evr_unblock(int fd);
void evr_reblock(int fd, bool changed);

/* inject.c */
int evr_injector_make(struct evr_driver *d, uint32_t nr);
void evr_injector_drain(struct evr_driver *d);
void evr_injector_close(struct evr_driver *d);
bool evr_injector_sleep(struct evr_driver *d);
void evr_injector_wake(struct evr_injector *injector);
int evr_injector_fd(const struct evr_driver *d);
void evr_injector_quiet(struct evr_driver *d);
void evr_injector_signal(struct evr_driver *d);
uint64_t evr_injector_wakes(const struct evr_driver *d);

/* op_bell.c */
void evr_hubs_init(struct evr_driver *d);
void evr_hubs_fini(struct evr_driver *d);
void evr_hubs_tell(struct evr_driver *d);
void evr_hub_leave(struct evr_driver *d, struct extra *extra);

/* inject.c has the protocol; these are what the loop does at each turn. */
struct inject_entry {
	struct evr_a64 turn; /* position it is free for; + 1 when it is full */
	evr_inject_fn *fn; /* NULL: a message */
	uint64_t data;
	uint32_t kind;
};

enum { AWAKE, SLEEPING };

struct evr_injector {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 tail; /* next position | closed */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a32 sleep;
	struct evr_a32 news; /* somebody has brought something */
	struct evr_a32 wakes;
	struct evr_a32 refs;
	EVR_ALIGNAS(EVR_LINE_SZ) uint64_t head; /* the driver's */
	uint64_t mask;
	int fd;
	struct inject_entry *entries;
};

static inline void injector_awake(struct evr_driver *d)
{
	/* Relaxed: a producer that still sees SLEEPING writes the eventfd for nothing. */
	evr_a32_store_relaxed(&d->injector->sleep, AWAKE);
}

static inline bool injector_has_news(const struct evr_driver *d)
{
	return evr_a32_load_acquire(&d->injector->news);
}

/* op_message.c */
bool evr_recvmsg_is_over(const struct extra *extra, int res);

/* op_socket.c, of both receives, and of both zero-copy sends */
int evr_multishot_check(const struct evr_op *op);
int evr_no_buffer(int fd);
void evr_zc_ask(struct evr_driver *d, struct extra *extra);
void evr_zc_prep(const struct extra *extra, struct io_uring_sqe *sqe);
bool evr_zc_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res, uint32_t *cflags);

/* region.c, file.c, buffer.c */
int evr_region_translate(struct evr_driver *d, struct evr_op *op);
void evr_region_hold(struct evr_driver *d, const struct evr_op *op, int nr);
void evr_regions_fini(struct evr_driver *d);
int evr_files_init(struct evr_driver *d);
void evr_files_fini(struct evr_driver *d);
int evr_files_translate(struct evr_driver *d, const struct slot *s, struct extra *extra);
int evr_files_reserve(struct evr_driver *d, struct evr_op *op);
void evr_files_unreserve(struct evr_driver *d, const struct evr_op *op);
void evr_files_keep(struct evr_driver *d, const struct extra *extra);
bool evr_files_same(const struct evr_driver *d, const struct extra *extra);
bool evr_file_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
		   uint32_t *cflags);
bool evr_close_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
		    uint32_t *cflags);
void evr_file_cleanup(struct evr_driver *d, const struct evr_op *op, int res, uint32_t cflags);
void evr_group_take(struct evr_driver *d, struct evr_completion *done);
void evr_group_give_back(struct evr_driver *d, const struct evr_completion *done);
int evr_group_pick(struct evr_driver *d, struct extra *extra, struct iovec *buffer);
void evr_group_hold(struct evr_driver *d, uint16_t bgid, int nr);
bool evr_group_exists(const struct evr_driver *d, uint16_t bgid);
void evr_groups_fini(struct evr_driver *d);

#endif
