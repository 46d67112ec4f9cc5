/*
 * Tests kernels/model_file and model_rows: every switch goes through a bundle and comes back,
 * bundles of before there were switches load, and what contradicts its manifest is refused by name.
 */
#include "kernels/model_file.h"

#include "kernels/model_rows.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct jagged jagged;
static struct manifest manifest;
static char path[512];

static struct model *make(int switches)
{
    struct model_config config;
    struct model *model;
    struct error err;

    CHECK(model_preset(&config, "small", 30, 3));
    config.P = 20 + BATCH_CONTEXTS;
    switches_set(&config, switches);
    CHECK_STATUS(OK, model_create(&model, &config, test_seed(), &err));
    for (int32_t v = 0; v < 30 && config.text > 0; v++)
        model_item_text(model, v)[v % config.text] = 1;
    CHECK_STATUS(OK, model_prepare(model, &err));
    return model;
}

static void save(struct model *model)
{
    struct error err;

    (void)snprintf(path, sizeof path, "%s/weights", test_folder());
    CHECK_STATUS(OK, model_file_save(model, path, &err));
    manifest = (struct manifest){0};
    model_file_describe(model, "small", &manifest);
}

static void check_same_scores(const struct model *a, const struct model *b)
{
    static const struct jagged_size sizes[] = {{15, 6}, {0, 4}};
    struct model_workspace *workspace = model_workspace_create();
    float want[10], got[10];
    struct error err;

    jagged_fill(&jagged, model_config(a), sizes, 2, test_seed());
    CHECK_STATUS(OK, model_score(a, workspace, &jagged.batch, want, &err));
    CHECK_STATUS(OK, model_score(b, workspace, &jagged.batch, got, &err));
    for (int i = 0; i < 10; i++)
        CHECK(want[i] == got[i]);
    model_workspace_destroy(workspace);
}

/* Takes a name out of the shape, as an older build would have written it. */
static void forget(const char *name)
{
    int kept = 0;

    for (int i = 0; i < manifest.shape_count; i++)
        if (strcmp(manifest.shape[i].name, name) != 0)
            manifest.shape[kept++] = manifest.shape[i];
    manifest.shape_count = kept;
}

static void set(const char *name, int64_t value)
{
    for (int i = 0; i < manifest.shape_count; i++)
        if (strcmp(manifest.shape[i].name, name) == 0)
            manifest.shape[i].value = value;
}

TEST(model_file_brings_every_switch_back)
{
    for (int number = 0; number < SWITCHES; number++) {
        struct model *model = make(number), *loaded;
        struct model_switches want, got;
        struct error err;

        save(model);
        CHECK_STATUS(OK, model_file_load(&loaded, path, &manifest, &err));
        want = model_switches_of(model_config(model));
        got = model_switches_of(model_config(loaded));
        CHECK(model_switches_equal(&want, &got));
        check_same_scores(model, loaded);
        model_destroy(loaded);
        model_destroy(model);
    }
}

TEST(model_file_of_before_the_switches_loads)
{
    struct model *model = make(0), *loaded;
    struct error err;

    save(model);
    forget("contexts");
    forget("text");
    forget("position_bias");
    forget("time_bias");
    CHECK_STATUS(OK, model_file_load(&loaded, path, &manifest, &err));
    check_same_scores(model, loaded);
    model_destroy(loaded);
    model_destroy(model);
}

TEST(model_file_refuses_switches_that_its_tensors_contradict)
{
    static const struct {
        const char *name;
        int64_t value;
        enum status want;
        const char *text;
    } cases[] = {{"contexts", 2, ERR_MALFORMED, "\"context\" is missing"},
                 {"contexts", 5, ERR_LIMIT, "context tokens"},
                 {"text", 16, ERR_MALFORMED, "\"text.w\" is missing"},
                 {"text", 17, ERR_LIMIT, "text width is 17"},
                 {"text", -16, ERR_LIMIT, "\"text\" is -16"},
                 {"time_bias", 2, ERR_MALFORMED, "time_bias is neither 0 nor 1"},
                 {"position_bias", -1, ERR_MALFORMED, "position_bias is neither"},
                 {"attention", 2, ERR_MALFORMED, "attention is not one of ours"},
                 {"head", 1, ERR_NOT_FOUND, "no tensor"}};
    struct model *model = make(0), *loaded;
    struct error err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save(model);
        set(cases[i].name, cases[i].value);
        CHECK_STATUS(cases[i].want, model_file_load(&loaded, path, &manifest, &err));
        CHECK(loaded == NULL);
        CHECK(strstr(err.text, cases[i].text) != NULL);
    }
    model_destroy(model);
    model = make(3); /* and the other way: tensors that the manifest does not speak of */
    save(model);
    forget("contexts");
    CHECK_STATUS(ERR_NOT_FOUND, model_file_load(&loaded, path, &manifest, &err));
    model_destroy(model);
}
