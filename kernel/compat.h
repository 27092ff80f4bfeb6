/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels this module is built for (6.1 and later).
 * No other file looks at the version.
 */
#ifndef EVERING_COMPAT_H
#define EVERING_COMPAT_H

#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "evering is for Linux 6.1 and later"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#include <linux/io_uring/cmd.h>
#else
#include <linux/io_uring.h>
#endif

/* A parked command can be cancelled since 6.7; before, execve hangs on it. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#define EVERING_HAS_URING_WAIT 1
#else
#define EVERING_HAS_URING_WAIT 0
#endif

/* io_uring refused fixed buffers in device mappings before 6.5. */
#define EVERING_HAS_FIXED_BUFFERS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0))

/* Without it, shmem is another filesystem that knows no large folio. */
#define EVERING_HAS_SHMEM IS_ENABLED(CONFIG_SHMEM)

/* alloc_contig_range() honours __GFP_COMP since 6.12. */
#if defined(CONFIG_CONTIG_ALLOC) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define EVERING_HAS_CONTIG_FILL 1
#else
#define EVERING_HAS_CONTIG_FILL 0
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define evering_uring_payload(ucmd, type) io_uring_sqe_cmd((ucmd)->sqe, type)
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define evering_uring_payload(ucmd, type) ((const type *)io_uring_sqe_cmd((ucmd)->sqe))
#else
#define evering_uring_payload(ucmd, type) ((const type *)(ucmd)->cmd)
#endif

static inline void evering_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

static inline void evering_vma_flags(struct vm_area_struct *vma, unsigned long set,
				     unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* Waits for faults that run under the lock of this mapping alone, not the mmap lock. */
static inline void evering_vma_pass_lock(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vma_start_write(vma);
#endif
}

static inline void evering_super_dops(struct super_block *sb, const struct dentry_operations *ops)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	set_default_d_op(sb, ops);
#else
	sb->s_d_op = ops;
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define EVERING_SETATTR_ARGS struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr
#else
#define EVERING_SETATTR_ARGS \
	struct user_namespace *ns, struct dentry *dentry, struct iattr *attr
#endif

#if EVERING_HAS_CONTIG_FILL
/* Empties [start, end) and takes it; movable is what the pageblock stays for others. */
static inline int evering_alloc_contig(unsigned long start, unsigned long end, bool movable,
				       gfp_t gfp)
{
#ifdef ACR_FLAGS_NONE
	return alloc_contig_range(start, end, ACR_FLAGS_NONE, gfp);
#else
	return alloc_contig_range(start, end, movable ? MIGRATE_MOVABLE : MIGRATE_UNMOVABLE, gfp);
#endif
}
#endif

#endif
