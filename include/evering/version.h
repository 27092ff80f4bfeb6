/* SPDX-License-Identifier: MIT */
/* Which library this is. */
#ifndef EVERING_VERSION_H
#define EVERING_VERSION_H

#define EVR_VERSION_MAJOR 0
#define EVR_VERSION_MINOR 1
#define EVR_VERSION_PATCH 0
#define EVR_VERSION_STRING "0.1.0"

/* What the shared library exports; all else is hidden. */
#define EVR_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* evr_version() - EVR_VERSION_STRING of the library that runs, not of the headers. */
EVR_API const char *evr_version(void);

#ifdef __cplusplus
}
#endif

#endif
