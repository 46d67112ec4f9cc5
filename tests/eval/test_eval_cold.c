/* Tests eval/eval_cold: whose texts are taken, and which rows are means of which. */
#include "eval/eval_cold.h"

#include "kernels/network.h"
#include "tests/eval/eval_fixture.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH    16
#define CHANNELS 64 /* of the preset small */

static struct eval_fixture data;
static struct eval_texts texts;
static struct error err;

/* red1 .. red4 are alike, blue and odd like nobody; of mute nothing is said. */
static const char events[] =
    "a red1\na red2\na red3\na blue\nb red2\nb blue\nb odd\nb red4\nb mute\n";
static const char said[] = "{\"item\":\"red1\",\"text\":\"scarlet crimson\"}\n"
                           "{\"item\":\"red2\",\"text\":\"scarlet crimson\"}\n"
                           "{\"item\":\"red3\",\"text\":\"scarlet crimson\"}\n"
                           "{\"item\":\"red4\",\"text\":\"scarlet crimson\"}\n"
                           "{\"item\":\"blue\",\"text\":\"azure\"}\n"
                           "{\"item\":\"odd\",\"text\":\"nothing alike\"}\n"
                           "{\"item\":\"stranger\",\"text\":\"scarlet crimson\"}\n";

static enum status load(const char *content, int32_t width)
{
    char path[300];

    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    retrain_write(path, content, strlen(content));
    return eval_texts_load(&texts, path, width, &data.data, &err);
}

static int32_t row_of(const char *name)
{
    int32_t row = interactions_item(&data.data, text_of(name));

    CHECK(row > 0);
    return row;
}

static bool is_zero(const float *vector)
{
    for (int i = 0; i < WIDTH; i++)
        if (vector[i] != 0)
            return false;
    return true;
}

TEST(eval_cold_takes_what_is_said_of_items_of_the_data)
{
    static const char twice[] = "{\"item\":\"red1\",\"text\":\"crimson\"}\n"
                                "{\"item\":\"red1\",\"text\":\"scarlet\"}\n";

    eval_fixture_load(&data, events, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_STATUS(OK, load(said, WIDTH));
    CHECK_INT(6, texts.items); /* without the stranger */
    CHECK_INT(WIDTH, texts.width);
    CHECK(item_words_known(texts.words, row_of("odd")));
    CHECK(!item_words_known(texts.words, row_of("mute")));
    CHECK(is_zero(texts.vectors) && is_zero(texts.vectors + WIDTH * row_of("mute")));
    CHECK(!is_zero(texts.vectors + WIDTH * row_of("odd")));
    CHECK(memcmp(texts.vectors + WIDTH * row_of("red1"), texts.vectors + WIDTH * row_of("red3"),
                 WIDTH * sizeof(float)) == 0);
    eval_texts_clear(&texts);
    CHECK_STATUS(OK, load(twice, 0));
    CHECK_INT(1, texts.items); /* told of twice */
    CHECK(texts.vectors == NULL);
    eval_texts_clear(&texts);
    eval_fixture_clear(&data);
}

TEST(eval_cold_refuses_a_file_that_says_nothing_of_the_data)
{
    eval_fixture_load(&data, events, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_STATUS(ERR_MALFORMED, load("{\"item\":\"stranger\",\"text\":\"x\"}\n", WIDTH));
    CHECK(strstr(err.text, "says nothing of the items") != NULL);
    CHECK(texts.words == NULL && texts.vectors == NULL && texts.items == 0);
    CHECK_STATUS(ERR_NOT_FOUND, eval_texts_load(&texts, "/nowhere/items", 0, &data.data, &err));
    CHECK(texts.words == NULL);
    eval_fixture_clear(&data);
}

/* Of those that were never trained red3 and red4 alone are like items that were; not each other's.
 */
TEST(eval_cold_rows_are_means_of_trained_rows_of_the_like)
{
    static float before[16][CHANNELS];
    float lifetime[16] = {0};
    struct model_config config;
    struct model *model;
    uint8_t *cold;
    int32_t V;

    eval_fixture_load(&data, events, SPLIT_LEAVE_ONE_OUT, 1);
    CHECK_STATUS(OK, load(said, 0));
    V = data.data.items;
    CHECK(V <= 16 && model_preset(&config, "small", V, 0) && config.C == CHANNELS);
    CHECK_STATUS(OK, model_create(&model, &config, 3, &err));
    for (int32_t v = 0; v < V; v++)
        memcpy(before[v], model_item(model, v), sizeof before[v]);
    lifetime[row_of("red1")] = 1;
    lifetime[row_of("red2")] = 7;
    CHECK_STATUS(OK, eval_cold_rows(&cold, model, &texts, lifetime, &err));
    for (int32_t v = 0; v < V; v++) {
        bool made = v == row_of("red3") || v == row_of("red4");

        CHECK_INT(made, cold[v]);
        for (int c = 0; c < CHANNELS; c++)
            CHECK_NEAR(
                made ? ((double)before[row_of("red1")][c] + (double)before[row_of("red2")][c]) / 2
                     : (double)before[v][c],
                (double)model_item(model, v)[c], made ? 1e-7 : 0);
    }
    CHECK(model_scorer(model).prepared);
    free(cold);
    model_destroy(model);
    eval_texts_clear(&texts);
    eval_fixture_clear(&data);
}
