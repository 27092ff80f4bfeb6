/* SPDX-License-Identifier: MIT */
/* All of libevering. Each noun's header can also be included alone. */
#ifndef EVERING_EVERING_H
#define EVERING_EVERING_H

#include <evering/version.h>
#include <evering/error.h>
#include <evering/segment.h>
#include <evering/peer.h>
#include <evering/bell.h>
#include <evering/inbox.h>
#include <evering/park.h>
#include <evering/dir.h>
#include <evering/object.h>
#include <evering/slots.h>
#include <evering/spsc.h>
#include <evering/bytes.h>
#include <evering/mpmc.h>
#include <evering/heap.h>
#include <evering/pool.h>
#include <evering/log.h>
#include <evering/bcast.h>
#include <evering/channel.h>
#include <evering/call.h>
#include <evering/lease.h>
#include <evering/port.h>
#include <evering/hub.h>
#include <evering/reap.h>
#include <evering/tap.h>
#include <evering/spawn.h>

#endif
