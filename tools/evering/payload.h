/* SPDX-License-Identifier: MIT */
/* What messages are made of in a measurement: written whole, read whole. */
#ifndef EVERING_PAYLOAD_H
#define EVERING_PAYLOAD_H

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Below this a call of memset(3) costs more than the stores themselves. */
#define PAYLOAD_SMALL_SZ 128

static inline void payload_write(void *data, uint64_t size, uint64_t seed)
{
	uint8_t *at = (uint8_t *)data;

	if (size > PAYLOAD_SMALL_SZ) {
		memset(at, (int)(seed & 0xff), size);
		memcpy(at, &seed, sizeof(seed));
		return;
	}
	for (; size >= sizeof(seed); at += sizeof(seed), size -= sizeof(seed))
		memcpy(at, &seed, sizeof(seed));
	for (; size; at++, size--)
		*at = (uint8_t)seed;
}

/* @nr messages side by side. */
static inline void payload_fill(uint8_t *at, uint64_t size, uint64_t nr, uint64_t seed)
{
	/* The size that matters most is worth a loop that the compiler knows the size in. */
	if (size == sizeof(uint64_t)) {
		for (uint64_t i = 0; i < nr; i++, at += sizeof(uint64_t))
			payload_write(at, sizeof(uint64_t), seed + i);
		return;
	}
	for (uint64_t i = 0; i < nr; i++, at += size)
		payload_write(at, size, seed + i);
}

/*
 * The same for memory that another processor reads next. Its lines are still in that
 * one's cache: an ordinary store fetches each of them first, a streaming store does
 * not. @data is aligned to 16.
 */
#if defined(__SSE2__)
#define PAYLOAD_STREAM_SZ (16ULL << 10)

static inline void payload_stream(void *data, uint64_t size, uint64_t seed)
{
	__m128i value = _mm_set1_epi64x((long long)seed);
	uint64_t streamed = size & ~15ULL;
	uint8_t *at = (uint8_t *)data;

	if (size < PAYLOAD_STREAM_SZ) {
		payload_write(data, size, seed);
		return;
	}
	for (uint64_t done = 0; done < streamed; done += 16)
		_mm_stream_si128((__m128i *)(at + done), value);
	payload_write(at + streamed, size - streamed, seed);
	/* No release orders streaming stores: this does, before the frame is published. */
	_mm_sfence();
}
#else
static inline void payload_stream(void *data, uint64_t size, uint64_t seed)
{
	payload_write(data, size, seed);
}
#endif

/* A sum over all bytes, eight at a time. */
static inline uint64_t payload_read(const void *data, uint64_t size)
{
	const uint8_t *at = (const uint8_t *)data;
	uint64_t sums[4] = { 0, 0, 0, 0 };
	uint64_t words[4];

	for (; size >= sizeof(words); at += sizeof(words), size -= sizeof(words)) {
		memcpy(words, at, sizeof(words));
		for (int i = 0; i < 4; i++)
			sums[i] += words[i];
	}
	for (; size; at++, size--)
		sums[0] += *at;
	return sums[0] + sums[1] + sums[2] + sums[3];
}

#endif
