// SPDX-License-Identifier: MIT
/* How a sender and a receiver find each other in a segment, and how they part. */
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "segment.h"

#define DATA_NAME "transfer.data"
#define END_NAME "transfer.end"
#define END_RING_SZ 4096
/* What one read(2) is asked for: large enough to hide its cost, small enough that both sides work at once. */
#define CHUNK_MAX (256ULL << 10)

/* Besides the data ring a segment of ours holds the directory, two small objects and some air. */
#define SEGMENT_SLACK_SZ (2ULL << 20)
#define SEGMENT_PEERS 16

#define RETRY_NS 20000000
/* A peer may hold its role for a moment after its process was killed. */
#define BUSY_PATIENCE_NS 500000000ULL
/* When we begin to say that we wait for a session to end. */
#define QUIET_NS 2000000000ULL

/* How long a signal that came just before a wait, and so did not end it, goes unnoticed. */
#define LOOK_NS 200000000

static volatile sig_atomic_t signal_came;

static void take_signal(int number)
{
	signal_came = number;
}

static void catch_signal(int number)
{
	/* Without SA_RESTART: read(2), write(2) and the library's waits must end. */
	struct sigaction ends = { .sa_handler = take_signal };
	struct sigaction inherited;

	/* What nohup or a shell has made us ignore stays ignored. */
	if (!sigaction(number, NULL, &inherited) && inherited.sa_handler != SIG_IGN)
		sigaction(number, &ends, NULL);
}

void transfer_catch_signals(void)
{
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
	catch_signal(SIGHUP);
	signal(SIGPIPE, SIG_IGN);
}

int transfer_signal(void)
{
	return signal_came;
}

uint64_t transfer_next_look(void)
{
	return evr_now_ns() + LOOK_NS;
}

bool transfer_shall_look(int err)
{
	return err == -EINTR || err == -ETIMEDOUT;
}

static struct evr_peer_id side_id(const struct transfer_side *side)
{
	/* relaxed: written under the lock, or before the ring through which we heard of it. */
	return (struct evr_peer_id){ .slot = (uint32_t)evr_a64_load_relaxed(&side->slot),
				     .incarnation = evr_a64_load_relaxed(&side->incarnation) };
}

static enum transfer_state side_state(const struct transfer_side *side)
{
	/* relaxed: as side_id(). */
	return (enum transfer_state)evr_a64_load_relaxed(&side->state);
}

/* Has it come, and neither left nor died? A side leaves by detaching under the lock. */
static bool side_is_here(const struct transfer *transfer, const struct transfer_side *side)
{
	return side_state(side) != TRANSFER_ABSENT &&
	       evr_peer_is_live(transfer->peer, side_id(side));
}

enum transfer_state transfer_other_state(const struct transfer *transfer)
{
	return side_state(transfer->other);
}

uint64_t transfer_other_bytes(const struct transfer *transfer)
{
	/* relaxed: final once the ring says closed or dead; before that any value that was true will do. */
	return evr_a64_load_relaxed(&transfer->other->bytes);
}

int transfer_other_error(const struct transfer *transfer)
{
	/* relaxed: as transfer_other_bytes(). */
	return (int)evr_a64_load_relaxed(&transfer->other->error);
}

bool transfer_other_is_dead(const struct transfer *transfer)
{
	return side_state(transfer->other) == TRANSFER_ACTIVE &&
	       !side_is_here(transfer, transfer->other);
}

/* Whoever settles a death first takes the pid away with it: ask while it lives. */
static void remember_other(struct transfer *transfer)
{
	struct evr_peer_id id = side_id(transfer->other);
	struct evr_peer_info info;

	if (!evr_peer_info(transfer->peer, id.slot, &info) && info.id.incarnation == id.incarnation)
		transfer->other_pid = info.pid;
}

bool transfer_other_is_gone(struct transfer *transfer)
{
	enum transfer_state state;

	transfer_area_look(transfer);
	state = side_state(transfer->other);
	if (state == TRANSFER_ACTIVE && !transfer->other_pid)
		remember_other(transfer);
	return state == TRANSFER_COMPLETE || state == TRANSFER_BROKEN ||
	       transfer_other_is_dead(transfer);
}

int transfer_exit_status(enum transfer_outcome outcome)
{
	switch (outcome) {
	case TRANSFER_CLEAN:
		return EXIT_OK;
	case TRANSFER_PEER_DIED:
		return EXIT_PEER_DIED;
	default:
		return EXIT_FAILED;
	}
}

void transfer_write_json(const struct transfer *transfer, enum transfer_outcome outcome,
			 uint64_t bytes, double seconds)
{
	static const char *const words[] = { "clean", "peer-died", "peer-stopped", "failed" };
	struct json_object *object = json_object_new_object();

	json_add_text(object, "role", transfer->role == TRANSFER_SENDER ? "sender" : "receiver");
	json_add_text(object, "name", transfer->name);
	json_add_text(object, "backend", evr_backend_name(transfer->info.backend));
	json_add_text(object, "end", words[outcome]);
	json_add_u64(object, "bytes", bytes);
	if (transfer->role == TRANSFER_SENDER && transfer->other)
		json_add_u64(object, "delivered", transfer_other_bytes(transfer));
	json_add_double(object, "seconds", seconds);
	json_add_double(object, "bytes_per_second", seconds > 0 ? (double)bytes / seconds : 0);
	json_write(stderr, object, false);
}

void transfer_die_of_signal(void)
{
	struct sigaction standard = { .sa_handler = SIG_DFL };

	if (!signal_came)
		return;
	sigaction(signal_came, &standard, NULL);
	raise(signal_came);
}

const char *transfer_other_text(const struct transfer *transfer, char *text)
{
	struct evr_peer_id id = side_id(transfer->other);
	struct evr_peer_info info;
	char ended[SEGMENT_TEXT_SZ] = "gone";

	if (!evr_peer_info(transfer->peer, id.slot, &info) &&
	    info.id.incarnation == id.incarnation && info.exit_reason != EVR_EXIT_NONE)
		peer_exit_text(ended, &info, transfer->info.backend);
	if (transfer->other_pid)
		snprintf(text, TRANSFER_TEXT_SZ, "pid %d, %s", transfer->other_pid, ended);
	else
		snprintf(text, TRANSFER_TEXT_SZ, "peer %u:%" PRIu64 ", %s", id.slot, id.incarnation,
			 ended);
	return text;
}

static int open_or_create(struct transfer *transfer)
{
	struct evr_segment_options wanted = {
		.struct_sz = sizeof(wanted),
		.shared_sz = transfer->buffer_sz + SEGMENT_SLACK_SZ,
		.peers_max = SEGMENT_PEERS,
		.flags = transfer->keep ? EVR_SEGMENT_KEEP : 0,
	};
	int err;

	do {
		err = evr_segment_open(&transfer->segment, transfer->name);
		if (err == -ENOENT)
			err = evr_segment_create(&transfer->segment, transfer->name, &wanted);
	} while (err == -EEXIST);
	return err;
}

static int lock_segment(const struct transfer *transfer)
{
	int err;

	do {
		err = segment_lock(transfer->segment);
	} while (err == -EINTR && !signal_came);
	return err;
}

static int remove_object(struct transfer *transfer, const char *name)
{
	struct evr_object object;
	int err = evr_dir_find(transfer->peer, name, &object);

	if (!err)
		err = evr_dir_remove(transfer->peer, &object);
	return err == -ENOENT || err == -ESTALE ? 0 : err;
}

static void clear_side(struct transfer_side *side)
{
	/* relaxed, all of them: the lock orders them. */
	evr_a64_store_relaxed(&side->state, TRANSFER_ABSENT);
	evr_a64_store_relaxed(&side->bytes, 0);
	evr_a64_store_relaxed(&side->error, 0);
}

/* The last session is over: fresh rings, both roles free. May stop anywhere: the next one does it again. */
static int begin_session(struct transfer *transfer)
{
	uint64_t chunk = transfer->buffer_sz / 4 < CHUNK_MAX ? transfer->buffer_sz / 4 : CHUNK_MAX;
	struct evr_bytes_options data = { .struct_sz = sizeof(data),
					  .capacity = transfer->buffer_sz,
					  .frame_max = chunk };
	struct evr_bytes_options end = { .struct_sz = sizeof(end), .capacity = END_RING_SZ };
	int err;

	clear_side(transfer->own);
	if (transfer_is_isolated(transfer)) {
		/* Our region is as new as we are, and the other one is not ours to clear. */
		err = transfer_area_fit(transfer, &data);
	} else {
		clear_side(transfer->other);
		err = remove_object(transfer, DATA_NAME);
		if (!err)
			err = remove_object(transfer, END_NAME);
	}
	if (!err)
		err = evr_bytes_create(transfer->peer, DATA_NAME, &data);
	if (!err)
		err = evr_bytes_create(transfer->peer, END_NAME, &end);
	return err;
}

/*
 * May the role be taken? 0: in the session that the other side has begun. 1: in
 * a new one. -EBUSY: somebody has it. -EAGAIN: the session is ending.
 */
static int check_session(const struct transfer *transfer)
{
	enum transfer_state other = side_state(transfer->other);
	enum transfer_state own = side_state(transfer->own);

	/* Complete before the other side has come is not the end: it waits for it. */
	if (side_is_here(transfer, transfer->own))
		return own == TRANSFER_ACTIVE || other == TRANSFER_ABSENT ? -EBUSY : -EAGAIN;
	if (!side_is_here(transfer, transfer->other))
		return 1;
	/* It has met one who had our role, in a session of its own that is ending. */
	if (evr_a64_load_relaxed(&transfer->other->met))
		return -EAGAIN;
	/* A sender may have sent all before its receiver comes. */
	if (own == TRANSFER_ABSENT && (other == TRANSFER_ACTIVE || other == TRANSFER_COMPLETE))
		return 0;
	return -EAGAIN;
}

static int enter_session(struct transfer *transfer)
{
	struct evr_peer_id self = evr_peer_self(transfer->peer);
	int err = check_session(transfer);

	if (err > 0)
		err = begin_session(transfer);
	if (err)
		return err;
	/* relaxed: the lock orders them; state last, for who dies between. */
	evr_a64_store_relaxed(&transfer->own->slot, self.slot);
	evr_a64_store_relaxed(&transfer->own->incarnation, self.incarnation);
	evr_a64_store_release(&transfer->own->state, TRANSFER_ACTIVE);
	transfer->has_role = true;
	return 0;
}

static int open_rings(struct transfer *transfer)
{
	bool sends = transfer->role == TRANSFER_SENDER;
	int err;

	err = evr_bytes_open(&transfer->data, transfer->peer, DATA_NAME,
			     sends ? EVR_PRODUCER : EVR_CONSUMER);
	if (err)
		return err;
	transfer->has_data = true;
	err = evr_bytes_open(&transfer->end, transfer->peer, END_NAME,
			     sends ? EVR_CONSUMER : EVR_PRODUCER);
	transfer->has_end = !err;
	transfer_area_look(transfer);
	return err;
}

static int join_locked(struct transfer *transfer)
{
	int err = evr_segment_info(transfer->segment, &transfer->info);

	if (err)
		return err;
	if (!segment_is_named(transfer->name, transfer->info.segment_id))
		return -EAGAIN;
	err = evr_peer_attach(&transfer->peer, transfer->segment, NULL);
	if (err)
		return err;
	/* Who is here may be asleep, and who was here before us, and our own last try, hold slots. */
	evr_reap_dead(transfer->peer, NULL);
	err = transfer_area_find(transfer);
	if (!err)
		err = enter_session(transfer);
	if (!err)
		err = open_rings(transfer);
	if (!err)
		err = evr_waiter_init(&transfer->waiter, transfer->peer, EVR_WAIT_ADAPTIVE);
	transfer->has_waiter = !err;
	return err;
}

static void detach(struct transfer *transfer)
{
	if (transfer->has_end)
		evr_bytes_close(&transfer->end);
	if (transfer->has_data)
		evr_bytes_close(&transfer->data);
	if (transfer->has_waiter)
		evr_waiter_fini(&transfer->waiter);
	evr_peer_detach(transfer->peer);
	transfer->has_end = transfer->has_data = transfer->has_waiter = transfer->has_role = false;
	transfer->own = transfer->other = NULL;
	transfer->peer = NULL;
}

static void close_all(struct transfer *transfer)
{
	detach(transfer);
	evr_segment_close(transfer->segment);
	transfer->segment = NULL;
}

static int try_join(struct transfer *transfer)
{
	int err = open_or_create(transfer);

	if (err)
		return err;
	err = lock_segment(transfer);
	if (err)
		return err;
	err = join_locked(transfer);
	segment_unlock(transfer->segment);
	return err;
}

static const char *role_noun(enum transfer_role role)
{
	return role == TRANSFER_SENDER ? "sender" : "receiver";
}

static int join_failed(struct transfer *transfer, int err)
{
	struct evr_peer_info info;
	int pid = 0;

	if (err == -EINTR)
		return EXIT_FAILED;
	if (err != -EBUSY)
		return message_failed(transfer->name, err);
	if (transfer->own && !evr_peer_info(transfer->peer, side_id(transfer->own).slot, &info))
		pid = info.pid;
	message("%s: there is a %s already (pid %d): %s; wait until it ends, or take another name",
		transfer->name, role_noun(transfer->role), pid, evr_strerror(err));
	return EXIT_FAILED;
}

static bool may_retry(const struct transfer *transfer, int err, uint64_t begin_ns)
{
	if (signal_came)
		return false;
	if (err == -EBUSY && transfer->own && !transfer->has_role)
		return evr_now_ns() - begin_ns < BUSY_PATIENCE_NS;
	return err == -EAGAIN;
}

static int join(struct transfer *transfer)
{
	struct timespec pause = { .tv_nsec = RETRY_NS };
	uint64_t begin_ns = evr_now_ns();
	bool has_told = false;
	int err;

	while ((err = try_join(transfer)) && may_retry(transfer, err, begin_ns)) {
		if (!has_told && evr_now_ns() - begin_ns > QUIET_NS) {
			message("%s: waiting for the last transfer to end", transfer->name);
			has_told = true;
		}
		close_all(transfer);
		nanosleep(&pause, NULL);
	}
	if (!err)
		return 0;
	err = join_failed(transfer, err);
	if (transfer->has_role)
		transfer_finish(transfer, 0, ECANCELED);
	transfer_leave(transfer);
	return err;
}

int transfer_join(struct transfer *transfer)
{
	struct evr_uri uri;
	int status;

	if (evr_uri_parse(transfer->name, &uri))
		return message_usage("%s: %s", transfer->name, evr_error_detail());
	if (transfer->buffer_sz & (transfer->buffer_sz - 1))
		return message_usage("--buffer: %" PRIu64 " is not a power of two",
				     transfer->buffer_sz);
	transfer_catch_signals();
	status = join(transfer);
	if (status)
		transfer_die_of_signal();
	return status;
}

void transfer_finish(struct transfer *transfer, uint64_t bytes, int error)
{
	/* relaxed: closing the rings below publishes them, and so does the lock in transfer_leave(). */
	evr_a64_store_relaxed(&transfer->own->bytes, bytes);
	evr_a64_store_relaxed(&transfer->own->error, (uint64_t)error);
	evr_a64_store_release(&transfer->own->state, error ? TRANSFER_BROKEN : TRANSFER_COMPLETE);
	if (transfer->has_data)
		evr_bytes_close(&transfer->data);
	transfer->has_data = false;
	if (transfer->has_end && transfer->role == TRANSFER_RECEIVER) {
		evr_bytes_close(&transfer->end);
		transfer->has_end = false;
	}
}

void transfer_leave(struct transfer *transfer)
{
	bool is_locked = transfer->has_role && !lock_segment(transfer);

	/* Detached under the lock: of two that leave, the second sees that the first has gone. */
	if (is_locked && !transfer->info.keep && !side_is_here(transfer, transfer->other) &&
	    segment_is_named(transfer->name, transfer->info.segment_id))
		evr_segment_remove(transfer->name);
	detach(transfer);
	if (is_locked)
		segment_unlock(transfer->segment);
	close_all(transfer);
}
