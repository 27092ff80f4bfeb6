// SPDX-License-Identifier: MIT
/* Names of segments and of the objects in one, for the shell's completion. */
#include "names.h"

#include <stdio.h>

#include <evering/evering.h>

#include "segment.h"
#include "snapshot.h"

static int print_segment(const struct evr_segment_info *info, void *arg)
{
	char uri[SEGMENT_TEXT_SZ];

	(void)arg;
	printf("%s\n", segment_uri_text(uri, info));
	return 0;
}

static int print_object(const struct evr_object *object, void *arg)
{
	struct evr_object named = *object;

	(void)arg;
	name_clean(named.name);
	printf("%s\n", named.name);
	return 0;
}

static void print_objects(const char *name)
{
	struct evr_peer_options attach = { .struct_sz = sizeof(attach),
					   .flags = EVR_PEER_OBSERVER };
	struct evr_segment *segment;
	struct evr_peer *peer;

	if (evr_segment_open_observer(&segment, name))
		return;
	if (!evr_peer_attach(&peer, segment, &attach)) {
		evr_dir_walk(peer, print_object, NULL);
		evr_peer_detach(peer);
	}
	evr_segment_close(segment);
}

void names_print(const char *segment)
{
	if (segment) {
		print_objects(segment);
		return;
	}
	for (int backend = EVR_BACKEND_DEVICE; backend <= EVR_BACKEND_LOCAL; backend++) {
		if (evr_backend_available((enum evr_backend)backend))
			evr_segment_list((enum evr_backend)backend, print_segment, NULL);
	}
}
