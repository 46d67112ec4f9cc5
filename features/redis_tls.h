/*
 * features/redis_tls.h - TLS under a connection to Redis, where the build found OpenSSL.
 *
 * We read and write the descriptor ourselves (features/redis_connection.c), so all that is needed
 * is a pair of functions in the place of recv() and send(). hiredis' own TLS is a wrapper of
 * OpenSSL around its own buffers, which we do not use, and is not in the hiredis of Debian 12.
 *
 * The server must prove that it is the host that was asked for, or `redis.tls.server_name`; there
 * is no way to switch that off. TLS 1.2 or newer. OpenSSL writes without MSG_NOSIGNAL: SIGPIPE must
 * be ignored, as every command does (ops/command.c).
 *
 * Thread: one at a time for the certificates and all sessions made from them.
 */
#ifndef FEATURES_REDIS_TLS_H
#define FEATURES_REDIS_TLS_H

#include "features/redis_target.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

bool redis_tls_built(void);

/* Certificates, loaded. Errors: ERR_CONFIG (a file cannot be read, is none, our certificate
 * has run out, its key is another's or encrypted; a build without TLS), ERR_NOMEM */
struct redis_tls;
MUST_CHECK enum status redis_tls_create(struct redis_tls **tls, const struct redis_tls_files *files,
                                        struct error *err);
void redis_tls_destroy(struct redis_tls *tls); /* NULL is fine; after its sessions */
/* Loads them again if one of the files is another or has changed since: before each connection, so
 * that certificates of a short life need no restart. Sessions that stand go on with theirs. While
 * the files are no good, as between the writing of two, what was loaded before stays in use and the
 * log says why. The system's certificates (without redis.tls.ca) are not looked at again. */
void redis_tls_refresh(struct redis_tls *tls); /* NULL is fine */

/* One connection's; the descriptor is connected, non-blocking, and stays the caller's. */
struct redis_tls_session;
MUST_CHECK enum status redis_tls_begin(struct redis_tls_session **session, struct redis_tls *tls,
                                       const char *host, int descriptor, struct error *err);
void redis_tls_end(struct redis_tls_session *session); /* NULL is fine */
/* Goes on with the handshake. Errors: ERR_CONFIG (the server's certificate is not good, with the
 * reason), ERR_UNAVAILABLE */
MUST_CHECK enum status redis_tls_shake(struct redis_tls_session *session, bool *done,
                                       struct error *err);
/* As recv() and send(): -1 with errno EAGAIN when it must wait, EPROTO when the session is broken.
 * Why says redis_tls_why(): ERR_CONFIG when the server refuses us, as without a certificate that it
 * trusts; ERR_UNAVAILABLE otherwise. */
ssize_t redis_tls_receive(struct redis_tls_session *session, void *into, size_t room);
ssize_t redis_tls_send(struct redis_tls_session *session, const void *bytes, size_t count);
enum status redis_tls_why(const struct redis_tls_session *session, struct error *err);
/* POLLIN or POLLOUT, when the last call had to wait for that; else 0. */
short redis_tls_wants(const struct redis_tls_session *session);

#endif
