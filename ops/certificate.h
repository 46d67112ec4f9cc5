/*
 * ops/certificate.h - files of certificates (PEM): are they what a TLS client can use?
 *
 * Only what an operator gets wrong is looked at: a file that cannot be read, that holds no
 * certificate, or whose certificates have run out. Signatures are the TLS library's business.
 * Thread: any.
 */
#ifndef OPS_CERTIFICATE_H
#define OPS_CERTIFICATE_H

#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define CERTIFICATE_FILE_MAX (4 << 20) /* a system's whole bundle has 250 KiB */

/**
 * Checks the file at path. any: one valid certificate is enough, as among roots to trust; else the
 * first one, our own, must be valid.
 *
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_LIMIT  the file cannot be read
 *         ERR_MALFORMED                     it holds no certificate, or a damaged one
 *         ERR_CONFLICT                      it has expired, or is not valid yet
 * Every text names the file.
 */
MUST_CHECK enum status certificate_check(const char *path, bool any, int64_t now_ms,
                                         struct error *err);

/* Does this file hold a private key (PEM) that a password locks? False also for one that cannot be
 * read. Libraries say of such a key without its password no more than that it is no good. */
bool certificate_key_is_locked(const char *path);

#endif
