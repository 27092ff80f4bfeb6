/* SPDX-License-Identifier: MIT */
/*
 * How evering says what went wrong. Functions return 0, a count or a handle, or a
 * negative errno; the variable errno means nothing after a call. The detail text
 * belongs to the calling thread.
 */
#ifndef EVERING_ERROR_H
#define EVERING_ERROR_H

#include <evering/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * evr_error_detail() - what failed last in this thread: what, where, which value,
 * what to do. Owned by the library, valid until the thread's next call. "" when
 * there is nothing to add to the error number.
 */
EVR_API const char *evr_error_detail(void);

/*
 * evr_strerror() - text of an error number in evering's meaning.
 * @err: as returned; the sign does not matter.
 */
EVR_API const char *evr_strerror(int err);

/*
 * evr_fail() - set the detail text of this thread, as printf(3), and return err: for
 * libraries on top of this one.
 */
EVR_API int evr_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif
