// SPDX-License-Identifier: MIT
/* evering recv: what 'evering send' puts into a segment, to stdout. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <evering/evering.h>

#include "command.h"
#include "message.h"
#include "progress.h"
#include "transfer.h"

#define BUFFER_DEFAULT (4ULL << 20)
#define BUFFER_MIN 4096
#define BUFFER_MAX (1ULL << 32)

static uint64_t buffer = BUFFER_DEFAULT, total;
static bool keep, shows_progress, json;

static const struct option_row options[] = {
	{ "buffer", 'b', OPTION_SIZE, &buffer, "SIZE",
	  "bytes under way at most, a power of two (4M)", BUFFER_MIN, BUFFER_MAX, NULL },
	{ "keep", 'k', OPTION_FLAG, &keep, NULL, "leave the segment there for the next transfer", 0,
	  0, NULL },
	{ "progress", 'p', OPTION_FLAG, &shows_progress, NULL, "show bytes and rate on stderr", 0,
	  0, NULL },
	{ "size", 's', OPTION_SIZE, &total, "SIZE", "how much will come, for --progress", 0, 0,
	  NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON summary to stderr at the end", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

struct receiving {
	struct transfer transfer;
	struct progress progress;
	int output_error; /* errno of write(2) */
	int ring_error; /* negative errno of the library */
};

static int wait_for_output(void)
{
	struct pollfd polled = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&polled, 1, -1) < 0 && errno != EINTR ? errno : 0;
}

/* Writes one frame from where it lies. Returns 0 or the errno of write(2). */
static int write_frame(struct receiving *receiving, const char *frame, uint64_t sz)
{
	while (sz) {
		ssize_t put = write(STDOUT_FILENO, frame, sz);
		int err = put < 0 ? errno : 0;

		if (err == EAGAIN)
			err = wait_for_output();
		if (err && !(err == EINTR && !transfer_signal()))
			return err;
		if (put <= 0)
			continue;
		frame += put;
		sz -= (uint64_t)put;
		progress_add(&receiving->progress, (uint64_t)put);
		/* relaxed: only we write it; the sender reads it after our end, or for the record. */
		evr_a64_store_relaxed(&receiving->transfer.own->bytes, receiving->progress.bytes);
	}
	return 0;
}

/*
 * The next frame, or why there will be none. A sender that had ended before we took
 * our end of the ring is none to the ring, which would wait for another one; so we
 * look at what it said itself, and then whether it has left something.
 */
static int next_frame(struct transfer *transfer, const void **frame, uint64_t *sz)
{
	bool is_gone = transfer_other_is_gone(transfer);

	*frame = evr_bytes_peek(&transfer->data, sz);
	if (*frame)
		return 0;
	if (is_gone)
		return -EPIPE;
	return evr_bytes_peek_wait(&transfer->data, &transfer->waiter, transfer_next_look(), frame,
				   sz);
}

static void pump(struct receiving *receiving)
{
	struct transfer *transfer = &receiving->transfer;

	while (!transfer_signal()) {
		const void *frame;
		uint64_t sz;

		receiving->ring_error = next_frame(transfer, &frame, &sz);
		if (transfer_shall_look(receiving->ring_error))
			continue;
		if (receiving->ring_error)
			return;
		receiving->output_error = write_frame(receiving, frame, sz);
		if (receiving->output_error)
			return;
		evr_bytes_release(&transfer->data);
	}
}

static enum transfer_outcome judge(const struct receiving *receiving)
{
	const struct transfer *transfer = &receiving->transfer;
	enum transfer_state other = transfer_other_state(transfer);
	uint64_t bytes = receiving->progress.bytes;
	char who[TRANSFER_TEXT_SZ];

	if (transfer_signal())
		return TRANSFER_FAILED;
	if (receiving->output_error) {
		message_system("standard output", receiving->output_error);
		return TRANSFER_FAILED;
	}
	if (other == TRANSFER_COMPLETE && transfer_other_bytes(transfer) == bytes)
		return TRANSFER_CLEAN;
	if (other == TRANSFER_BROKEN) {
		message("%s: the sender stopped after %" PRIu64 " bytes: %s", transfer->name, bytes,
			strerror(transfer_other_error(transfer)));
		return TRANSFER_PEER_STOPPED;
	}
	if (transfer_other_is_dead(transfer)) {
		message("%s: the sender died (%s): %" PRIu64
			" bytes delivered, the rest never came",
			transfer->name, transfer_other_text(transfer, who), bytes);
		return TRANSFER_PEER_DIED;
	}
	message_failed(transfer->name, receiving->ring_error);
	return TRANSFER_FAILED;
}

static int error_for_sender(const struct receiving *receiving, enum transfer_outcome outcome)
{
	if (outcome == TRANSFER_CLEAN)
		return 0;
	return receiving->output_error ? receiving->output_error : ECANCELED;
}

static int run(int operands_nr, char **operands)
{
	static struct receiving receiving;
	enum transfer_outcome outcome;
	int status;

	(void)operands_nr;
	receiving.transfer = (struct transfer){
		.name = operands[0], .role = TRANSFER_RECEIVER, .buffer_sz = buffer, .keep = keep
	};
	status = transfer_join(&receiving.transfer);
	if (status)
		return status;
	progress_begin(&receiving.progress, shows_progress, total);
	pump(&receiving);
	progress_end(&receiving.progress);
	outcome = judge(&receiving);
	if (json)
		transfer_write_json(&receiving.transfer, outcome, receiving.progress.bytes,
				    progress_seconds(&receiving.progress));
	transfer_finish(&receiving.transfer, receiving.progress.bytes,
			error_for_sender(&receiving, outcome));
	transfer_leave(&receiving.transfer);
	transfer_die_of_signal();
	return transfer_exit_status(outcome);
}

const struct command recv_command = {
	.name = "recv",
	.operands = "NAME",
	.summary = "Write what 'evering send NAME' sends to stdout",
	.details =
		"Whoever comes first makes the segment and waits; it goes away after the transfer.\n"
		"0 when everything came, 3 when the sender died: then what it had sent was written.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
