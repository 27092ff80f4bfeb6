/* SPDX-License-Identifier: MIT */
/*
 * A heap in the segment: blocks of 16 bytes up to the heap's size, owned by peers.
 *
 * model      each block has one owner, named in its control word together with its
 *            generation and its state; the owner frees it, or transfers it to another
 *            peer before it publishes the handle; any peer may die at any step, and
 *            what it owned is freed when it is reaped.
 * calls      a struct evr_heap belongs to one thread at a time; each thread opens its
 *            own, and all of them, in all processes, work together.
 * edges      HEAP-BLOCK, HEAP-SLAB, REAP
 * progress   alloc, free, resolve, transfer and accept are wait-free and make no
 *            system call, save an alloc that finds nothing in this handle's own
 *            store, which is lock-free; runs of several granules are
 *            obstruction-free.
 * limits     16 TiB segments at most one TiB of which is heaps; 256 peers; a handle
 *            goes stale for the next 2^28 lives of its block, then could be mistaken.
 *
 * A handle {generation:28 | offset / 16:36} stands for one life of one block. It may
 * be stored and sent; only what it stands for is ever followed, never what a block
 * holds. In an isolated segment a heap lies in its creator's region: others resolve
 * its handles, and give blocks back by telling the creator (evr_heap_take_back()).
 */
#ifndef EVERING_HEAP_H
#define EVERING_HEAP_H

#include <evering/atomic.h>
#include <evering/dir.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_HANDLE_NONE 0ULL
#define EVR_HANDLE_OFF_BITS 36
#define EVR_HANDLE_OFF_MASK ((1ULL << EVR_HANDLE_OFF_BITS) - 1)
#define EVR_HEAP_UNIT 16 /* bytes; offsets of handles count these */

/* States of a block that is not free. Those below EVR_BLOCK_USER are the library's. */
enum {
	EVR_BLOCK_FREE = 0,
	EVR_BLOCK_LIVE = 1, /* its owner uses it */
	EVR_BLOCK_INFLIGHT = 2, /* transferred and not accepted yet */
	EVR_BLOCK_CACHED = 3, /* free, in some handle's store */
	EVR_BLOCK_SHARED = 4, /* read by several holders, see evr_heap_share() */
	EVR_BLOCK_RELEASING = 5, /* a large one on its way to free */
	EVR_BLOCK_SHAREABLE = 6, /* live, with room for its holders: evr_heap_alloc_shared() */
	EVR_BLOCK_USER = 49, /* .. EVR_BLOCK_STATE_MAX: live, and the application's own */
	EVR_BLOCK_STATE_MAX = 0xffff,
};

struct evr_heap_options {
	size_t struct_sz; /* sizeof(struct evr_heap_options) */
	uint64_t sz; /* bytes of the object, control words included; 0 = 16 MiB */
	uint64_t grow_sz; /* append so much when an allocation finds nothing, and this would hold it; 0 = never */
};

/* A block as an allocation gives it; ptr is NULL when there was none. */
struct evr_block {
	void *ptr;
	uint64_t handle;
};

/* What is known of a block. */
struct evr_block_info {
	uint64_t handle;
	uint64_t off; /* bytes, in the segment */
	uint64_t sz; /* bytes that may be used */
	uint32_t state; /* EVR_BLOCK_* */
	uint32_t owner; /* slot; of the destination when INFLIGHT; EVR_SLOT_ANY: none */
	uint32_t source; /* slot of the sender when INFLIGHT or SHARED, else EVR_SLOT_ANY */
};

/* One of a handle's store of free blocks: what its next life is called, and where that is said. */
struct evr_heap_entry {
	uint64_t handle;
	struct evr_a64 *ctl;
};

struct evr_heap_store {
	struct evr_heap_entry *entries;
	uint32_t nr, max;
};

/* Geometry of a class of sizes; computed, not read. */
struct evr_heap_class {
	uint32_t sz; /* bytes of a block */
	uint32_t first; /* offset of block 0 in its slab */
	uint32_t blocks; /* in a slab */
	uint32_t recip; /* ceil(2^32 / sz) */
	uint32_t span; /* granules of a slab */
	uint16_t is_side; /* control words outside of the slab */
	uint16_t words_shift; /* bytes, as a power of two, from those of a granule to the next one's */
};

#define EVR_HEAP_CLASSES_MAX 72
#define EVR_HEAP_LOOKUP_MAX 4096 /* sizes up to this find their class in a table */

struct evr_heap_own;

/* One thread's view of a heap, in the caller's own memory. The fields are not for callers. */
struct evr_heap {
	uint64_t live; /* control word of a block of ours, less its generation */
	unsigned char *base; /* address of offset 0 of the segment */
	uint64_t data_off; /* of the first arena, in the segment */
	uint64_t data_sz;
	uint16_t *mine; /* of its granules: {how far behind the head:8 | class + 1 of a slab of ours:8}, or 0 */
	unsigned char *words[2]; /* of granule 0: control words in front of slabs; outside of them */
	uint32_t granule_shift;
	struct evr_heap_own *own;
	uint8_t lookup[EVR_HEAP_LOOKUP_MAX / EVR_HEAP_UNIT + 1];
	struct evr_heap_class classes[EVR_HEAP_CLASSES_MAX];
	struct evr_heap_store stores[EVR_HEAP_CLASSES_MAX];
};

/**
 * evr_heap_create() - make a heap in the directory
 * @peer: own attachment, read-write
 * @name: as for evr_dir_create()
 * @options: NULL is all defaults
 *
 * In an isolated segment it lies in the caller's region, and each peer can use the name.
 *
 * Return: 0; -EINVAL a size below 16 KiB, above 1 TiB, or without room for a granule,
 * or a grow_sz above 512 GiB; and as evr_dir_create().
 */
EVR_API int evr_heap_create(struct evr_peer *peer, const char *name,
			    const struct evr_heap_options *options);

/**
 * evr_heap_open() - get a handle of a heap by its name
 * @heap: filled in; valid until evr_heap_close(), which must come before the detach
 * @peer: own attachment. An observer, and any peer for a heap in another's region,
 *	can only resolve, look, walk and count. In an isolated segment the own heap of
 *	this name, or else the first that there is.
 *
 * Return: 0; -ENOENT; -EINVAL another kind of object; -EBADMSG the detail names the
 * field; -EPROTO another version; -ENOMEM no private memory.
 */
EVR_API int evr_heap_open(struct evr_heap *heap, struct evr_peer *peer, const char *name);

/* evr_heap_open_of() - the same, in an isolated segment that peer's; -ENOENT it has none. */
EVR_API int evr_heap_open_of(struct evr_heap *heap, struct evr_peer *peer, struct evr_peer_id owner,
			     const char *name);

/*
 * evr_heap_close() - give the handle's store back. Blocks stay with the peer, which
 * frees them by another handle, or by ending. Of a handle that is zero or closed: nothing.
 */
EVR_API void evr_heap_close(struct evr_heap *heap);

/* Parts of the calls below that are out of line. */
EVR_API struct evr_block evr_heap_alloc_slow(struct evr_heap *heap, uint64_t sz);
EVR_API int evr_heap_free_slow(struct evr_heap *heap, uint64_t handle);
EVR_API bool evr_heap_spill(struct evr_heap *heap, uint32_t class_idx);

/* Control words {generation:28 | owner:16 | state or source:16 | tag:4}; see lib/heap_table.h. */
#define EVR_CTL_GEN_MASK (~EVR_HANDLE_OFF_MASK)
#define EVR_CTL_GEN_ONE (1ULL << EVR_HANDLE_OFF_BITS)
#define EVR_CTL_STATE_MASK 0xffff0ULL
#define EVR_CTL_TAG_LIVE 1ULL
#define EVR_CTL_TAG_CACHED 3ULL
#define EVR_CTL_TAG_MASK 0xfULL

/**
 * evr_heap_alloc() - get a block
 * @heap: handle of this thread
 * @sz: bytes; 0 counts as 1
 *
 * Its content is undefined. It is aligned to 16 bytes, and to the largest power of
 * two, up to 4096, that divides the size of its class (so a multiple of 64 is aligned
 * to 64).
 *
 * Return: the block, LIVE and the caller's; or {NULL, EVR_HANDLE_NONE}, then
 * evr_heap_error() tells why.
 */
static inline struct evr_block evr_heap_alloc(struct evr_heap *heap, uint64_t sz)
{
	struct evr_heap_store *store;
	struct evr_heap_entry entry;
	struct evr_block block;

	if (__builtin_expect(sz > EVR_HEAP_LOOKUP_MAX, 0))
		return evr_heap_alloc_slow(heap, sz);
	store = &heap->stores[heap->lookup[(sz + EVR_HEAP_UNIT - 1) / EVR_HEAP_UNIT]];
	if (__builtin_expect(!store->nr, 0))
		/* So is that of a handle which is closed, or may only read. */
		return evr_heap_alloc_slow(heap, sz);
	entry = store->entries[--store->nr];
	/* Only we write a word that says CACHED by us. */
	evr_a64_store_release(entry.ctl,
			      (entry.handle & EVR_CTL_GEN_MASK) | heap->live); /* HEAP-BLOCK */
	block.ptr = heap->base + (entry.handle & EVR_HANDLE_OFF_MASK) * EVR_HEAP_UNIT;
	block.handle = entry.handle;
	return block;
}

/**
 * evr_heap_alloc_aligned() - a block that starts at a multiple of a power of two
 * @align: bytes, 1 to 2 MiB
 *
 * Return: as evr_heap_alloc(); also -EINVAL.
 */
EVR_API struct evr_block evr_heap_alloc_aligned(struct evr_heap *heap, uint64_t sz, uint64_t align);

/*
 * evr_heap_alloc_many() - up to @nr blocks of one size.
 * Return: how many, the first of @blocks; evr_heap_error() tells why not more.
 */
EVR_API uint32_t evr_heap_alloc_many(struct evr_heap *heap, uint64_t sz, uint32_t nr,
				     struct evr_block *blocks);

/* evr_heap_error() - why the last allocation failed: -ENOMEM (the detail has the largest free run), -EINVAL, -EROFS. */
EVR_API int evr_heap_error(const struct evr_heap *heap);

/**
 * evr_heap_free() - end a block's life
 * @handle: of a block that this peer owns: live, or received and not accepted; of a
 *	shared one: as evr_heap_drop()
 *
 * A block out of another handle's slab costs one CAS, whoever it came from.
 *
 * Return: 0; -ESTALE it is not this peer's, or not alive any more (nothing was done);
 * -EBADMSG control words are corrupt (the block stays out of use); -EROFS.
 */
static inline int evr_heap_free(struct evr_heap *heap, uint64_t handle)
{
	uint64_t in = (handle & EVR_HANDLE_OFF_MASK) * EVR_HEAP_UNIT - heap->data_off;
	const struct evr_heap_class *c;
	struct evr_heap_store *store;
	uint64_t head, u_ctl, idx;
	struct evr_a64 *ctl;
	uint32_t mine;

	if (__builtin_expect(in >= heap->data_sz, 0))
		return evr_heap_free_slow(heap, handle);
	mine = heap->mine[in >> heap->granule_shift];
	if (!mine)
		return evr_heap_free_slow(heap, handle);
	head = (in >> heap->granule_shift) - (mine >> 8);
	mine &= 0xff;
	c = &heap->classes[mine - 1];
	store = &heap->stores[mine - 1];
	in -= (head << heap->granule_shift) + c->first;
	idx = (in * c->recip) >> 32;
	/* Below the first block in wraps around, and is no block's offset either. */
	if (__builtin_expect(idx >= c->blocks || idx * c->sz != in, 0))
		return evr_heap_free_slow(heap, handle);
	/* Which of the two is not foreseen when sizes are mixed, so no branch. */
	ctl = (struct evr_a64 *)(heap->words[c->is_side] + (head << c->words_shift)) + idx;
	/* Relaxed: if it is ours, then by a step of our own. */
	u_ctl = evr_a64_load_relaxed(ctl);
	if (__builtin_expect(((u_ctl ^ heap->live ^ (handle & EVR_CTL_GEN_MASK)) &
			      ~EVR_CTL_STATE_MASK) != 0,
			     0))
		return evr_heap_free_slow(heap, handle);
	if (__builtin_expect(store->nr >= store->max, 0) && !evr_heap_spill(heap, mine - 1U))
		return evr_heap_free_slow(heap, handle);
	/* Only the owner writes a word that says LIVE. */
	evr_a64_store_release(ctl, (u_ctl & ~(EVR_CTL_STATE_MASK | EVR_CTL_TAG_MASK)) |
					   EVR_CTL_TAG_CACHED); /* HEAP-BLOCK */
	store->entries[store->nr].ctl = ctl;
	store->entries[store->nr++].handle = handle + EVR_CTL_GEN_ONE;
	return 0;
}

/*
 * evr_heap_free_many() - end the lives of several blocks.
 * Return: how many; those that were none of this peer's are skipped.
 */
EVR_API uint32_t evr_heap_free_many(struct evr_heap *heap, const uint64_t *handles, uint32_t nr);

/**
 * evr_heap_realloc() - change a block's size
 * @block: in and out; unchanged on failure. Its state and content stay, up to the
 *	smaller size.
 *
 * In place within its class, and for a large one as long as the memory behind it is
 * free; else in another block, and the old one is freed.
 *
 * Return: 0 in place; 1 it has moved; -ESTALE not a live block of this peer;
 * -ENOMEM; -EINVAL; -EROFS.
 */
EVR_API int evr_heap_realloc(struct evr_heap *heap, struct evr_block *block, uint64_t sz);

/**
 * evr_heap_resolve() - the memory that a handle stands for
 * @handle: from anywhere, also from a hostile peer
 * @sz: out, bytes that may be used; NULL is fine
 *
 * Not a byte of a block is looked at to find it. Of a heap in another peer's region
 * the words are that peer's: what is returned lies in the heap, and what it holds may
 * change at any time.
 *
 * Return: the address; NULL when no block has that life now (-ESTALE in effect).
 */
EVR_API void *evr_heap_resolve(struct evr_heap *heap, uint64_t handle, uint64_t *sz);

/* evr_heap_handle() - of the block, free ones excepted, that this address lies in; or EVR_HANDLE_NONE. */
EVR_API uint64_t evr_heap_handle(struct evr_heap *heap, const void *ptr);

/* evr_heap_contains() - does the address lie in this heap's memory, so that it need not be copied? */
EVR_API bool evr_heap_contains(struct evr_heap *heap, const void *ptr);

/* evr_heap_info() - of one block. Return: 0; -ESTALE. */
EVR_API int evr_heap_info(struct evr_heap *heap, uint64_t handle, struct evr_block_info *info);

/**
 * evr_heap_transfer() - give a block to another peer; to be called before its handle
 *	is published
 * @handle: a live block of this peer, in whatever user state
 * @to: who will receive it; also the caller itself
 *
 * From here on it is the receiver's: it can evr_heap_accept() it, or free it, and
 * when it dies the block is freed. What the caller wrote into it is seen by who
 * resolves the handle.
 *
 * Return: 0; -EOWNERDEAD the receiver is dead, and the block still the caller's;
 * -ESTALE not a live block of the caller, or (the receiver being dead) freed just
 * now by who reaped it; -EROFS.
 */
EVR_API int evr_heap_transfer(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to);

/*
 * evr_heap_transfer_many() - as evr_heap_transfer(), with one look at the receiver.
 * Return: how many; it stops at the first that is not the caller's. Or -EOWNERDEAD,
 * then all of them are still the caller's or freed; -ESTALE already the first is not.
 */
EVR_API int evr_heap_transfer_many(struct evr_heap *heap, const uint64_t *handles, uint32_t nr,
				   struct evr_peer_id to);

/*
 * evr_heap_recall() - take a transfer back whose handle was not published.
 * Return: 0, it is the caller's and LIVE; -ESTALE.
 */
EVR_API int evr_heap_recall(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to);

/**
 * evr_heap_accept() - take a received block for one's own
 *
 * Only to keep it: what is read and freed at once needs no accept. A block that was
 * not accepted is freed by evr_heap_settle() of its sender.
 *
 * Return: 0; -ESTALE no such block is on its way to this peer: a late or forged handle.
 */
EVR_API int evr_heap_accept(struct evr_heap *heap, uint64_t handle);

/**
 * evr_heap_settle() - free what a dead peer had transferred to this one and not
 *	published
 * @from: a peer that has died
 *
 * To be called once everything that it had published for this peer was received, and
 * accepted or freed. It names the sender, not the slab's owner: what a living peer
 * has forwarded stays. Of shared blocks this peer's part is dropped.
 *
 * Return: how many blocks; -EBUSY it lives, or its slot has gone on 256 times, or a
 * multiple of that, and what its successor has sent would be taken for its own (settling
 * that one, when it has died, is for both); -EROFS.
 */
EVR_API int evr_heap_settle(struct evr_heap *heap, struct evr_peer_id from);

/**
 * evr_heap_take_back() - free a block that another peer has received and cannot free,
 *	because it lies in the caller's own region
 * @handle: as that peer says
 * @from: that peer
 *
 * Return: 0; -ESTALE this block is not on its way from the caller to @from.
 */
EVR_API int evr_heap_take_back(struct evr_heap *heap, uint64_t handle, struct evr_peer_id from);

/**
 * evr_heap_transition() - change a block's state if it is what is expected
 * @from, @to: EVR_BLOCK_LIVE, or EVR_BLOCK_USER .. EVR_BLOCK_STATE_MAX
 *
 * For several threads of the owner. A user state counts as live.
 *
 * Return: 0; -EAGAIN the state is another; -ESTALE not a live block of this peer;
 * -EINVAL.
 */
EVR_API int evr_heap_transition(struct evr_heap *heap, uint64_t handle, uint32_t from, uint32_t to);

/* evr_heap_alloc_shared() - a block that can be shared: with room for the mask of its holders. */
EVR_API struct evr_block evr_heap_alloc_shared(struct evr_heap *heap, uint64_t sz);

/**
 * evr_heap_share() - give a block to several peers, to read; before it is published
 * @handle: from evr_heap_alloc_shared(), live
 * @to: its holders, each once; the caller may be one of them
 * @nr: 1 to EVR_PEERS_MAX
 *
 * Each holder is a bit of a mask; the last to evr_heap_drop() it frees it, and a dead
 * one's bit is cleared by who reaps it.
 *
 * Return: how many holders were alive, at least 1; -EOWNERDEAD none was: it is freed;
 * -ESTALE not such a block of the caller; -EINVAL.
 */
EVR_API int evr_heap_share(struct evr_heap *heap, uint64_t handle, const struct evr_peer_id *to,
			   uint32_t nr);

/*
 * evr_heap_hold() - keep a received shared block beyond evr_heap_settle() of its
 * sender; as evr_heap_accept(). Return: 0; -ESTALE.
 */
EVR_API int evr_heap_hold(struct evr_heap *heap, uint64_t handle);

/* evr_heap_drop() - this holder has done with it. Return: 0; -ESTALE it is not a holder. */
EVR_API int evr_heap_drop(struct evr_heap *heap, uint64_t handle);

/*
 * evr_heap_walk() - call each() for every block that is not free or in a store, by ascending
 * offset within an arena, until it returns not 0; returns that, or 0. Blocks that come
 * and go meanwhile may be seen or not.
 */
EVR_API int evr_heap_walk(struct evr_heap *heap,
			  int (*each)(const struct evr_block_info *info, void *arg), void *arg);

/* What there is, counted by a walk; bytes are of whole blocks. */
struct evr_heap_usage {
	uint64_t bytes_max; /* for blocks, all arenas */
	uint64_t bytes_free; /* granules that are nobody's */
	uint64_t run_max; /* largest free run, bytes */
	uint64_t blocks, bytes; /* not free, not in a store */
	uint64_t inflight, shared; /* of these */
	uint64_t cached; /* blocks in stores */
	uint64_t slabs, orphans, runs; /* orphans: slabs that wait for an adopter */
	uint64_t corrupt; /* control words found to be nonsense, since the creation */
	uint64_t granule_sz;
	uint32_t arenas;
	uint32_t classes; /* the rest of class_ is unused */
	struct {
		uint32_t sz; /* bytes of a block */
		uint32_t slabs;
		uint64_t blocks, blocks_max;
	} class_[EVR_HEAP_CLASSES_MAX];
	struct {
		uint64_t blocks, bytes; /* owned by the peer in this slot */
	} peer[EVR_PEERS_MAX];
};

/*
 * evr_heap_usage() - a walk through the whole heap, so not for a hot path; zeros when it is closed. Others
 * allocate and free meanwhile: the numbers fit each other only when nobody does.
 */
EVR_API void evr_heap_usage(struct evr_heap *heap, struct evr_heap_usage *out);

/* What one peer's handles have done, all since the slot was first used; brought up to date now and then. */
struct evr_heap_counts {
	uint64_t refills; /* of a store */
	uint64_t spills;
	uint64_t slabs; /* claimed */
	uint64_t adopted; /* slabs of the dead or closed */
	uint64_t runs; /* large blocks */
	uint64_t remote_frees; /* blocks of others' slabs */
	uint64_t failures; /* allocations */
};

/* evr_heap_counts() - of the peer in a slot. Return: 0; -EINVAL. */
EVR_API int evr_heap_counts(struct evr_heap *heap, uint32_t slot, struct evr_heap_counts *out);

/*
 * evr_heap_trim() - give all memory back that only this handle's store holds, so that
 * others can have it; and on the local backend to the system what the handle has freed in
 * blocks of 1 MiB and more. Return: bytes of granules that became free.
 */
EVR_API uint64_t evr_heap_trim(struct evr_heap *heap);

/**
 * evr_heap_grow() - append memory to the segment, and to a heap in use
 * @bytes: rounded up to 2 MiB
 *
 * All peers can use it at once. If the caller dies when the segment has grown and the
 * heap has not, the heap has it as soon as anybody opens or grows it, finds it full, or
 * reaps; a module without EVERING_FEAT_GROW_TAG forgets whose it was.
 *
 * Return: 0; -EROFS; -EINVAL also more than 512 GiB at once; -ENOSPC it has
 * EVR_HEAP_ARENAS_MAX arenas; -ERANGE beyond the addresses that this peer has reserved,
 * nothing was appended; -ENOMEM also no private memory for it, which the heap has grown
 * by all the same; and as evr_segment_grow().
 */
EVR_API int evr_heap_grow(struct evr_heap *heap, uint64_t bytes);

#define EVR_HEAP_ARENAS_MAX 16

/*
 * A buffer that grows in the segment: what is appended is where it will be sent from.
 * The fields up to cap may be read.
 */
struct evr_heap_buffer {
	struct evr_block block;
	uint64_t sz; /* bytes appended */
	uint64_t cap; /* bytes of the block */
	struct evr_heap *heap;
};

/* evr_heap_buffer_init() - @cap: bytes to begin with; 0 = 64. Return: 0; as evr_heap_error(). */
EVR_API int evr_heap_buffer_init(struct evr_heap_buffer *buffer, struct evr_heap *heap,
				 uint64_t cap);

/* evr_heap_buffer_append() - Return: 0; -ENOMEM, then nothing was appended. */
EVR_API int evr_heap_buffer_append(struct evr_heap_buffer *buffer, const void *data, uint64_t sz);

/*
 * evr_heap_buffer_reserve() - room for @sz bytes at the end, to be written in place and then
 * added to buffer->sz. Return: where; NULL, -ENOMEM.
 */
EVR_API void *evr_heap_buffer_reserve(struct evr_heap_buffer *buffer, uint64_t sz);

/* evr_heap_buffer_take() - the block, cut to its content; the buffer is empty, and can be appended to anew. */
EVR_API struct evr_block evr_heap_buffer_take(struct evr_heap_buffer *buffer);

/* evr_heap_buffer_fini() - free what was not taken. */
EVR_API void evr_heap_buffer_fini(struct evr_heap_buffer *buffer);

#ifdef __cplusplus
#define EVR_HEAP_ALIGNOF(type) alignof(type)
#else
#define EVR_HEAP_ALIGNOF(type) _Alignof(type)
#endif

/*
 * EVR_HEAP_DEFINE() - blocks of one type, or of several in a row. It may hold no pointer:
 * that means nothing in another process.
 * @name: prefix of the functions
 * @type: complete, trivially copyable, aligned to at most 4096
 *
 * NAME_alloc() is for @nr of them: their address, and *@handle; NULL as evr_heap_alloc(),
 * 0 of them is -EINVAL. NAME_resolve() gives the address of a handle from anywhere, and in
 * *@nr how many there is room for; NULL and 0 also when it is no block of this type: too small for one, or not
 * aligned as it has to be.
 */
#define EVR_HEAP_DEFINE(name, type)                                                               \
	EVR_STATIC_ASSERT(EVR_HEAP_ALIGNOF(type) <= 4096, "aligned to more than 4096");           \
	__attribute__((unused)) static inline type *name##_alloc(struct evr_heap *heap,           \
								 uint64_t nr, uint64_t *handle)   \
	{                                                                                         \
		uint64_t sz = nr && nr <= UINT64_MAX / sizeof(type) ? nr * sizeof(type) :         \
								      UINT64_MAX;                 \
		struct evr_block block =                                                          \
			EVR_HEAP_ALIGNOF(type) <= EVR_HEAP_UNIT ?                                 \
				evr_heap_alloc(heap, sz) :                                        \
				evr_heap_alloc_aligned(heap, sz, EVR_HEAP_ALIGNOF(type));         \
		*handle = block.handle;                                                           \
		return (type *)block.ptr;                                                         \
	}                                                                                         \
	__attribute__((unused)) static inline type *name##_resolve(struct evr_heap *heap,         \
								   uint64_t handle, uint64_t *nr) \
	{                                                                                         \
		uint64_t sz;                                                                      \
		void *at = evr_heap_resolve(heap, handle, &sz);                                   \
		if ((uintptr_t)at % EVR_HEAP_ALIGNOF(type))                                       \
			at = NULL;                                                                \
		*nr = at ? sz / sizeof(type) : 0;                                                 \
		return *nr ? (type *)at : NULL;                                                   \
	}

#ifdef __cplusplus
}
#endif

#endif
