/* SPDX-License-Identifier: MIT */
/* Short names for what the subcommands write with json-c. */
#ifndef EVERING_JSON_H
#define EVERING_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <json-c/json.h>

static inline void json_add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static inline void json_add_int(struct json_object *object, const char *key, int64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

static inline void json_add_double(struct json_object *object, const char *key, double value)
{
	json_object_object_add(object, key, json_object_new_double(value));
}

static inline void json_add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

static inline void json_add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

/* Writes @object as a line (or indented) and gives it up. */
static inline void json_write(FILE *to, struct json_object *object, bool indented)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

	flags |= indented ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED :
			    JSON_C_TO_STRING_PLAIN;
	fprintf(to, "%s\n", json_object_to_json_string_ext(object, flags));
	fflush(to);
	json_object_put(object);
}

#endif
