/* SPDX-License-Identifier: MIT */
/* File descriptors through the stage's socket pair (SCM_RIGHTS), and small messages over what arrives. */
#ifndef EVERING_FDPASS_H
#define EVERING_FDPASS_H

#include "stage.h"

/* With one byte. A failure ends the side. */
void fdpass_send(struct stage *stage, int fd);
int fdpass_receive(struct stage *stage);

/* All of it, over a stream; no more than a socket takes at once. */
void fdpass_write(struct stage *stage, int fd, const void *data, uint64_t size);
void fdpass_read(struct stage *stage, int fd, void *data, uint64_t size);

#endif
