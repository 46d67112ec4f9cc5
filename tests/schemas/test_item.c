/* Tests schemas/item: what a catalogue may say of an item, and tombstones. */
#include "schemas/item.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct item_decoder *decoder;
static struct item item;
static struct error err;
static char buffer[ITEM_BYTES_MAX + 2];

static enum status decode(const char *key, const char *json)
{
    return item_decode(decoder, key == NULL ? (struct text){0} : text_of(key),
                       json == NULL ? (struct text){0} : text_of(json), &item, &err);
}

static void start(void)
{
    CHECK_STATUS(OK, item_decoder_create(&decoder, &err));
}

TEST(item_comes_back)
{
    struct item want = {.item = text_of("i7"),
                        .category = text_of("shoes"),
                        .text = text_of("a \"red\" \xe2\x82\xac shoe"),
                        .time_ms = 1700000000123};
    size_t bytes;

    start();
    bytes = item_encode(&want, buffer, sizeof buffer);
    CHECK(bytes > 0 && item_encode(&want, buffer, bytes - 1) == 0);
    bytes = item_encode(&want, buffer, sizeof buffer);
    CHECK_STATUS(OK, item_decode(decoder, want.item, (struct text){buffer, bytes}, &item, &err));
    CHECK(!item.gone && text_equal(item.item, want.item) && text_equal(item.text, want.text));
    CHECK(text_equal(item.category, want.category) && item.time_ms == want.time_ms);
    for (size_t cut = 0; cut < bytes; cut++) {
        char *part = malloc(cut + 1);

        memcpy(part, buffer, cut);
        CHECK_STATUS(ERR_MALFORMED,
                     item_decode(decoder, want.item, (struct text){part, cut}, &item, &err));
        free(part);
    }
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        buffer[bit / 8] ^= (char)(1 << bit % 8);
        if (item_decode(decoder, want.item, (struct text){buffer, bytes}, &item, &err) == OK)
            CHECK(text_equal(item.item, want.item));
        buffer[bit / 8] ^= (char)(1 << bit % 8);
    }
    item_decoder_destroy(decoder);
}

TEST(item_without_a_value_is_gone)
{
    start();
    CHECK_STATUS(OK, decode("i7", NULL));
    CHECK(item.gone && text_equal(item.item, text_of("i7")));
    CHECK_STATUS(ERR_MALFORMED, decode(NULL, NULL));
    CHECK_STATUS(ERR_MALFORMED, decode("i7", "")); /* an empty value is no tombstone */
    memset(buffer, 'x', ITEM_ID_MAX + 1);
    buffer[ITEM_ID_MAX + 1] = 0;
    CHECK_STATUS(ERR_MALFORMED, decode(buffer, NULL));
    item_decoder_destroy(decoder);
}

TEST(item_decode_takes_and_refuses)
{
    static const struct {
        const char *json;
        enum status status;
    } cases[] = {
        {"{\"item\":\"i7\"}", OK},
        {"{\"item\":7,\"category\":3,\"new\":[{}]}", OK},
        {"{\"item\":\"i7\",\"text\":null,\"category\":null,\"ts\":null}", OK},
        {"{}", ERR_MALFORMED},
        {"[]", ERR_MALFORMED},
        {"{\"item\":\"\"}", ERR_MALFORMED},
        {"{\"item\":1.5}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"text\":7}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"text\":[]}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"category\":true}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"ts\":-1}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"ts\":1.5}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"ts\":281474976710656}", ERR_MALFORMED},
        {"{\"item\":\"i\",\"ts\":281474976710655}", OK},
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (decode(NULL, cases[i].json) != cases[i].status)
            test_fail(__FILE__, __LINE__, "%s", cases[i].json);
    CHECK_STATUS(ERR_MALFORMED, decode("i8", "{\"item\":\"i7\"}"));
    CHECK_STATUS(OK, decode("7", "{\"item\":7}"));
    item_decoder_destroy(decoder);
}

TEST(item_decode_of_bounds)
{
    static const struct {
        const char *member;
        int bytes_max;
    } members[] = {{"item", ITEM_ID_MAX}, {"category", ITEM_CATEGORY_MAX}, {"text", ITEM_TEXT_MAX}};

    start();
    for (int i = 0; i < 3; i++) {
        for (int more = 0; more < 2; more++) {
            (void)snprintf(buffer, sizeof buffer, "{%s\"%s\":\"%0*d\"}",
                           i == 0 ? "" : "\"item\":\"i\",", members[i].member,
                           members[i].bytes_max + more, 0);
            CHECK_STATUS(more ? ERR_LIMIT : OK, decode(NULL, buffer));
        }
    }
    for (int more = 0; more < 2; more++) {
        memset(buffer, ' ', sizeof buffer);
        memcpy(buffer, "{\"item\":1", 9);
        buffer[ITEM_BYTES_MAX + more - 1] = '}';
        buffer[ITEM_BYTES_MAX + more] = 0;
        CHECK_STATUS(more ? ERR_LIMIT : OK, decode(NULL, buffer));
    }
    item_decoder_destroy(decoder);
}
