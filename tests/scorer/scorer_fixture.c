/* tests/scorer/scorer_fixture.c - see the header. */
#include "tests/scorer/scorer_fixture.h"

#include "features/scalars.h"
#include "kernels/model_file.h"
#include "ops/hash.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

static const char *item_name(int item, char name[16])
{
    (void)snprintf(name, 16, "i%d", item);
    return name;
}

uint64_t fixture_item(int item)
{
    static struct rules rules;
    char name[16];

    rules.seed = FIXTURE_SEED;
    return rules_item_hash(&rules, text_of(item_name(item, name)));
}

struct item_tables *fixture_tables(int64_t time_ms)
{
    struct item_tables_options options = {.items_max = 1000};
    struct item_tables *tables;
    struct error err;
    char name[16];

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    for (int i = 0; i < FIXTURE_ITEMS; i++) {
        int32_t index = item_tables_index(tables, fixture_item(i), text_of(item_name(i, name)),
                                          time_ms - 100000);

        for (int n = 0; n <= i; n++)
            item_tables_observe(tables, index, time_ms - 1000 + n, NULL, 0);
    }
    return tables;
}

static void describe_scalars(struct manifest *manifest, bool stale)
{
    manifest->scalars_count = scalars_count;
    for (int i = 0; i < scalars_count; i++)
        (void)snprintf(manifest->scalars[i], sizeof manifest->scalars[i], "%.24s%s",
                       scalar_rows[i].name, stale && i == 1 ? "_old" : "");
}

struct model_switches fixture_switches;
double fixture_bf16_most = 1;

void fixture_publish(const char *root, const char *version, struct item_tables *tables,
                     bool with_model, bool stale)
{
    static struct manifest manifest;
    static const char *const files[] = {BUNDLE_ITEMS_NAME, MODEL_FILE_NAME};
    struct model_config config;
    struct model *model;
    struct error err;
    char *folder;
    char path[512];

    manifest = (struct manifest){.item_seed = FIXTURE_SEED, .created_at_ms = 7};
    (void)snprintf(manifest.version, sizeof manifest.version, "%s", version);
    CHECK_STATUS(OK, bundle_begin(root, version, &folder, &err));
    (void)snprintf(path, sizeof path, "%s/%s", folder, BUNDLE_ITEMS_NAME);
    CHECK_STATUS(OK, item_tables_save(tables, path, &err));
    item_tables_mark_saved(tables);
    if (with_model) {
        CHECK(model_preset(&config, "small", FIXTURE_ITEMS + 1, scalars_count));
        model_switch(&config, &fixture_switches);
        CHECK_STATUS(OK, model_create(&model, &config, 3, &err));
        model_file_describe(model, "small", &manifest);
        describe_scalars(&manifest, stale);
        manifest.metrics_count = 2;
        (void)snprintf(manifest.metrics[0].name, sizeof manifest.metrics[0].name, "%s",
                       BUNDLE_BF16_CHANGE);
        manifest.metrics[1].value = fixture_bf16_most;
        (void)snprintf(manifest.metrics[1].name, sizeof manifest.metrics[1].name, "%s",
                       BUNDLE_BF16_MOST);
        (void)snprintf(path, sizeof path, "%s/%s", folder, MODEL_FILE_NAME);
        CHECK_STATUS(OK, model_file_save(model, path, &err));
        model_destroy(model);
    }
    free(folder);
    CHECK_STATUS(OK, bundle_publish(root, &manifest, files, with_model ? 2 : 1, true, &err));
}
