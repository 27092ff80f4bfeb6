// SPDX-License-Identifier: GPL-2.0
/*
 * The pseudo-filesystem of segment and peer inodes.
 *
 * There is one superblock at most, and it exists while /dev/evering is open, a
 * segment or peer fd is, or a segment is kept. It holds the module (owner of the
 * file_system_type), because fput() drops the file's own module reference before
 * the inode is evicted.
 */
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "evering.h"

#define EVERING_FS_MAGIC 0x45564e47

static struct vfsmount *fs_mnt;
static int fs_pins;

static void evict_inode(struct inode *inode)
{
	struct evering_node *node = inode->i_private;

	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	inode->i_private = NULL;
	if (node)
		node->ops->evict(node);
}

static char *node_dname(struct dentry *dentry, char *buf, int len)
{
	struct evering_node *node = d_inode(dentry)->i_private;
	char name[64];
	int nr;

	nr = node->ops->name(node, name, sizeof(name)) + 1;
	if (nr > len)
		return ERR_PTR(-ENAMETOOLONG);
	return memcpy(buf + len - nr, name, nr);
}

static const struct super_operations super_ops = {
	.statfs = simple_statfs,
	.drop_inode = generic_delete_inode,
	.evict_inode = evict_inode,
};

static const struct dentry_operations dentry_ops = {
	.d_dname = node_dname,
};

static int fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct inode *root;

	sb->s_magic = EVERING_FS_MAGIC;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_time_gran = 1;
	sb->s_op = &super_ops;
	root = new_inode(sb);
	if (!root)
		return -ENOMEM;
	root->i_ino = 1;
	root->i_mode = S_IFDIR;
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;
	evering_super_dops(sb, &dentry_ops);
	return 0;
}

static int get_tree(struct fs_context *fc)
{
	return get_tree_single(fc, fill_super);
}

static const struct fs_context_operations context_ops = {
	.get_tree = get_tree,
};

static int init_fs_context(struct fs_context *fc)
{
	fc->ops = &context_ops;
	fc->global = true;
	fc->sb_flags |= SB_NOUSER;
	fc->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;
	return 0;
}

/* Not registered: nobody can mount it. */
static struct file_system_type fs_type = {
	.owner = THIS_MODULE,
	.name = "evering",
	.init_fs_context = init_fs_context,
	.kill_sb = kill_anon_super,
};

int evering_fs_pin(void)
{
	return simple_pin_fs(&fs_type, &fs_mnt, &fs_pins);
}

void evering_fs_unpin(void)
{
	simple_release_fs(&fs_mnt, &fs_pins);
}

/* Context: the caller has the filesystem pinned. */
struct vfsmount *evering_fs_mount(void)
{
	return fs_mnt;
}

static int setattr(EVERING_SETATTR_ARGS)
{
	return -EPERM;
}

static const struct inode_operations node_iops = {
	.setattr = setattr,
};

/**
 * evering_node_init() - give an object an inode.
 * @node: first member of the object
 * @ops: of its kind
 * @mnt: a mount of the filesystem that the caller holds
 *
 * On success the inode owns the object (ops->evict frees it) and the caller the
 * only reference to the inode. On failure nothing has changed.
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int evering_node_init(struct evering_node *node, const struct evering_node_ops *ops,
		      struct vfsmount *mnt)
{
	struct inode *inode = alloc_anon_inode(mnt->mnt_sb);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	inode->i_op = &node_iops;
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	inode->i_private = node;
	node->ops = ops;
	node->inode = inode;
	return 0;
}

/**
 * evering_node_file() - a new file on an object's inode.
 * @node: the object
 * @mnt: a mount of the filesystem that the caller holds
 * @flags: O_RDWR or O_RDONLY, with O_NONBLOCK
 * @fops: with .owner set
 *
 * On success the file owns the caller's reference to the inode; on failure the
 * caller still has it.
 *
 * Context: may sleep.
 */
struct file *evering_node_file(struct evering_node *node, struct vfsmount *mnt, int flags,
			       const struct file_operations *fops)
{
	struct file *file;

	/* The caller's own fd holds the module; fput() of the new one drops this. */
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(node->inode, mnt, "evering", flags, fops);
	if (IS_ERR(file))
		module_put(THIS_MODULE);
	return file;
}
