/* features/redis_tls.c - sessions over OpenSSL; without it, the error that says so. */
#include "features/redis_tls.h"

#include <errno.h>

#ifndef FRESHET_TLS

bool redis_tls_built(void)
{
    return false;
}

enum status redis_tls_create(struct redis_tls **tls, const struct redis_tls_files *files,
                             struct error *err)
{
    (void)files;
    *tls = NULL;
    return error_set(err, ERR_CONFIG, "this build of freshet cannot do TLS to redis");
}

void redis_tls_destroy(struct redis_tls *tls)
{
    (void)tls;
}

void redis_tls_refresh(struct redis_tls *tls)
{
    (void)tls;
}

enum status redis_tls_begin(struct redis_tls_session **session, struct redis_tls *tls,
                            const char *host, int descriptor, struct error *err)
{
    (void)tls;
    (void)host;
    (void)descriptor;
    *session = NULL;
    return error_set(err, ERR_CONFIG, "this build of freshet cannot do TLS to redis");
}

void redis_tls_end(struct redis_tls_session *session)
{
    (void)session;
}

enum status redis_tls_shake(struct redis_tls_session *session, bool *done, struct error *err)
{
    (void)session;
    *done = false;
    return error_set(err, ERR_CONFIG, "this build of freshet cannot do TLS to redis");
}

ssize_t redis_tls_receive(struct redis_tls_session *session, void *into, size_t room)
{
    (void)session;
    (void)into;
    (void)room;
    errno = EPROTO;
    return -1;
}

ssize_t redis_tls_send(struct redis_tls_session *session, const void *bytes, size_t count)
{
    (void)session;
    (void)bytes;
    (void)count;
    errno = EPROTO;
    return -1;
}

enum status redis_tls_why(const struct redis_tls_session *session, struct error *err)
{
    (void)session;
    return error_set(err, ERR_CONFIG, "this build of freshet cannot do TLS to redis");
}

short redis_tls_wants(const struct redis_tls_session *session)
{
    (void)session;
    return 0;
}

#else

#include "ops/log.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* As a file was when it was read; all zero for one that is not there. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};

struct stamps {
    struct stamp ca, certificate, key;
};

struct redis_tls {
    SSL_CTX *context;
    struct redis_tls_files files;
    struct stamps seen; /* when they were last read, or tried to be */
};

struct redis_tls_session {
    SSL *ssl;
    short wants;
    bool refused; /* by an alert of the server's */
    bool ended;   /* it said goodbye */
    char why[120];
};

bool redis_tls_built(void)
{
    return true;
}

/* The newest reason that OpenSSL has; empties its queue. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code == 0 ? NULL : ERR_reason_error_string(code);

    ERR_clear_error();
    return text == NULL ? "no reason given" : text;
}

/* ---- certificates ---- */

/* Has our own certificate run out? The others are judged in the handshake. */
static enum status check_dates(SSL_CTX *context, const char *path, struct error *err)
{
    const X509 *certificate = SSL_CTX_get0_certificate(context);

    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        return error_set(err, ERR_CONFIG, "redis.tls.certificate \"%s\" has run out", path);
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        return error_set(err, ERR_CONFIG, "redis.tls.certificate \"%s\" is not good yet", path);
    return OK;
}

/* OpenSSL would ask for a password at the terminal, and wait. */
static int no_password(char *into, int bytes, int writing, void *context)
{
    (void)into;
    (void)bytes;
    (void)writing;
    *(bool *)context = true;
    return 0;
}

static enum status load_key(SSL_CTX *context, const char *path, struct error *err)
{
    bool encrypted = false;
    int read;

    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
    read = SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (read == 1)
        return OK;
    if (encrypted) {
        ERR_clear_error();
        return error_set(err, ERR_CONFIG,
                         "redis.tls.key \"%s\" is encrypted: give it without a password", path);
    }
    return error_set(err, ERR_CONFIG, "could not use redis.tls.key \"%s\" with the certificate: %s",
                     path, reason());
}

static enum status load_files(SSL_CTX *context, const struct redis_tls_files *files,
                              struct error *err)
{
    if (files->ca[0] == '\0' ? SSL_CTX_set_default_verify_paths(context) != 1
                             : SSL_CTX_load_verify_locations(context, files->ca, NULL) != 1)
        return error_set(err, ERR_CONFIG, "could not read redis.tls.ca \"%s\": %s", files->ca,
                         reason());
    if ((files->certificate[0] == '\0') != (files->key[0] == '\0'))
        return error_set(err, ERR_CONFIG,
                         "redis.tls.certificate and redis.tls.key go together: give both or none");
    if (files->certificate[0] == '\0')
        return OK;
    if (SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
        return error_set(err, ERR_CONFIG, "could not read redis.tls.certificate \"%s\": %s",
                         files->certificate, reason());
    if (load_key(context, files->key, err) != OK)
        return err->status;
    return check_dates(context, files->certificate, err);
}

static enum status make_context(SSL_CTX **context, const struct redis_tls_files *files,
                                struct error *err)
{
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    enum status status;

    *context = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for TLS");
    (void)SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_verify(made, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(made,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    status = load_files(made, files, err);
    if (status != OK) {
        SSL_CTX_free(made);
        return status;
    }
    *context = made;
    return OK;
}

static struct stamp stamp_of(const char *path)
{
    struct stamp stamp;
    struct stat now;

    memset(&stamp, 0, sizeof stamp); /* they are compared as bytes */
    if (path[0] == '\0' || stat(path, &now) != 0)
        return stamp;
    stamp.device = now.st_dev;
    stamp.inode = now.st_ino;
    stamp.bytes = now.st_size;
    stamp.changed = now.st_mtim;
    return stamp;
}

static struct stamps stamps_of(const struct redis_tls_files *files)
{
    return (struct stamps){stamp_of(files->ca), stamp_of(files->certificate), stamp_of(files->key)};
}

enum status redis_tls_create(struct redis_tls **tls, const struct redis_tls_files *files,
                             struct error *err)
{
    struct redis_tls *made = calloc(1, sizeof *made);
    enum status status;

    *tls = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for TLS");
    made->files = *files;
    made->seen = stamps_of(files);
    status = make_context(&made->context, files, err);
    if (status != OK) {
        redis_tls_destroy(made);
        return status;
    }
    *tls = made;
    return OK;
}

void redis_tls_destroy(struct redis_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

/* The stamps are taken before reading: what changes meanwhile is read again. */
void redis_tls_refresh(struct redis_tls *tls)
{
    struct stamps now;
    SSL_CTX *context;
    struct error err;

    if (tls == NULL)
        return;
    now = stamps_of(&tls->files);
    if (memcmp(&now, &tls->seen, sizeof now) == 0)
        return;
    tls->seen = now;
    if (make_context(&context, &tls->files, &err) != OK) {
        log_event(LOG_WARN, "redis_tls_files", err.text,
                  log_text("meanwhile", "those read before are used"));
        return;
    }
    SSL_CTX_free(tls->context); /* sessions hold it for as long as they live */
    tls->context = context;
    log_event(LOG_INFO, "redis_tls_files", "the certificates for redis were read again");
}

/* ---- a session ---- */

/* The name or the address that the certificate must be of. */
static bool expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *judge = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(judge, name) == 1)
        return true;
    ERR_clear_error();
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

enum status redis_tls_begin(struct redis_tls_session **session, struct redis_tls *tls,
                            const char *host, int descriptor, struct error *err)
{
    struct redis_tls_session *made = calloc(1, sizeof *made);

    *session = NULL;
    if (made != NULL)
        made->ssl = SSL_new(tls->context);
    if (made == NULL || made->ssl == NULL || SSL_set_fd(made->ssl, descriptor) != 1 ||
        !expect_name(made->ssl,
                     tls->files.server_name[0] == '\0' ? host : tls->files.server_name)) {
        redis_tls_end(made);
        return error_set(err, ERR_NOMEM, "no memory for a session of TLS");
    }
    SSL_set_connect_state(made->ssl);
    *session = made;
    return OK;
}

void redis_tls_end(struct redis_tls_session *session)
{
    if (session == NULL)
        return;
    SSL_free(session->ssl);
    free(session);
}

/* What a call that did not succeed waits for: true, or false when the session is over. OpenSSL is
 * asked once: without its queue, which reason() empties, it takes an alert for a goodbye. */
static bool waits(struct redis_tls_session *session, int result)
{
    int error = SSL_get_error(session->ssl, result);
    int cause = ERR_GET_REASON(ERR_peek_last_error());

    session->wants = (short)(error == SSL_ERROR_WANT_READ    ? POLLIN
                             : error == SSL_ERROR_WANT_WRITE ? POLLOUT
                                                             : 0);
    if (session->wants != 0)
        return true;
    session->ended = error == SSL_ERROR_ZERO_RETURN;
    session->refused = error == SSL_ERROR_SSL && cause >= SSL_AD_REASON_OFFSET;
    (void)snprintf(session->why, sizeof session->why, "%s", reason());
    return false;
}

enum status redis_tls_shake(struct redis_tls_session *session, bool *done, struct error *err)
{
    int result;
    long verdict;

    ERR_clear_error();
    session->wants = 0;
    result = SSL_do_handshake(session->ssl);
    *done = result == 1;
    if (*done || waits(session, result))
        return OK;
    verdict = SSL_get_verify_result(session->ssl);
    if (verdict != X509_V_OK)
        return error_set(err, ERR_CONFIG, "its certificate is not good: %s",
                         X509_verify_cert_error_string(verdict));
    return redis_tls_why(session, err);
}

enum status redis_tls_why(const struct redis_tls_session *session, struct error *err)
{
    return error_set(err, session->refused ? ERR_CONFIG : ERR_UNAVAILABLE,
                     session->refused ? "it refuses our TLS: %s" : "no TLS with it: %s",
                     session->why);
}

ssize_t redis_tls_receive(struct redis_tls_session *session, void *into, size_t room)
{
    size_t count = 0;
    int result;

    ERR_clear_error();
    session->wants = 0;
    result = SSL_read_ex(session->ssl, into, room, &count);
    if (result == 1)
        return (ssize_t)count;
    if (waits(session, result)) {
        errno = EAGAIN;
        return -1;
    }
    if (session->ended)
        return 0;
    errno = EPROTO;
    return -1;
}

ssize_t redis_tls_send(struct redis_tls_session *session, const void *bytes, size_t count)
{
    size_t written = 0;
    int result;

    ERR_clear_error();
    session->wants = 0;
    result = SSL_write_ex(session->ssl, bytes, count, &written);
    if (result == 1)
        return (ssize_t)written;
    errno = waits(session, result) ? EAGAIN : EPROTO;
    return -1;
}

short redis_tls_wants(const struct redis_tls_session *session)
{
    return session->wants;
}

#endif
