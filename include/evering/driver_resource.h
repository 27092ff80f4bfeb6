/* SPDX-License-Identifier: MIT */
/*
 * What a driver registers once so that each op costs less: memory, files, and buffers
 * that the kernel picks from. Where the kernel refuses (memlock, an old kernel, no
 * io_uring) the same calls work without it, and evr_driver_caps() says so.
 *
 * All calls are for the driver's thread.
 */
#ifndef EVERING_DRIVER_RESOURCE_H
#define EVERING_DRIVER_RESOURCE_H

#include <evering/driver.h>
#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_heap;
struct evr_pool;

/*
 * evr_region_add_peer() - the segment that a peer maps becomes a region: ops name bytes
 * of it by their offset. What the peer may write is registered with the kernel, at most
 * 1 GiB at a time. The peer stays attached until the region is removed.
 * @region: out, for evr_op_in().
 * Return: 0, fixed or not; evr_region_is_fixed() tells; -ENOSPC, -ENOMEM.
 */
EVR_API int evr_region_add_peer(struct evr_driver *driver, struct evr_peer *peer, uint16_t *region);

/* evr_region_add() - the same of any memory that can be written. -EINVAL. */
EVR_API int evr_region_add(struct evr_driver *driver, void *base, uint64_t sz, uint16_t *region);

/*
 * evr_region_grow() - register what was appended to the segment since.
 * Without it ops may use the new memory too, but it is not fixed.
 * Return: bytes that are new; -EBADF; -EINVAL not of a peer.
 */
EVR_API int64_t evr_region_grow(struct evr_driver *driver, uint16_t region);

/*
 * evr_region_remove() - return: 0; -EBUSY an op uses it; -EBADF.
 */
EVR_API int evr_region_remove(struct evr_driver *driver, uint16_t region);

/* evr_region_is_fixed() - is all of it registered with the kernel? -EBADF. */
EVR_API int evr_region_is_fixed(const struct evr_driver *driver, uint16_t region);

/*
 * evr_file_install() - put a file into the table; it stays open there whatever becomes
 * of fd.
 * @slot: in: wanted, or EVR_FILE_ANY; out: where it is.
 * Return: 0; -EBADF; -ENFILE the table is full; -EBUSY the slot is taken; -EINVAL.
 */
EVR_API int evr_file_install(struct evr_driver *driver, int fd, uint32_t *slot);

/* evr_file_remove() - ops in flight keep the file. Return: 0; -EBADF nothing there. */
EVR_API int evr_file_remove(struct evr_driver *driver, uint32_t slot);

/*
 * evr_buffers_create() - a group of places for buffers that receiving ops pick from.
 * @bgid: its number, which must be free. @nr: places, rounded up to a power of 2, up to
 *	32768. It has no buffers yet.
 * Return: 0; -EEXIST; -EINVAL; -ENOMEM.
 */
EVR_API int evr_buffers_create(struct evr_driver *driver, uint16_t bgid, uint32_t nr);

/* Where a group takes its buffers from. */
struct evr_block_source {
	size_t struct_sz; /* sizeof(struct evr_block_source) */
	struct evr_heap *heap; /* handles of the driver's thread; one of the two, open for as */
	struct evr_pool *pool; /* long as the group exists */
	uint32_t sz; /* bytes of a buffer */
	bool shared; /* of a heap: with evr_heap_alloc_shared(), for evr_heap_share() */
};

/*
 * evr_buffers_create_blocks() - a group whose buffers are blocks of a heap or pool. A completion
 * with EVR_DONE_BUFFER hands one over: buf is its memory, value its handle, and it is the
 * caller's, whichever res, to be sent (EVR_FRAME_BLOCK), shared or freed. So received data is
 * a message already. The place takes the next block at once.
 *
 * When the heap has no block left, places stay empty, and an op that finds none ends with -ENOBUFS.
 * Submit it again when there are blocks: each submission, each completion and
 * evr_buffers_refill() fill what is empty. Ops that are abandoned free their block.
 * @nr: places, rounded up to a power of 2, up to 32768: so many blocks are taken now.
 * Return: as evr_buffers_create(), and 0 also with no block at all; -EINVAL, -E2BIG of @source;
 * -EMSGSIZE no class of the pool has such blocks; -EROFS.
 */
EVR_API int evr_buffers_create_blocks(struct evr_driver *driver, uint16_t bgid, uint32_t nr,
				      const struct evr_block_source *source);

/*
 * evr_buffers_refill() - blocks into places that have none.
 * Return: how many the group has to give now; -ENOENT; -EINVAL it is not one of blocks.
 */
EVR_API int evr_buffers_refill(struct evr_driver *driver, uint16_t bgid);

/*
 * evr_buffers_provide() - give the group a buffer, which is the driver's until a completion
 * with EVR_DONE_BUFFER names it. A place is filled again with the same buffer or another.
 * @bid: place, below nr, that has no buffer.
 * Return: 0; -ENOENT no group; -EINVAL, also for a group of blocks; -EBUSY the place has one.
 */
EVR_API int evr_buffers_provide(struct evr_driver *driver, uint16_t bgid, uint16_t bid, void *buf,
				uint32_t len);

/* evr_buffers_return() - provide again what a completion brought. Return: as above. */
EVR_API int evr_buffers_return(struct evr_driver *driver, uint16_t bgid, uint16_t bid);

/* evr_buffers_nr() - how many the group has to give now. -ENOENT. */
EVR_API int evr_buffers_nr(const struct evr_driver *driver, uint16_t bgid);

/*
 * evr_buffers_destroy() - all its buffers are the caller's; the blocks that it has are freed. So
 * does evr_driver_close() with each group. Return: 0; -ENOENT; -EBUSY an op that receives
 * into it is in flight.
 */
EVR_API int evr_buffers_destroy(struct evr_driver *driver, uint16_t bgid);

#ifdef __cplusplus
}
#endif

#endif
