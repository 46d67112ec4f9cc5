/*
 * kernels/crew.h - a few threads that do one thing together, then wait for the next.
 *
 * Member 0 is the caller's own thread, so a crew of one starts none. Which member does what is
 * the job's own fixed rule (by its index): results never depend on who was faster.
 * Thread: crew_run() from one thread at a time.
 */
#ifndef KERNELS_CREW_H
#define KERNELS_CREW_H

#include "ops/status.h"

#define CREW_MAX 64

struct crew;

/* members: 1..CREW_MAX. Errors: ERR_NOMEM also when a thread cannot be started. */
MUST_CHECK enum status crew_create(struct crew **crew, int members, struct error *err);
void crew_destroy(struct crew *crew); /* NULL is fine */
int crew_members(const struct crew *crew);

/* Calls job(context, member) once for every member and returns when all have. */
void crew_run(struct crew *crew, void (*job)(void *context, int member), void *context);

#endif
