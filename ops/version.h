/*
 * ops/version.h - which build this is.
 * Thread: any; version_library() the main thread.
 */
#ifndef OPS_VERSION_H
#define OPS_VERSION_H

const char *version_text(void);     /* `git describe` at build time: "v0.1.0-3-gabc", "unknown" */
const char *version_compiler(void); /* "gcc 12.2.0" */
/* What it was built with, index 0..: "librdkafka", "2.0.2"; *number is NULL past the end. */
const char *version_library(int index, const char **number);

#endif
