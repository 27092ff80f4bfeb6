/* SPDX-License-Identifier: MIT */
/*
 * Leases: the memory itself. What a record says was written by another process; whatever
 * it says, nothing is opened but shared memory that cannot be cut off under a mapping, or
 * a segment, which is checked as any.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <evering/peer.h>
#include <evering/segment.h>

#include "channel.h"
#include "internal.h"
#include "lease.h"

int evr_lease_memfd(uint64_t sz)
{
	int fd, err;

	if (!sz || sz > INT64_MAX)
		return evr_fail(-EINVAL, "lease: a memfd of %llu bytes", (unsigned long long)sz);
	fd = memfd_create("evering-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return evr_fail(-errno, "lease: no memfd: %s", strerror(errno));
	if (!ftruncate(fd, (off_t)sz) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return fd;
	err = evr_fail(-errno, "lease: a memfd of %llu bytes: %s", (unsigned long long)sz,
		       strerror(errno));
	close(fd);
	return err;
}

int evr_lease_check_fd(int fd, uint64_t off, uint64_t sz, struct stat *st)
{
	struct statfs fs;
	int seals;

	if (fstat(fd, st) || fstatfs(fd, &fs))
		return evr_fail(-errno, "lease: fd %d: %s", fd, strerror(errno));
	if (!S_ISREG(st->st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return evr_fail(-EINVAL, "lease: fd %d is no memfd", fd);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return evr_fail(-EPERM, "lease: the memfd is not sealed against shrinking");
	if (off > (uint64_t)st->st_size || sz > (uint64_t)st->st_size - off)
		return evr_fail(-EINVAL, "lease: %llu bytes at %llu of a memfd of %llu",
				(unsigned long long)sz, (unsigned long long)off,
				(unsigned long long)st->st_size);
	return 0;
}

/* The pid of the lender, while it lives. */
static int lender_pid(struct evr_lease *lease, int32_t *pid)
{
	struct evr_peer *peer = lease->ch->peer;
	struct evr_peer_info info;
	/* It looks for evidence first, on either backend: a pid of one that has died may be another's. */
	int err = evr_peer_info(peer, lease->from.slot, &info);

	if (err)
		return err;
	if (info.id.incarnation != lease->from.incarnation || info.state != EVR_PEER_LIVE)
		return evr_fail(-EOWNERDEAD, "lease: its lender, peer %u, has ended",
				lease->from.slot);
	if (info.pid <= 0)
		return evr_fail(-EACCES, "lease: its lender, peer %u, cannot be seen from here",
				lease->from.slot);
	*pid = info.pid;
	return 0;
}

/* Look at a file before it is opened: it may be anything, by now or by malice. */
static int file_check(const struct evr_lease_record *r, int path_fd)
{
	struct stat st;

	if (fstat(path_fd, &st))
		return evr_fail(-errno, "lease: fstat: %s", strerror(errno));
	if (st.st_dev != r->dev || st.st_ino != r->ino)
		return evr_fail(-ESTALE, "lease: fd %d of its lender is another file by now",
				r->fd);
	if (!S_ISREG(st.st_mode))
		return evr_fail(-EINVAL, "lease: fd %d of its lender is no memory", r->fd);
	return 0;
}

/* An open file of our own of the lender's memory. Return: the fd. */
static int file_open(struct evr_lease *lease)
{
	const struct evr_lease_record *r = &lease->record;
	int how = r->flags & EVR_LEASE_READ_ONLY ? O_RDONLY : O_RDWR;
	char path[48];
	int32_t pid = 0;
	int err, path_fd, fd;

	err = lender_pid(lease, &pid);
	if (err)
		return err;
	if (r->fd < 0)
		return evr_fail(-EBADMSG, "lease: fd %d", r->fd);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)r->fd);
	path_fd = open(path, O_PATH | O_CLOEXEC);
	if (path_fd < 0)
		return evr_fail(errno == ENOENT ? -ESTALE : -errno, "lease: %s: %s", path,
				strerror(errno));
	err = file_check(r, path_fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = err ? err : open(path, how | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (!err && fd < 0)
		fd = evr_fail(-errno, "lease: fd %d of its lender: %s", r->fd, strerror(errno));
	close(path_fd);
	return fd;
}

static int memfd_map(struct evr_lease *lease, int fd)
{
	const struct evr_lease_record *r = &lease->record;
	int prot = r->flags & EVR_LEASE_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	uint64_t in_page, page;
	struct stat st;
	int err;

	err = evr_lease_check_fd(fd, r->off, r->sz, &st);
	if (err)
		return err;
	page = (uint64_t)st.st_blksize; /* of huge pages their size */
	in_page = r->off % page;
	lease->map_sz = EVR_ROUND_UP(in_page + r->sz, page);
	lease->map = mmap(NULL, lease->map_sz, prot, MAP_SHARED, fd, (off_t)(r->off - in_page));
	if (lease->map == MAP_FAILED) {
		lease->map = NULL;
		return evr_fail(-errno, "lease: cannot map %llu bytes: %s",
				(unsigned long long)lease->map_sz, strerror(errno));
	}
	lease->ptr = (uint8_t *)lease->map + in_page;
	return 0;
}

/* The segment that is lent, by its name, or by the lender's fd. */
static int segment_open(struct evr_lease *lease, struct evr_segment **segment)
{
	const struct evr_lease_record *r = &lease->record;
	struct evr_segment_info info;
	int err, fd;

	if (*r->uri) {
		err = evr_segment_open(segment, r->uri);
	} else {
		fd = file_open(lease);
		if (fd < 0)
			return fd;
		err = evr_segment_adopt(segment, fd);
		if (err)
			close(fd);
	}
	if (err)
		return err;
	err = evr_segment_info(*segment, &info);
	if (!err && info.segment_id != r->segment_id)
		err = evr_fail(-ESTALE, "lease: '%s' is another segment by now", r->uri);
	if (err)
		evr_segment_close(*segment);
	return err;
}

static int segment_attach(struct evr_lease *lease, struct evr_peer **peer)
{
	bool is_read_only = lease->record.flags & EVR_LEASE_READ_ONLY;
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = is_read_only ? EVR_PEER_OBSERVER : 0 };
	struct evr_segment *segment;
	int err = segment_open(lease, &segment);

	if (err)
		return err;
	err = evr_peer_attach(peer, segment, &options);
	evr_segment_close(segment);
	return err;
}

/* An attachment of the caller's: of that segment, and with what the lease allows. */
static int via_check(const struct evr_lease_record *r, const struct evr_peer *via)
{
	struct evr_segment_info info;
	int err = evr_segment_info(evr_peer_segment(via), &info);

	if (err)
		return err;
	if (info.segment_id != r->segment_id)
		return evr_fail(-EXDEV, "lease: of another segment than this peer's");
	if (r->flags & EVR_LEASE_READ_ONLY && evr_peer_rights(via) & EVR_RIGHT_WRITE)
		return evr_fail(-EXDEV, "lease: read-only, and this peer can write");
	return 0;
}

static int segment_map(struct evr_lease *lease, struct evr_peer *via)
{
	const struct evr_lease_record *r = &lease->record;
	struct evr_peer *peer = via;
	int err;

	err = via ? via_check(r, via) : segment_attach(lease, &peer);
	if (err)
		return err;
	lease->ptr = evr_peer_at(peer, r->off, r->sz);
	if (!lease->ptr)
		err = evr_fail(-EINVAL, "lease: %llu bytes at %llu are not in its segment",
			       (unsigned long long)r->sz, (unsigned long long)r->off);
	if (!via && err)
		evr_peer_detach(peer);
	else if (!via)
		lease->peer = peer;
	return err;
}

int evr_lease_map(struct evr_lease *lease, struct evr_peer *via, void **ptr)
{
	int err = 0, fd;

	*ptr = NULL;
	if (!lease->ch)
		return evr_fail(-EINVAL, "there is no lease");
	if (!lease->ptr && lease->record.segment_id) {
		err = segment_map(lease, via);
	} else if (!lease->ptr) {
		fd = file_open(lease);
		err = fd < 0 ? fd : memfd_map(lease, fd);
		if (fd >= 0)
			close(fd);
	}
	if (!err)
		*ptr = lease->ptr;
	return err;
}

void evr_lease_release(struct evr_lease *lease)
{
	struct evr_channel *ch = lease->ch;
	uint64_t handle = lease->message.handle;

	if (!ch)
		return;
	/* First, so that a lease which is back is mapped by nobody. */
	if (lease->map)
		munmap(lease->map, lease->map_sz);
	if (lease->peer)
		evr_peer_detach(lease->peer);
	/* Its credit is of that session alone. */
	if (ch->mine && ch->rx[CHANNEL_NORMAL].lane.held == lease->turn &&
	    evr_a64_load_relaxed(&ch->partner) == lease->other)
		evr_channel_release(ch, &lease->message);
	else if (lease->heap) /* of a loan nothing is left with its session */
		evr_heap_free(lease->heap, handle);
	memset(lease, 0, sizeof(*lease));
}
