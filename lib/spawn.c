/* SPDX-License-Identifier: MIT */
/* Children: started with nothing but what they are meant to have, and waited for by pidfd. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/bell.h>
#include <evering/error.h>
#include <evering/spawn.h>

#include "internal.h"

#define FDS_MAX (EVR_SPAWN_FDS_MAX + 1)
#define NS_PER_S 1000000000ULL
/* waitid() by pidfd: the C library's name for it came later than the kernel's. */
#define WAIT_PIDFD ((idtype_t)3)

extern char **environ;

/* What the child will have from EVR_SPAWN_FD on; each a copy of ours above that range. */
struct plan {
	int fds[FDS_MAX];
	uint32_t nr;
	char variable[sizeof(EVR_SPAWN_VARIABLE) + 12];
	char **envp;
};

/* Above all targets, so that no dup2() of the child overwrites what a later one takes. */
static int plan_add(struct plan *plan, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, EVR_SPAWN_FD + FDS_MAX);

	if (copy < 0)
		return evr_fail(-errno, "spawn: cannot copy fd %d: %s", fd, strerror(errno));
	plan->fds[plan->nr++] = copy;
	return 0;
}

static int plan_invite(struct plan *plan, const struct evr_spawn_options *o)
{
	uint32_t rights = o->rights ? o->rights : EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE;
	struct evr_segment_info info;
	int err, fd;

	err = evr_segment_invite(o->segment, rights, o->invite_flags, &fd);
	if (err == -EOPNOTSUPP && !o->rights) {
		err = evr_segment_info(o->segment, &info);
		if (!err)
			err = evr_segment_invite(o->segment, info.rights, o->invite_flags, &fd);
	}
	if (err)
		return err;
	err = plan_add(plan, fd);
	close(fd);
	return err;
}

/* Is it a setting of our variable? */
static bool is_ours(const char *setting)
{
	size_t len = sizeof(EVR_SPAWN_VARIABLE) - 1;

	return !strncmp(setting, EVR_SPAWN_VARIABLE, len) && setting[len] == '=';
}

/* The environment without an invitation that was ours, and with the child's. */
static int plan_environment(struct plan *plan, char *const *from, bool is_invited)
{
	size_t nr = 0, at = 0;

	from = from ? from : environ;
	while (from && from[nr])
		nr++;
	plan->envp = calloc(nr + 2, sizeof(*plan->envp));
	if (!plan->envp)
		return evr_fail(-ENOMEM, "spawn: no memory for %zu variables", nr);
	for (nr = 0; from && from[nr]; nr++)
		if (!is_ours(from[nr]))
			plan->envp[at++] = from[nr];
	if (is_invited) {
		snprintf(plan->variable, sizeof(plan->variable), "%s=%d", EVR_SPAWN_VARIABLE,
			 EVR_SPAWN_FD);
		plan->envp[at] = plan->variable;
	}
	return 0;
}

static int plan_make(struct plan *plan, const struct evr_spawn_options *o)
{
	uint32_t i;
	int err = 0;

	if (o->fds_nr > EVR_SPAWN_FDS_MAX)
		return evr_fail(-E2BIG, "spawn: %u fds, at most %d", o->fds_nr, EVR_SPAWN_FDS_MAX);
	if ((o->fds_nr && !o->fds) || (!o->segment && (o->rights || o->invite_flags)))
		return evr_fail(-EINVAL, "spawn: %s",
				o->fds_nr && !o->fds ? "fds is NULL" : "rights to no segment");
	if (o->segment)
		err = plan_invite(plan, o);
	for (i = 0; !err && i < o->fds_nr; i++)
		err = plan_add(plan, o->fds[i]);
	return err ? err : plan_environment(plan, o->envp, o->segment);
}

static void plan_end(struct plan *plan)
{
	while (plan->nr)
		close(plan->fds[--plan->nr]);
	free(plan->envp);
}

/* Return: 0, or an errno as posix_spawn() has it. */
static int plan_run(const struct plan *plan, const char *path, char *const *argv, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	uint32_t i;
	int err;

	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return err;
	for (i = 0; !err && i < plan->nr; i++)
		err = posix_spawn_file_actions_adddup2(&actions, plan->fds[i],
						       EVR_SPAWN_FD + (int)i);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(&actions,
							       EVR_SPAWN_FD + (int)plan->nr);
	if (!err)
		err = posix_spawn(pid, path, &actions, NULL, argv, plan->envp);
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

int evr_spawn(struct evr_child *child, const char *path, const struct evr_spawn_options *options)
{
	struct evr_spawn_options o;
	struct plan plan = { .nr = 0 };
	pid_t pid = 0;
	char *argv[2] = { (char *)(uintptr_t)path, NULL };
	int err;

	*child = (struct evr_child){ .pidfd = -1 };
	err = evr_options_read(&o, sizeof(o), options, "evr_spawn_options");
	if (!err)
		err = plan_make(&plan, &o);
	if (!err) {
		err = -plan_run(&plan, path, o.argv ? o.argv : argv, &pid);
		if (err)
			evr_error_set("spawn: cannot start '%s': %s", path, strerror(-err));
	}
	plan_end(&plan);
	if (err)
		return err;
	/* Until we wait for it the pid is nobody else's, also when it has ended already. */
	child->pid = pid;
	child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (child->pidfd >= 0)
		return 0;
	err = evr_fail(-errno, "spawn: no pidfd of child %d: %s", pid, strerror(errno));
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	return err;
}

int evr_spawn_adopt(struct evr_segment **segment)
{
	const char *text = getenv(EVR_SPAWN_VARIABLE);
	char *end;
	long fd;
	int err;

	*segment = NULL;
	if (!text)
		return evr_fail(-ENOENT, "%s is not set: no invitation was inherited",
				EVR_SPAWN_VARIABLE);
	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || end == text || *end || fd < 0 || fd > INT32_MAX)
		return evr_fail(-EINVAL, "%s is '%.20s', no number of an fd", EVR_SPAWN_VARIABLE,
				text);
	err = evr_segment_adopt(segment, (int)fd);
	if (err)
		return err;
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	unsetenv(EVR_SPAWN_VARIABLE);
	return 0;
}

/* The end of a child that has one. 0; -ETIMEDOUT it runs; -ECHILD. */
static int child_take(struct evr_child *child, int flags)
{
	siginfo_t info = { 0 };

	while (waitid(WAIT_PIDFD, (id_t)child->pidfd, &info, WEXITED | flags))
		if (errno != EINTR)
			return evr_fail(-errno, "child %d: its end cannot be had: %s", child->pid,
					strerror(errno));
	if (!info.si_pid)
		return -ETIMEDOUT;
	child->exit.value = info.si_status;
	child->exit.dumped = info.si_code == CLD_DUMPED;
	if (info.si_code != CLD_EXITED)
		child->exit.end = EVR_CHILD_SIGNAL;
	else
		child->exit.end = info.si_status ? EVR_CHILD_STATUS : EVR_CHILD_CLEAN;
	return 0;
}

/* 0: it has ended; -ETIMEDOUT; -EINTR. */
static int child_sleep(const struct evr_child *child, uint64_t deadline_ns)
{
	struct pollfd ended = { .fd = child->pidfd, .events = POLLIN };
	struct timespec left = { 0 };
	uint64_t now_ns = evr_now_ns();
	int nr;

	if (deadline_ns > now_ns) {
		left.tv_sec = (time_t)((deadline_ns - now_ns) / NS_PER_S);
		left.tv_nsec = (long)((deadline_ns - now_ns) % NS_PER_S);
	}
	nr = ppoll(&ended, 1, deadline_ns == EVR_NO_DEADLINE ? NULL : &left, NULL);
	if (nr < 0)
		return -errno;
	return nr ? 0 : -ETIMEDOUT;
}

int evr_child_wait(struct evr_child *child, uint64_t deadline_ns, struct evr_child_exit *out)
{
	int err = 0;

	if (out)
		*out = (struct evr_child_exit){ .end = EVR_CHILD_RUNS };
	if (child->pid <= 0)
		return evr_fail(-EINVAL, "there is no child");
	if (child->exit.end == EVR_CHILD_RUNS)
		err = child_sleep(child, deadline_ns);
	if (!err && child->exit.end == EVR_CHILD_RUNS)
		err = child_take(child, WNOHANG);
	if (!err && out)
		*out = child->exit;
	return err;
}

int evr_child_kill(struct evr_child *child, int sig)
{
	if (child->pid <= 0)
		return evr_fail(-EINVAL, "there is no child");
	if (child->exit.end != EVR_CHILD_RUNS)
		return evr_fail(-ESRCH, "child %d has ended", child->pid);
	return syscall(SYS_pidfd_send_signal, child->pidfd, sig, NULL, 0) ? -errno : 0;
}

int evr_child_fd(const struct evr_child *child)
{
	return child->pid > 0 ? child->pidfd : -1;
}

void evr_child_close(struct evr_child *child)
{
	if (child->pid <= 0)
		return;
	if (child->exit.end == EVR_CHILD_RUNS) {
		syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
		child_take(child, 0);
	}
	close(child->pidfd);
	*child = (struct evr_child){ .pidfd = -1 };
}
