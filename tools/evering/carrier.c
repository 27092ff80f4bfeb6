// SPDX-License-Identifier: MIT
/* Round trips, streams and calls over anything that carries messages by copying them. */
#include "carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "payload.h"
#include "trips.h"

/* Less than what a UNIX socket buffers by default. */
#define SOCKET_AHEAD (128ULL << 10)

/* One side of a run. */
struct carriage {
	const struct carrier *carrier;
	uint8_t *buffer;
};

static void carriage_open(struct stage *stage, struct carriage *carriage)
{
	carriage->carrier = (const struct carrier *)stage->rival->with;
	carriage->buffer = malloc(stage->size * stage->batch);
	if (!carriage->buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	if (carriage->carrier->open)
		carriage->carrier->open(stage);
}

/* Nobody leaves before the other has received all. */
static void carriage_close(struct stage *stage, struct carriage *carriage)
{
	stage_meet(stage);
	if (carriage->carrier->close)
		carriage->carrier->close(stage);
	free(carriage->buffer);
}

static void trip_out(struct stage *stage, void *ends, uint64_t turn)
{
	struct carriage *carriage = ends;

	payload_write(carriage->buffer, stage->size, turn);
	carriage->carrier->send(stage, carriage->buffer, stage->size);
}

static uint64_t trip_in(struct stage *stage, void *ends, uint64_t turn)
{
	struct carriage *carriage = ends;

	carriage->carrier->receive(stage, carriage->buffer, stage->size);
	return payload_read(carriage->buffer, stage->size);
}

void carrier_trips(struct stage *stage)
{
	struct carriage carriage;

	carriage_open(stage, &carriage);
	trips_run(stage, &carriage, trip_out, trip_in);
	carriage_close(stage, &carriage);
}

static void stream_out(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	const struct carrier *carrier = carriage->carrier;

	for (uint64_t left = count; left;) {
		uint64_t nr = left < stage->batch ? left : stage->batch;
		uint64_t each = carrier->has_no_bounds ? nr : 1;

		payload_fill(carriage->buffer, stage->size, nr, left);
		for (uint64_t done = 0; done < nr; done += each)
			carrier->send(stage, carriage->buffer + done * stage->size,
				      each * stage->size);
		left -= nr;
	}
}

static uint64_t stream_in(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	const struct carrier *carrier = carriage->carrier;
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint64_t nr = left < stage->batch ? left : stage->batch;

		nr = carrier->has_no_bounds ? nr : 1;
		carrier->receive(stage, carriage->buffer, nr * stage->size);
		sum += payload_read(carriage->buffer, nr * stage->size);
		left -= nr;
	}
	return sum;
}

static uint64_t stream(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	if (stage->side == STAGE_FAR)
		return stream_in(stage, carriage, count);
	stream_out(stage, carriage, count);
	return 0;
}

static uint64_t stream_untouched(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	const struct carrier *carrier = carriage->carrier;
	uint64_t touched = stage->size < sizeof(uint64_t) ? stage->size : sizeof(uint64_t);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (stage->side == STAGE_NEAR) {
			payload_write(carriage->buffer, touched, i);
			carrier->send(stage, carriage->buffer, stage->size);
		} else {
			carrier->receive(stage, carriage->buffer, stage->size);
			sum += payload_read(carriage->buffer, touched);
		}
	}
	return sum;
}

static uint64_t ask(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	const struct carrier *carrier = carriage->carrier;
	uint64_t sent = 0, got = 0, sum = 0, ahead = CARRIER_WINDOW;

	/* No more than fits on the way, else both sides would wait for the other to read. */
	while (carrier->ahead_max && ahead > 1 && ahead * stage->size > carrier->ahead_max)
		ahead /= 2;
	while (got < count) {
		if (sent < count && sent - got < ahead) {
			payload_write(carriage->buffer, stage->size, sent++);
			carrier->send(stage, carriage->buffer, stage->size);
			continue;
		}
		carrier->receive(stage, carriage->buffer, stage->size);
		sum += payload_read(carriage->buffer, stage->size);
		got++;
	}
	return sum;
}

static uint64_t answer(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		sum += trip_in(stage, carriage, i);
		trip_out(stage, carriage, i);
	}
	return sum;
}

static uint64_t call(struct stage *stage, struct carriage *carriage, uint64_t count)
{
	return stage->side == STAGE_NEAR ? ask(stage, carriage, count) :
					   answer(stage, carriage, count);
}

static void run(struct stage *stage, uint64_t (*play)(struct stage *stage,
						      struct carriage *carriage, uint64_t count))
{
	struct carriage carriage;

	carriage_open(stage, &carriage);
	play(stage, &carriage, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[stage->side].check = play(stage, &carriage, stage->count);
	stage_end(stage);
	carriage_close(stage, &carriage);
}

void carrier_stream(struct stage *stage)
{
	run(stage, stream);
}

void carrier_stream_untouched(struct stage *stage)
{
	run(stage, stream_untouched);
}

void carrier_calls(struct stage *stage)
{
	run(stage, call);
}

/* A side that spins asks again and again instead of sleeping in the call. */
static void poll_out(struct stage *stage, const void *data, uint64_t size)
{
	const char *at = data;

	while (size) {
		ssize_t put = send(stage_write_fd(stage), at, size, MSG_DONTWAIT);

		if (put < 0 && errno != EAGAIN && errno != EINTR)
			stage_fail(stage, "send", -errno);
		at += put > 0 ? put : 0;
		size -= (uint64_t)(put > 0 ? put : 0);
	}
}

static void poll_in(struct stage *stage, void *data, uint64_t size)
{
	char *at = data;

	while (size) {
		ssize_t got = recv(stage_read_fd(stage), at, size, MSG_DONTWAIT);

		if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
			stage_fail(stage, "receive", got ? -errno : -EPIPE);
		at += got > 0 ? got : 0;
		size -= (uint64_t)(got > 0 ? got : 0);
	}
}

const struct carrier carrier_file = { NULL, NULL, stage_write_all, stage_read_all, SOCKET_AHEAD,
				      true };
const struct carrier carrier_file_polled = { NULL, NULL, poll_out, poll_in, SOCKET_AHEAD, true };
