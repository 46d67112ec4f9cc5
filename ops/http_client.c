/*
 * ops/http_client.c - one libcurl handle, kept open; every call has a deadline and a size.
 */
#include "ops/http_client.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct http_client {
    CURL *curl;
    struct curl_slist *json_headers;
    size_t answer_bytes_max;
    char *answer; /* (answer_bytes_max) grows as needed */
    size_t answer_room;
    size_t answer_bytes;
    bool too_long;
};

static pthread_once_t started = PTHREAD_ONCE_INIT;
static CURLcode start_code;

static void start(void)
{
    start_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* libcurl hands the body over in pieces; returning less than it gave ends the transfer. */
static size_t take(char *bytes, size_t size, size_t count, void *context)
{
    struct http_client *client = context;
    size_t n = size * count;
    size_t need = client->answer_bytes + n;

    if (need > client->answer_bytes_max) {
        client->too_long = true;
        return 0;
    }
    if (need > client->answer_room) {
        size_t room = client->answer_room == 0 ? 4096 : client->answer_room;
        char *grown;

        while (room < need)
            room *= 2;
        grown = realloc(client->answer, room);
        if (grown == NULL)
            return 0;
        client->answer = grown;
        client->answer_room = room;
    }
    memcpy(client->answer + client->answer_bytes, bytes, n);
    client->answer_bytes += n;
    return n;
}

enum status http_client_create(struct http_client **client, int64_t timeout_ms,
                               size_t answer_bytes_max, struct error *err)
{
    struct http_client *made = calloc(1, sizeof *made);

    *client = NULL;
    assert(timeout_ms > 0);
    (void)pthread_once(&started, start);
    if (made != NULL && start_code == CURLE_OK)
        made->curl = curl_easy_init();
    if (made != NULL)
        made->json_headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (made == NULL || made->curl == NULL || made->json_headers == NULL) {
        http_client_destroy(made);
        return error_set(err, ERR_NOMEM, "could not set up an HTTP client");
    }
    /* curl waits for "100 Continue" before a longer body unless told not to. */
    struct curl_slist *more = curl_slist_append(made->json_headers, "Expect:");
    if (more != NULL)
        made->json_headers = more;
    made->answer_bytes_max = answer_bytes_max;
    (void)curl_easy_setopt(made->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(made->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(made->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(made->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(made->curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(made->curl, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(made->curl, CURLOPT_PROXY, ""); /* no proxy from the environment */
    (void)curl_easy_setopt(made->curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(made->curl, CURLOPT_WRITEDATA, made);
    *client = made;
    return OK;
}

void http_client_destroy(struct http_client *client)
{
    if (client == NULL)
        return;
    if (client->curl != NULL)
        curl_easy_cleanup(client->curl);
    curl_slist_free_all(client->json_headers);
    free(client->answer);
    free(client);
}

void http_client_authorize(struct http_client *client, const char *user_password)
{
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    (void)curl_easy_setopt(client->curl, CURLOPT_USERPWD, user_password);
}

static enum status perform(struct http_client *client, const char *url, int *code,
                           struct text *body, struct error *err)
{
    long answered = 0;
    CURLcode result;

    client->answer_bytes = 0;
    client->too_long = false;
    (void)curl_easy_setopt(client->curl, CURLOPT_URL, url);
    result = curl_easy_perform(client->curl);
    if (client->too_long)
        return error_set(err, ERR_LIMIT, "answer of %s is longer than %zu bytes", url,
                         client->answer_bytes_max);
    if (result == CURLE_OPERATION_TIMEDOUT)
        return error_set(err, ERR_TIMEOUT, "%s did not answer in time", url);
    if (result != CURLE_OK)
        return error_set(err, ERR_UNAVAILABLE, "could not ask %s: %s", url,
                         curl_easy_strerror(result));
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &answered);
    *code = (int)answered;
    *body = (struct text){client->answer_bytes == 0 ? "" : client->answer, client->answer_bytes};
    return OK;
}

enum status http_client_get(struct http_client *client, const char *url, int *code,
                            struct text *body, struct error *err)
{
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPGET, 1L);
    return perform(client, url, code, body, err);
}

enum status http_client_post(struct http_client *client, const char *url, struct text json,
                             int *code, struct text *body, struct error *err)
{
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->json_headers);
    (void)curl_easy_setopt(client->curl, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)json.bytes);
    (void)curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, json.bytes == 0 ? "" : json.at);
    return perform(client, url, code, body, err);
}
