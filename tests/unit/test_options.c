/* SPDX-License-Identifier: MIT */
/*
 * Options structs of other versions, and texts of errors.
 *
 * Seen to fail: tests/unit/controls, options-tail-ignored.
 */
#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <evering/error.h>

#include "internal.h"

struct ours {
	size_t struct_sz;
	uint32_t first;
	uint32_t second;
};

struct theirs {
	struct ours known;
	uint64_t unknown;
};

static void options_of_the_same_version_are_copied(void **state)
{
	struct ours from = { .struct_sz = sizeof(from), .first = 1, .second = 2 }, to;

	memset(&to, 0x5a, sizeof(to));
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), 0);
	assert_memory_equal(&to, &from, sizeof(to));
}

static void options_that_are_null_are_zeros(void **state)
{
	struct ours to, zeros = { 0 };

	memset(&to, 0x5a, sizeof(to));
	EQ(evr_options_read(&to, sizeof(to), NULL, "ours"), 0);
	assert_memory_equal(&to, &zeros, sizeof(to));
}

static void options_of_an_older_version_lack_what_is_new(void **state)
{
	struct ours from = { .struct_sz = offsetof(struct ours, second), .first = 1, .second = 2 };
	struct ours to;

	memset(&to, 0x5a, sizeof(to));
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), 0);
	EQ(to.first, 1);
	EQ(to.second, 0);
}

static void options_of_a_newer_version_must_not_use_what_is_new(void **state)
{
	struct theirs from = { .known = { .struct_sz = sizeof(from), .first = 1 } };
	struct ours to;

	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), 0);
	EQ(to.first, 1);
	((unsigned char *)&from.unknown)[7] = 1;
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), -E2BIG);
	DETAIL("ours: byte 23 is not 0");
}

static void options_of_no_size_are_refused(void **state)
{
	struct {
		struct ours known;
		unsigned char rest[4200];
	} from = { .known = { .struct_sz = 0 } };
	struct ours to;

	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), -EINVAL);
	DETAIL("struct_sz is 0");
	from.known.struct_sz = sizeof(size_t) - 1;
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), -EINVAL);
	from.known.struct_sz = sizeof(size_t);
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), 0);
	from.known.struct_sz = 4096;
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), 0);
	from.known.struct_sz = 4097;
	EQ(evr_options_read(&to, sizeof(to), &from, "ours"), -EINVAL);
}

static void error_texts_do_not_depend_on_the_sign(void **state)
{
	assert_string_equal(evr_strerror(-EBADMSG), evr_strerror(EBADMSG));
	assert_string_equal(evr_strerror(-EBADMSG), "corrupt data in shared memory");
	assert_string_equal(evr_strerror(0), "no error");
	assert_string_equal(evr_strerror(-EISDIR), strerror(EISDIR));
	assert_true(strlen(evr_strerror(123456)) > 0);
	assert_string_equal(evr_version(), EVR_VERSION_STRING);
}

static void *fail_elsewhere(void *arg)
{
	if (strlen(evr_error_detail()))
		return arg;
	evr_error_set("in thread %d", 2);
	return NULL;
}

static void error_detail_belongs_to_the_thread(void **state)
{
	pthread_t thread;
	void *failed;
	char text[2000];

	EQ(evr_fail(-EPERM, "in thread %d", 1), -EPERM);
	pthread_create(&thread, NULL, fail_elsewhere, text);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_string_equal(evr_error_detail(), "in thread 1");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	evr_error_set("%s", text);
	EQ(strlen(evr_error_detail()), 511);
	evr_error_clear();
	EQ(strlen(evr_error_detail()), 0);
}

int main(void)
{
	static const struct CMUnitTest options_tests[] = {
		cmocka_unit_test(options_of_the_same_version_are_copied),
		cmocka_unit_test(options_that_are_null_are_zeros),
		cmocka_unit_test(options_of_an_older_version_lack_what_is_new),
		cmocka_unit_test(options_of_a_newer_version_must_not_use_what_is_new),
		cmocka_unit_test(options_of_no_size_are_refused),
		cmocka_unit_test(error_texts_do_not_depend_on_the_sign),
		cmocka_unit_test(error_detail_belongs_to_the_thread),
	};

	return cmocka_run_group_tests(options_tests, NULL, NULL);
}
