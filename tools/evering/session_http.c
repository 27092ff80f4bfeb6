// SPDX-License-Identifier: MIT
/* A request by a socket, as HTTP/1.0 has it: GET and HEAD of a path, one a connection. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session.h"

/* How long the client may take to close after it has got everything. */
#define LINGER_NS 2000000000ULL

static void op_done(struct evr_driver *driver, const struct evr_completion *done)
{
	struct session *session = done->arg;

	(void)driver;
	session->is_busy = false;
	session->has_result = true;
	session->result = done->res;
}

static bool begin(struct session *session, struct evr_op op)
{
	if (session->deadline_ns)
		op = evr_op_until(op, session->deadline_ns);
	op = evr_op_then(op, op_done, session);
	session->is_busy = true;
	if (!loop_submit(session->loop, &op, &session->op))
		session->is_busy = false;
	return session->is_busy;
}

static const char *status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 414:
		return "URI Too Long";
	default:
		return "Internal Server Error";
	}
}

static int status_of(int error)
{
	switch (error) {
	case 0:
		return 200;
	case ENOENT:
	case ENOTDIR:
		return 404;
	case EXDEV:
	case EACCES:
	case EPERM:
	case ELOOP:
	case EISDIR:
	case ENOTSUP:
		return 403;
	case ENAMETOOLONG:
		return 414;
	default:
		return 500;
	}
}

/* %41 is A; in place. False: it is none, or would end the string. */
static bool decode(char *text)
{
	char *to = text;

	for (; *text; text++, to++) {
		char digits[3] = { 0 };

		*to = *text;
		if (*text != '%')
			continue;
		if (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
			return false;
		memcpy(digits, text + 1, 2);
		*to = (char)strtol(digits, NULL, 16);
		if (!*to)
			return false;
		text += 2;
	}
	*to = '\0';
	return true;
}

/* "GET /path HTTP/1.0" to path; 0, or the status that it is answered with. */
static int parse(struct session *session)
{
	char *line = session->request, *path, *last;

	line[strcspn(line, "\r\n")] = '\0';
	path = strchr(line, ' ');
	if (!path)
		return 400;
	*path++ = '\0';
	last = strchr(path, ' ');
	if (!last || strncmp(last, " HTTP/", 6))
		return 400;
	*last = '\0';
	session->is_head = !strcmp(line, "HEAD");
	if (!session->is_head && strcmp(line, "GET"))
		return 405;
	path[strcspn(path, "?#")] = '\0';
	if (*path != '/' || !decode(path))
		return 400;
	/* "/" is the directory itself. */
	session->path = path[1] ? path + 1 : ".";
	return 0;
}

static bool is_whole(const char *request)
{
	return strstr(request, "\r\n\r\n") || strstr(request, "\n\n");
}

static void take(struct session *session)
{
	session->request_sz += (uint32_t)session->result;
	session->request[session->request_sz] = '\0';
	if (is_whole(session->request)) {
		session->state = SESSION_OPENING;
		session->status = parse(session);
	} else if (session->request_sz == SESSION_REQUEST_SZ - 1) {
		session->status = 414;
	}
	if (session->status)
		session->state = SESSION_OPENED;
	if (session->state != SESSION_ASKED)
		session->deadline_ns = 0;
}

static bool ask(struct session *session)
{
	if (session->is_busy)
		return false;
	if (session->has_result) {
		session->has_result = false;
		if (session->result <= 0)
			session_stop(session, SESSION_STOPPED);
		else
			take(session);
		return true;
	}
	if (!session->deadline_ns)
		session->deadline_ns = evr_now_ns() + SESSION_REQUEST_NS;
	return begin(session, evr_op_recv(session->fd, session->request + session->request_sz,
					  SESSION_REQUEST_SZ - 1 - session->request_sz, 0));
}

static void write_header(struct session *session)
{
	int status = session->status ? session->status : status_of(session->error);
	const char *text = status_text(status);
	bool is_file = status == 200;
	uint64_t length = is_file ? session->reader.sz : strlen(text) + 1;
	int nr = snprintf(session->header, sizeof(session->header),
			  "HTTP/1.0 %d %s\r\nContent-Length: %" PRIu64
			  "\r\nContent-Type: %s\r\nConnection: close\r\n\r\n%s%s",
			  status, text, length, is_file ? "application/octet-stream" : "text/plain",
			  is_file || session->is_head ? "" : text,
			  is_file || session->is_head ? "" : "\n");

	session->header_sz = (uint32_t)nr;
	session->status = status;
}

/* @nr bytes at @at; *@did: something was done. Return: are all of them written? */
static bool write_all(struct session *session, const void *at, uint32_t nr, bool *did)
{
	*did = session->has_result;
	if (session->is_busy)
		return false;
	if (session->has_result) {
		session->has_result = false;
		if (session->result < 0) {
			session_stop(session, SESSION_STOPPED);
			return false;
		}
		session->done += (uint32_t)session->result;
	}
	if (session->done == nr) {
		session->done = 0;
		return true;
	}
	*did |= begin(session, evr_op_send(session->fd, (const char *)at + session->done,
					   nr - session->done, 0));
	return false;
}

static bool answer(struct session *session)
{
	bool did;

	if (!session->header_sz)
		write_header(session);
	if (!write_all(session, session->header, session->header_sz, &did))
		return did;
	session->state = SESSION_SENDING;
	if (session->status != 200)
		session->outcome = SESSION_REFUSED;
	if (session->status != 200 || session->is_head)
		session->state = SESSION_ENDING;
	return true;
}

static bool send_piece(struct session *session, struct reader_piece *piece)
{
	bool did;

	if (!write_all(session, piece->block.ptr, piece->got, &did))
		return did;
	session->bytes += piece->got;
	session->moved(piece->got);
	reader_pop(&session->reader);
	return true;
}

/* Whoever closes with something unread cuts off what is still on its way. */
static bool end(struct session *session)
{
	if (session->is_busy)
		return false;
	/* Shorter than the header has said: a cut tells. */
	if (session->outcome == SESSION_STOPPED) {
		session->state = SESSION_OVER;
		return true;
	}
	if (!session->is_closing) {
		shutdown(session->fd, SHUT_WR);
		session->is_closing = true;
		session->deadline_ns = evr_now_ns() + LINGER_NS;
	} else if (session->has_result && session->result <= 0) {
		session->state = SESSION_OVER;
		return true;
	}
	session->has_result = false;
	return begin(session, evr_op_recv(session->fd, session->request, SESSION_REQUEST_SZ, 0));
}

static void cancel(struct session *session)
{
	if (session->is_busy)
		evr_driver_cancel(session->loop->driver, session->op);
}

static void socket_close(struct session *session)
{
	close(session->fd);
}

const struct session_kind session_http = { ask, answer, send_piece, end, cancel, socket_close };
