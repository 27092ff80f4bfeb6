/* SPDX-License-Identifier: MIT */
/* A heap's words, and how a call finds them. heap.c has the protocol. */
#ifndef EVERING_HEAP_TABLE_H
#define EVERING_HEAP_TABLE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <evering/heap.h>
#include <evering/reap.h>

#define HEAP_LAYOUT 0x3130504145485645ULL /* "EVHEAP01"; the last two are the version */
#define HEAP_LAYOUT_NAME 0xffffffffffffULL
#define CHUNK 64 /* granules whose bits share a word */
#define SIDE_WORDS 8 /* control words outside of slabs, for each granule */
#define SIDE_SHIFT 6
EVR_STATIC_ASSERT(SIDE_WORDS * 8 == 1 << SIDE_SHIFT, "bytes of a granule's side words");
EVR_STATIC_ASSERT(EVR_HEAP_CLASSES_MAX < 256, "class + 1 in a byte");
#define TOUCH_BITS 48
/* A CAS that others make fail so often has met nonsense, not contention. */
#define HEAP_TRIES_MAX 1000

/* Tags of a control word, bits 0 .. 3. */
enum { TAG_FREE, TAG_LIVE, TAG_INFLIGHT, TAG_CACHED, TAG_SHARED, TAG_RELEASING };

#define CTL_STATE_SHIFT 4 /* or source */
#define CTL_OWNER_SHIFT 20

static inline uint64_t heap_ctl(uint64_t gen_of, uint64_t owner, uint64_t state, uint64_t tag)
{
	return (gen_of & EVR_CTL_GEN_MASK) | owner << CTL_OWNER_SHIFT | state << CTL_STATE_SHIFT |
	       tag;
}

static inline uint64_t heap_ctl_tag(uint64_t ctl)
{
	return ctl & EVR_CTL_TAG_MASK;
}

/* Also the source of a block in flight, or shared. */
static inline uint16_t heap_ctl_state(uint64_t ctl)
{
	return ctl >> CTL_STATE_SHIFT & 0xffff;
}

static inline uint16_t heap_ctl_owner(uint64_t ctl)
{
	return ctl >> CTL_OWNER_SHIFT & 0xffff;
}

static inline bool heap_ctl_same_life(uint64_t a, uint64_t b)
{
	return !((a ^ b) & EVR_CTL_GEN_MASK);
}

/* Kinds of an own word {gen:20 | owner:16 | arg:24 | kind:4}. */
enum { OWN_FREE, OWN_CLAIM, OWN_SLAB, OWN_ORPHAN, OWN_RUN, OWN_CONT };

#define OWN_KIND 0xfULL
#define OWN_ARG_SHIFT 4
#define OWN_ARG_MAX 0xffffffU
#define OWN_STAMP_SHIFT 28
#define OWN_GEN_SHIFT 44
#define OWN_GEN_MASK (~0ULL << OWN_GEN_SHIFT)
#define OWN_GEN_ONE (1ULL << OWN_GEN_SHIFT)

static inline uint64_t heap_own_word(uint64_t gen_of, uint64_t stamp, uint64_t arg, uint64_t kind)
{
	return (gen_of & OWN_GEN_MASK) | stamp << OWN_STAMP_SHIFT | arg << OWN_ARG_SHIFT | kind;
}

static inline uint64_t heap_own_kind(uint64_t own)
{
	return own & OWN_KIND;
}

static inline uint32_t heap_own_arg(uint64_t own)
{
	return own >> OWN_ARG_SHIFT & OWN_ARG_MAX;
}

static inline uint16_t heap_own_stamp(uint64_t own)
{
	return own >> OWN_STAMP_SHIFT & 0xffff;
}

/* {incarnation:8 | slot:8}, see "slots" in heap.c. */
static inline uint16_t heap_stamp(struct evr_peer_id id)
{
	return (uint16_t)((id.incarnation & 0xff) << 8 | (id.slot & 0xff));
}

/* Shared; written by who creates the heap, then by nobody. */
struct heap_geometry {
	EVR_ALIGNAS(EVR_LINE_SZ) uint64_t layout;
	uint64_t sz; /* bytes of the first arena */
	uint64_t grow_sz;
	uint32_t granule_shift;
	uint32_t slots;
};

/* Shared. What one peer's handles have done; only that peer adds. */
struct heap_counts {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 refills;
	struct evr_a64 spills;
	struct evr_a64 slabs;
	struct evr_a64 adopted;
	struct evr_a64 runs;
	struct evr_a64 remote_frees;
	struct evr_a64 failures;
};

/* Shared, at the start of the object; counts[slots] and the first arena's words follow. */
struct heap_header {
	struct heap_geometry geometry;
	/* Anybody writes these, rarely. */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 orphaned; /* slabs that became orphans, ever */
	struct evr_a64 corrupt;
	/* HEAP_ARENA_UNITs {offset:36 | size:28}; each from 0 to its value once, by CAS. */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 arenas[EVR_HEAP_ARENAS_MAX];
};

#define HEAP_ARENA_UNIT 4096ULL
#define HEAP_ARENA_OFF_BITS 36
#define HEAP_ARENA_SZ_BITS 28
#define HEAP_ARENA_SZ_MAX ((HEAP_ARENA_UNIT << HEAP_ARENA_SZ_BITS) / 2)

EVR_STATIC_ASSERT(sizeof(struct heap_geometry) == EVR_LINE_SZ, "part of the shared layout");
EVR_STATIC_ASSERT(sizeof(struct heap_counts) == EVR_LINE_SZ, "part of the shared layout");
EVR_STATIC_ASSERT(sizeof(struct heap_header) == 3 * EVR_LINE_SZ, "part of the shared layout");

/* Some granules and their words, as this process sees them; all of it private. */
struct heap_arena {
	struct evr_a64 *touched; /* [slots][touch_words]: {incarnation:16 | chunks:48} */
	struct evr_a64 *used; /* [chunks] a hint: bits of granules that are not free */
	struct evr_a64 *dirty; /* [chunks] bits of slabs with free blocks in no store */
	struct evr_a64 *own; /* [granules] */
	struct evr_a64 *side; /* [granules][SIDE_WORDS] */
	unsigned char *data;
	uint64_t off, data_off, data_sz; /* bytes, in the segment */
	uint32_t granules, chunks, touch_words;
	/* Of the handle; NULL when there is none. */
	uint16_t *mine; /* see struct evr_heap */
	uint32_t *pos; /* place + 1 of a slab in its list; 0: not ours */
};

/* All of a heap as this process sees it; private. */
struct heap_map {
	struct evr_peer *peer;
	struct heap_header *header;
	struct heap_counts *counts; /* [slots] */
	struct evr_object object;
	struct heap_geometry geometry;
	struct heap_arena arenas[EVR_HEAP_ARENAS_MAX];
	struct evr_heap_class classes[EVR_HEAP_CLASSES_MAX];
	uint32_t arenas_nr, classes_nr, slots;
	uint32_t granule_shift;
	struct heap_idle *idle; /* of the handle; NULL when there is none */
	uint16_t me; /* stamp */
	bool writable;
};

/* A block and all that is known of it by arithmetic from its granule's own word. */
struct heap_block {
	struct heap_arena *arena;
	struct evr_a64 *ctl;
	uint64_t u_own; /* of its head granule */
	uint64_t off; /* bytes, in the segment */
	uint64_t sz;
	uint32_t head; /* granule */
	uint32_t class_idx; /* classes_nr: a run */
};

/* Fill a map of an object, without the parts of a handle. 0; -EBADMSG, -EPROTO, -EINVAL */
int evr_heap_map(struct heap_map *map, struct evr_peer *peer, const struct evr_object *obj);

/* Look for arenas that were added. Return: how many are new. */
uint32_t evr_heap_map_refresh(struct heap_map *map);

/*
 * heap_grow.c: the same, and before it make arenas of what was appended for this heap and
 * is none yet. Of a map that may not write, only the same.
 */
uint32_t evr_heap_adopt(struct heap_map *map);

/* Write a new arena's words. @own_sz: bytes in front of them that are another's. */
int evr_heap_arena_plan(const struct heap_map *map, struct heap_arena *arena, uint64_t sz,
			uint64_t front_sz);
/* Bytes for blocks in an arena of so many, which begins at a block of the segment. */
uint64_t evr_heap_arena_holds(const struct heap_map *map, uint64_t sz);
void evr_heap_arena_clear(const struct heap_map *map, struct heap_arena *arena);

/* Sizes of classes, for granules of this size. */
void evr_heap_classes(struct heap_map *map, uint32_t granule_shift);
uint32_t evr_heap_class_of(uint64_t sz);

/* The arena that an offset lies in, or NULL. */
struct heap_arena *evr_heap_arena_of(struct heap_map *map, uint64_t off);

/*
 * The block at an offset, or (not @exact) around it. Its control word is not looked at.
 * 0; -ESTALE nothing like a block starts there; -EBADMSG.
 */
int evr_heap_locate(struct heap_map *map, uint64_t off, bool exact, struct heap_block *b);

/*
 * Call each() for all control words whose head is this granule; ends when it returns not 0.
 * HEAP_CHANGED is for those who may leave nothing out: then do it again.
 */
#define HEAP_CHANGED 1

int evr_heap_blocks(struct heap_map *map, struct heap_arena *arena, uint32_t granule,
		    int (*each)(struct heap_map *map, struct heap_block *b, void *arg), void *arg);

/*
 * Say that words of this chunk may name that peer, before one does.
 * False: the slot has gone on to another peer.
 */
bool evr_heap_touch(struct heap_map *map, struct heap_arena *arena, uint32_t granule,
		    struct evr_peer_id id);

/*
 * Does the peer that is in this slot live, and may this block's chunk name it? To be
 * asked after the word that names the slot was loaded: without its bit it names a predecessor.
 */
bool evr_heap_names_living(struct heap_map *map, const struct heap_block *b, uint32_t slot);

/* Has the peer that a stamp names ended? */
bool evr_heap_stamp_is_dead(struct evr_peer *peer, uint16_t stamp);

/* Has the slot come to another peer that a stamp does not tell from this one? */
bool evr_heap_stamp_has_returned(struct evr_peer *peer, struct evr_peer_id id);

void evr_heap_count_corrupt(struct heap_map *map);

/* A free block in a slab, for who has it in his list to find. */
void evr_heap_mark_dirty(struct heap_arena *arena, uint32_t head);

static inline uint64_t heap_granule_sz(const struct heap_map *map)
{
	return 1ULL << map->granule_shift;
}

static inline uint64_t heap_handle_off(uint64_t handle)
{
	return (handle & EVR_HANDLE_OFF_MASK) * EVR_HEAP_UNIT;
}

static inline uint64_t heap_block_handle(const struct heap_block *b, uint64_t ctl)
{
	return (ctl & EVR_CTL_GEN_MASK) | b->off / EVR_HEAP_UNIT;
}

/*
 * A block's control word, if its head still says what it said: then it is one, and not
 * the payload of what lies there now.
 */
static inline bool heap_ctl_load(const struct heap_block *b, uint64_t *u_ctl)
{
	*u_ctl = evr_a64_load_acquire(b->ctl); /* HEAP-BLOCK */
	return evr_a64_load_acquire(&b->arena->own[b->head]) == b->u_own; /* HEAP-SLAB */
}

static inline bool heap_block_is_run(const struct heap_map *map, const struct heap_block *b)
{
	return b->class_idx >= map->classes_nr;
}

/*
 * Both: where a block lies, and its control word. Its head changes under a living block
 * when the owner of the slab has died, and when another one adopts it; then once more.
 * 0; -ESTALE; -EBADMSG
 */
static inline int heap_block_load(struct heap_map *map, uint64_t off, bool exact,
				  struct heap_block *b, uint64_t *u_ctl)
{
	int tries, err;

	for (tries = 0; tries < HEAP_TRIES_MAX; tries++) {
		err = evr_heap_locate(map, off, exact, b);
		if (err || heap_ctl_load(b, u_ctl))
			return err;
	}
	return -ESTALE;
}

/* Granules of a slab or run; checked by evr_heap_locate(). */
static inline uint32_t heap_block_span(const struct heap_map *map, const struct heap_block *b)
{
	return heap_block_is_run(map, b) ? heap_own_arg(b->u_own) : map->classes[b->class_idx].span;
}

/* heap_runs.c: claim @nr granules that start at a multiple of @align bytes. */
int evr_heap_claim(struct heap_map *map, uint32_t nr, uint64_t align, struct heap_arena **arena,
		   uint32_t *head);
/* These granules, if all of them are free. */
bool evr_heap_claim_at(struct heap_map *map, struct heap_arena *arena, uint32_t head, uint32_t nr);
/* Mark a claimed range as one thing. @kind: OWN_SLAB with @arg its class, OWN_RUN with its length. */
void evr_heap_claim_finish(struct heap_map *map, struct heap_arena *arena, uint32_t head,
			   uint32_t nr, uint64_t own);
/* All granules of head become free, head last. @u_own: head's word, that says CLAIM or RUN. */
uint64_t evr_heap_release(struct heap_map *map, struct heap_arena *arena, uint32_t head,
			  uint64_t u_own);
/* What comes after every generation that this granule's handles had. */
uint64_t evr_heap_gen_base(const struct heap_arena *arena, uint32_t head, uint32_t nr);
struct evr_block evr_heap_run_alloc(struct heap_map *map, uint64_t sz, uint64_t align);
/* The run's word says RELEASING by us, or by a dead peer. */
void evr_heap_run_release(struct heap_map *map, struct heap_block *b, uint64_t u_ctl);
/* In place. 0; -ENOMEM */
int evr_heap_run_resize(struct heap_map *map, struct heap_block *b, uint64_t sz);
uint64_t evr_heap_run_max(struct heap_map *map);

/*
 * heap_slabs.c: give a slab without a block in use back. @u_own: as just loaded, and ours or
 * an orphan's. Return: bytes; 0 when it was not so.
 */
uint64_t evr_heap_slab_release(struct heap_map *map, struct heap_arena *arena, uint32_t head,
			       uint64_t u_own);

/*
 * heap_transfer.c: end a block's life, whoever it was of, by one CAS from what was found.
 * False: the word has changed.
 */
bool evr_heap_end(struct heap_map *map, struct heap_block *b, uint64_t u_ctl);
/* End a block of ours that is on its way to whomever. 0; -ESTALE. */
int evr_heap_reclaim(struct evr_heap *heap, uint64_t handle);

/* heap_share.c: bytes at the end of a block for the mask of its holders. */
uint64_t evr_heap_share_sz(const struct heap_map *map);
/* A holder has done with it; @only_pending: if it has not taken hold of it. 0; -ESTALE. */
int evr_heap_share_drop(struct heap_map *map, struct heap_block *b, uint64_t u_ctl, uint32_t slot,
			bool only_pending);
/* Clear dead holders; free the block if none is left. Return: was it freed? */
bool evr_heap_share_settle(struct heap_map *map, struct heap_block *b, uint64_t u_ctl);

/* heap_reap.c: call each() for the words of all blocks that may name the peer in a slot. */
void evr_heap_touched(struct heap_map *map, struct evr_peer_id id,
		      int (*each)(struct heap_map *map, struct heap_block *b, void *arg),
		      void *arg);
void evr_heap_reap(struct evr_peer *peer, const struct evr_object *obj,
		   struct evr_reap_report *report);

/* Has it masks, or room for them? */
static inline bool heap_ctl_has_masks(uint64_t ctl)
{
	return heap_ctl_tag(ctl) == TAG_SHARED ||
	       (heap_ctl_tag(ctl) == TAG_LIVE && heap_ctl_state(ctl) == EVR_BLOCK_SHAREABLE);
}

/* A word may say so of a block that is too small for any. */
static inline bool heap_masks_fit(const struct heap_map *map, const struct heap_block *b)
{
	return b->sz >= evr_heap_share_sz(map);
}

/* Bytes of a block that its owner may use. */
static inline uint64_t heap_usable_sz(const struct heap_map *map, const struct heap_block *b,
				      uint64_t ctl)
{
	if (!heap_ctl_has_masks(ctl))
		return b->sz;
	return heap_masks_fit(map, b) ? b->sz - evr_heap_share_sz(map) : 0;
}

#endif
