// SPDX-License-Identifier: GPL-2.0
/*
 * How a command and the size of its struct are decoded.
 *
 * Seen to fail: tests/module/controls/kunit-device-*: a command known by its size too, or
 * without its direction.
 */
#include <kunit/test.h>

#include "../device.c"

static void device_size_at_its_limits(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, evering_size_check(0, 16), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_size_check(15, 16), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_size_check(16, 16), 0);
	KUNIT_EXPECT_EQ(test, evering_size_check(17, 16), 0);
	KUNIT_EXPECT_EQ(test, evering_size_check(PAGE_SIZE, 16), 0);
	KUNIT_EXPECT_EQ(test, evering_size_check(PAGE_SIZE + 1, 16), -E2BIG);
	KUNIT_EXPECT_EQ(test, evering_size_check(U32_MAX, 16), -E2BIG);
}

static void device_command_is_found_whatever_its_size(struct kunit *test)
{
	const unsigned int longer = _IOC(_IOC_READ | _IOC_WRITE, EVERING_IOC_MAGIC, 0x10, 96);
	const struct evering_command *command;

	command = evering_command_find(control_commands, EVERING_IOC_SEGMENT_CREATE);
	KUNIT_ASSERT_NOT_NULL(test, command);
	KUNIT_EXPECT_EQ(test, command->cmd, EVERING_IOC_SEGMENT_CREATE);
	KUNIT_EXPECT_PTR_EQ(test, command, evering_command_find(control_commands, longer));
	KUNIT_EXPECT_NULL(test, evering_command_find(control_commands,
						     _IOC(_IOC_WRITE, EVERING_IOC_MAGIC, 0x10,
							  64)));
	KUNIT_EXPECT_NULL(test, evering_command_find(control_commands,
						     _IOWR(EVERING_IOC_MAGIC - 1, 0x10,
							   struct evering_segment_create)));
	KUNIT_EXPECT_NULL(test, evering_command_find(control_commands,
						     EVERING_IOC_PEER_ATTACH));
	KUNIT_EXPECT_NULL(test, evering_command_find(peer_commands, EVERING_IOC_PEER_ATTACH));
}

static void check_table(struct kunit *test, const struct evering_command *table)
{
	for (; table->run; table++) {
		KUNIT_EXPECT_EQ(test, table->size, _IOC_SIZE(table->cmd));
		KUNIT_EXPECT_LE(test, table->size, EVERING_ARG_MAX);
		KUNIT_EXPECT_FALSE(test, table->rights & ~EVERING_RIGHTS_ALL);
	}
}

static void device_tables_agree_with_the_numbers(struct kunit *test)
{
	check_table(test, control_commands);
	check_table(test, segment_commands);
	check_table(test, peer_commands);
}

static struct kunit_case device_cases[] = {
	KUNIT_CASE(device_size_at_its_limits),
	KUNIT_CASE(device_command_is_found_whatever_its_size),
	KUNIT_CASE(device_tables_agree_with_the_numbers),
	{}
};

static struct kunit_suite device_suite = {
	.name = "evering_device",
	.test_cases = device_cases,
};

kunit_test_suite(device_suite);
