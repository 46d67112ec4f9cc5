/*
 * Tests scorer/served: bundles are loaded, refused and swapped as the header promises, also while
 * readers hold the old version. Runs under SAN=thread too.
 */
#include "scorer/served.h"

#include "features/scalars.h"
#include "kernels/model_file.h"
#include "ops/file.h"

#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 20

static struct item_tables *make_tables(int clicks)
{
    struct item_tables_options options = {.items_max = 1000};
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    for (int i = 0; i < ITEMS; i++) {
        int32_t index = item_tables_index(tables, 100 + (uint64_t)i, text_of("x"), 1);

        for (int n = 0; n < clicks; n++)
            item_tables_observe(tables, index, 1000 + n, NULL, 0);
    }
    return tables;
}

/* Publishes a bundle; a model's scalars are renamed when stale. */
static void publish(const char *root, const char *version, struct item_tables *tables,
                    bool with_model, bool stale)
{
    static struct manifest manifest;
    static const char *const files[] = {BUNDLE_ITEMS_NAME, MODEL_FILE_NAME};
    struct model_config config;
    struct model *model;
    struct error err;
    char *folder;
    char path[512];

    manifest = (struct manifest){.item_seed = 5, .created_at_ms = 7};
    (void)snprintf(manifest.version, sizeof manifest.version, "%s", version);
    CHECK_STATUS(OK, bundle_begin(root, version, &folder, &err));
    (void)snprintf(path, sizeof path, "%s/%s", folder, BUNDLE_ITEMS_NAME);
    CHECK_STATUS(OK, item_tables_save(tables, path, &err));
    item_tables_mark_saved(tables);
    if (with_model) {
        CHECK(model_preset(&config, "small", ITEMS + 1, scalars_count));
        CHECK_STATUS(OK, model_create(&model, &config, 3, &err));
        model_file_describe(model, "small", &manifest);
        manifest.scalars_count = scalars_count;
        for (int i = 0; i < scalars_count; i++)
            (void)snprintf(manifest.scalars[i], sizeof manifest.scalars[i], "%s%s",
                           scalar_rows[i].name, stale && i == 1 ? "_old" : "");
        (void)snprintf(path, sizeof path, "%s/%s", folder, MODEL_FILE_NAME);
        CHECK_STATUS(OK, model_file_save(model, path, &err));
        model_destroy(model);
    }
    free(folder);
    CHECK_STATUS(OK, bundle_publish(root, &manifest, files, with_model ? 2 : 1, true, &err));
}

TEST(served_has_nothing_until_a_bundle_is_published)
{
    struct served_slot *slot;
    struct error err;
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), &err));
    CHECK(served_acquire(slot) == NULL);
    CHECK_STATUS(ERR_NOT_FOUND, served_refresh(slot, &changed, &err));
    CHECK(!changed);
    served_slot_destroy(slot);
}

TEST(served_takes_tables_alone_then_a_model_then_a_delta)
{
    struct item_tables *tables = make_tables(3);
    const struct served *first, *second, *third;
    struct served_slot *slot;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), &err));
    publish(test_folder(), "v1", tables, false, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed);
    first = served_acquire(slot);
    CHECK_TEXT("v1+0", first->version);
    CHECK(first->model == NULL && first->item_seed == 5);
    CHECK_INT(3, item_tables_clicks(first->tables, 0));

    publish(test_folder(), "v2", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    second = served_acquire(slot);
    CHECK_TEXT("v2+0", second->version);
    CHECK(second->model != NULL);

    item_tables_observe(tables, 0, 5000, NULL, 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 17, "v2", path, &err));
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed);
    third = served_acquire(slot);
    CHECK_TEXT("v2+17", third->version);
    CHECK(third->model == second->model);
    CHECK_INT(4, item_tables_clicks(third->tables, 0));
    CHECK_INT(3, item_tables_clicks(first->tables, 0)); /* who holds an old one sees the old one */

    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(!changed);
    served_release(slot, first);
    served_release(slot, second);
    served_release(slot, third);
    served_slot_destroy(slot);
    item_tables_destroy(tables);
}

TEST(served_refuses_a_bundle_with_other_scalars_or_flipped_bytes_and_keeps_the_old)
{
    struct item_tables *tables = make_tables(2);
    const struct served *served;
    struct served_slot *slot;
    struct error err;
    char path[512];
    char *bytes;
    size_t count;
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), &err));
    publish(test_folder(), "v1", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    publish(test_folder(), "v2", tables, true, true);
    CHECK_STATUS(ERR_CONFLICT, served_refresh(slot, &changed, &err));
    publish(test_folder(), "v3", tables, true, false);
    (void)snprintf(path, sizeof path, "%s/v3/%s", test_folder(), MODEL_FILE_NAME);
    CHECK_STATUS(OK, file_read(path, 1 << 26, &bytes, &count, &err));
    bytes[count / 2] ^= 1;
    CHECK_STATUS(OK, file_replace(path, bytes, count, &err));
    free(bytes);
    CHECK_STATUS(ERR_CORRUPT, served_refresh(slot, &changed, &err));
    CHECK_STATUS(ERR_REJECTED, served_refresh(slot, &changed, &err)); /* not read a second time */
    served = served_acquire(slot);
    CHECK_TEXT("v1+0", served->version);
    served_release(slot, served);
    served_slot_destroy(slot);
    item_tables_destroy(tables);
}

TEST(served_ignores_a_delta_of_another_bundle)
{
    struct item_tables *tables = make_tables(2);
    struct served_slot *slot;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), &err));
    publish(test_folder(), "v2", tables, false, false);
    item_tables_observe(tables, 0, 5000, NULL, 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 9, "v1", path, &err));
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    const struct served *served = served_acquire(slot);
    CHECK_TEXT("v2+0", served->version);
    served_release(slot, served);
    served_slot_destroy(slot);
    item_tables_destroy(tables);
}

static atomic_bool stop;
static struct served_slot *shared;

/* A reader must never see a version whose parts do not belong together. */
static void *read_versions(void *context)
{
    atomic_long *torn = context;

    while (!atomic_load(&stop)) {
        const struct served *served = served_acquire(shared);
        int64_t clicks = item_tables_clicks(served->tables, 0);
        char want[sizeof served->version];

        (void)snprintf(want, sizeof want, "v1+%lld", (long long)clicks);
        if (strcmp(want, served->version) != 0)
            (void)atomic_fetch_add(torn, 1);
        served_release(shared, served);
    }
    return NULL;
}

TEST(served_swaps_under_readers_are_never_torn)
{
    struct item_tables *tables = make_tables(0);
    pthread_t readers[2];
    atomic_long torn = 0;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&shared, test_folder(), &err));
    publish(test_folder(), "v1", tables, false, false);
    CHECK_STATUS(OK, served_refresh(shared, &changed, &err));
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&readers[i], NULL, read_versions, &torn) == 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    for (uint64_t n = 1; n <= 100; n++) { /* delta n holds n clicks of item 0 */
        item_tables_observe(tables, 0, 1000 + (int64_t)n, NULL, 0);
        CHECK_STATUS(OK, item_tables_save_delta(tables, n, "v1", path, &err));
        CHECK_STATUS(OK, served_refresh(shared, &changed, &err));
        CHECK(changed);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    CHECK_INT(0, atomic_load(&torn));
    served_slot_destroy(shared);
    item_tables_destroy(tables);
}
