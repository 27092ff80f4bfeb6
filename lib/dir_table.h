/* SPDX-License-Identifier: MIT */
/* The directory's table: its words, and how a call gets at it. dir.c has the protocol. */
#ifndef EVERING_DIR_TABLE_H
#define EVERING_DIR_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/atomic.h>
#include <evering/dir.h>

#include "dir.h"

#define DIR_MAGIC 0x3130524944525645ULL /* "EVRDIR01"; the last two are the version */
#define DIR_MAGIC_VERSION 0xffff000000000000ULL
#define NAME_WORDS (EVR_OBJECT_NAME_SZ / 8)
#define ENTRIES_MIN 16
#define ENTRIES_MAX 4096
/* One entry for so many bytes of the region, within these limits. */
#define ENTRY_SHARE 16384
#define OBJECT_ALIGN EVR_LINE_SZ
/* A CAS that others make fail so often has met nonsense, not contention. */
#define TRIES_MAX 100000

/* Shared. magic and region_sz go from 0 to their value once, by CAS. */
struct dir_header {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 magic;
	struct evr_a64 region_sz;
	struct evr_a64 incarnation; /* isolated: of the peer whose region and directory it is */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 admit;
	struct evr_a64 turns; /* isolated: see evr_dir_turn() */
};

/* Shared. name ends with a 0 byte; off and sz count when extent is set or it is admitted. */
struct dir_entry {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 ctl;
	struct evr_a64 off;
	struct evr_a64 sz;
	struct evr_a64 kind;
	struct evr_a64 creator; /* {incarnation:56 | slot:8} */
	struct evr_a64 name[NAME_WORDS];
	struct evr_a64 owners[2];
	struct evr_a64 members[EVR_PEERS_MAX / 64]; /* bit i: the peer in slot i alone writes it */
};

EVR_STATIC_ASSERT(sizeof(struct dir_header) == 2 * EVR_LINE_SZ, "part of the shared layout");
EVR_STATIC_ASSERT(sizeof(struct dir_entry) == EVR_LINE_SZ, "part of the shared layout");

/* A directory as this call sees it; all of it private. */
struct dir {
	struct evr_peer *peer;
	struct dir_header *header;
	struct dir_entry *entries;
	uint64_t region_off, region_sz;
	uint64_t objects_off; /* in the region */
	uint32_t slot;
	uint32_t nr;
};

enum { FREE, CLAIMED, ADMITTED, PUBLISHED, REMOVING };

#define CTL_STATE 0x7fULL
#define CTL_EXTENT 0x80ULL
#define CTL_STAMP_SHIFT 8
#define CTL_STAMP 0xffffff00ULL
#define CTL_GEN_SHIFT 32

static inline uint64_t ctl_state(uint64_t ctl)
{
	return ctl & CTL_STATE;
}

static inline uint32_t ctl_gen(uint64_t ctl)
{
	return (uint32_t)(ctl >> CTL_GEN_SHIFT);
}

/* The next state of the same life. */
static inline uint64_t ctl_with(uint64_t ctl, uint64_t stamp, uint64_t state)
{
	return (ctl & ~(CTL_STATE | CTL_STAMP)) | stamp << CTL_STAMP_SHIFT | state;
}

/* Whatever is still under way with this life of the entry fails from here on. */
static inline uint64_t ctl_freed(uint64_t ctl)
{
	return (uint64_t)(uint32_t)(ctl_gen(ctl) + 1) << CTL_GEN_SHIFT | (ctl & CTL_EXTENT) | FREE;
}

static inline uint64_t stamp_of(struct evr_peer_id id)
{
	return (id.incarnation & 0xffff) << 8 | (id.slot & 0xff);
}

static inline uint64_t ctl_stamp(uint64_t ctl)
{
	return (ctl & CTL_STAMP) >> CTL_STAMP_SHIFT;
}

/* Does this stamp name a peer that has ended? */
bool evr_dir_stamp_is_dead(struct evr_peer *peer, uint64_t stamp);
/* The same of a stamp that has only these bits of the incarnation. */
bool evr_dir_short_stamp_is_dead(struct evr_peer *peer, uint64_t stamp, uint64_t incarnation_mask);

/* The entry that an object stands for. -ESTALE, -EINVAL, and as evr_dir_open(). */
int evr_dir_entry(struct dir *d, struct evr_peer *peer, const struct evr_object *obj,
		  struct dir_entry **entry);

/* dir_members.c: a slot other than @own whose peer lives and has joined, or -1. */
int evr_dir_member(const struct dir *d, const struct dir_entry *e);

/* dir_members.c: has the peer that lives in id->slot joined? Fills in its incarnation. */
bool evr_dir_has_joined(const struct dir *d, const struct dir_entry *e, struct evr_peer_id *id);

/* Find and check a directory; @slot: EVR_SLOT_ANY is the shared one. 0; -ENOSPC, -EPROTO, -EBADMSG. */
int evr_dir_open(struct dir *d, struct evr_peer *peer, uint32_t slot);

/*
 * At attach: a region of an isolated segment begins anew. What its last owner has left there may
 * be anything, and is nobody's.
 */
void evr_dir_afresh(struct evr_peer *peer);

/* The one that this peer creates in. Also -EROFS. */
int evr_dir_open_own(struct dir *d, struct evr_peer *peer);

/* Does this directory say anything? Not when the peer whose region it is has ended. */
bool evr_dir_speaks(const struct dir *d);

/* Call fn for each directory of the segment that speaks, until it returns not 0. */
int evr_dir_each(struct evr_peer *peer, int (*fn)(struct dir *d, void *arg), void *arg);

bool evr_dir_extent_is_valid(const struct dir *d, uint64_t off, uint64_t sz);

/* Copy an entry if it stayed in one life meanwhile. @ctl: as just loaded. */
bool evr_dir_read(const struct dir *d, uint32_t idx, uint64_t ctl, struct evr_object *out);

int evr_dir_name_check(const char *name);

/* Mark whom admit names, so that it may name another. */
void evr_dir_admit_help(const struct dir *d, uint64_t u_admit);

#endif
