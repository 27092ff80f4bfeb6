// SPDX-License-Identifier: GPL-2.0
/*
 * A module with planted bugs, one for each detector of the VM lab: proves that
 * tools/vm/run fails when the kernel complains. Never part of a release.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *mode = "none";
module_param(mode, charp, 0);
MODULE_PARM_DESC(mode, "comma list of warn uaf leak atomic lock race bug");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);
static int shared;

static void use_after_free(void)
{
	char *p = kmalloc(32, GFP_KERNEL);

	if (!p)
		return;
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	WRITE_ONCE(p[3], 1);
}

/* Not __init: its name must be found after the module is gone. */
static noinline void evering_faulty_leak(void)
{
	int i;

	for (i = 0; i < 8; i++) {
		char *p = kmalloc(100, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(p);
	}
}

static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static void invert_locks(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static int racer(void *unused)
{
	while (!kthread_should_stop()) {
		shared++;
		barrier();
		cond_resched();
	}
	return 0;
}

static void race(void)
{
	struct task_struct *a = kthread_run(racer, NULL, "racer/a");
	struct task_struct *b = kthread_run(racer, NULL, "racer/b");

	msleep(3000);
	if (!IS_ERR(a))
		kthread_stop(a);
	if (!IS_ERR(b))
		kthread_stop(b);
}

static int __init faulty_init(void)
{
	if (strstr(mode, "warn"))
		WARN(1, "planted warning\n");
	if (strstr(mode, "uaf"))
		use_after_free();
	if (strstr(mode, "leak"))
		evering_faulty_leak();
	if (strstr(mode, "atomic"))
		sleep_in_atomic();
	if (strstr(mode, "lock"))
		invert_locks();
	if (strstr(mode, "race"))
		race();
	BUG_ON(strstr(mode, "bug"));
	return 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("planted bugs for the VM lab");
