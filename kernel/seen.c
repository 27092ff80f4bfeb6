// SPDX-License-Identifier: GPL-2.0
/* What can be seen from outside: tracepoints, sysfs totals, debugfs. */
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

#include "evering.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static struct dentry *debug_dir;

static ssize_t total_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct evering_limits limits;

	evering_limits_get(&limits);
	return sysfs_emit(buf, "%llu\n", limits.total_bytes);
}
static DEVICE_ATTR_RO(total_bytes);

static ssize_t segments_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct evering_limits limits;

	evering_limits_get(&limits);
	return sysfs_emit(buf, "%u\n", limits.segments);
}
static DEVICE_ATTR_RO(segments);

static ssize_t limbo_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", evering_limbo_sweep());
}
static DEVICE_ATTR_RO(limbo_bytes);

static struct attribute *evering_attrs[] = {
	&dev_attr_total_bytes.attr,
	&dev_attr_segments.attr,
	&dev_attr_limbo_bytes.attr,
	NULL
};

static const struct attribute_group evering_group = {
	.attrs = evering_attrs,
};

const struct attribute_group *evering_groups[] = {
	&evering_group,
	NULL
};

static int segments_debug_show(struct seq_file *m, void *unused)
{
	evering_segments_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(segments_debug);

void evering_seen_init(void)
{
	debug_dir = debugfs_create_dir("evering", NULL);
	debugfs_create_file("segments", 0400, debug_dir, NULL, &segments_debug_fops);
}

void evering_seen_exit(void)
{
	debugfs_remove(debug_dir);
}
