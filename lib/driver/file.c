// SPDX-License-Identifier: MIT
/*
 * The table of fixed files: the kernel's, or our own of fds where there is none. Which
 * slots are free is decided here, so that an install never replaces what an open or an
 * accept that is under way has chosen.
 */
#include "driver.h"

#include <fcntl.h>
#include <unistd.h>

enum {
	SLOT_FREE = -1,
	SLOT_RESERVED = -2, /* for an op that is under way */
	SLOT_KERNEL = -3, /* used, in the kernel's table */
};

int evr_files_init(struct evr_driver *d)
{
	uint32_t i;

	d->files = malloc(d->options.files_max * sizeof(*d->files));
	d->files_turn = calloc(d->options.files_max, sizeof(*d->files_turn));
	if (!d->files || !d->files_turn)
		return -ENOMEM;
	d->files_nr = d->options.files_max;
	for (i = 0; i < d->files_nr; i++)
		d->files[i] = SLOT_FREE;
	d->files_native = d->ring.exists &&
			  !io_uring_register_files_sparse(&d->ring.uring, d->files_nr);
	return 0;
}

void evr_files_fini(struct evr_driver *d)
{
	uint32_t i;

	for (i = 0; i < d->files_nr; i++)
		if (d->files[i] >= 0)
			close(d->files[i]);
	if (d->ring.exists && d->files_native)
		io_uring_unregister_files(&d->ring.uring);
	free(d->files);
	free(d->files_turn);
}

static int slot_choose(const struct evr_driver *d, uint32_t wanted, uint32_t *slot)
{
	uint32_t i;

	if (wanted != EVR_FILE_ANY) {
		if (wanted >= d->files_nr)
			return evr_fail(-EINVAL, "fixed files: slot %u of %u", wanted, d->files_nr);
		*slot = wanted;
		return d->files[wanted] == SLOT_FREE ? 0 : -EBUSY;
	}
	for (i = 0; i < d->files_nr && d->files[i] != SLOT_FREE; i++)
		;
	*slot = i;
	return i < d->files_nr ? 0 : evr_fail(-ENFILE, "fixed files: all %u are in use", i);
}

/* Takes fd over, unless it fails. */
static int slot_store(struct evr_driver *d, uint32_t slot, int fd)
{
	int ret;

	if (!d->files_native) {
		d->files[slot] = fd;
		return 0;
	}
	ret = io_uring_register_files_update(&d->ring.uring, slot, &fd, 1);
	if (ret < 0)
		return ret;
	d->files[slot] = SLOT_KERNEL;
	close(fd);
	return 0;
}

int evr_file_install(struct evr_driver *d, int fd, uint32_t *slot)
{
	int err, copy;

	err = driver_check(d);
	if (!err)
		err = slot_choose(d, *slot, slot);
	if (err)
		return err;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	err = slot_store(d, *slot, copy);
	if (err)
		close(copy);
	return err;
}

int evr_file_remove(struct evr_driver *d, uint32_t slot)
{
	int err, none = -1;

	err = driver_check(d);
	if (err)
		return err;
	if (slot >= d->files_nr || (d->files[slot] < 0 && d->files[slot] != SLOT_KERNEL))
		return -EBADF;
	if (d->files[slot] == SLOT_KERNEL)
		err = io_uring_register_files_update(&d->ring.uring, slot, &none, 1);
	else
		close(d->files[slot]);
	if (err < 0)
		return err;
	d->files[slot] = SLOT_FREE;
	d->files_turn[slot]++;
	return 0;
}

/* Is the file of an op still the one in its slot of the kernel's table? */
bool evr_files_same(const struct evr_driver *d, const struct extra *extra)
{
	return d->files_turn[extra->op.fd] == extra->turn;
}

/* In the kernel's table by its number; from our own, as the fd it is there. */
int evr_files_translate(struct evr_driver *d, const struct slot *s, struct extra *extra)
{
	struct evr_op *op = &extra->op;
	int fd = d->files[op->fd];

	if (fd == SLOT_FREE || fd == SLOT_RESERVED)
		return evr_fail(-EBADF, "op %s: fixed file %d is none", evr_op_name(op->code),
				op->fd);
	if (fd == SLOT_KERNEL) {
		extra->turn = d->files_turn[op->fd];
		if (s->way == EVR_SUPPORT_NATIVE)
			return 0;
		return evr_fail(-EOPNOTSUPP, "op %s: not on a fixed file here",
				evr_op_name(op->code));
	}
	/* Nobody else's until it is closed; see evr_files_keep() for what is not. */
	if (op->code == EVR_OP_CLOSE) {
		d->files[op->fd] = SLOT_RESERVED;
		extra->moved = (uint32_t)op->fd + 1;
	}
	op->fd = fd;
	op->flags &= (uint16_t)~EVR_OP_FIXED_FD;
	return 0;
}

int evr_files_reserve(struct evr_driver *d, struct evr_op *op)
{
	uint32_t slot;
	int err = slot_choose(d, op->file, &slot);

	if (err) {
		/* Nothing was reserved that a failure could give back. */
		op->flags &= (uint16_t)~EVR_OP_FIXED_RESULT;
		return err;
	}
	op->file = slot;
	d->files[slot] = SLOT_RESERVED;
	return 0;
}

void evr_files_unreserve(struct evr_driver *d, const struct evr_op *op)
{
	if (d->files[op->file] == SLOT_RESERVED)
		d->files[op->file] = SLOT_FREE;
}

/* An op that makes a file is over: into the table, and the slot is its result. */
bool evr_file_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res, uint32_t *cflags)
{
	struct evr_op *op;
	int err;

	if (!(s->flags & S_EXTRA) || *res < 0)
		return false;
	op = &extra_at(d, index)->op;
	if (!(op->flags & EVR_OP_FIXED_RESULT))
		return false;
	if (s->way == EVR_SUPPORT_NATIVE && d->files_native) {
		d->files[op->file] = SLOT_KERNEL;
		*res = (int)op->file;
		return false;
	}
	/* Rows leave it to the kernel's table not to be inherited. */
	fcntl(*res, F_SETFD, FD_CLOEXEC);
	err = slot_store(d, op->file, *res);
	if (err)
		close(*res);
	*res = err ? err : (int)op->file;
	return false;
}

/* A close that never came to be done: the file stays in its slot. */
void evr_files_keep(struct evr_driver *d, const struct extra *extra)
{
	if (extra->moved && d->files[extra->moved - 1] == SLOT_RESERVED)
		d->files[extra->moved - 1] = extra->op.fd;
}

bool evr_close_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
		    uint32_t *cflags)
{
	const struct evr_op *op = &extra_at(d, index)->op;
	uint32_t *own = &extra_at(d, index)->moved;

	if (*own)
		d->files[*own - 1] = SLOT_FREE;
	*own = 0;
	if (!*res && op->flags & EVR_OP_FIXED_FD && d->files[op->fd] == SLOT_KERNEL) {
		d->files[op->fd] = SLOT_FREE;
		d->files_turn[op->fd]++;
	}
	return false;
}

void evr_file_cleanup(struct evr_driver *d, const struct evr_op *op, int res, uint32_t cflags)
{
	if (op->flags & EVR_OP_FIXED_RESULT)
		evr_file_remove(d, (uint32_t)res);
	else
		close(res);
}
