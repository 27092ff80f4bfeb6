// SPDX-License-Identifier: MIT
/* evering send: stdin into a segment, out of which 'evering recv' takes it. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "progress.h"
#include "transfer.h"

#define BUFFER_DEFAULT (4ULL << 20)
#define BUFFER_MIN 4096
#define BUFFER_MAX (1ULL << 32)
/* The local backend tells of a death only to those who look. */
#define LOOK_MS 100

static uint64_t buffer = BUFFER_DEFAULT, total;
static bool total_given, keep, shows_progress, json;

static const struct option_row options[] = {
	{ "buffer", 'b', OPTION_SIZE, &buffer, "SIZE",
	  "bytes under way at most, a power of two (4M)", BUFFER_MIN, BUFFER_MAX, NULL },
	{ "keep", 'k', OPTION_FLAG, &keep, NULL, "leave the segment there for the next transfer", 0,
	  0, NULL },
	{ "progress", 'p', OPTION_FLAG, &shows_progress, NULL,
	  "show bytes, rate and time left on stderr", 0, 0, NULL },
	{ "size", 's', OPTION_SIZE, &total, "SIZE",
	  "how much will come, for --progress (size of the file)", 0, 0, &total_given },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON summary to stderr at the end", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* How the sending of all input ended: 0 at end of input, else what went wrong where. */
struct sending {
	struct transfer transfer;
	struct progress progress;
	bool input_may_block;
	int input_error; /* errno of read(2) */
	int ring_error; /* negative errno of the library */
};

/* Waits until there is input or the receiver has gone: -EPIPE then, -EINTR on a signal. */
static int wait_for_input(struct sending *sending)
{
	struct transfer *transfer = &sending->transfer;
	struct pollfd polled[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = evr_bell_fd(transfer->peer), .events = POLLIN | POLLPRI },
	};

	while (!transfer_signal()) {
		struct evr_bells bells;
		int nr = poll(polled, 2, LOOK_MS);

		if (nr < 0 && errno != EINTR)
			return 0; /* read(2) will say what is wrong */
		if (nr < 0)
			continue;
		if (polled[1].revents)
			evr_bell_read(transfer->peer, &bells);
		evr_peer_check(transfer->peer);
		if (transfer_other_is_gone(transfer))
			return -EPIPE;
		if (polled[0].revents)
			return 0;
	}
	return -EINTR;
}

/* Bytes read straight into @grant, 0 at the end of input, negative when it is over for another reason. */
static ssize_t read_input(struct sending *sending, void *grant, uint64_t max)
{
	ssize_t got;

	for (;;) {
		sending->ring_error = sending->input_may_block ? wait_for_input(sending) : 0;
		if (sending->ring_error)
			return -1;
		got = read(STDIN_FILENO, grant, max);
		if (got >= 0)
			return got;
		if (errno == EAGAIN) {
			sending->input_may_block = true;
			continue;
		}
		if (errno == EINTR && !transfer_signal())
			continue;
		sending->input_error = errno;
		return -1;
	}
}

/* Returns true when all input has been sent. */
static bool pump(struct sending *sending)
{
	struct transfer *transfer = &sending->transfer;
	uint64_t chunk = evr_bytes_frame_max(&transfer->data);

	while (!transfer_signal()) {
		ssize_t got;
		void *grant;

		/* The ring knows nothing of a receiver that ended before we took our end of it. */
		if (transfer_other_is_gone(transfer)) {
			sending->ring_error = -EPIPE;
			return false;
		}
		sending->ring_error = evr_bytes_reserve_wait(&transfer->data, &transfer->waiter,
							     chunk, transfer_next_look(), &grant);
		if (transfer_shall_look(sending->ring_error))
			continue;
		if (sending->ring_error)
			return false;
		got = read_input(sending, grant, chunk);
		if (got <= 0)
			return got == 0;
		sending->ring_error = evr_bytes_commit(&transfer->data, (uint64_t)got);
		if (sending->ring_error)
			return false;
		progress_add(&sending->progress, (uint64_t)got);
	}
	return false;
}

/* Until the receiver has written all, or has gone. */
static void wait_for_receiver(struct sending *sending)
{
	struct transfer *transfer = &sending->transfer;
	const void *frame;
	uint64_t sz;

	do {
		if (transfer_other_is_gone(transfer))
			return;
		sending->ring_error = evr_bytes_peek_wait(&transfer->end, &transfer->waiter,
							  transfer_next_look(), &frame, &sz);
		/* Nothing is ever sent this way; a frame is a bug or mischief. */
		if (!sending->ring_error)
			sending->ring_error = -EBADMSG;
	} while (transfer_shall_look(sending->ring_error) && !transfer_signal());
}

static enum transfer_outcome tell_death(const struct sending *sending)
{
	char who[TRANSFER_TEXT_SZ];

	message("%s: the receiver died (%s): %" PRIu64 " bytes delivered, %" PRIu64 " sent",
		sending->transfer.name, transfer_other_text(&sending->transfer, who),
		transfer_other_bytes(&sending->transfer), sending->progress.bytes);
	return TRANSFER_PEER_DIED;
}

static enum transfer_outcome judge(const struct sending *sending)
{
	const struct transfer *transfer = &sending->transfer;
	enum transfer_state other = transfer_other_state(transfer);
	uint64_t delivered = transfer_other_bytes(transfer);

	if (other == TRANSFER_COMPLETE && delivered == sending->progress.bytes)
		return TRANSFER_CLEAN;
	if (transfer_signal())
		return TRANSFER_FAILED;
	if (sending->input_error) {
		message_system("standard input", sending->input_error);
		return TRANSFER_FAILED;
	}
	if (other == TRANSFER_BROKEN) {
		message("%s: the receiver stopped after %" PRIu64 " bytes: %s", transfer->name,
			delivered, strerror(transfer_other_error(transfer)));
		return TRANSFER_PEER_STOPPED;
	}
	if (transfer_other_is_dead(transfer))
		return tell_death(sending);
	message_failed(transfer->name, sending->ring_error);
	return TRANSFER_FAILED;
}

static enum transfer_outcome send_all(struct sending *sending)
{
	enum transfer_outcome outcome;
	bool is_finished = pump(sending);

	if (is_finished) {
		transfer_finish(&sending->transfer, sending->progress.bytes, 0);
		wait_for_receiver(sending);
	}
	progress_end(&sending->progress);
	outcome = judge(sending);
	if (!is_finished)
		transfer_finish(&sending->transfer, sending->progress.bytes,
				sending->input_error ? sending->input_error : ECANCELED);
	return outcome;
}

/* Looks at what stdin is. */
static uint64_t examine_input(struct sending *sending)
{
	struct stat input;
	off_t at;

	sending->input_may_block = true;
	if (fstat(STDIN_FILENO, &input) || !S_ISREG(input.st_mode))
		return total;
	sending->input_may_block = false;
	at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	return total_given || at < 0 || at > input.st_size ? total : (uint64_t)(input.st_size - at);
}

static int run(int operands_nr, char **operands)
{
	static struct sending sending;
	enum transfer_outcome outcome;
	int status;

	(void)operands_nr;
	sending.transfer = (struct transfer){
		.name = operands[0], .role = TRANSFER_SENDER, .buffer_sz = buffer, .keep = keep
	};
	status = transfer_join(&sending.transfer);
	if (status)
		return status;
	progress_begin(&sending.progress, shows_progress, examine_input(&sending));
	outcome = send_all(&sending);
	if (json)
		transfer_write_json(&sending.transfer, outcome, sending.progress.bytes,
				    progress_seconds(&sending.progress));
	transfer_leave(&sending.transfer);
	if (outcome != TRANSFER_CLEAN)
		transfer_die_of_signal();
	return transfer_exit_status(outcome);
}

const struct command send_command = {
	.name = "send",
	.operands = "NAME",
	.summary = "Send stdin to 'evering recv NAME'",
	.details =
		"Whoever comes first makes the segment and waits; it goes away after the transfer.\n"
		"Ends when the receiver has written everything: 0 then, 3 when it died.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
