/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints: what an operator asks for, events/evering/ in tracefs. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM evering

#if !defined(EVERING_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define EVERING_TRACE_H

#include <linux/tracepoint.h>

#include "evering.h"

TRACE_EVENT(evering_alloc,
	    TP_PROTO(const struct evering_segment *segment, u64 bytes, u64 best_run, int result),
	    TP_ARGS(segment, bytes, best_run, result),
	    TP_STRUCT__entry(__field(u64, segment)
			     __field(u64, bytes)
			     __field(u64, best_run)
			     __field(int, result)),
	    TP_fast_assign(__entry->segment = segment->id;
			   __entry->bytes = bytes;
			   __entry->best_run = best_run;
			   __entry->result = result;),
	    TP_printk("segment=%llu bytes=%llu best_run=%llu result=%d", __entry->segment,
		      __entry->bytes, __entry->best_run, __entry->result));

TRACE_EVENT(evering_grow,
	    TP_PROTO(const struct evering_segment *segment, u64 bytes),
	    TP_ARGS(segment, bytes),
	    TP_STRUCT__entry(__field(u64, segment)
			     __field(u64, bytes)),
	    TP_fast_assign(__entry->segment = segment->id;
			   __entry->bytes = bytes;),
	    TP_printk("segment=%llu bytes=%llu", __entry->segment, __entry->bytes));

DECLARE_EVENT_CLASS(evering_peer_class,
		    TP_PROTO(const struct evering_peer *peer),
		    TP_ARGS(peer),
		    TP_STRUCT__entry(__field(u64, segment)
				     __field(u64, incarnation)
				     __field(u32, slot)
				     __field(u32, rights)),
		    TP_fast_assign(__entry->segment = peer->segment->id;
				   __entry->incarnation = peer->incarnation;
				   __entry->slot = peer->slot;
				   __entry->rights = peer->rights;),
		    TP_printk("segment=%llu slot=%u incarnation=%llu rights=%#x", __entry->segment,
			      __entry->slot, __entry->incarnation, __entry->rights));

DEFINE_EVENT(evering_peer_class, evering_attach,
	     TP_PROTO(const struct evering_peer *peer), TP_ARGS(peer));
DEFINE_EVENT(evering_peer_class, evering_detach,
	     TP_PROTO(const struct evering_peer *peer), TP_ARGS(peer));
DEFINE_EVENT(evering_peer_class, evering_revoke,
	     TP_PROTO(const struct evering_peer *peer), TP_ARGS(peer));

TRACE_EVENT(evering_death,
	    TP_PROTO(const struct evering_peer *peer, u32 reason, u32 status),
	    TP_ARGS(peer, reason, status),
	    TP_STRUCT__entry(__field(u64, segment)
			     __field(u64, incarnation)
			     __field(u32, slot)
			     __field(u32, reason)
			     __field(u32, status)),
	    TP_fast_assign(__entry->segment = peer->segment->id;
			   __entry->incarnation = peer->incarnation;
			   __entry->slot = peer->slot;
			   __entry->reason = reason;
			   __entry->status = status;),
	    TP_printk("segment=%llu slot=%u incarnation=%llu reason=%u status=%#x",
		      __entry->segment, __entry->slot, __entry->incarnation, __entry->reason,
		      __entry->status));

TRACE_EVENT(evering_ring,
	    TP_PROTO(const struct evering_peer *from, const struct evering_bell *bell, int result),
	    TP_ARGS(from, bell, result),
	    TP_STRUCT__entry(__field(u64, segment)
			     __field(u64, incarnation)
			     __field(u64, bits)
			     __field(u32, from)
			     __field(u32, slot)
			     __field(int, result)),
	    TP_fast_assign(__entry->segment = from->segment->id;
			   __entry->incarnation = bell->incarnation;
			   __entry->bits = bell->bits;
			   __entry->from = from->slot;
			   __entry->slot = bell->slot;
			   __entry->result = result;),
	    TP_printk("segment=%llu from=%u slot=%u incarnation=%llu bits=%#llx result=%d",
		      __entry->segment, __entry->from, __entry->slot, __entry->incarnation,
		      __entry->bits, __entry->result));

TRACE_EVENT(evering_wait,
	    TP_PROTO(const struct evering_peer *peer, u64 mask, u64 bits, int result),
	    TP_ARGS(peer, mask, bits, result),
	    TP_STRUCT__entry(__field(u64, segment)
			     __field(u64, mask)
			     __field(u64, bits)
			     __field(u32, slot)
			     __field(int, result)),
	    TP_fast_assign(__entry->segment = peer->segment->id;
			   __entry->mask = mask;
			   __entry->bits = bits;
			   __entry->slot = peer->slot;
			   __entry->result = result;),
	    TP_printk("segment=%llu slot=%u mask=%#llx bits=%#llx result=%d", __entry->segment,
		      __entry->slot, __entry->mask, __entry->bits, __entry->result));

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
