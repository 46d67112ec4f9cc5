/* Tests ops/kafka_access: librdkafka's reasons become what an operator can mend. */
#include "ops/kafka_access.h"

#include "tests/test.h"

#include <string.h>

static char text[KAFKA_ACCESS_TEXT];

static bool explain(struct kafka_access *access, rd_kafka_resp_err_t code, const char *reason,
                    bool writes)
{
    text[0] = '\0';
    return kafka_access_explain(access, code, reason, "events", writes, text);
}

static bool said(const char *part)
{
    return strstr(text, part) != NULL;
}

static void app(struct kafka_access *access)
{
    *access = (struct kafka_access){0};
    kafka_access_note(access, "sasl.username", "app");
    kafka_access_note(access, "group.id", "g");
    kafka_access_note(access, "ssl.ca.location", "/etc/ca.pem");
    kafka_access_note(access, "sasl.password", "secret");
}

TEST(kafka_access_names_the_acl_that_is_missing)
{
    struct kafka_access access;

    app(&access);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "", false));
    CHECK_TEXT("app lacks the ACL READ (and DESCRIBE) on topic events", text);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "", true));
    CHECK_TEXT("app lacks the ACL WRITE (and DESCRIBE) on topic events", text);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, "", false));
    CHECK_TEXT("app lacks the ACL READ on group g", text);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, "", true));
    CHECK(said("WRITE"));
}

TEST(kafka_access_says_why_a_certificate_is_refused_and_by_which_file)
{
    static const char reason[] =
        "ssl://b:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate "
        "verify failed: broker certificate could not be verified (after 3ms in state "
        "SSL_HANDSHAKE)";
    static const struct {
        int refusal;
        const char *part;
    } cases[] = {{10, "it has expired"},
                 {62, "another host"},
                 {20, "issuer is unknown"},
                 {19, "issuer is unknown"},
                 {79, "X509 error 79"},
                 {0, "certificate verify failed: broker certificate could not be verified"}};
    struct kafka_access access;

    app(&access);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        atomic_store(&access.refusal, cases[i].refusal);
        CHECK(explain(&access, RD_KAFKA_RESP_ERR__SSL, reason, false));
        CHECK(said(cases[i].part));
        CHECK(cases[i].refusal == 0 || said("/etc/ca.pem"));
        CHECK(!said("(after"));
    }
}

TEST(kafka_access_tells_a_wrong_password_from_a_library_too_old)
{
    static const char reason[] = "sasl_ssl://b:1/bootstrap: SASL authentication error: "
                                 "Authentication failed (after 1ms in state AUTH_REQ)";
    struct kafka_access access;

    app(&access);
    kafka_access_note(&access, "sasl.mechanism", "PLAIN");
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__AUTHENTICATION, reason, false));
    CHECK_TEXT("the brokers refuse the login of app (kafka.security.username, password): "
               "Authentication failed",
               text);
    kafka_access_note(&access, "sasl.mechanism", "SCRAM-SHA-512");
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__AUTHENTICATION, reason, false));
    CHECK(said("2.6.1") == (rd_kafka_version() < 0x020601ff));
}

TEST(kafka_access_knows_a_listener_that_refuses_our_certificate)
{
    struct kafka_access access;

    app(&access);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__TRANSPORT,
                  "ssl://b:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert "
                  "bad certificate: SSL alert number 42 (after 1ms in state APIVERSION_QUERY)",
                  false));
    CHECK_TEXT("the brokers refuse our certificate (kafka.security.certificate): sslv3 alert bad "
               "certificate: SSL alert number 42",
               text);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__TRANSPORT,
                  "b:1/1: Disconnected: verify that security.protocol is correctly configured",
                  false));
    CHECK(said("kafka.security.protocol"));
}

TEST(kafka_access_leaves_other_errors_alone)
{
    struct kafka_access access;

    app(&access);
    CHECK(!explain(&access, RD_KAFKA_RESP_ERR__TRANSPORT, "Connection refused", false));
    CHECK(!explain(&access, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down", false));
    CHECK(!explain(&access, RD_KAFKA_RESP_ERR_NO_ERROR, "", false));
    CHECK_TEXT("", text);
}

TEST(kafka_access_never_writes_beyond_its_text)
{
    struct kafka_access access;
    char longest[1024];

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    app(&access);
    kafka_access_note(&access, "sasl.username", longest);
    kafka_access_note(&access, "ssl.ca.location", longest);
    kafka_access_note(&access, "group.id", longest);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__AUTHENTICATION, longest, false));
    CHECK(strlen(text) == KAFKA_ACCESS_TEXT - 1);
    atomic_store(&access.refusal, 10);
    CHECK(explain(&access, RD_KAFKA_RESP_ERR__SSL, longest, false));
    CHECK(explain(&access, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, longest, false));
}
