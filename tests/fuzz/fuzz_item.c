/* Fuzzes schemas/item: what is accepted is written and read again as the same. */
#include "schemas/item.h"
#include "tests/fuzz/fuzz.h"

static struct item_decoder *decoder, *second;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err;

    (void)argc;
    (void)argv;
    FUZZ_CHECK(item_decoder_create(&decoder, &err) == OK);
    FUZZ_CHECK(item_decoder_create(&second, &err) == OK);
    fuzz_seed_text("{\"item\":\"i7\",\"category\":\"x\",\"text\":\"a \\u20ac\",\"ts\":170}");
    fuzz_seed_text("{\"item\":7,\"category\":-3,\"text\":null}");
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char json[8 * ITEM_BYTES_MAX];
    struct text no_key = {0};
    struct item item, again;
    struct error err;

    if (item_decode(decoder, no_key, (struct text){(const char *)data, size}, &item, &err) != OK)
        return 0;
    size_t bytes = item_encode(&item, json, sizeof json);
    FUZZ_CHECK(bytes > 0);
    if (bytes > ITEM_BYTES_MAX)
        return 0;
    FUZZ_CHECK(item_decode(second, no_key, (struct text){json, bytes}, &again, &err) == OK);
    FUZZ_CHECK(text_equal(item.item, again.item) && text_equal(item.category, again.category));
    FUZZ_CHECK(text_equal(item.text, again.text) && item.time_ms == again.time_ms);
    return 0;
}
