// SPDX-License-Identifier: MIT
/* See scene.h. */

#include "scene.h"

int scene_start(void **state)
{
	struct scene *s = malloc(sizeof(*s));
	int i;

	s->seg = ev_create_plain();
	for (i = 0; i < SCENE_PEERS; i++)
		s->peer[i] = ev_attach(s->seg);
	for (i = 0; i < SCENE_PEERS; i++)
		take_bells(s->peer[i].fd);
	*state = s;
	return 0;
}

int scene_stop(void **state)
{
	struct scene *s = *state;
	int i;

	for (i = 0; i < SCENE_PEERS; i++)
		close(s->peer[i].fd);
	close(s->seg);
	free(s);
	return 0;
}

int scene_ring_from(struct scene *s, int from, int to, uint64_t bits)
{
	return ev_ring(s->peer[from].fd, s->peer[to].slot, s->peer[to].incarnation, bits);
}

int scene_ring(struct scene *s, uint64_t bits)
{
	return scene_ring_from(s, RINGS, RUNG, bits);
}
