// SPDX-License-Identifier: GPL-2.0
/*
 * Limits: module parameters, the sums over all segments, the quota of each uid.
 * A byte is charged from before it is allocated until its block is really free.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "evering.h"

static DEFINE_SPINLOCK(limits_lock);
/* Protected by limits_lock. */
static LIST_HEAD(users);
static u64 total_bytes;
static u32 segments;

static int set_nonzero(const char *value, const struct kernel_param *kp)
{
	unsigned int number;
	int rc = kstrtouint(value, 0, &number);

	if (rc)
		return rc;
	return number ? param_set_uint(value, kp) : -EINVAL;
}

static int set_peers(const char *value, const struct kernel_param *kp)
{
	return param_set_uint_minmax(value, kp, 1, EVERING_PEERS_MAX);
}

static const struct kernel_param_ops nonzero_ops = {
	.set = set_nonzero,
	.get = param_get_uint,
};

static const struct kernel_param_ops peers_ops = {
	.set = set_peers,
	.get = param_get_uint,
};

static unsigned long total_bytes_max;
module_param(total_bytes_max, ulong, 0644);
MODULE_PARM_DESC(total_bytes_max, "bytes of all segments together; 0: half of the memory");

static unsigned long segment_bytes_max;
module_param(segment_bytes_max, ulong, 0644);
MODULE_PARM_DESC(segment_bytes_max, "bytes of one segment; 0: as total_bytes_max");

static unsigned long uid_bytes_max;
module_param(uid_bytes_max, ulong, 0644);
MODULE_PARM_DESC(uid_bytes_max,
		 "bytes of one uid without CAP_IPC_LOCK; 0: RLIMIT_MEMLOCK of the creator");

static unsigned int segments_max = 4096;
module_param_cb(segments_max, &nonzero_ops, &segments_max, 0644);
MODULE_PARM_DESC(segments_max, "number of segments");

static unsigned int peers_max = EVERING_PEERS_MAX;
module_param_cb(peers_max, &peers_ops, &peers_max, 0644);
MODULE_PARM_DESC(peers_max, "slots of one segment, 1 to 256");

static unsigned long incarnation_max;
module_param(incarnation_max, ulong, 0444);
MODULE_PARM_DESC(incarnation_max, "for tests: incarnations of a slot before it retires; 0: 2^64 - 1");

u64 evering_incarnation_max(void)
{
	return incarnation_max ?: U64_MAX;
}

static u64 effective_total_max(void)
{
	return READ_ONCE(total_bytes_max) ?: (u64)totalram_pages() * PAGE_SIZE / 2;
}

static u64 effective_segment_max(void)
{
	return READ_ONCE(segment_bytes_max) ?: effective_total_max();
}

/* The quota that the calling process has now. */
u64 evering_uid_bytes_max(void)
{
	unsigned long limit;

	if (capable(CAP_IPC_LOCK))
		return U64_MAX;
	limit = READ_ONCE(uid_bytes_max) ?: rlimit(RLIMIT_MEMLOCK);
	return limit == RLIM_INFINITY ? U64_MAX : limit;
}

/* Return: 0 when sum + add <= max, without overflow, else -EDQUOT. */
int evering_sum_check(u64 sum, u64 add, u64 max)
{
	return sum > max || add > max - sum ? -EDQUOT : 0;
}

static struct evering_user *find_account(kuid_t uid)
{
	struct evering_user *user;

	list_for_each_entry(user, &users, list)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/* The account of the calling process' real uid, counted; NULL without memory. */
struct evering_user *evering_user_get(void)
{
	struct evering_user *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	struct evering_user *user;

	if (!fresh)
		return NULL;
	spin_lock(&limits_lock);
	user = find_account(current_uid());
	if (!user) {
		swap(user, fresh);
		user->uid = current_uid();
		list_add(&user->list, &users);
	}
	user->refs++;
	spin_unlock(&limits_lock);
	kfree(fresh);
	return user;
}

void evering_user_put(struct evering_user *user)
{
	bool last;

	spin_lock(&limits_lock);
	last = !--user->refs;
	if (last)
		list_del(&user->list);
	spin_unlock(&limits_lock);
	if (last)
		kfree(user);
}

/**
 * evering_charge() - account for memory about to be allocated.
 * @user: who pays
 * @bytes: how much more
 * @segment_bytes: what the segment has already
 *
 * The quota is that of the calling process, whoever pays.
 *
 * Return: 0, -EFBIG (segment), -ENFILE (all segments) or -EDQUOT (uid).
 */
int evering_charge(struct evering_user *user, u64 bytes, u64 segment_bytes)
{
	u64 quota = evering_uid_bytes_max();
	int rc = 0;

	if (evering_sum_check(segment_bytes, bytes, effective_segment_max()))
		return -EFBIG;
	spin_lock(&limits_lock);
	if (evering_sum_check(total_bytes, bytes, effective_total_max()))
		rc = -ENFILE;
	else
		rc = evering_sum_check(user->bytes, bytes, quota);
	if (!rc) {
		total_bytes += bytes;
		user->bytes += bytes;
	}
	spin_unlock(&limits_lock);
	return rc;
}

void evering_uncharge(struct evering_user *user, u64 bytes)
{
	spin_lock(&limits_lock);
	total_bytes -= bytes;
	user->bytes -= bytes;
	spin_unlock(&limits_lock);
}

/* Return: 0, one more segment is counted, or -ENFILE. */
int evering_segment_count(void)
{
	int rc = -ENFILE;

	spin_lock(&limits_lock);
	if (segments < READ_ONCE(segments_max)) {
		segments++;
		rc = 0;
	}
	spin_unlock(&limits_lock);
	return rc;
}

void evering_segment_uncount(void)
{
	spin_lock(&limits_lock);
	segments--;
	spin_unlock(&limits_lock);
}

/* All limits and sums, as they are for the calling process. */
void evering_limits_get(struct evering_limits *limits)
{
	struct evering_user *user;

	limits->segment_bytes_max = effective_segment_max();
	limits->total_bytes_max = effective_total_max();
	limits->uid_bytes_max = evering_uid_bytes_max();
	limits->segments_max = READ_ONCE(segments_max);
	limits->peers_max = READ_ONCE(peers_max);
	spin_lock(&limits_lock);
	user = find_account(current_uid());
	limits->uid_bytes = user ? user->bytes : 0;
	limits->total_bytes = total_bytes;
	limits->segments = segments;
	spin_unlock(&limits_lock);
}
