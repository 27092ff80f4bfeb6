// SPDX-License-Identifier: MIT
/*
 * Peers that have mapped nothing and do nothing: the kernel looks whether their mm is
 * still there (docs/abi.md, execve with an inherited fd), by one look for all of them and
 * not by a timer for each. Counted by the kernel's own trace of its work queues.
 *
 * Seen to fail: controls/unmapped-each-looked-at.
 */

#include <poll.h>

#include "device.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENT TRACING "events/workqueue/workqueue_execute_start/"
#define PEERS 64
#define LOOKS 2

static void set_knob(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	EV_CHECK(fd >= 0);
	EV_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static unsigned int count(const char *text, const char *word)
{
	unsigned int nr = 0;

	while ((text = strstr(text, word))) {
		text += strlen(word);
		nr++;
	}
	return nr;
}

/* Lines of the trace until there are so many looks; what was done for single peers. */
static unsigned int works_during_looks(int pipe, unsigned int looks)
{
	unsigned int seen = 0, works = 0;
	static char text[65536];
	size_t left = 0;
	int ms;

	for (ms = 0; ms < EV_HANG_MS && seen < looks; ms++) {
		ssize_t got = read(pipe, text + left, sizeof(text) - 1 - left);
		char *end;

		if (got <= 0) {
			usleep(1000);
			continue;
		}
		text[left + (size_t)got] = '\0';
		end = strrchr(text, '\n');
		if (!end) {
			left += (size_t)got;
			EV_CHECK(left < sizeof(text) - 1);
			continue;
		}
		*end = '\0';
		seen += count(text, "look_at_unmapped");
		works += count(text, " death_work");
		left = strlen(end + 1);
		memmove(text, end + 1, left);
	}
	EV_CHECK(seen >= looks);
	return works;
}

static void idle_peers_cost_one_look_for_all(void **state)
{
	struct ev_shape shape = { .shared_size = EV_PAGE, .peers_max = PEERS };
	int seg = ev_create(&shape), pipe, i;
	struct ev_peer peer[PEERS];
	unsigned int works;

	(void)state;
	if (access(EVENT "enable", W_OK)) {
		print_message("# skip: no tracing of work queues here\n");
		close(seg);
		skip();
	}
	for (i = 0; i < PEERS; i++)
		peer[i] = ev_attach(seg);
	set_knob(TRACING "trace", "");
	set_knob(EVENT "enable", "1");
	pipe = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	EV_CHECK(pipe >= 0);
	works = works_during_looks(pipe, LOOKS);
	set_knob(EVENT "enable", "0");
	close(pipe);
	print_message("# %d peers, %d looks: %u works for single peers\n", PEERS, LOOKS, works);
	EV_EQ(works, 0);
	for (i = 0; i < PEERS; i++)
		close(peer[i].fd);
	close(seg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_peers_cost_one_look_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
