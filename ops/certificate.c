/*
 * ops/certificate.c - PEM, base64, and as much of DER as leads to the dates.
 *
 *     Certificate { TBSCertificate { [0] version, serial, algorithm, issuer,
 *                                    Validity { notBefore, notAfter }, ... }, ... }
 *
 * (RFC 5280 section 4.1; every element is tag, length, content.)
 */
#include "ops/certificate.h"

#include "ops/base64.h"
#include "ops/defence.h"
#include "ops/file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DER_BYTES_MAX 65536
#define TAG_INTEGER   0x02
#define TAG_UTC       0x17
#define TAG_TIME      0x18
#define TAG_SEQUENCE  0x30
#define TAG_VERSION   0xa0

static const char begin[] = "-----BEGIN CERTIFICATE-----";
static const char end[] = "-----END CERTIFICATE-----";

struct der {
    const uint8_t *at, *end;
};

/* Takes the next element and its content; false when there is none that fits. */
static bool der_next(struct der *in, int *tag, struct der *content)
{
    size_t left = (size_t)(in->end - in->at), bytes;
    int digits = 0;

    if (left < 2)
        return false;
    *tag = in->at[0];
    bytes = in->at[1];
    if (bytes >= 0x80) {
        digits = (int)(bytes & 0x7f);
        if (digits > 3 || left < 2 + (size_t)digits)
            return false;
        bytes = 0;
        for (int i = 0; i < digits; i++)
            bytes = bytes << 8 | in->at[2 + i];
    }
    in->at += 2 + digits;
    if ((size_t)(in->end - in->at) < bytes)
        return false;
    *content = (struct der){in->at, in->at + bytes};
    in->at += bytes;
    return true;
}

static bool der_expect(struct der *in, int wanted, struct der *content)
{
    int tag;

    return der_next(in, &tag, content) && tag == wanted;
}

static int two_digits(const uint8_t *at)
{
    return at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9'
               ? -1
               : 10 * (at[0] - '0') + at[1] - '0';
}

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ; years of two digits are 1950..2049. */
static bool read_time(struct der *in, int64_t *seconds)
{
    struct tm tm = {0};
    int parts[6], tag, century = -1;
    struct der text;

    if (!der_next(in, &tag, &text) || (tag != TAG_UTC && tag != TAG_TIME) ||
        text.end - text.at != (tag == TAG_UTC ? 13 : 15))
        return false;
    if (tag == TAG_TIME) {
        century = two_digits(text.at);
        text.at += 2;
    }
    for (int i = 0; i < 6; i++) {
        parts[i] = two_digits(text.at + (size_t)2 * (size_t)i);
        if (parts[i] < 0)
            return false;
    }
    if (tag == TAG_UTC)
        century = parts[0] < 50 ? 20 : 19;
    if (century < 0)
        return false;
    tm.tm_year = 100 * century + parts[0] - 1900;
    tm.tm_mon = parts[1] - 1;
    tm.tm_mday = parts[2];
    tm.tm_hour = parts[3];
    tm.tm_min = parts[4];
    tm.tm_sec = parts[5];
    *seconds = timegm(&tm);
    return true;
}

static bool read_validity(struct der whole, int64_t *from, int64_t *to)
{
    struct der certificate, body, part, validity;
    int tag;

    if (!der_expect(&whole, TAG_SEQUENCE, &certificate) ||
        !der_expect(&certificate, TAG_SEQUENCE, &body) || !der_next(&body, &tag, &part))
        return false;
    if (tag == TAG_VERSION && !der_next(&body, &tag, &part))
        return false;
    return tag == TAG_INTEGER && der_expect(&body, TAG_SEQUENCE, &part) &&
           der_expect(&body, TAG_SEQUENCE, &part) && der_expect(&body, TAG_SEQUENCE, &validity) &&
           read_time(&validity, from) && read_time(&validity, to);
}

/* PEM's base64 into DER. False: it is none. */
static bool read_pem(struct text pem, uint8_t *into, size_t *bytes)
{
    char *plain = malloc(pem.bytes + 1);
    size_t count = 0;
    bool good;

    if (plain == NULL)
        return false;
    for (size_t i = 0; i < pem.bytes; i++) {
        char c = pem.at[i];
        if (c == '\n' || c == '\r' || c == ' ' || c == '\t' || c == '=')
            continue;
        plain[count++] = (char)(c == '+' ? '-' : c == '/' ? '_' : c);
    }
    good = base64_decode(into, DER_BYTES_MAX, bytes, (struct text){plain, count});
    free(plain);
    return good;
}

static void day_of(int64_t seconds, char text[16])
{
    time_t when = (time_t)seconds;
    struct tm tm;

    if (gmtime_r(&when, &tm) == NULL || strftime(text, 16, "%Y-%m-%d", &tm) == 0)
        (void)snprintf(text, 16, "?");
}

/* The certificate that begins at *at, which moves behind it. */
static enum status check_one(const char *path, const char **at, int64_t now_s, uint8_t *der,
                             struct error *err)
{
    const char *from = *at + sizeof begin - 1;
    const char *to = strstr(from, end);
    int64_t not_before, not_after;
    size_t bytes;
    char day[16];

    *at = to == NULL ? from + strlen(from) : to + sizeof end - 1;
    if (to == NULL || !read_pem((struct text){from, (size_t)(to - from)}, der, &bytes) ||
        !read_validity((struct der){der, der + bytes}, &not_before, &not_after))
        return error_set(err, ERR_MALFORMED, "\"%s\" holds a damaged certificate", path);
    if (DEFENCE(EXPIRY) && now_s > not_after) {
        day_of(not_after, day);
        return error_set(err, ERR_CONFLICT, "\"%s\": the certificate has expired on %s", path, day);
    }
    if (now_s < not_before) {
        day_of(not_before, day);
        return error_set(err, ERR_CONFLICT, "\"%s\": the certificate is not valid before %s", path,
                         day);
    }
    return OK;
}

enum status certificate_check(const char *path, bool any, int64_t now_ms, struct error *err)
{
    uint8_t *der = malloc(DER_BYTES_MAX);
    char *file = NULL;
    const char *at;
    size_t bytes;
    enum status status;

    assert(path != NULL && err != NULL);
    status = der == NULL ? error_set(err, ERR_NOMEM, "no memory for certificates")
                         : file_read(path, CERTIFICATE_FILE_MAX, &file, &bytes, err);
    if (status != OK)
        goto done;
    at = strstr(file, begin);
    if (at == NULL)
        status = error_set(err, ERR_MALFORMED, "\"%s\" holds no certificate (PEM)", path);
    while (at != NULL) {
        status = check_one(path, &at, now_ms / 1000, der, err);
        if (status == OK || !any)
            break;
        at = strstr(at, begin);
    }
done:
    free(der);
    free(file);
    return status;
}

/* PKCS 8, and what OpenSSL wrote before it (RFC 1421). */
bool certificate_key_is_locked(const char *path)
{
    char *file = NULL;
    struct error err;
    size_t bytes;
    bool locked;

    if (file_read(path, CERTIFICATE_FILE_MAX, &file, &bytes, &err) != OK)
        return false;
    locked = strstr(file, "-----BEGIN ENCRYPTED PRIVATE KEY-----") != NULL ||
             strstr(file, "\nProc-Type: 4,ENCRYPTED") != NULL;
    explicit_bzero(file, bytes);
    free(file);
    return locked;
}
