// SPDX-License-Identifier: GPL-2.0
/*
 * Which names are valid, and what a mode gives.
 *
 * Seen to fail: tests/module/controls/kunit-names-*: any first character; a name without
 * NUL.
 */
#include <kunit/test.h>

#include "../names.c"

static bool valid(const char *text)
{
	char name[EVERING_NAME_SIZE];

	strscpy_pad(name, text, sizeof(name));
	return evering_name_valid(name);
}

static void names_of_allowed_characters_are_valid(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, valid("a"));
	KUNIT_EXPECT_TRUE(test, valid("_"));
	KUNIT_EXPECT_TRUE(test, valid("0"));
	KUNIT_EXPECT_TRUE(test, valid("Az09._-"));
	KUNIT_EXPECT_FALSE(test, valid(""));
	KUNIT_EXPECT_FALSE(test, valid(".a"));
	KUNIT_EXPECT_FALSE(test, valid("-a"));
	KUNIT_EXPECT_FALSE(test, valid("a/b"));
	KUNIT_EXPECT_FALSE(test, valid("a b"));
	KUNIT_EXPECT_FALSE(test, valid("a\n"));
	KUNIT_EXPECT_FALSE(test, valid("a\x7f"));
	KUNIT_EXPECT_FALSE(test, valid("\xc3\xa9"));
}

static void names_need_their_nul(struct kunit *test)
{
	char name[EVERING_NAME_SIZE];

	memset(name, 'x', sizeof(name));
	KUNIT_EXPECT_FALSE(test, evering_name_valid(name));
	name[EVERING_NAME_SIZE - 1] = '\0';
	KUNIT_EXPECT_TRUE(test, evering_name_valid(name));
	/* What follows the NUL does not count. */
	name[3] = '\0';
	KUNIT_EXPECT_TRUE(test, evering_name_valid(name));
}

static void names_mode_gives_rights(struct kunit *test)
{
	const u32 w = EVERING_RIGHT_OBSERVE | EVERING_RIGHT_WRITE | EVERING_RIGHT_INVITE;

	KUNIT_EXPECT_EQ(test, evering_mode_rights(0), 0);
	KUNIT_EXPECT_EQ(test, evering_mode_rights(1), 0);
	KUNIT_EXPECT_EQ(test, evering_mode_rights(2), w);
	KUNIT_EXPECT_EQ(test, evering_mode_rights(4), EVERING_RIGHT_OBSERVE);
	KUNIT_EXPECT_EQ(test, evering_mode_rights(6), w);
}

static struct kunit_case names_cases[] = {
	KUNIT_CASE(names_of_allowed_characters_are_valid),
	KUNIT_CASE(names_need_their_nul),
	KUNIT_CASE(names_mode_gives_rights),
	{}
};

static struct kunit_suite names_suite = {
	.name = "evering_names",
	.test_cases = names_cases,
};

kunit_test_suite(names_suite);
