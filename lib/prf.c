/* SPDX-License-Identifier: MIT */
/* SipHash-2-4 of whole words; prf.h says what for. */
#include "prf.h"

struct state {
	uint64_t v[4];
};

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void rounds(struct state *s, int nr)
{
	uint64_t *v = s->v;

	while (nr--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

static void absorb(struct state *s, uint64_t word)
{
	s->v[3] ^= word;
	rounds(s, 2);
	s->v[0] ^= word;
}

uint64_t evr_prf(const uint64_t key[2], const uint64_t *words, uint32_t nr)
{
	struct state s = { { key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
			     key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL } };
	uint32_t i;

	for (i = 0; i < nr; i++)
		absorb(&s, words[i]);
	/* No bytes are left over; the length in bytes stands on top. */
	absorb(&s, (uint64_t)(nr * 8 & 0xff) << 56);
	s.v[2] ^= 0xff;
	rounds(&s, 4);
	return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}
