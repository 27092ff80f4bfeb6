// SPDX-License-Identifier: MIT
/*
 * A 32-bit caller, without libc so that no 32-bit library is needed to build or
 * run it. It calls the device through compat_ioctl and writes what it was told to
 * stdout as one struct abi32_report; test_abi (64-bit) starts it and judges.
 */

#include <stddef.h>

#include "abi32.h"

#define STRUCT(name, sz) _Static_assert(sizeof(struct name) == (sz), #name);
#define FIELD(name, field, offset, sz) \
	_Static_assert(offsetof(struct name, field) == (offset), #name "." #field);
#define NUMBER(name, value) _Static_assert((name) == (__typeof__(name))(value), #name);
#include "abi_vectors.h"

enum { NR_EXIT = 1, NR_READ = 3, NR_WRITE = 4, NR_OPEN = 5, NR_IOCTL = 54 };

static long call(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return ret;
}

static int device_call(int fd, unsigned long cmd, void *arg)
{
	return (int)call(NR_IOCTL, fd, (long)cmd, (long)arg);
}

static struct abi32_report report;
static struct evering_bell bell;

static void use_device(struct abi32_report *r)
{
	r->open = (int)call(NR_OPEN, (long)EVERING_DEVICE, 2, 0);
	r->info.size = sizeof(r->info);
	r->info_ret = device_call(r->open, EVERING_IOC_INFO, &r->info);

	r->create.size = sizeof(r->create);
	r->create.shared_size = ABI32_SHARED;
	r->create.peer_size = ABI32_PEER;
	r->create.peers_max = ABI32_PEERS;
	r->create.node = EVERING_NODE_ANY;
	r->create_ret = device_call(r->open, EVERING_IOC_SEGMENT_CREATE, &r->create);

	r->attach.size = sizeof(r->attach);
	r->attach.slot = EVERING_SLOT_ANY;
	r->attach.cookie = ABI32_COOKIE;
	r->attach_ret = device_call(r->create.fd, EVERING_IOC_PEER_ATTACH, &r->attach);
}

static void use_peer(struct abi32_report *r)
{
	bell.slot = r->attach.slot;
	bell.incarnation = r->attach.incarnation;
	bell.bits = ABI32_BITS;
	r->ring.size = sizeof(r->ring);
	r->ring.nr = 1;
	r->ring.bells = (unsigned long)&bell;
	r->ring_ret = device_call(r->attach.fd, EVERING_IOC_BELL_RING, &r->ring);

	r->wait.size = sizeof(r->wait);
	r->wait.mask = EVERING_BELLS_USER;
	r->wait.deadline_ns = EVERING_NO_DEADLINE;
	r->wait_ret = device_call(r->attach.fd, EVERING_IOC_BELL_WAIT, &r->wait);

	r->list.size = sizeof(r->list);
	r->list.nr = 1;
	r->list.entries = (unsigned long)&r->peer;
	r->list_ret = device_call(r->create.fd, EVERING_IOC_PEER_LIST, &r->list);
	r->read_ret = (int)call(NR_READ, r->attach.fd, (long)&r->info, 7);
}

void _start(void);

__attribute__((force_align_arg_pointer)) void _start(void)
{
	report.magic = ABI32_MAGIC;
	use_device(&report);
	use_peer(&report);
	call(NR_WRITE, 1, (long)&report, sizeof(report));
	call(NR_EXIT, 0, 0, 0);
	for (;;)
		;
}
