// SPDX-License-Identifier: MIT
/*
 * Boost: lockfree's spsc_queue and queue, whose nodes are indices when the capacity is
 * fixed and so may lie in shared memory; and Interprocess' message_queue.
 */
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <new>
#include <unistd.h>

#include "carrier.h"
#include "rivals.h"
#include "spin.h"

namespace
{
namespace lockfree = boost::lockfree;
namespace interprocess = boost::interprocess;

template <int size> struct elem {
	uint8_t bytes[size];
};

template <int size, int capacity>
using single = lockfree::spsc_queue<elem<size>, lockfree::capacity<capacity>>;
using many = lockfree::queue<elem<8>, lockfree::capacity<RIVAL_MPMC_CAPACITY>>;

template <typename queue> int prepare(struct stage *stage)
{
	uint64_t sz = RIVAL_WHOLE_LINES(sizeof(queue));
	int err = stage_prepare_memory(stage, 2 * sz);

	for (int i = 0; !err && i < 2; i++)
		new (spin_queue(stage, i)) queue;
	return err;
}

template <int size, int capacity>
STAGE_INLINE uint32_t single_push(void *queue, void *elems, uint32_t nr)
{
	auto *q = static_cast<single<size, capacity> *>(queue);

	return static_cast<uint32_t>(q->push(static_cast<elem<size> *>(elems), nr));
}

template <int size, int capacity>
STAGE_INLINE uint32_t single_pop(void *queue, void *elems, uint32_t nr)
{
	auto *q = static_cast<single<size, capacity> *>(queue);

	return static_cast<uint32_t>(q->pop(static_cast<elem<size> *>(elems), nr));
}

STAGE_INLINE uint32_t many_push(void *queue, void *elems, uint32_t nr)
{
	auto *q = static_cast<many *>(queue);
	auto *at = static_cast<elem<8> *>(elems);
	uint32_t done = 0;

	while (done < nr && q->bounded_push(at[done]))
		done++;
	return done;
}

STAGE_INLINE uint32_t many_pop(void *queue, void *elems, uint32_t nr)
{
	auto *q = static_cast<many *>(queue);
	auto *at = static_cast<elem<8> *>(elems);
	uint32_t done = 0;

	while (done < nr && q->pop(at[done]))
		done++;
	return done;
}

SPIN_RIVAL(spsc, 8, (single_push<8, RIVAL_SPSC_CAPACITY>), (single_pop<8, RIVAL_SPSC_CAPACITY>))
SPIN_RIVAL(stamped, 56, (single_push<56, RIVAL_STAMPED_CAPACITY>),
	   (single_pop<56, RIVAL_STAMPED_CAPACITY>))
SPIN_RIVAL(large, 64, (single_push<64, RIVAL_TRIP_CAPACITY>), (single_pop<64, RIVAL_TRIP_CAPACITY>))
SPIN_RIVAL(both, 8, many_push, many_pop)

/* One queue each way, made before the fork; their names are gone before anybody else sees them. */
struct queues {
	interprocess::message_queue *forth, *back;
};

const uint64_t queue_bytes = 1 << 20;

interprocess::message_queue *make_queue(struct stage *stage, const char *way)
{
	char name[64];
	uint64_t nr = queue_bytes / stage->size;

	nr = nr < 16 ? 16 : nr > 1024 ? 1024 : nr;
	snprintf(name, sizeof(name), "evering-bench-%d-%s", static_cast<int>(getpid()), way);
	interprocess::message_queue::remove(name);
	auto *queue = new interprocess::message_queue(interprocess::create_only, name, nr,
						      stage->size);
	interprocess::message_queue::remove(name);
	return queue;
}

/* The parent keeps them until the next run's take their place. */
queues kept;

int queue_prepare(struct stage *stage)
{
	delete kept.forth;
	delete kept.back;
	kept = queues{};
	try {
		kept.forth = make_queue(stage, "forth");
		kept.back = make_queue(stage, "back");
	} catch (const interprocess::interprocess_exception &e) {
		return -EOPNOTSUPP;
	}
	return 0;
}

void queue_send(struct stage *stage, const void *data, uint64_t size)
{
	(stage->side == STAGE_NEAR ? kept.forth : kept.back)->send(data, size, 0);
}

void queue_receive(struct stage *stage, void *data, uint64_t size)
{
	interprocess::message_queue::size_type got;
	unsigned int priority;

	(stage->side == STAGE_NEAR ? kept.back : kept.forth)->receive(data, size, got, priority);
	if (got != size)
		stage_fail(stage, "message_queue", -EBADMSG);
}

const struct carrier queue_carrier = { nullptr, nullptr, queue_send, queue_receive, 0, false };
} // namespace

const struct rival boost_spsc = { "boost spsc_queue", RIVAL_SPINS,
				  prepare<single<8, RIVAL_SPSC_CAPACITY>>, spsc_one_way,
				  spsc_one_way, nullptr };
const struct rival boost_stamped = { "boost spsc_queue", RIVAL_SPINS,
				     prepare<single<56, RIVAL_STAMPED_CAPACITY>>, stamped_one_way,
				     stamped_one_way, nullptr };
const struct rival boost_trips = { "boost spsc_queue", RIVAL_SPINS,
				   prepare<single<64, RIVAL_TRIP_CAPACITY>>, large_trips,
				   large_trips, nullptr };
const struct rival boost_mpmc = { "boost queue", RIVAL_SPINS, prepare<many>, both_one_way,
				  both_one_way, nullptr };
const struct rival boost_pairs = { "boost queue", RIVAL_SPINS, prepare<many>, both_pairs,
				   both_pairs, nullptr };
const struct rival boost_queue_trips = { "boost message_queue", RIVAL_SLEEPS, queue_prepare,
					 carrier_trips, carrier_trips, &queue_carrier };
const struct rival boost_queue_stream = { "boost message_queue", RIVAL_SLEEPS, queue_prepare,
					  carrier_stream, carrier_stream, &queue_carrier };
const struct rival boost_queue_calls = { "boost message_queue", RIVAL_SLEEPS, queue_prepare,
					 carrier_calls, carrier_calls, &queue_carrier };
