/* SPDX-License-Identifier: MIT */
/* Segments and peers of either backend, for the conformance suite. */
#include "scene.h"

#include "backend.h"

bool on_device(void)
{
	const char *backend = getenv("EVERING_BACKEND");

	return backend && !strcmp(backend, "device");
}

const char *unnamed_uri(void)
{
	return on_device() ? "device:" : "local:";
}

const char *named_uri(const char *name)
{
	static char uri[128];

	snprintf(uri, sizeof(uri), "%stest-%d-%s", unnamed_uri(), (int)getpid(), name);
	return uri;
}

struct evr_segment_options plain_options(void)
{
	return (struct evr_segment_options){
		.struct_sz = sizeof(struct evr_segment_options),
		.shared_sz = BLOCK,
		.peer_sz = PAGE,
		.peers_max = 4,
		.reserve_sz = 64 * BLOCK,
	};
}

struct evr_segment *segment_of(const struct evr_segment_options *options)
{
	struct evr_segment *segment;

	OK(evr_segment_create(&segment, unnamed_uri(), options));
	return segment;
}

struct evr_segment *plain_segment(void)
{
	struct evr_segment_options options = plain_options();

	return segment_of(&options);
}

struct evr_segment *isolated_segment(void)
{
	struct evr_segment_options options = plain_options();

	options.flags = EVR_SEGMENT_ISOLATED;
	options.shared_sz = 0;
	options.peer_sz = BLOCK;
	return segment_of(&options);
}

static struct evr_peer *attach_with(struct evr_segment *segment, struct evr_peer_options options)
{
	struct evr_peer *peer;

	options.struct_sz = sizeof(options);
	OK(evr_peer_attach(&peer, segment, &options));
	return peer;
}

struct evr_peer *attach(struct evr_segment *segment)
{
	return attach_with(segment, (struct evr_peer_options){ 0 });
}

struct evr_peer *attach_observer(struct evr_segment *segment)
{
	return attach_with(segment, (struct evr_peer_options){ .flags = EVR_PEER_OBSERVER });
}

struct evr_peer *attach_slot(struct evr_segment *segment, uint32_t slot)
{
	return attach_with(segment, (struct evr_peer_options){ .slot = slot, .slot_set = true });
}

struct evr_segment_info info_of(const struct evr_segment *segment)
{
	struct evr_segment_info info;

	OK(evr_segment_info(segment, &info));
	return info;
}

int reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	return evr_peer_reaped(peer, dead);
}

void await_dead(struct evr_peer *peer, struct evr_peer_id id)
{
	uint64_t until = evr_now_ns() + HANG_MS * 1000000ull;

	while (evr_peer_state(peer, id) != EVR_PEER_DEAD)
		OK(evr_bell_wait(peer, 1ull << EVR_BELL_PEER_EVENT, until, NULL));
}

void drop_bells(struct evr_peer *peer)
{
	while (!evr_bell_read(peer, NULL))
		;
}

struct pair make_pair(void)
{
	struct pair pair = { .segment = plain_segment() };

	pair.a = attach(pair.segment);
	pair.b = attach(pair.segment);
	pair.a_id = evr_peer_self(pair.a);
	pair.b_id = evr_peer_self(pair.b);
	drop_bells(pair.a);
	drop_bells(pair.b);
	return pair;
}

void drop_pair(struct pair *pair)
{
	evr_peer_detach(pair->a);
	evr_peer_detach(pair->b);
	evr_segment_close(pair->segment);
}

int run_suite_of(const char *name, const struct CMUnitTest *tests, size_t nr)
{
	if (on_device() && !evr_backend_available(EVR_BACKEND_DEVICE)) {
		printf("1..0 # SKIP %s: /dev/evering cannot be opened\n", name);
		return 0;
	}
	return _cmocka_run_group_tests(name, tests, nr, NULL, NULL);
}
