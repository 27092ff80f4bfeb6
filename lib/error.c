/* SPDX-License-Identifier: MIT */
/* The detail text of the last failure in this thread, and texts of error numbers. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <evering/error.h>

#define DETAIL_SZ 512

static _Thread_local char detail[DETAIL_SZ];
static _Thread_local char other_text[64];

/* Where evering means more by a number than libc's text says. */
static const struct {
	int err;
	const char *text;
} texts[] = {
	{ 0, "no error" },
	{ EBADMSG, "corrupt data in shared memory" },
	{ EPROTO, "another version of the layout or of the kernel interface" },
	{ ESTALE, "the peer or object is gone" },
	{ EOWNERDEAD, "the peer has died or was revoked" },
	{ EUSERS, "no free peer slot" },
	{ ETIMEDOUT, "the deadline has passed" },
	{ EPIPE, "closed by the other side" },
	{ ENODEV, "no evering device" },
	{ EDQUOT, "over the quota of this user" },
	{ EAGAIN, "nothing there now" },
	{ EMSGSIZE, "larger than the ring can ever take" },
	{ EOPNOTSUPP, "not supported by this backend or kernel" },
};

const char *evr_version(void)
{
	return EVR_VERSION_STRING;
}

const char *evr_error_detail(void)
{
	return detail;
}

const char *evr_strerror(int err)
{
	size_t i;

	if (err < 0)
		err = -err;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].err == err)
			return texts[i].text;
	return strerror_r(err, other_text, sizeof(other_text));
}

void evr_error_clear(void)
{
	detail[0] = '\0';
}

void evr_error_set(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
}

int evr_fail(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	return err;
}
