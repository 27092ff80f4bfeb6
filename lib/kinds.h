/* SPDX-License-Identifier: MIT */
/* What the library knows of each kind of object besides its own calls. */
#ifndef EVERING_LIB_KINDS_H
#define EVERING_LIB_KINDS_H

#include <stdbool.h>

#include <evering/dir.h>
#include <evering/object.h>
#include <evering/reap.h>

struct evr_held_walk;

struct evr_kind {
	uint32_t kind;
	const char *name;
	/*
	 * Settle what dead peers hold inside this object; NULL: nothing can be. Adds
	 * to the report. Runs in several processes at once, again and again, and may
	 * die anywhere: each step is a CAS from exactly what was found, of a word that
	 * names a dead peer (evr_dir_stamp_is_dead()). A barrier on all processors
	 * stands before it (REAP): whoever stored a dead peer's name without having
	 * seen it dead by then has that store seen by the walk; whoever looks at the
	 * state after its store sees the death, and takes the store back. The object
	 * is not removed meanwhile. Its words are as hostile as any.
	 */
	void (*settle)(struct evr_peer *peer, const struct evr_object *obj,
		       struct evr_reap_report *report);
	/* For evr_object_stat(); reads only. */
	int (*stat)(struct evr_peer *peer, const struct evr_object *obj,
		    struct evr_object_stat *out);
	/* For evr_object_held(): tell of all but roles and who has opened it. NULL: there is no more. */
	int (*held)(const struct evr_held_walk *walk, const struct evr_object *obj);
	/* Such an object is freed when its creator is dead; who uses it needs nothing of it afterwards. */
	bool ends_with_creator;
};

/* NULL for kinds that are not the library's. */
const struct evr_kind *evr_kind_find(uint32_t kind);

#endif
