/* SPDX-License-Identifier: MIT */
/* Names of segments and of the objects in one, for the shell's completion. */
#ifndef EVERING_TOOL_NAMES_H
#define EVERING_TOOL_NAMES_H

/*
 * One a line: of the segments, or of the objects of @segment. What cannot be looked at has
 * none: who completes a word wants no messages.
 */
void names_print(const char *segment);

#endif
