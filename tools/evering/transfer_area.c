// SPDX-License-Identifier: MIT
/* What the two sides of a transfer tell each other, and where that lies. */
#include "transfer.h"

#include <errno.h>
#include <string.h>

#define AREA_NAME "transfer"
#define AREA_KIND 0x52464558 /* "XEFR" */
#define AREA_MAGIC 0x31524546534e5254ULL /* "TRNSFER1" */
/* Besides the ring of data an own region holds the directory, the other ring and our area. */
#define REGION_SLACK_SZ (64ULL << 10)
#define BUFFER_MIN 4096

static const char *const side_names[] = {
	[TRANSFER_SENDER] = "transfer.sender",
	[TRANSFER_RECEIVER] = "transfer.receiver",
};

static struct transfer_area *area_at(struct transfer *transfer, const struct evr_object *object)
{
	struct transfer_area *area = evr_peer_at(transfer->peer, object->off, sizeof(*area));

	return area && object->sz >= sizeof(*area) ? area : NULL;
}

static int area_make(struct transfer *transfer, const char *name, struct evr_object *object)
{
	struct transfer_area *area;
	int err = evr_dir_create(transfer->peer, name, AREA_KIND, sizeof(*area), object);

	if (err)
		return err;
	area = area_at(transfer, object);
	if (!area)
		return -EBADMSG;
	memset(area, 0, sizeof(*area));
	area->magic = AREA_MAGIC;
	return evr_dir_publish(transfer->peer, object);
}

/* Finds it, or makes it. */
static int area_get(struct transfer *transfer, const char *name, struct transfer_area **area)
{
	struct evr_object object;
	int err = evr_dir_find(transfer->peer, name, &object);

	if (err == -ENOENT)
		err = area_make(transfer, name, &object);
	if (err)
		return err;
	*area = area_at(transfer, &object);
	return *area && (*area)->magic == AREA_MAGIC ? 0 : -EBADMSG;
}

static void look_for_other(struct transfer *transfer)
{
	enum transfer_role role = transfer->role;
	struct transfer_area *area;
	struct evr_object object;

	if (evr_dir_find(transfer->peer, side_names[!role], &object))
		return;
	area = area_at(transfer, &object);
	if (area && area->magic == AREA_MAGIC &&
	    evr_a64_load_acquire(&area->sides[!role].state) != TRANSFER_ABSENT)
		transfer->other = &area->sides[!role];
}

void transfer_area_look(struct transfer *transfer)
{
	struct evr_peer_id id;

	if (!transfer_is_isolated(transfer))
		return;
	if (transfer->other == &transfer->nobody)
		look_for_other(transfer);
	if (transfer->other == &transfer->nobody || !transfer->has_role ||
	    evr_a64_load_relaxed(&transfer->own->met))
		return;
	evr_a64_store_release(&transfer->own->met, 1);
	/* relaxed: written under the lock, before the state. */
	id.slot = (uint32_t)evr_a64_load_relaxed(&transfer->other->slot);
	id.incarnation = evr_a64_load_relaxed(&transfer->other->incarnation);
	if (transfer->has_data)
		evr_bytes_expect(&transfer->data, id);
	if (transfer->has_end)
		evr_bytes_expect(&transfer->end, id);
}

/* In an isolated segment who has our role already has the object of that name, too. */
static int area_find_isolated(struct transfer *transfer)
{
	struct transfer_area *area;
	int err = area_get(transfer, side_names[transfer->role], &area);

	if (err)
		return err;
	transfer->own = &area->sides[transfer->role];
	transfer->other = &transfer->nobody;
	memset(&transfer->nobody, 0, sizeof(transfer->nobody));
	transfer_area_look(transfer);
	return 0;
}

int transfer_area_find(struct transfer *transfer)
{
	struct transfer_area *area;
	int err;

	if (transfer_is_isolated(transfer))
		return area_find_isolated(transfer);
	err = area_get(transfer, AREA_NAME, &area);
	if (err)
		return err;
	transfer->own = &area->sides[transfer->role];
	transfer->other = &area->sides[!transfer->role];
	return 0;
}

int transfer_area_fit(struct transfer *transfer, struct evr_bytes_options *data)
{
	uint64_t room = transfer->info.peer_sz;

	if (room < REGION_SLACK_SZ)
		return -ENOSPC;
	while (data->capacity + data->frame_max > room - REGION_SLACK_SZ) {
		data->capacity /= 2;
		if (data->capacity < BUFFER_MIN)
			return -ENOSPC;
		if (data->frame_max > data->capacity / 4)
			data->frame_max = data->capacity / 4;
	}
	return 0;
}
