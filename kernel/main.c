// SPDX-License-Identifier: GPL-2.0
/* Load and unload, and /dev/evering itself. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/miscdevice.h>
#include <linux/module.h>

#include "evering.h"

static int control_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return evering_fs_pin();
}

static int control_release(struct inode *inode, struct file *file)
{
	evering_fs_unpin();
	return 0;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.unlocked_ioctl = evering_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "evering",
	.fops = &control_fops,
	.groups = evering_groups,
	.mode = 0660,
};

static int __init evering_init(void)
{
	int rc;

	evering_seen_init();
	rc = misc_register(&control);
	if (rc) {
		evering_seen_exit();
		return rc;
	}
	pr_info_ratelimited("ABI %d, blocks of %d KiB\n", EVERING_ABI_VERSION,
			    EVERING_BLOCK_SIZE / 1024);
	return 0;
}

static void __exit evering_exit(void)
{
	misc_deregister(&control);
	evering_seen_exit();
	evering_death_exit();
	evering_limbo_exit();
}

module_init(evering_init);
module_exit(evering_exit);

MODULE_DESCRIPTION("Shared memory segments with peers, doorbells and revocation");
MODULE_AUTHOR("The evering authors");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
