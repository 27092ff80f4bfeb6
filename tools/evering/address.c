// SPDX-License-Identifier: MIT
/* Where a stream socket is: unix:PATH, tcp:HOST:PORT; "-" is standard input and output. */
#include "address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

#define BACKLOG 128

static int parse_unix(struct address *address, const char *path)
{
	struct sockaddr_un *place = (struct sockaddr_un *)&address->places[0];
	size_t length = strlen(path);

	if (!length || length >= sizeof(place->sun_path))
		return message_usage("%s: a socket's path has 1 to %zu bytes", address->text,
				     sizeof(place->sun_path) - 1);
	place->sun_family = AF_UNIX;
	memcpy(place->sun_path, path, length + 1);
	address->path = path;
	address->sizes[0] = sizeof(*place);
	address->places_nr = 1;
	return 0;
}

/* HOST:PORT; an IPv6 address stands in brackets; no host is this machine alone. */
static int split_host(const char *text, char *host, size_t host_sz, const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;

	if (!colon || !colon[1] || length >= host_sz)
		return -EINVAL;
	*port = colon + 1;
	if (length >= 2 && text[0] == '[' && colon[-1] == ']') {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		return -EINVAL;
	}
	memcpy(host, text, length);
	host[length] = '\0';
	return 0;
}

static int parse_tcp(struct address *address, const char *text)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	const char *port;
	char host[256];
	int err;

	if (split_host(text, host, sizeof(host), &port))
		return message_usage("%s: wanted is tcp:HOST:PORT", address->text);
	err = getaddrinfo(*host ? host : NULL, port, &hints, &found);
	if (err) {
		message("%s: %s", address->text, gai_strerror(err));
		return EXIT_FAILED;
	}
	for (struct addrinfo *at = found; at && address->places_nr < ADDRESS_PLACES;
	     at = at->ai_next) {
		memcpy(&address->places[address->places_nr], at->ai_addr, at->ai_addrlen);
		address->sizes[address->places_nr++] = at->ai_addrlen;
	}
	freeaddrinfo(found);
	return 0;
}

int address_parse(struct address *address, const char *text)
{
	*address = (struct address){ .text = text, .is_stdio = !strcmp(text, "-") };
	if (address->is_stdio)
		return 0;
	if (!strncmp(text, "unix:", 5))
		return parse_unix(address, text + 5);
	if (!strncmp(text, "tcp:", 4))
		return parse_tcp(address, text + 4);
	return message_usage("'%s' is not unix:PATH, tcp:HOST:PORT or -", text);
}

int address_socket(const struct address *address, int place)
{
	int fd = socket(address->places[place].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int bind_place(const struct address *address, int fd, int place)
{
	const struct sockaddr *to = (const struct sockaddr *)&address->places[place];

	return bind(fd, to, address->sizes[place]) ? -errno : 0;
}

/* Is it a socket whose listener has gone without taking it away? */
static bool is_abandoned(const struct address *address)
{
	struct stat found;
	bool refused;
	int fd;

	if (!address->path || lstat(address->path, &found) || !S_ISSOCK(found.st_mode))
		return false;
	fd = address_socket(address, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)&address->places[0], address->sizes[0]) &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int listen_place(const struct address *address, int place)
{
	int fd = address_socket(address, place), on = 1, err;

	if (fd < 0)
		return fd;
	if (!address->path)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = bind_place(address, fd, place);
	if (err == -EADDRINUSE && is_abandoned(address)) {
		unlink(address->path);
		err = bind_place(address, fd, place);
	}
	if (!err && listen(fd, BACKLOG))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int address_listen(const struct address *address)
{
	int fd = -EADDRNOTAVAIL;

	for (int place = 0; place < address->places_nr; place++) {
		fd = listen_place(address, place);
		if (fd >= 0)
			return fd;
	}
	if (fd == -EADDRINUSE)
		message("%s: somebody listens there already; take another address", address->text);
	else
		message_system(address->text, fd);
	return -1;
}

void address_forget(const struct address *address)
{
	if (address->path)
		unlink(address->path);
}

int address_take_stdio(int *in, int *out)
{
	int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (none < 0)
		return -errno;
	*in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	*out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (*in < 0 || *out < 0 || dup2(none, STDIN_FILENO) < 0 || dup2(none, STDOUT_FILENO) < 0)
		return -errno;
	close(none);
	return 0;
}

void address_cut(int fd)
{
	struct linger now = { .l_onoff = 1 };

	/* Of a TCP socket: a reset in place of an end. Others have no such word. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}
