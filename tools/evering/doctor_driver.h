/* SPDX-License-Identifier: MIT */
/* What a driver made here came to. */
#ifndef EVERING_TOOL_DOCTOR_DRIVER_H
#define EVERING_TOOL_DOCTOR_DRIVER_H

struct json_object;

void doctor_driver_print(void);

/* "driver" of doctor's JSON: the caller's. */
struct json_object *doctor_driver_to_json(void);

#endif
