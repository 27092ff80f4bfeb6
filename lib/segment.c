/* SPDX-License-Identifier: MIT */
/* Segments: arguments checked here, work done by the backend. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evering/error.h>
#include <evering/uapi.h>

#include "backend.h"
#include "internal.h"

#define SHARED_SZ_DEFAULT ((uint64_t)64 << 20)
#define ISOLATED_PEER_SZ_DEFAULT ((uint64_t)2 << 20)
#define PEERS_DEFAULT 16
#define MODE_DEFAULT 0600
#define RESERVE_SZ_DEFAULT ((uint64_t)4 << 30)
#define SZ_MAX ((uint64_t)1 << 47)

#define SEGMENT_FLAGS (EVR_SEGMENT_ISOLATED | EVR_SEGMENT_CONTIGUOUS | EVR_SEGMENT_KEEP)

const char *evr_backing_name(uint32_t backing)
{
	static const char *const names[] = { "pages", "shmem" };

	return backing < sizeof(names) / sizeof(names[0]) ? names[backing] : "unknown";
}

const struct evr_backend_ops *evr_backend_ops(enum evr_backend backend)
{
	return backend == EVR_BACKEND_DEVICE ? &evr_device_ops : &evr_local_ops;
}

/* For calls that take a backend and not a name: AUTO is what is there. */
static const struct evr_backend_ops *backend_ops_checked(enum evr_backend backend)
{
	switch (backend) {
	case EVR_BACKEND_AUTO:
		return evr_device_ops.available() ? &evr_device_ops : &evr_local_ops;
	case EVR_BACKEND_DEVICE:
		return &evr_device_ops;
	case EVR_BACKEND_LOCAL:
		return &evr_local_ops;
	}
	evr_error_set("backend is %d, known are AUTO, DEVICE and LOCAL", (int)backend);
	return NULL;
}

void evr_segment_get(struct evr_segment *segment)
{
	evr_a32_fetch_add(&segment->refs, 1);
}

void evr_segment_put(struct evr_segment *segment)
{
	if (evr_a32_fetch_add(&segment->refs, UINT32_MAX) != 1)
		return;
	segment->ops->close(segment);
	free(segment);
}

static struct evr_segment *segment_new(const struct evr_backend_ops *ops, const char *name)
{
	struct evr_segment *segment = calloc(1, sizeof(*segment));

	if (!segment) {
		evr_error_set("no memory for a segment handle");
		return NULL;
	}
	segment->ops = ops;
	segment->fd = -1;
	segment->reserve_sz = RESERVE_SZ_DEFAULT;
	strcpy(segment->name, name);
	evr_a32_store_relaxed(&segment->refs, 1);
	return segment;
}

static int check_sizes(struct evr_segment_options *options)
{
	uint64_t page = evr_layout_page_size();

	if (options->shared_sz > SZ_MAX)
		return evr_fail(-EINVAL,
				"shared_sz is %" PRIu64 ", at most %" PRIu64 " is possible",
				options->shared_sz, SZ_MAX);
	if (options->peer_sz > SZ_MAX / EVERING_PEERS_MAX)
		return evr_fail(-EINVAL, "peer_sz is %" PRIu64 ", at most %" PRIu64 " is possible",
				options->peer_sz, SZ_MAX / EVERING_PEERS_MAX);
	options->shared_sz = EVR_ROUND_UP(options->shared_sz, page);
	options->peer_sz = EVR_ROUND_UP(options->peer_sz, page);
	return 0;
}

/* Put the defaults in and check all that does not depend on the backend. */
static int complete_options(struct evr_segment_options *options, const char *name)
{
	bool is_isolated = options->flags & EVR_SEGMENT_ISOLATED;

	if (options->flags & ~(uint32_t)SEGMENT_FLAGS)
		return evr_fail(-EINVAL, "flags %#x: only %#x are known", options->flags,
				SEGMENT_FLAGS);
	if (options->backing > EVR_BACKING_SHMEM)
		return evr_fail(-EINVAL, "backing is %u, known are PAGES (%d) and SHMEM (%d)",
				options->backing, EVR_BACKING_PAGES, EVR_BACKING_SHMEM);
	if (is_isolated && options->shared_sz)
		return evr_fail(-EINVAL,
				"shared_sz is %" PRIu64 ", an isolated segment has no shared "
				"region; set peer_sz instead",
				options->shared_sz);
	if ((options->flags & EVR_SEGMENT_KEEP) && !name[0])
		return evr_fail(-EINVAL, "KEEP needs a name: nobody could find the segment again");
	if (options->peers_max > EVR_PEERS_MAX)
		return evr_fail(-EINVAL, "peers_max is %u, at most %d are possible",
				options->peers_max, EVR_PEERS_MAX);
	if (!options->mode_set)
		options->mode = MODE_DEFAULT;
	if (options->mode & ~0666u)
		return evr_fail(-EINVAL, "mode is %#o, only r and w bits (%#o) have a meaning",
				options->mode, 0666u);
	if (!options->peers_max)
		options->peers_max = PEERS_DEFAULT;
	if (!options->shared_sz && !is_isolated)
		options->shared_sz = SHARED_SZ_DEFAULT;
	if (!options->peer_sz && is_isolated)
		options->peer_sz = ISOLATED_PEER_SZ_DEFAULT;
	if (!options->reserve_sz)
		options->reserve_sz = RESERVE_SZ_DEFAULT;
	if (!options->node_set)
		options->node = EVERING_NODE_ANY;
	if (!options->owner_set)
		options->uid = options->gid = UINT32_MAX;
	return check_sizes(options);
}

int evr_segment_create(struct evr_segment **out, const char *uri,
		       const struct evr_segment_options *options)
{
	struct evr_segment_options complete;
	struct evr_segment *segment;
	struct evr_uri at;
	int err;

	*out = NULL;
	evr_error_clear();
	err = evr_uri_read(uri ? uri : "", true, &at);
	if (!err)
		err = evr_options_read(&complete, sizeof(complete), options,
				       "struct evr_segment_options");
	if (!err)
		err = complete_options(&complete, at.name);
	if (err)
		return err;
	segment = segment_new(evr_backend_ops(at.backend), at.name);
	if (!segment)
		return -ENOMEM;
	segment->reserve_sz = complete.reserve_sz;
	err = segment->ops->create(segment, &complete);
	if (err) {
		evr_segment_put(segment);
		return err;
	}
	*out = segment;
	return 0;
}

static int open_as(struct evr_segment **out, const char *uri, bool observes)
{
	struct evr_segment *segment;
	struct evr_uri at;
	int err;

	*out = NULL;
	err = evr_uri_parse(uri, &at);
	if (err)
		return err;
	segment = segment_new(evr_backend_ops(at.backend), at.name);
	if (!segment)
		return -ENOMEM;
	segment->observes = observes;
	err = segment->ops->open(segment);
	if (err) {
		evr_segment_put(segment);
		return err;
	}
	*out = segment;
	return 0;
}

int evr_segment_open(struct evr_segment **out, const char *uri)
{
	return open_as(out, uri, false);
}

int evr_segment_open_observer(struct evr_segment **out, const char *uri)
{
	return open_as(out, uri, true);
}

static int adopt_as(struct evr_segment **out, int fd, const struct evr_backend_ops *ops)
{
	struct evr_segment *segment = segment_new(ops, "");
	int err;

	if (!segment)
		return -ENOMEM;
	segment->fd = fd;
	err = ops->adopt(segment);
	if (err) {
		segment->fd = -1; /* stays the caller's */
		evr_segment_put(segment);
		return err;
	}
	*out = segment;
	return 0;
}

int evr_segment_adopt(struct evr_segment **out, int fd)
{
	int err;

	*out = NULL;
	evr_error_clear();
	err = adopt_as(out, fd, &evr_device_ops);
	if (err == -ENOTTY)
		err = adopt_as(out, fd, &evr_local_ops);
	return err;
}

int evr_segment_fd(const struct evr_segment *segment)
{
	return segment->fd;
}

int evr_segment_invite(struct evr_segment *segment, uint32_t rights, uint32_t flags, int *fd)
{
	int made;

	evr_error_clear();
	*fd = -1;
	if (!rights || (rights & ~(uint32_t)EVR_RIGHTS_ALL))
		return evr_fail(-EINVAL, "rights %#x: wanted is a part of %#x", rights,
				EVR_RIGHTS_ALL);
	if (flags & ~(uint32_t)EVR_INVITE_RESERVE)
		return evr_fail(-EINVAL, "flags %#x: only %#x is known", flags, EVR_INVITE_RESERVE);
	if (rights & ~segment->rights)
		return evr_fail(-EACCES, "rights %#x are more than this handle has (%#x)", rights,
				segment->rights);
	if (!(segment->rights & EVR_RIGHT_INVITE))
		return evr_fail(-EACCES, "this handle has not the right to invite");
	made = segment->ops->invite(segment, rights, flags);
	if (made < 0)
		return made;
	*fd = made;
	return 0;
}

int evr_segment_remove(const char *uri)
{
	struct evr_uri at;
	int err;

	err = evr_uri_parse(uri, &at);
	if (err)
		return err;
	return evr_backend_ops(at.backend)->remove(at.name);
}

void evr_segment_close(struct evr_segment *segment)
{
	if (segment)
		evr_segment_put(segment);
}

int evr_segment_info(const struct evr_segment *segment, struct evr_segment_info *info)
{
	evr_error_clear();
	memset(info, 0, sizeof(*info));
	return segment->ops->info(segment, info);
}

int evr_segment_extents(const struct evr_segment *segment, struct evr_extent *extents, uint32_t nr)
{
	evr_error_clear();
	return segment->ops->extents(segment, extents, nr);
}

int evr_segment_grow_for(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth)
{
	evr_error_clear();
	if (!(segment->rights & EVR_RIGHT_GROW))
		return evr_fail(-EACCES, "this handle has not the right to grow the segment");
	if (!growth->sz || growth->sz > SZ_MAX)
		return evr_fail(-EINVAL, "bytes is %" PRIu64 ", wanted is 1 to %" PRIu64,
				growth->sz, SZ_MAX);
	growth->sz = EVR_ROUND_UP(growth->sz, (uint64_t)EVERING_BLOCK_SIZE);
	return segment->ops->grow(segment, tag, growth);
}

int evr_segment_grow(struct evr_segment *segment, uint64_t bytes, uint64_t *off)
{
	struct evr_growth growth = { .sz = bytes };
	int err = evr_segment_grow_for(segment, 0, &growth);

	*off = err ? 0 : growth.off;
	return err;
}

int evr_segment_revoke(struct evr_segment *segment, struct evr_peer_id id)
{
	evr_error_clear();
	return segment->ops->revoke(segment, id);
}

int evr_segment_list(enum evr_backend backend,
		     int (*each)(const struct evr_segment_info *info, void *arg), void *arg)
{
	const struct evr_backend_ops *ops;

	evr_error_clear();
	ops = backend_ops_checked(backend);
	return ops ? ops->list(each, arg) : -EINVAL;
}

int evr_segment_peers(const struct evr_segment *segment, struct evr_peer_info *infos, uint32_t nr)
{
	evr_error_clear();
	return segment->ops->peers(segment, infos, nr);
}

int evr_system_info(enum evr_backend backend, struct evr_system_info *info)
{
	const struct evr_backend_ops *ops;

	evr_error_clear();
	memset(info, 0, sizeof(*info));
	ops = backend_ops_checked(backend);
	if (!ops)
		return -EINVAL;
	info->backend = ops->backend;
	return ops->system_info(info);
}
