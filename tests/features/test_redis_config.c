/* Tests features/redis_config: the address, and a password that comes from a file or the
 * environment and stands in no message. */
#include "features/redis_target.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_target target;
static struct error err;

static enum status from(const char *url, const char *password)
{
    const struct config_row *tables[] = {redis_config_rows, NULL};
    struct config *config;
    const char *sets[2] = {url, password};
    char *report = NULL;
    enum status status;

    CHECK_STATUS(OK,
                 config_load(&config, tables, NULL, sets, password == NULL ? 1 : 2, &report, &err));
    free(report);
    memset(&target, 0, sizeof target);
    status = redis_target_from(&target, config, &err);
    config_destroy(config);
    return status;
}

static void write_secret(char set[200], size_t bytes)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/secret", test_folder());
    file = fopen(path, "wb");
    CHECK(file != NULL);
    for (size_t i = 0; i < bytes; i++)
        CHECK(fputc('p', file) == 'p');
    CHECK(fclose(file) == 0);
    (void)snprintf(set, 200, "redis.password=file:%s", path);
}

TEST(redis_config_takes_the_password_from_where_it_is_told)
{
    char set[200];

    CHECK_STATUS(OK, from("redis.url=redis://somebody@h:7/2", NULL));
    CHECK_TEXT("h", target.guides[0].host);
    CHECK(target.guides[0].port == 7 && target.db == 2 && target.secret.password[0] == 0);
    write_secret(set, 3);
    CHECK_STATUS(OK, from("redis.url=redis://h", set));
    CHECK_TEXT("ppp", target.secret.password);
    CHECK_INT(0, setenv("FRESHET_TEST_SECRET", "from the environment", 1));
    CHECK_STATUS(OK, from("redis.url=unix:///s", "redis.password=env:FRESHET_TEST_SECRET"));
    CHECK_TEXT("from the environment", target.secret.password);
    CHECK(target.guides[0].unix_socket);
    CHECK_INT(0, unsetenv("FRESHET_TEST_SECRET"));
}

TEST(redis_config_refuses_and_names_the_key)
{
    char set[200];

    CHECK_STATUS(ERR_CONFIG, from("redis.url=http://h", NULL));
    CHECK(strstr(err.text, "redis.url") != NULL);
    CHECK(from("redis.url=redis://h", "redis.password=env:FRESHET_TEST_NOT_THERE") != OK);
    CHECK(strstr(err.text, "FRESHET_TEST_NOT_THERE") != NULL);
    write_secret(set, REDIS_PASSWORD_MAX - 1);
    CHECK_STATUS(OK, from("redis.url=redis://h", set));
    write_secret(set, REDIS_PASSWORD_MAX);
    CHECK_STATUS(ERR_CONFIG, from("redis.url=redis://h", set));
    CHECK(strstr(err.text, "ppp") == NULL && strstr(err.text, "redis.password") != NULL);
}
