// SPDX-License-Identifier: MIT
/* Clients that come to a listening socket, on a loop. */
#include "acceptor.h"

#include <errno.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

/* Others end meanwhile, and give back what is wanted here. */
#define PAUSE_NS 100000000ULL

int acceptor_open(struct acceptor *acceptor)
{
	acceptor->fd = address_listen(acceptor->address);
	return acceptor->fd < 0 ? EXIT_FAILED : 0;
}

static void accepted(struct evr_driver *driver, const struct evr_completion *done)
{
	struct acceptor *acceptor = done->arg;

	(void)driver;
	acceptor->is_accepting = false;
	switch (done->res < 0 ? -done->res : 0) {
	case 0:
		acceptor->welcome(done->res);
		return;
	case ECANCELED:
	case ECONNABORTED:
	case EINTR:
		return;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		acceptor->again_ns = evr_now_ns() + PAUSE_NS;
		return;
	default:
		message_system(acceptor->address->text, done->res);
		acceptor->failed = acceptor->loop->stop = true;
	}
}

bool acceptor_turn(struct acceptor *acceptor)
{
	struct evr_op op = evr_op_accept(acceptor->fd, NULL, NULL, 0);

	if (acceptor->fd < 0 || acceptor->is_accepting || acceptor->failed)
		return false;
	if (acceptor->again_ns && evr_now_ns() < acceptor->again_ns)
		return false;
	op = evr_op_then(op, accepted, acceptor);
	acceptor->is_accepting = true;
	if (!loop_submit(acceptor->loop, &op, NULL))
		acceptor->is_accepting = false;
	return acceptor->is_accepting;
}

void acceptor_close(struct acceptor *acceptor)
{
	if (acceptor->fd < 0)
		return;
	close(acceptor->fd);
	address_forget(acceptor->address);
}
