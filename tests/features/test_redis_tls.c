/*
 * Tests features/redis_tls against OpenSSL's server side over a pair of sockets, one step at a
 * time: names, strangers, garbage, a handshake cut at every place, full buffers. Against a real
 * redis-server: tests/integration/test_redis_security.sh.
 */
#include "features/redis_tls.h"

#include "tests/test.h"

#ifndef FRESHET_TLS

TEST(redis_tls_says_that_this_build_has_none)
{
    static struct redis_tls_files files;
    struct redis_tls *tls;
    struct error err;

    CHECK(!redis_tls_built());
    CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err));
    CHECK(tls == NULL);
}

#else

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/ui.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DAY (24 * 3600L)

struct peer { /* a server with a certificate of its own */
    EVP_PKEY *key;
    X509 *certificate;
    SSL_CTX *context;
    SSL *ssl;
    int descriptor;
};

static struct redis_tls_files files;
static struct redis_tls *tls;
static struct redis_tls_session *session;
static struct peer peer;
static int descriptor; /* the client's end */
static struct error err;

static void write_pem(char path[REDIS_PATH_MAX], const char *name, X509 *certificate, EVP_PKEY *key)
{
    FILE *file;

    (void)snprintf(path, REDIS_PATH_MAX, "%s/%s", test_folder(), name);
    file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(certificate == NULL || PEM_write_X509(file, certificate) == 1);
    CHECK(key == NULL || PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    CHECK(fclose(file) == 0);
}

/* Signed by itself, for that name; good from so many days ago to so many ahead. */
static X509 *make_certificate(EVP_PKEY *key, const char *names, long from_days, long to_days)
{
    X509 *made = X509_new();
    X509_NAME *name = X509_get_subject_name(made);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);

    CHECK(extension != NULL && X509_set_version(made, 2) == 1);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(made), 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(made), from_days * DAY) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(made), to_days * DAY) != NULL);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1,
                                     -1, 0) == 1);
    CHECK(X509_set_issuer_name(made, name) == 1 && X509_set_pubkey(made, key) == 1);
    CHECK(X509_add_ext(made, extension, -1) == 1 && X509_sign(made, key, EVP_sha256()) > 0);
    X509_EXTENSION_free(extension);
    return made;
}

static void begin_as(const char *names, long from_days, long to_days)
{
    memset(&files, 0, sizeof files);
    peer = (struct peer){.key = EVP_EC_gen("P-256"), .descriptor = -1};
    CHECK(peer.key != NULL);
    peer.certificate = make_certificate(peer.key, names, from_days, to_days);
    write_pem(files.ca, "ca.pem", peer.certificate, NULL);
    peer.context = SSL_CTX_new(TLS_server_method());
    CHECK(SSL_CTX_use_certificate(peer.context, peer.certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(peer.context, peer.key) == 1);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void open_pair(void)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    descriptor = pair[0];
    peer.descriptor = pair[1];
}

static void open_session(const char *host)
{
    open_pair();
    peer.ssl = SSL_new(peer.context);
    CHECK(peer.ssl != NULL && SSL_set_fd(peer.ssl, peer.descriptor) == 1);
    SSL_set_accept_state(peer.ssl);
    CHECK_STATUS(OK, redis_tls_create(&tls, &files, &err));
    CHECK_STATUS(OK, redis_tls_begin(&session, tls, host, descriptor, &err));
}

static void close_session(void)
{
    redis_tls_end(session);
    redis_tls_destroy(tls);
    SSL_free(peer.ssl);
    (void)close(descriptor);
    if (peer.descriptor >= 0)
        (void)close(peer.descriptor);
}

static void end(void)
{
    SSL_CTX_free(peer.context);
    X509_free(peer.certificate);
    EVP_PKEY_free(peer.key);
}

/* Both sides in turn; the client's status when it is done or has failed. */
static enum status shake(void)
{
    bool done = false;
    enum status status = OK;

    for (int turn = 0; turn < 100 && status == OK && !done; turn++) {
        status = redis_tls_shake(session, &done, &err);
        CHECK(done || status != OK || redis_tls_wants(session) != 0);
        (void)SSL_do_handshake(peer.ssl);
    }
    CHECK(done || status != OK);
    return status;
}

static enum status shake_with(const char *host)
{
    enum status status;

    open_session(host);
    status = shake();
    close_session();
    return status;
}

TEST(redis_tls_trusts_the_names_of_the_certificate_and_no_other)
{
    begin_as("DNS:redis.test,IP:127.0.0.1", -1, 1);
    CHECK_STATUS(OK, shake_with("redis.test"));
    CHECK_STATUS(OK, shake_with("127.0.0.1"));
    CHECK_STATUS(ERR_CONFIG, shake_with("127.0.0.2"));
    CHECK_STATUS(ERR_CONFIG, shake_with("other.test"));
    CHECK(strstr(err.text, "certificate is not good") != NULL);
    (void)snprintf(files.server_name, sizeof files.server_name, "redis.test");
    CHECK_STATUS(OK, shake_with("10.0.0.7")); /* an address behind which it is known to stand */
    (void)snprintf(files.server_name, sizeof files.server_name, "elsewhere.test");
    CHECK_STATUS(ERR_CONFIG, shake_with("redis.test"));
    end();
}

TEST(redis_tls_trusts_no_stranger_and_nobody_whose_time_is_over)
{
    char real[REDIS_PATH_MAX];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *stranger = make_certificate(key, "DNS:redis.test", -1, 1);

    begin_as("DNS:redis.test", -1, 1);
    memcpy(real, files.ca, sizeof real);
    write_pem(files.ca, "stranger.pem", stranger, NULL);
    CHECK_STATUS(ERR_CONFIG, shake_with("redis.test"));
    memcpy(files.ca, real, sizeof real);
    CHECK_STATUS(OK, shake_with("redis.test"));
    end();
    begin_as("DNS:redis.test", -2, -1);
    CHECK_STATUS(ERR_CONFIG, shake_with("redis.test"));
    CHECK(strstr(err.text, "expired") != NULL);
    end();
    X509_free(stranger);
    EVP_PKEY_free(key);
}

TEST(redis_tls_refuses_files_that_do_not_belong_together)
{
    char certificate[REDIS_PATH_MAX], key[REDIS_PATH_MAX], old[REDIS_PATH_MAX];
    EVP_PKEY *another = EVP_EC_gen("P-256");
    X509 *expired;

    begin_as("DNS:redis.test", -1, 1);
    expired = make_certificate(peer.key, "DNS:redis.test", -2, -1);
    write_pem(certificate, "own.pem", peer.certificate, NULL);
    write_pem(key, "own.key", NULL, peer.key);
    write_pem(old, "old.pem", expired, NULL);
    memcpy(files.certificate, certificate, sizeof certificate);
    CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err)); /* no key */
    CHECK(tls == NULL && strstr(err.text, "go together") != NULL);
    memcpy(files.key, key, sizeof key);
    CHECK_STATUS(OK, redis_tls_create(&tls, &files, &err));
    redis_tls_destroy(tls);
    memcpy(files.certificate, old, sizeof old);
    CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err));
    CHECK(strstr(err.text, "run out") != NULL);
    memcpy(files.certificate, certificate, sizeof certificate);
    write_pem(files.key, "another.key", NULL, another);
    CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err));
    (void)snprintf(files.ca, sizeof files.ca, "%s/nowhere.pem", test_folder());
    CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err));
    CHECK(tls == NULL && strstr(err.text, "nowhere.pem") != NULL);
    redis_tls_destroy(NULL);
    redis_tls_end(NULL);
    X509_free(expired);
    EVP_PKEY_free(another);
    end();
}

static int asked_for_a_password;

/* What OpenSSL would open a terminal with. */
static int ask_nobody(UI *ui)
{
    (void)ui;
    asked_for_a_password++;
    return 0;
}

TEST(redis_tls_refuses_an_encrypted_key_and_asks_nobody)
{
    UI_METHOD *terminal = UI_create_method("test");
    BIO *file;

    begin_as("DNS:redis.test", -1, 1);
    CHECK(terminal != NULL && UI_method_set_opener(terminal, ask_nobody) == 0);
    UI_set_default_method(terminal);
    asked_for_a_password = 0;
    write_pem(files.certificate, "own.pem", peer.certificate, NULL);
    for (int form = 0; form < 2; form++) { /* PKCS 8, and that of before */
        (void)snprintf(files.key, sizeof files.key, "%s/locked.key", test_folder());
        file = BIO_new_file(files.key, "w");
        CHECK(file != NULL);
        CHECK((form == 0 ? PEM_write_bio_PKCS8PrivateKey(file, peer.key, EVP_aes_128_cbc(), "word",
                                                         4, NULL, NULL)
                         : PEM_write_bio_PrivateKey_traditional(file, peer.key, EVP_aes_128_cbc(),
                                                                (const unsigned char *)"word", 4,
                                                                NULL, NULL)) == 1);
        CHECK(BIO_free(file) == 1);
        CHECK_STATUS(ERR_CONFIG, redis_tls_create(&tls, &files, &err));
        CHECK(tls == NULL && strstr(err.text, "locked.key\" is encrypted") != NULL);
    }
    CHECK_INT(0, asked_for_a_password);
    UI_set_default_method(NULL);
    UI_destroy_method(terminal);
    end();
}

/* The server begins to trust another authority and wants a certificate of us: the files are
 * replaced one by one, as a tool that renews them would. */
TEST(redis_tls_reads_its_files_again_when_they_change)
{
    EVP_PKEY *next_key = EVP_EC_gen("P-256");
    X509 *next = make_certificate(next_key, "DNS:redis.test", -1, 1);

    begin_as("DNS:redis.test", -1, 1);
    write_pem(files.certificate, "own.pem", peer.certificate, NULL);
    write_pem(files.key, "own.key", NULL, peer.key);
    open_session("redis.test");
    CHECK_STATUS(OK, shake());
    redis_tls_end(session);
    SSL_free(peer.ssl);
    SSL_CTX_free(peer.context);
    (void)close(descriptor);
    (void)close(peer.descriptor);
    open_pair();

    peer.context = SSL_CTX_new(TLS_server_method());
    CHECK(SSL_CTX_use_certificate(peer.context, next) == 1);
    CHECK(SSL_CTX_use_PrivateKey(peer.context, next_key) == 1);
    CHECK(X509_STORE_add_cert(SSL_CTX_get_cert_store(peer.context), next) == 1);
    SSL_CTX_set_verify(peer.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    (void)SSL_CTX_set_max_proto_version(peer.context, TLS1_2_VERSION); /* who is refused hears it */
    for (int step = 0; step < 4; step++) {
        if (step == 1)
            write_pem(files.ca, "ca.pem", next, NULL);
        if (step == 2)
            write_pem(files.certificate, "own.pem", next, NULL); /* with the old key: no good yet */
        if (step == 3)
            write_pem(files.key, "own.key", NULL, next_key);
        redis_tls_refresh(tls);
        peer.ssl = SSL_new(peer.context);
        CHECK(peer.ssl != NULL && SSL_set_fd(peer.ssl, peer.descriptor) == 1);
        SSL_set_accept_state(peer.ssl);
        CHECK_STATUS(OK, redis_tls_begin(&session, tls, "redis.test", descriptor, &err));
        CHECK_STATUS(step == 3 ? OK : ERR_CONFIG, shake());
        CHECK(step != 0 || strstr(err.text, "its certificate is not good") != NULL);
        if (step < 3) {
            redis_tls_end(session);
            SSL_free(peer.ssl);
            (void)close(descriptor);
            (void)close(peer.descriptor);
            open_pair();
        }
    }
    close_session();
    X509_free(next);
    EVP_PKEY_free(next_key);
    end();
}

/* A server that speaks plain Redis, and one that leaves, are no question of configuration. */
TEST(redis_tls_tells_a_peer_without_tls_from_one_that_refuses_us)
{
    begin_as("DNS:redis.test", -1, 1);
    open_session("redis.test");
    CHECK(write(peer.descriptor, "-ERR unknown command\r\n", 22) == 22);
    CHECK_STATUS(ERR_UNAVAILABLE, shake());
    close_session();
    open_session("redis.test");
    (void)close(peer.descriptor);
    peer.descriptor = -1;
    CHECK_STATUS(ERR_UNAVAILABLE, shake());
    close_session();
    /* It wants a certificate of us: with TLS 1.3 that shows behind the handshake. */
    SSL_CTX_set_verify(peer.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    open_session("redis.test");
    if (shake() == OK) {
        ssize_t got = -1;
        char byte;

        for (int turn = 0; turn < 100 && got == -1 && (turn == 0 || errno == EAGAIN); turn++) {
            (void)SSL_do_handshake(peer.ssl);
            got = redis_tls_receive(session, &byte, 1);
        }
        CHECK(got == -1 && errno == EPROTO);
        CHECK_STATUS(ERR_CONFIG, redis_tls_why(session, &err));
    }
    CHECK_STATUS(ERR_CONFIG, err.status);
    CHECK(strstr(err.text, "refuses our TLS") != NULL);
    close_session();
    end();
}

/* More than the sockets hold goes both ways, in whatever pieces; whoever must wait says for what.
 */
TEST(redis_tls_carries_everything_in_whatever_pieces)
{
    enum { ALL = 1 << 20 };
    uint8_t *sent = malloc(ALL), *got = malloc(ALL);
    size_t out = 0, in = 0, count;
    bool waited = false;
    char byte;

    CHECK(sent != NULL && got != NULL);
    for (int i = 0; i < ALL; i++)
        sent[i] = (uint8_t)((uint32_t)i * 2654435761u >> 24);
    begin_as("DNS:redis.test", -1, 1);
    open_session("redis.test");
    CHECK_STATUS(OK, shake());
    CHECK(redis_tls_receive(session, &byte, 1) == -1 && errno == EAGAIN);
    CHECK_INT(POLLIN, redis_tls_wants(session));
    for (int turn = 0; turn < 100000 && in < ALL; turn++) {
        ssize_t part;

        while (out < ALL && (part = redis_tls_send(session, sent + out, ALL - out)) > 0)
            out += (size_t)part;
        CHECK(out == ALL || (errno == EAGAIN && redis_tls_wants(session) == POLLOUT));
        waited |= out < ALL;
        if (SSL_read_ex(peer.ssl, got + in, ALL - in, &count) == 1)
            in += count;
    }
    CHECK(in == ALL && memcmp(sent, got, ALL) == 0 && waited);
    CHECK(SSL_write_ex(peer.ssl, sent, 1000, &count) == 1 && count == 1000);
    CHECK_INT(1,
              redis_tls_receive(session, got, 1)); /* the rest is in the session, unseen by poll */
    CHECK_INT(999, redis_tls_receive(session, got + 1, ALL));
    CHECK(memcmp(sent, got, 1000) == 0);
    CHECK(SSL_shutdown(peer.ssl) >= 0);
    CHECK_INT(0, redis_tls_receive(session, got, ALL)); /* as recv() at the end */
    close_session();
    end();
    free(sent);
    free(got);
}

#endif
