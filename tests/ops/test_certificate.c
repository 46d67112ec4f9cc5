/*
 * Tests ops/certificate: dates of both notations, first or any certificate of a file, and every
 * truncation of one.
 */
#include "ops/certificate.h"

#include "ops/file.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Valid for 20 days: its dates have years of two digits. */
static const char brief[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBeDCCAR+gAwIBAgIUb9+KCphYh8qiV0p5ucflhVSyqFIwCgYIKoZIzj0EAwIw\n"
                            "EjEQMA4GA1UEAwwHZnJlc2hldDAeFw0yNjExMjIxMjA1MjRaFw0yNjEyMTIxMjA1\n"
                            "MjRaMBIxEDAOBgNVBAMMB2ZyZXNoZXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n"
                            "AAS/wfoybVqMhIDYDeig5PVfPt/ZXNfH1SfPOsCR7HVsWVVrhlxNAUdJsZLU+v3V\n"
                            "FBb9SodctIa0Cqth2RUmf3uIo1MwUTAdBgNVHQ4EFgQUeBA+ki5kkXWi/B6afcI+\n"
                            "YaVw63EwHwYDVR0jBBgwFoAUeBA+ki5kkXWi/B6afcI+YaVw63EwDwYDVR0TAQH/\n"
                            "BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAvKANEy69Dc20/p6b2ZZvDgUtkjyAj\n"
                            "mx1ICWiJksNN3wIgUKJXpVWX/I/NbRNn0CochAT2mUs/FJq3nnBZuxU9jqU=\n"
                            "-----END CERTIFICATE-----\n";
#define BRIEF_FROM 1795349124LL
#define BRIEF_TO   1797077124LL

/* Valid for 20,000 days: the year of its end has four. */
static const char lasting[] = "-----BEGIN CERTIFICATE-----\n"
                              "MIIBezCCASGgAwIBAgIULgO4QaGMKlrb9UOm+d8l7LlFWMswCgYIKoZIzj0EAwIw\n"
                              "EjEQMA4GA1UEAwwHZnJlc2hldDAgFw0yNjExMjIxMjA1MjVaGA8yMDgxMDgyNTEy\n"
                              "MDUyNVowEjEQMA4GA1UEAwwHZnJlc2hldDBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
                              "A0IABCFNzvopGkOGHkRaVH4F8pkjBDVsgP6GeR1AjzZVSihaUabpm7Camoo6aMKU\n"
                              "I6mR8GxMbQ6wivhlLbsqaR2LptejUzBRMB0GA1UdDgQWBBTQ5rS1/6jz+92/I5gG\n"
                              "mAb58LLEPTAfBgNVHSMEGDAWgBTQ5rS1/6jz+92/I5gGmAb58LLEPTAPBgNVHRMB\n"
                              "Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIHsaRJYFipEVWQC1JC7GJGXGilZI\n"
                              "XEaqgAJ8AJeNFHN1AiEA0L4GIKcEJBvgSnyC+qOgYPut6J1+/pUd77jIAxpAzV4=\n"
                              "-----END CERTIFICATE-----\n";
#define LASTING_TO 3523349125LL

static enum status check_text(const char *text, size_t bytes, bool any, int64_t now_s,
                              struct error *err)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/some.pem", test_folder());
    CHECK_STATUS(OK, file_replace(path, text, bytes, err));
    return certificate_check(path, any, now_s * 1000, err);
}

static enum status check_file(const char *text, bool any, int64_t now_s, struct error *err)
{
    return check_text(text, strlen(text), any, now_s, err);
}

TEST(certificate_check_compares_the_dates)
{
    struct error err;

    CHECK_STATUS(OK, check_file(brief, false, BRIEF_FROM, &err));
    CHECK_STATUS(OK, check_file(brief, false, BRIEF_TO, &err));
    CHECK_STATUS(ERR_CONFLICT, check_file(brief, false, BRIEF_TO + 1, &err));
    CHECK(strstr(err.text, "some.pem") != NULL && strstr(err.text, "has expired on 2026-") != NULL);
    CHECK_STATUS(ERR_CONFLICT, check_file(brief, false, BRIEF_FROM - 1, &err));
    CHECK(strstr(err.text, "not valid before 2026-") != NULL);
    CHECK_STATUS(OK, check_file(lasting, false, LASTING_TO, &err));
    CHECK_STATUS(ERR_CONFLICT, check_file(lasting, false, LASTING_TO + 1, &err));
    CHECK(strstr(err.text, "expired on 2081-") != NULL);
}

TEST(certificate_check_asks_the_first_or_any)
{
    char both[sizeof brief + sizeof lasting];
    struct error err;

    (void)snprintf(both, sizeof both, "%s%s", brief, lasting);
    CHECK_STATUS(ERR_CONFLICT, check_file(both, false, BRIEF_TO + 1, &err));
    CHECK_STATUS(OK, check_file(both, true, BRIEF_TO + 1, &err));
    CHECK_STATUS(ERR_CONFLICT, check_file(both, true, LASTING_TO + 1, &err));
}

TEST(certificate_check_names_a_file_that_is_none)
{
    struct error err;

    CHECK_STATUS(ERR_NOT_FOUND, certificate_check("/nowhere/ca.pem", true, 0, &err));
    CHECK(strstr(err.text, "/nowhere/ca.pem") != NULL);
    CHECK_STATUS(ERR_MALFORMED, check_file("", true, BRIEF_FROM, &err));
    CHECK_STATUS(ERR_MALFORMED, check_file("no certificate", true, BRIEF_FROM, &err));
    CHECK(strstr(err.text, "some.pem") != NULL);
}

TEST(certificate_check_refuses_every_truncation_and_survives_every_flip)
{
    struct error err;
    char copy[sizeof brief];

    for (size_t cut = 0; cut < sizeof brief - 2; cut++)
        CHECK_STATUS(ERR_MALFORMED, check_text(brief, cut, false, BRIEF_FROM, &err));
    for (size_t i = 0; i < sizeof brief - 1; i += 3) {
        memcpy(copy, brief, sizeof brief);
        copy[i] ^= 0x15;
        enum status status = check_text(copy, sizeof brief - 1, false, BRIEF_FROM, &err);
        CHECK(status == OK || status == ERR_MALFORMED || status == ERR_CONFLICT);
    }
}

TEST(certificate_key_is_locked_when_a_password_opens_it)
{
    static const struct {
        const char *text;
        bool locked;
    } keys[] = {
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", false},
        {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", false},
        {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
         true},
        {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n",
         true},
        {brief, false},
        {"", false},
    };
    char path[512];
    struct error err;

    (void)snprintf(path, sizeof path, "%s/some.key", test_folder());
    CHECK(!certificate_key_is_locked(path)); /* there is none */
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        CHECK_STATUS(OK, file_replace(path, keys[i].text, strlen(keys[i].text), &err));
        CHECK_INT(keys[i].locked, certificate_key_is_locked(path));
    }
}
