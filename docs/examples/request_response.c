/* SPDX-License-Identifier: MIT */
/*
 * A server with three clients, four processes in one segment. Each client asks for the
 * upper-case form of some words, several at a time, over a channel of its own; the server
 * sleeps on all three at once. One client is killed in the middle of it: the server
 * learns of that, frees what it had sent, and serves the others to their end.
 *
 * cc request_response.c $(pkg-config --cflags --libs evering) && ./a.out [URI]
 */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/evering.h>

#define CLIENTS 3
#define VICTIM 1 /* the client that is killed */
#define REQUESTS 1000
#define OUTSTANDING 8
#define WORD_SZ 32

/* What went wrong and why: the library has a text for it. */
static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror(err), evr_error_detail());
	_exit(1);
}

static void channel_name(char *name, size_t sz, int client)
{
	snprintf(name, sz, "client.%d", client);
}

/* Each process is a peer of its own. */
static struct evr_peer *join(struct evr_segment *segment)
{
	struct evr_peer *peer;

	check(evr_peer_attach(&peer, segment, NULL), "attach");
	return peer;
}

static int client(struct evr_segment *segment, int number)
{
	struct evr_peer *peer = join(segment);
	char name[24], word[WORD_SZ];
	struct evr_call_completion done;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_call call;
	uint64_t sent = 0, got = 0, id;

	channel_name(name, sizeof(name), number);
	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_channel_open(&ch, peer, name, EVR_CHANNEL_A, 0), name);
	check(evr_call_init(&call, &ch, OUTSTANDING), "call");
	while (got < REQUESTS) {
		if (sent < REQUESTS && evr_call_outstanding(&call) < OUTSTANDING) {
			int sz =
				snprintf(word, sizeof(word), "word %llu", (unsigned long long)sent);
			struct evr_call_request request = {
				.message = { .data = word, .sz = (uint64_t)sz },
				.user = sent++,
				.deadline_ns = EVR_NO_DEADLINE,
			};

			check(evr_call_submit_wait(&call, &waiter, &request, &id, EVR_NO_DEADLINE),
			      "submit");
			continue;
		}
		check(evr_call_complete_wait(&call, &waiter, &done, EVR_NO_DEADLINE), "complete");
		check(done.result, "answer");
		snprintf(word, sizeof(word), "WORD %llu", (unsigned long long)done.user);
		if (done.message.sz != strlen(word) ||
		    memcmp(done.message.data, word, done.message.sz))
			return 1;
		evr_channel_release(&ch, &done.message);
		if (++got == REQUESTS / 2 && number == VICTIM)
			raise(SIGKILL);
	}
	evr_call_fini(&call);
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return 0;
}

static void answer(struct evr_call_server *server, struct evr_waiter *waiter,
		   const struct evr_message *request)
{
	char word[WORD_SZ];
	struct evr_message m = { .data = word, .sz = request->sz };
	int err;

	/* A client could write whatever it likes there, also while we read. */
	if (m.sz > sizeof(word))
		m.sz = sizeof(word);
	memcpy(word, request->data, m.sz);
	for (uint64_t i = 0; i < m.sz; i++)
		word[i] = (char)toupper((unsigned char)word[i]);
	err = evr_call_answer_wait(server, waiter, request->id, &m, EVR_NO_DEADLINE);
	/* Its client has gone: that comes up at the next take as well. */
	if (err != -EOWNERDEAD && err != -EPIPE)
		check(err, "answer");
}

static int serve(struct evr_segment *segment)
{
	struct evr_channel chs[CLIENTS], *waiting[CLIENTS];
	struct evr_call_server servers[CLIENTS];
	struct evr_peer *peer = join(segment);
	struct evr_waiter waiter;
	int nr = CLIENTS, at = 0, dead = 0;
	char name[24];

	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	for (int i = 0; i < CLIENTS; i++) {
		channel_name(name, sizeof(name), i);
		check(evr_channel_open(&chs[i], peer, name, EVR_CHANNEL_B, 0), name);
		check(evr_call_server_init(&servers[i], &chs[i], OUTSTANDING), "server");
		waiting[i] = &chs[i];
	}
	while (nr) {
		struct evr_message request;
		struct evr_call_server *server;
		int err;

		at = evr_channel_wait_any(waiting, (uint32_t)nr, (uint32_t)at, &waiter,
					  EVR_NO_DEADLINE);
		check(at, "wait");
		server = &servers[waiting[at] - chs];
		err = evr_call_take(server, &request);
		if (!err) {
			answer(server, &waiter, &request);
			continue;
		}
		if (err == -EAGAIN)
			continue;
		if (err != -EPIPE && err != -EOWNERDEAD)
			check(err, "take");
		dead += err == -EOWNERDEAD;
		printf("client %d: %s\n", (int)(waiting[at] - chs),
		       err == -EPIPE ? "has all its answers" : "died; the others go on");
		evr_call_server_fini(server);
		evr_channel_close(waiting[at]);
		waiting[at] = waiting[--nr];
	}
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return dead == 1 ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 2 << 20,
					       .peers_max = CLIENTS + 2 };
	struct evr_segment *segment;
	struct evr_peer *peer;
	int status, failed = 0;
	char name[24];
	pid_t pids[CLIENTS + 1];

	check(evr_segment_create(&segment, argc > 1 ? argv[1] : "local:", &options), "segment");
	peer = join(segment);
	for (int i = 0; i < CLIENTS; i++) {
		channel_name(name, sizeof(name), i);
		check(evr_channel_create(peer, name, NULL), name);
	}
	for (int i = 0; i <= CLIENTS; i++) {
		fflush(NULL);
		pids[i] = fork();
		check(pids[i] < 0 ? -errno : 0, "fork");
		if (!pids[i]) {
			status = i < CLIENTS ? client(segment, i) : serve(segment);
			fflush(NULL);
			_exit(status);
		}
	}
	for (int i = 0; i <= CLIENTS; i++) {
		waitpid(pids[i], &status, 0);
		failed |= i == VICTIM ? !WIFSIGNALED(status) : status;
	}
	evr_peer_detach(peer);
	evr_segment_close(segment);
	printf("%s\n", failed ? "failed" : "all but the one that was killed were served");
	return failed ? 1 : 0;
}
