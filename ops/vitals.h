/*
 * ops/vitals.h - the process' own metrics: memory, open files, processor time, build.
 * Read when /metrics is asked for, so they cost nothing otherwise.
 */
#ifndef OPS_VITALS_H
#define OPS_VITALS_H

#include <stdint.h>

/* Registers the reader; once, before threads. */
void vitals_watch(void);

/* Resident bytes of a process; 0 when it cannot be read (it has ended). For bench and demo. */
int64_t vitals_resident_bytes(int pid);
/* Memory of this machine, or of the container where that has less; 0 when it cannot be read. */
int64_t vitals_machine_bytes(void);

#endif
