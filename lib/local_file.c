/* SPDX-License-Identifier: MIT */
/*
 * Files of the local backend: a memfd, or a file in /dev/shm that appears under its
 * name only when it is complete.
 *
 * A named segment without KEEP goes with its last handle. Each handle holds a read
 * lock on one byte; who can get the write lock is alone, and may unlink. When all
 * handles were killed, the next to open or create finds the file so and removes it.
 *
 * unlink(2) goes by the name, and the file of that name may have become another since one
 * has looked. So who takes a name away holds a lock on the file that he means, and looks
 * then whether the name leads to it: it does so until he unlinks it, as nobody else may,
 * and links are made only where no name is.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define PATH_SZ (sizeof(LOCAL_PREFIX) + EVR_NAME_SIZE)
/* A lock is held for two system calls; who still has it then was stopped in between. */
#define REMOVE_TRIES 1000

static void path_of(const char *name, char path[PATH_SZ])
{
	snprintf(path, PATH_SZ, LOCAL_PREFIX "%s", name);
}

int local_file_reopen(int fd, int flags)
{
	char path[32];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, flags | O_CLOEXEC);
	if (own >= 0)
		return own;
	if (errno == EACCES || errno == EPERM)
		return evr_fail(-EACCES,
				"the segment's file mode does not let this user open it %s; "
				"make it with another mode or owner",
				flags == O_RDWR ? "for writing" : "for reading");
	return evr_fail(-errno, "cannot open the segment a second time through %s: %s%s", path,
			strerror(errno), errno == ENOENT ? "; mount /proc" : "");
}

int local_file_lock(int fd, int type, uint64_t byte)
{
	struct flock lock = {
		.l_type = (short)type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)byte,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

bool local_file_is_locked(int fd, uint64_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)byte,
		.l_len = 1,
	};

	/* When it cannot be told, it is: a death needs evidence. */
	return fcntl(fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

static int map_status(struct evr_segment *segment, uint64_t sz, bool is_readonly)
{
	struct local_segment *local = local_of(segment);
	void *at = mmap(NULL, sz, is_readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED,
			segment->fd, 0);

	if (at == MAP_FAILED)
		return evr_fail(-errno, "cannot map the status area: %s", strerror(errno));
	local->status = at;
	local->status_sz = sz;
	local->is_readonly = is_readonly;
	return 0;
}

static void unmap_status(struct evr_segment *segment)
{
	struct local_segment *local = local_of(segment);

	if (local->status)
		munmap(local->status, local->status_sz);
	local->status = NULL;
}

static int own_new(struct evr_segment *segment)
{
	segment->own = calloc(1, sizeof(struct local_segment));
	return segment->own ? 0 : evr_fail(-ENOMEM, "no memory for a segment handle");
}

/* --- create --- */

static int bind_node(void *at, uint64_t sz, int32_t node)
{
	unsigned long mask[1024 / (8 * sizeof(unsigned long))] = { 0 };

	if (node == EVERING_NODE_ANY)
		return 0;
	if (node < 0 || node >= 1024)
		return evr_fail(-EINVAL, "node is %d, there is no such NUMA node", node);
	mask[(size_t)node / (8 * sizeof(unsigned long))] = 1UL
							   << (node % (8 * sizeof(unsigned long)));
	if (syscall(SYS_mbind, at, sz, MPOL_BIND, mask, 1024UL, 0U))
		return evr_fail(-errno, "cannot take memory of NUMA node %d: %s", node,
				strerror(errno));
	return 0;
}

/* Taking more than there is would end in the hands of the OOM killer, not in an errno. */
int local_file_check_memory(uint64_t sz)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
		;
	fclose(file);
	if (!kib || sz / 1024 < kib)
		return 0;
	return evr_fail(-ENOMEM, "%" PRIu64 " bytes are needed, the system has %llu KiB left", sz,
			kib);
}

/*
 * All memory is taken now: a file that runs out of it later would kill a peer with
 * SIGBUS in the middle of a message. Populating comes first because it gives huge
 * pages where they are only given on advice; what it lacks fallocate() reports.
 */
static int take_memory(int fd, uint64_t sz, int32_t node)
{
	int err = local_file_check_memory(sz);
	void *at;

	if (err)
		return err;
	if (ftruncate(fd, (off_t)sz))
		return evr_fail(-errno, "cannot make the segment %" PRIu64 " bytes large: %s", sz,
				strerror(errno));
	at = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return evr_fail(-errno, "cannot map %" PRIu64 " bytes: %s", sz, strerror(errno));
	madvise(at, sz, MADV_HUGEPAGE);
	err = bind_node(at, sz, node);
	if (!err)
		madvise(at, sz, MADV_POPULATE_WRITE);
	munmap(at, sz);
	if (!err && fallocate(fd, 0, 0, (off_t)sz))
		err = evr_fail(-errno,
			       "cannot get %" PRIu64 " bytes of shared memory: %s; see the size "
			       "of /dev/shm and the memory that is free",
			       sz, strerror(errno));
	return err;
}

static int make_file(const char *name)
{
	int fd;

	if (!name[0])
		fd = memfd_create("evering", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	else
		fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && name[0])
		return evr_fail(-errno,
				"cannot make a file in /dev/shm: %s; local segments that "
				"have a name live there",
				strerror(errno));
	if (fd < 0)
		return evr_fail(-errno, "cannot make a memfd: %s", strerror(errno));
	return fd;
}

/* 0 is no id. */
static int random_id(uint64_t *id)
{
	*id = 0;
	while (!*id)
		if (getrandom(id, sizeof(*id), 0) < 0 && errno != EINTR)
			return evr_fail(-errno, "no random bits for the segment's id: %s",
					strerror(errno));
	return 0;
}

static void write_header(struct evr_segment *segment, const struct evr_segment_options *options)
{
	const struct evr_layout *layout = &segment->layout;
	unsigned char *status = local_of(segment)->status;
	struct evering_status_header header = {
		.magic = LOCAL_MAGIC,
		.abi_version = LOCAL_VERSION,
		.flags = layout->flags,
		.segment_id = layout->segment_id,
		.segment_size = layout->segment_sz,
		.shared_offset = layout->shared_off,
		.shared_size = layout->shared_sz,
		.peers_offset = layout->peers_off,
		.peer_size = layout->peer_sz,
		.grown_offset = layout->grown_off,
		.peers_max = layout->peers_max,
		.entries_offset = layout->entries_off,
		.entry_size = layout->entry_sz,
	};
	struct local_header *local = (struct local_header *)(status + LOCAL_HEADER_OFF);
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	evr_copy_in(status, &header, sizeof(header));
	evr_a64_store_relaxed(&local->created_ns,
			      (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	evr_a32_store_relaxed(&local->uid, geteuid());
	evr_a32_store_relaxed(&local->is_kept, !!(options->flags & EVR_SEGMENT_KEEP));
}

static int set_owner(int fd, const struct evr_segment_options *options)
{
	if ((options->uid != UINT32_MAX || options->gid != UINT32_MAX) &&
	    fchown(fd, options->uid, options->gid))
		return evr_fail(-errno, "cannot give the segment to uid %d, gid %d: %s",
				(int)options->uid, (int)options->gid, strerror(errno));
	if (fchmod(fd, options->mode))
		return evr_fail(-errno, "cannot set mode %#o: %s", options->mode, strerror(errno));
	return 0;
}

/* Can this name be taken away, and with it no other file than this? Until the fd is closed. */
static bool name_hold(int fd, const char *path)
{
	struct stat file, named;

	return !local_file_lock(fd, F_WRLCK, LOCAL_LOCK_NAME) && !fstat(fd, &file) &&
	       !lstat(path, &named) && file.st_dev == named.st_dev && file.st_ino == named.st_ino;
}

/* Is this the file of a segment without KEEP that nobody holds? Then take it away. */
static bool remove_if_abandoned(const char *path)
{
	struct local_header local;
	struct evering_status_header header;
	bool removed = false;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT;
	if (pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
	    pread(fd, &local, sizeof(local), LOCAL_HEADER_OFF) == sizeof(local) &&
	    header.magic == LOCAL_MAGIC && !evr_a32_load_relaxed(&local.is_kept) &&
	    !local_file_lock(fd, F_WRLCK, LOCAL_LOCK_USE) && name_hold(fd, path))
		removed = !unlink(path);
	close(fd);
	return removed;
}

static int link_file(struct evr_segment *segment)
{
	char path[PATH_SZ], from[32];
	int tries, err = 0;

	path_of(segment->name, path);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", segment->fd);
	for (tries = 0; tries < 3; tries++) {
		if (!linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
			return 0;
		err = -errno;
		if (err != -EEXIST || !remove_if_abandoned(path))
			break;
	}
	if (err == -EEXIST)
		return evr_fail(-EEXIST,
				"the name '%s' is taken; use another one or remove it "
				"('evering rm local:%s')",
				segment->name, segment->name);
	return evr_fail(err, "cannot link the segment to %s: %s", path, strerror(-err));
}

static int init_file(struct evr_segment *segment, const struct evr_segment_options *options)
{
	struct evr_layout *layout = &segment->layout;
	int err;

	err = take_memory(segment->fd, layout->segment_sz, options->node);
	if (!err)
		err = map_status(segment, layout->status_sz, false);
	if (!err)
		err = random_id(&layout->segment_id);
	if (err)
		return err;
	write_header(segment, options);
	if (!segment->name[0])
		fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK);
	return set_owner(segment->fd, options);
}

int local_file_create(struct evr_segment *segment, const struct evr_segment_options *options)
{
	int err;

	if (options->flags & EVR_SEGMENT_CONTIGUOUS)
		return evr_fail(-EOPNOTSUPP, "the local backend cannot promise contiguous memory; "
					     "use the device, or leave CONTIGUOUS out");
	err = own_new(segment);
	if (err)
		return err;
	segment->layout.flags = options->flags & EVERING_SEGMENT_F_ISOLATED;
	segment->layout.shared_sz = options->shared_sz;
	segment->layout.peer_sz = options->peer_sz;
	segment->layout.peers_max = options->peers_max;
	evr_layout_plan(&segment->layout, LOCAL_ENTRIES_OFF, sizeof(struct local_entry));
	segment->fd = make_file(segment->name);
	if (segment->fd < 0)
		return segment->fd;
	err = init_file(segment, options);
	if (err || !segment->name[0])
		goto out;
	if (!(options->flags & EVR_SEGMENT_KEEP)) {
		local_file_lock(segment->fd, F_RDLCK, LOCAL_LOCK_USE);
		local_of(segment)->holds_use = true;
	}
	err = link_file(segment);
	if (err)
		local_of(segment)->holds_use = false;
out:
	if (!err)
		segment->rights = EVR_RIGHTS_ALL;
	return err;
}

/* --- open and adopt --- */

static int read_layout(const struct evr_segment *segment, const void *header,
		       struct evr_layout *layout)
{
	struct evr_layout_rule rule = {
		.magic = LOCAL_MAGIC,
		.version = LOCAL_VERSION,
		.entry_sz = sizeof(struct local_entry),
	};
	struct stat file;

	if (fstat(segment->fd, &file))
		return evr_fail(-errno, "cannot stat the segment: %s", strerror(errno));
	rule.file_sz = (uint64_t)file.st_size;
	return evr_layout_read(layout, header, &rule);
}

int local_file_check(const struct evr_segment *segment, uint64_t *sz)
{
	struct evr_layout now;
	int err = read_layout(segment, local_of(segment)->status, &now);

	if (!err)
		err = evr_layout_same(&segment->layout, &now);
	if (!err)
		*sz = now.segment_sz;
	return err;
}

/* Map the first page, check the header in it, then map the whole status area. */
static int map_checked(struct evr_segment *segment, bool is_readonly)
{
	uint64_t page = evr_layout_page_size();
	struct stat file;
	int err;

	if (fstat(segment->fd, &file))
		return evr_fail(-errno, "cannot stat the segment: %s", strerror(errno));
	if (!S_ISREG(file.st_mode) || (uint64_t)file.st_size < page)
		return evr_fail(-EINVAL, "this fd is no segment: it is %s of %lld bytes",
				S_ISREG(file.st_mode) ? "a file" : "not a file",
				(long long)file.st_size);
	err = map_status(segment, page, is_readonly);
	if (err)
		return err;
	err = read_layout(segment, local_of(segment)->status, &segment->layout);
	if (err)
		return err;
	unmap_status(segment);
	return map_status(segment, segment->layout.status_sz, is_readonly);
}

static void set_rights(struct evr_segment *segment)
{
	struct stat file;

	segment->rights = EVR_RIGHT_OBSERVE;
	if (local_of(segment)->is_readonly)
		return;
	segment->rights |= EVR_RIGHT_WRITE | EVR_RIGHT_INVITE | EVR_RIGHT_GROW;
	if (!geteuid() || (!fstat(segment->fd, &file) && file.st_uid == geteuid()))
		segment->rights |= EVR_RIGHT_ADMIN;
}

/* Hold it against removal; false: nobody else holds it, so it is gone. */
static bool hold_use(struct evr_segment *segment, bool is_new)
{
	struct local_segment *local = local_of(segment);
	struct local_header *header = (struct local_header *)(local->status + LOCAL_HEADER_OFF);

	if (evr_a32_load_relaxed(&header->is_kept))
		return true;
	if (is_new && !local_file_is_locked(segment->fd, LOCAL_LOCK_USE))
		return false;
	local->holds_use = !local_file_lock(segment->fd, F_RDLCK, LOCAL_LOCK_USE);
	return local->holds_use;
}

int local_file_open(struct evr_segment *segment)
{
	char path[PATH_SZ];
	bool is_readonly = segment->observes;
	struct stat file;
	int err;

	err = own_new(segment);
	if (err)
		return err;
	path_of(segment->name, path);
	segment->fd = open(path, (is_readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	if (segment->fd < 0 && errno == EACCES && !is_readonly) {
		is_readonly = true;
		segment->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (segment->fd < 0 && errno == ENOENT)
		goto err_none;
	if (segment->fd < 0)
		return evr_fail(-errno, "cannot open %s: %s", path, strerror(errno));
	err = map_checked(segment, is_readonly);
	if (err)
		return err;
	/* Who only observes keeps nothing there, and takes nothing away that its users have left. */
	if (!segment->observes && !hold_use(segment, true)) {
		remove_if_abandoned(path);
		goto err_none;
	}
	if (fstat(segment->fd, &file) || !file.st_nlink)
		goto err_none;
	set_rights(segment);
	return 0;

err_none:
	return evr_fail(-ENOENT, "there is no local segment '%s'; 'evering ls' shows what is there",
			segment->name);
}

/* The name that a file has now, from where the fd points to. */
static void find_name(struct evr_segment *segment)
{
	char link[32], path[PATH_SZ + sizeof(" (deleted)")], *name;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", segment->fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return;
	path[len] = '\0';
	name = path + strlen(LOCAL_PREFIX);
	if (!strncmp(path, LOCAL_PREFIX, strlen(LOCAL_PREFIX)) && !strstr(path, " (deleted)") &&
	    strlen(name) < sizeof(segment->name))
		strcpy(segment->name, name);
}

int local_file_adopt(struct evr_segment *segment)
{
	int mode = fcntl(segment->fd, F_GETFL);
	int err;

	if (mode < 0)
		return evr_fail(-EBADF, "fd %d is not open", segment->fd);
	if (mode & O_PATH || (mode & O_ACCMODE) == O_WRONLY)
		return evr_fail(-EINVAL, "fd %d cannot be read", segment->fd);
	err = own_new(segment);
	if (!err)
		err = map_checked(segment, (mode & O_ACCMODE) == O_RDONLY);
	if (err)
		return err;
	find_name(segment);
	if (segment->name[0])
		hold_use(segment, false);
	set_rights(segment);
	return 0;
}

void local_file_close(struct evr_segment *segment)
{
	struct local_segment *local = local_of(segment);
	char path[PATH_SZ];
	uint32_t send_fd;
	bool held;

	if (!local) {
		if (segment->fd >= 0)
			close(segment->fd);
		return;
	}
	held = local->holds_use;
	unmap_status(segment);
	send_fd = evr_a32_load_relaxed(&local->send_fd);
	if (send_fd)
		close((int)send_fd - 1);
	if (segment->fd >= 0)
		close(segment->fd);
	free(local);
	segment->own = NULL;
	if (held && segment->name[0]) {
		path_of(segment->name, path);
		remove_if_abandoned(path);
	}
}

/* 0; -EBUSY another takes a name away just now; -errno. */
static int remove_named(const char *path)
{
	/* Who may not write to it may still be allowed to unlink it: its owner; then nobody holds the lock. */
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY), err = 0;

	if (fd >= 0 && !name_hold(fd, path))
		err = -EBUSY;
	else if (unlink(path))
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

int local_file_remove(const char *name)
{
	char path[PATH_SZ];
	int tries, err;

	path_of(name, path);
	err = remove_named(path);
	for (tries = 0; err == -EBUSY && tries < REMOVE_TRIES; tries++) {
		sched_yield();
		err = remove_named(path);
	}
	if (!err)
		return 0;
	if (err == -ENOENT)
		return evr_fail(-ENOENT, "there is no local segment '%s'", name);
	if (err == -EBUSY)
		return evr_fail(-EBUSY, "another process takes '%s' away just now", name);
	if (err == -EPERM || err == -EACCES)
		return evr_fail(-EACCES, "'%s' belongs to another user", name);
	return evr_fail(err, "cannot remove %s: %s", path, strerror(-err));
}
