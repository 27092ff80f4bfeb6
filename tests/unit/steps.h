/* SPDX-License-Identifier: MIT */
/*
 * A call of step() before each access to an object in shared memory, in the test's own
 * inline functions and in the library: such a test is linked with object_sources
 * compiled over this header (meson.build). The test defines step(); to be included
 * before anything of the library.
 */
#ifndef EVERING_TEST_STEPS_H
#define EVERING_TEST_STEPS_H

#define EVR_ATOMIC_STEP(addr) ((void)(addr), step())

void step(void);

#endif
