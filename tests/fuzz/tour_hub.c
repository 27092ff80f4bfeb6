/* SPDX-License-Identifier: MIT */
/* A tour of a hub, from both sides, of ports of a channel, and of who only looks; tour.h has the rules. */
#include "tour.h"
#include "world.h"

#include <stdlib.h>

#define PAST_NS 1
#define TIMES 4
#define HOLDINGS_MAX 1000

static uint32_t pick(struct tour *t, uint32_t nr)
{
	return (uint32_t)(tour_random(&t->seed) >> 16) % nr;
}

static void receive(struct evr_channel *ch)
{
	volatile unsigned char *bytes;
	struct evr_message m;

	if (evr_channel_recv(ch, &m))
		return;
	bytes = (volatile unsigned char *)(uintptr_t)m.data;
	if (m.sz)
		(void)(bytes[0] + bytes[m.sz - 1]);
	evr_channel_release(ch, &m);
}

static void tour_listen(struct evr_hub *hub, struct evr_waiter *waiter, struct evr_channel *asked)
{
	struct evr_need *needs[EVR_HUB_NEEDS];
	struct evr_channel ch = { 0 };
	struct evr_peer_id from;

	evr_hub_needs(hub, needs);
	evr_hub_wait(hub, NULL, 0, 0, waiter, PAST_NS);
	if (evr_hub_accept(hub, &ch, &from))
		return;
	evr_channel_send(asked, &from, sizeof(from), 1);
	receive(&ch);
	evr_channel_close(&ch);
}

void tour_hub(struct tour *t, const char *name)
{
	struct evr_channel asked = { 0 };
	struct evr_hub hub = { 0 };
	bool is_listening = !evr_hub_listen(&hub, t->peer, name, 0);
	uint32_t i;

	for (i = 0; i < TIMES; i++) {
		if (evr_hub_connect(&asked, t->peer, name, 0))
			continue;
		if (is_listening && pick(t, 4))
			tour_listen(&hub, &t->waiter, &asked);
		if (pick(t, 2))
			evr_hub_await(&asked, &t->waiter, PAST_NS);
		evr_channel_close(&asked);
	}
	if (is_listening)
		evr_hub_close(&hub);
	if (!pick(t, 4) && !evr_hub_remove(t->peer, name))
		evr_hub_create(t->peer, name, &world_hub_channels);
}

void tour_ports(struct tour *t, const char *channel)
{
	struct evr_channel ch = { 0 };
	struct evr_port port;
	uint32_t i;

	for (i = 0; i < TIMES; i++) {
		if (evr_port_make(&port, t->peer, channel, pick(t, 2) ? EVR_CHANNEL_A : EVR_CHANNEL_B))
			continue;
		if (!pick(t, 3))
			port.bytes[pick(t, sizeof(port))] ^= (uint8_t)(1U << pick(t, 8));
		if (pick(t, 3) && !evr_port_open(&ch, t->peer, &port, 0))
			evr_channel_close(&ch);
		evr_port_revoke(t->peer, &port);
	}
}

static int one_holding(const struct evr_holding *holding, void *arg)
{
	uint32_t *left = arg;

	evr_hold_name(holding->what);
	return !--*left;
}

void tour_look(struct tour *t, const struct evr_object *object)
{
	struct evr_object_stat *stat = malloc(sizeof(*stat));
	struct evr_tap_message message;
	struct evr_tap tap = { NULL };
	uint32_t left = HOLDINGS_MAX;
	unsigned char data[64];

	if (stat)
		evr_object_stat(t->peer, object, stat);
	free(stat);
	evr_object_held(t->peer, object, one_holding, &left);
	if (evr_tap_open(&tap, t->peer, object, pick(t, 2) ? EVR_TAP_OLDEST : EVR_TAP_NEW))
		return;
	for (left = 3 * TIMES; left; left--)
		evr_tap_next(&tap, data, sizeof(data), &message);
	evr_tap_close(&tap);
}
