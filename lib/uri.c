/* SPDX-License-Identifier: MIT */
/* Which backend, and which name there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <evering/segment.h>

#include "backend.h"
#include "internal.h"

#define NAME_CHARS                   \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ" \
	"abcdefghijklmnopqrstuvwxyz" \
	"0123456789._-"

const char *evr_backend_name(enum evr_backend backend)
{
	switch (backend) {
	case EVR_BACKEND_AUTO:
		return "auto";
	case EVR_BACKEND_DEVICE:
		return "device";
	case EVR_BACKEND_LOCAL:
		return "local";
	}
	return "unknown";
}

bool evr_backend_available(enum evr_backend backend)
{
	if (backend == EVR_BACKEND_AUTO || backend == EVR_BACKEND_LOCAL)
		return true;
	return backend == EVR_BACKEND_DEVICE && evr_device_ops.available();
}

static enum evr_backend plain_backend(void)
{
	return evr_device_ops.available() ? EVR_BACKEND_DEVICE : EVR_BACKEND_LOCAL;
}

/* Sets the backend, and returns what follows the colon or the whole. */
static const char *split(const char *uri, enum evr_backend *backend)
{
	static const struct {
		const char *prefix;
		enum evr_backend backend;
	} prefixes[] = { { "device:", EVR_BACKEND_DEVICE }, { "local:", EVR_BACKEND_LOCAL } };
	size_t i, len;

	for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		len = strlen(prefixes[i].prefix);
		if (!strncmp(uri, prefixes[i].prefix, len)) {
			*backend = prefixes[i].backend;
			return uri + len;
		}
	}
	*backend = EVR_BACKEND_AUTO;
	return uri;
}

static int refuse_byte(const char *uri, size_t at, unsigned char byte)
{
	char text[8];

	/* A part of a character of several bytes is none. */
	snprintf(text, sizeof(text), byte < ' ' || byte > '~' ? "\\x%02x" : "'%c'", byte);
	return evr_fail(-EINVAL, "'%s': byte %zu of the name is %s; allowed are A-Z a-z 0-9 . _ -",
			uri, at, text);
}

static int check_name(const char *uri, const char *name)
{
	size_t len = strlen(name), good = strspn(name, NAME_CHARS);

	if (!len)
		return evr_fail(-EINVAL, "'%s': the name is empty", uri);
	if (name[good] == ':')
		return evr_fail(-EINVAL, "'%s': '%.*s' is no backend; known are device and local",
				uri, (int)good, name);
	if (name[good])
		return refuse_byte(uri, good, (unsigned char)name[good]);
	if (name[0] == '.' || name[0] == '-')
		return evr_fail(-EINVAL, "'%s': a name does not start with '%c'", uri, name[0]);
	if (len >= EVR_NAME_SIZE)
		return evr_fail(-EINVAL, "'%s': the name has %zu bytes, at most %d are allowed",
				uri, len, EVR_NAME_SIZE - 1);
	return 0;
}

int evr_uri_read(const char *uri, bool may_be_unnamed, struct evr_uri *out)
{
	const char *name;
	struct evr_uri parsed = { 0 };
	int err;

	name = split(uri, &parsed.backend);
	if (name[0] || !may_be_unnamed) {
		err = check_name(uri, name);
		if (err)
			return err;
	}
	strcpy(parsed.name, name);
	if (parsed.backend == EVR_BACKEND_AUTO)
		parsed.backend = plain_backend();
	*out = parsed;
	return 0;
}

int evr_uri_parse(const char *uri, struct evr_uri *out)
{
	evr_error_clear();
	if (!uri)
		return evr_fail(-EINVAL, "the uri is NULL");
	return evr_uri_read(uri, false, out);
}
