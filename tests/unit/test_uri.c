/* SPDX-License-Identifier: MIT */
/*
 * URIs: which backend, which name, and what is refused.
 *
 * Seen to fail: tests/unit/controls, uri-dot-first.
 */
#include "child.h"

#include <errno.h>
#include <string.h>

#include <evering/error.h>
#include <evering/segment.h>

static void parsed(const char *uri, enum evr_backend backend, const char *name)
{
	struct evr_uri out;

	memset(&out, 0x5a, sizeof(out));
	OK(evr_uri_parse(uri, &out));
	EQ(out.backend, backend);
	assert_string_equal(out.name, name);
}

static void refused(const char *uri, const char *detail)
{
	struct evr_uri out, poison;

	memset(&out, 0x5a, sizeof(out));
	poison = out;
	EQ(evr_uri_parse(uri, &out), -EINVAL);
	DETAIL(detail);
	assert_memory_equal(&out, &poison, sizeof(out));
}

static void uri_with_backend_is_taken_as_it_is(void **state)
{
	parsed("local:abc", EVR_BACKEND_LOCAL, "abc");
	parsed("device:abc", EVR_BACKEND_DEVICE, "abc");
	parsed("local:A.z_0-9", EVR_BACKEND_LOCAL, "A.z_0-9");
	parsed("local:local", EVR_BACKEND_LOCAL, "local");
}

static void uri_plain_name_takes_what_is_there(void **state)
{
	enum evr_backend there = evr_backend_available(EVR_BACKEND_DEVICE) ? EVR_BACKEND_DEVICE :
									     EVR_BACKEND_LOCAL;

	parsed("abc", there, "abc");
	parsed("device", there, "device");
}

static void uri_name_is_limited_to_63_bytes(void **state)
{
	char uri[80] = "local:";

	memset(uri + 6, 'x', 62);
	parsed(uri, EVR_BACKEND_LOCAL, uri + 6);
	uri[6 + 62] = 'x';
	parsed(uri, EVR_BACKEND_LOCAL, uri + 6);
	uri[6 + 63] = 'x';
	refused(uri, "64 bytes");
}

static void uri_with_a_bad_name_is_refused(void **state)
{
	refused("", "empty");
	refused("local:", "empty");
	refused("device:", "empty");
	refused(NULL, "NULL");
	refused("a/b", "byte 1 of the name is '/'");
	refused("local:a b", "byte 1 of the name is ' '");
	refused("local:\x7f", "byte 0 of the name is \\x7f;");
	refused("local:a\xc3\xa4", "byte 1 of the name is \\xc3;");
	refused("local:\x1b[2J", "byte 0 of the name is \\x1b;");
	refused("local:.a", "does not start with '.'");
	refused("local:-a", "does not start with '-'");
	refused("remote:a", "'remote' is no backend");
	refused("local:a:b", "'a' is no backend");
	refused("Local:a", "'Local' is no backend");
}

static void uri_backends_have_names(void **state)
{
	assert_string_equal(evr_backend_name(EVR_BACKEND_AUTO), "auto");
	assert_string_equal(evr_backend_name(EVR_BACKEND_DEVICE), "device");
	assert_string_equal(evr_backend_name(EVR_BACKEND_LOCAL), "local");
	assert_string_equal(evr_backend_name((enum evr_backend)7), "unknown");
	assert_true(evr_backend_available(EVR_BACKEND_AUTO));
	assert_true(evr_backend_available(EVR_BACKEND_LOCAL));
	assert_false(evr_backend_available((enum evr_backend)7));
}

int main(void)
{
	static const struct CMUnitTest uri_tests[] = {
		cmocka_unit_test(uri_with_backend_is_taken_as_it_is),
		cmocka_unit_test(uri_plain_name_takes_what_is_there),
		cmocka_unit_test(uri_name_is_limited_to_63_bytes),
		cmocka_unit_test(uri_with_a_bad_name_is_refused),
		cmocka_unit_test(uri_backends_have_names),
	};

	return cmocka_run_group_tests(uri_tests, NULL, NULL);
}
