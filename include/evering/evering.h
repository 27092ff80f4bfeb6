/* SPDX-License-Identifier: MIT */
/* All of libevering. Each noun's header can also be included alone. */
#ifndef EVERING_EVERING_H
#define EVERING_EVERING_H

#include <evering/version.h>
#include <evering/error.h>
#include <evering/segment.h>
#include <evering/peer.h>
#include <evering/bell.h>
#if __has_include(<evering/park.h>)
#include <evering/park.h>
#endif
#if __has_include(<evering/dir.h>)
#include <evering/dir.h>
#endif
#if __has_include(<evering/spsc.h>)
#include <evering/spsc.h>
#endif
#if __has_include(<evering/bytes.h>)
#include <evering/bytes.h>
#endif
#if __has_include(<evering/reap.h>)
#include <evering/reap.h>
#endif

#endif
