// SPDX-License-Identifier: MIT
/* UCX: tagged messages over its transports of shared memory. It spins, and makes progress only in calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#include "carrier.h"
#include "rivals.h"

#define ADDRESS_MAX 4096

/* In the stage's page: where each side is to be reached. */
struct addresses {
	struct {
		uint64_t sz;
		uint8_t bytes[ADDRESS_MAX];
	} of[2];
};

struct node {
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_ep_h other;
};

static int prepare(struct stage *stage)
{
	return stage_prepare_memory(stage, sizeof(struct addresses));
}

static void check(struct stage *stage, ucs_status_t status, const char *what)
{
	if (status != UCS_OK)
		stage_fail(stage, what, status == UCS_ERR_NO_MEMORY ? -ENOMEM : -EIO);
}

static void make_worker(struct stage *stage, struct node *node)
{
	ucp_worker_params_t worker = { .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
				       .thread_mode = UCS_THREAD_MODE_SINGLE };
	ucp_params_t params = { .field_mask = UCP_PARAM_FIELD_FEATURES,
				.features = UCP_FEATURE_TAG };
	ucp_config_t *config;

	setenv("UCX_LOG_LEVEL", "fatal", 0);
	check(stage, ucp_config_read(NULL, NULL, &config), "configuration");
	check(stage, ucp_config_modify(config, "TLS", "shm,self"), "transports");
	check(stage, ucp_init(&params, config, &node->context), "context");
	ucp_config_release(config);
	check(stage, ucp_worker_create(node->context, &worker, &node->worker), "worker");
}

static void node_open(struct stage *stage)
{
	struct addresses *addresses = stage->page;
	struct node *node = calloc(1, sizeof(*node));
	ucp_ep_params_t params = { .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS };
	ucp_address_t *address;
	size_t sz;

	if (!node)
		stage_fail(stage, "node", -ENOMEM);
	stage->own = node;
	make_worker(stage, node);
	check(stage, ucp_worker_get_address(node->worker, &address, &sz), "address");
	if (sz > ADDRESS_MAX)
		stage_fail(stage, "address", -E2BIG);
	memcpy(addresses->of[stage->side].bytes, address, sz);
	addresses->of[stage->side].sz = sz;
	ucp_worker_release_address(node->worker, address);
	stage_meet(stage);
	params.address = (const ucp_address_t *)addresses->of[!stage->side].bytes;
	check(stage, ucp_ep_create(node->worker, &params, &node->other), "endpoint");
}

/* Until a request is done; the other side needs ours to be made progress, too. */
static void finish(struct stage *stage, void *request, const char *what)
{
	struct node *node = stage->own;
	ucs_status_t status;

	if (!request)
		return;
	if (UCS_PTR_IS_ERR(request))
		check(stage, UCS_PTR_STATUS(request), what);
	while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS)
		ucp_worker_progress(node->worker);
	ucp_request_free(request);
	check(stage, status, what);
}

static void node_close(struct stage *stage)
{
	ucp_request_param_t param = { 0 };
	struct node *node = stage->own;

	finish(stage, ucp_ep_close_nbx(node->other, &param), "close");
	ucp_worker_destroy(node->worker);
	ucp_cleanup(node->context);
	free(node);
}

static void node_send(struct stage *stage, const void *data, uint64_t size)
{
	ucp_request_param_t param = { 0 };
	struct node *node = stage->own;

	finish(stage, ucp_tag_send_nbx(node->other, data, size, 1, &param), "send");
}

static void node_receive(struct stage *stage, void *data, uint64_t size)
{
	ucp_request_param_t param = { 0 };
	struct node *node = stage->own;

	finish(stage, ucp_tag_recv_nbx(node->worker, data, size, 1, ~0ULL, &param), "receive");
}

/* A send of more than this is not over before it is received. */
#define AHEAD (8ULL << 10)

static const struct carrier carrier = { node_open, node_close, node_send, node_receive, AHEAD };

const struct rival ucx_trips = { "UCX shm",     RIVAL_SPINS,   prepare,
				 carrier_trips, carrier_trips, &carrier };
const struct rival ucx_stream = { "UCX shm",	  RIVAL_SPINS,	  prepare,
				  carrier_stream, carrier_stream, &carrier };
const struct rival ucx_calls = { "UCX shm",     RIVAL_SPINS,   prepare,
				 carrier_calls, carrier_calls, &carrier };
