/* SPDX-License-Identifier: MIT */
/*
 * A host with a plugin that it does not trust, two processes in an isolated segment. The
 * host asks the plugin to reverse some texts, by calls whose texts and answers lie in
 * blocks; the plugin answers well for a while. Then it turns on its host: it writes into the
 * host's region, and sends a word of nonsense instead of an answer. The host checks
 * that its memory is as it left it, gets -EBADMSG for the nonsense, lets go of the
 * plugin, and is served by a second one that behaves.
 *
 * On the device the kernel keeps the plugin from the host's memory: its mapping is
 * read-only, and cannot be made writable. On the local backend nothing does, and
 * this program says so.
 *
 * cc plugin.c $(pkg-config --cflags --libs evering) && ./a.out [URI]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/evering.h>

#define REQUESTS 100
#define TEXT_SZ 2000
#define HEAP_SZ (256U << 10)
#define SECRET_SZ 65536

/* What went wrong and why: the library has a text for it. */
static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror(err), evr_error_detail());
	_exit(1);
}

/* One end: a peer, a heap in its own region, and its half of the channel. */
struct end {
	struct evr_peer *peer;
	struct evr_waiter waiter;
	struct evr_heap heap;
	struct evr_channel ch;
};

static void end_open(struct end *end, struct evr_segment *segment, enum evr_channel_role role)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = HEAP_SZ };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel), .heap = "blocks" };

	check(evr_peer_attach(&end->peer, segment, NULL), "attach");
	check(evr_waiter_init(&end->waiter, end->peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(evr_heap_create(end->peer, "blocks", &heap), "heap");
	check(evr_heap_open(&end->heap, end->peer, "blocks"), "heap");
	/* Made here, not copied from a peer that nobody trusts. */
	check(evr_channel_create(end->peer, "calls", &channel), "channel");
	check(evr_channel_open(&end->ch, end->peer, "calls", role, 0), "channel");
	check(evr_channel_bind(&end->ch, &end->heap, NULL), "bind");
}

static void end_close(struct end *end)
{
	evr_channel_close(&end->ch);
	evr_heap_close(&end->heap);
	evr_waiter_fini(&end->waiter);
	evr_peer_detach(end->peer);
}

/* May it write there, if it wishes to? Libraries map others' regions read-only. */
static bool make_writable(char *at, uint64_t sz)
{
	uintptr_t start = (uintptr_t)at / 4096 * 4096;

	return !mprotect((void *)start, (uintptr_t)at + sz - start, PROT_READ | PROT_WRITE);
}

static void turn_on_host(struct end *end, uint64_t secret)
{
	char *victim = evr_peer_at(end->peer, secret, SECRET_SZ);

	if (make_writable(victim, SECRET_SZ))
		memset(victim, 0x66, SECRET_SZ);
	else
		printf("plugin: the kernel keeps me from writing there\n");
	fflush(stdout);
	/* In its own region it may write what it likes: more than it has room for. */
	end->ch.tx[0].lane.pos += 1ULL << 40;
	evr_lane_publish(&end->ch.tx[0].lane);
	pause();
}

/* The plugin's own process. @secret: offset of the host's memory; 0: it behaves. */
static void plugin(struct evr_segment *segment, struct evr_peer_id host, uint64_t secret)
{
	struct evr_message request, answer;
	struct evr_call_server server;
	char text[TEXT_SZ];
	struct end end;
	uint64_t i, n;
	int err;

	end_open(&end, segment, EVR_CHANNEL_B);
	evr_channel_expect(&end.ch, host);
	check(evr_call_server_init(&server, &end.ch, 8), "server");
	for (n = 0;; n++) {
		err = evr_call_take_wait(&server, &end.waiter, &request, EVR_NO_DEADLINE);
		if (err == -EPIPE || err == -EOWNERDEAD)
			break;
		check(err, "take");
		if (secret && n == REQUESTS) {
			turn_on_host(&end, secret);
			break;
		}
		/* A copy first: the host could change it meanwhile, to it we are as hostile. */
		answer = (struct evr_message){ .data = text };
		answer.sz = request.sz < sizeof(text) ? request.sz : sizeof(text);
		for (i = 0; i < answer.sz; i++)
			text[i] = ((const char *)request.data)[answer.sz - 1 - i];
		check(evr_call_answer_wait(&server, &end.waiter, request.id, &answer,
					   EVR_NO_DEADLINE),
		      "answer");
	}
	evr_call_server_fini(&server);
	end_close(&end);
}

static pid_t plugin_start(struct evr_segment *segment, struct evr_peer_id host, uint64_t secret)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid < 0 ? -errno : 0, "fork");
	if (pid)
		return pid;
	plugin(segment, host, secret);
	fflush(NULL);
	_exit(0);
}

/* Ask for one text. 0, or why there is no answer; exits when the answer is wrong. */
static int ask(struct end *host, struct evr_call *call, uint64_t n)
{
	struct evr_call_request request = { .deadline_ns = EVR_NO_DEADLINE };
	struct evr_call_completion done;
	char text[TEXT_SZ], got[TEXT_SZ];
	uint64_t i;
	int err;

	for (i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + (n + i) % 26);
	request.message = (struct evr_message){ .data = text, .sz = sizeof(text) };
	err = evr_call_sync(call, &host->waiter, &request, &done);
	if (err)
		return err;
	/* Copied, then looked at: the plugin can change it as long as it lives. */
	if (done.message.sz != sizeof(got))
		return -EBADMSG;
	memcpy(got, done.message.data, sizeof(got));
	evr_channel_release(&host->ch, &done.message);
	for (i = 0; i < sizeof(got); i++)
		if (got[i] != text[sizeof(text) - 1 - i])
			return -EBADMSG;
	return 0;
}

/* Does the host's memory hold what it wrote there? */
static bool is_intact(const char *secret)
{
	for (int i = 0; i < SECRET_SZ; i++)
		if (secret[i] != 0x11)
			return false;
	return true;
}

static int serve_all(struct end *host, uint64_t nr)
{
	struct evr_call call;
	int err = 0;

	check(evr_call_init(&call, &host->ch, 8), "call");
	for (uint64_t n = 0; !err && n < nr; n++)
		err = ask(host, &call, n);
	evr_call_fini(&call);
	return err;
}

int main(int argc, char **argv)
{
	const char *uri = argc > 1 ? argv[1] : "local:";
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = 2 << 20,
					       .peers_max = 4 };
	struct evr_segment_info info;
	struct evr_segment *segment;
	struct evr_object object;
	struct end host;
	bool intact, enforced;
	char *secret;
	pid_t pid;
	int err;

	check(evr_segment_create(&segment, uri, &options), "segment");
	check(evr_segment_info(segment, &info), "segment");
	enforced = info.backend == EVR_BACKEND_DEVICE;
	if (!enforced)
		printf("local backend: isolation is not enforced here\n");
	end_open(&host, segment, EVR_CHANNEL_A);
	check(evr_dir_create(host.peer, "secret", EVR_KIND_USER, SECRET_SZ, &object), "secret");
	secret = evr_peer_at(host.peer, object.off, object.sz);
	memset(secret, 0x11, SECRET_SZ);

	pid = plugin_start(segment, evr_peer_self(host.peer), object.off);
	check(serve_all(&host, REQUESTS), "plugin");
	printf("host: the plugin has answered %d requests\n", REQUESTS);
	err = serve_all(&host, 1);
	intact = is_intact(secret);
	printf("host: then %s (%s); my memory is %s\n", evr_strerror(err), evr_error_detail(),
	       intact ? "as I left it" : "overwritten");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	check(evr_channel_forget(&host.ch), "forget");

	pid = plugin_start(segment, evr_peer_self(host.peer), 0);
	check(serve_all(&host, REQUESTS), "second plugin");
	printf("host: another plugin has answered %d requests\n", REQUESTS);
	end_close(&host);
	waitpid(pid, NULL, 0);
	evr_segment_close(segment);
	return err != -EBADMSG || intact != enforced;
}
