/*
 * Tests scorer/served: bundles are loaded, refused and swapped as the header promises, also while
 * readers hold the old version. Runs under SAN=thread too.
 */
#include "scorer/served.h"

#include "kernels/linear_bf16.h"
#include "kernels/model_file.h"
#include "ops/file.h"
#include "ops/metric.h"

#include "tests/scorer/scorer_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1700000000000)

TEST(served_has_nothing_until_a_bundle_is_published)
{
    struct served_slot *slot;
    struct error err;
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    CHECK(served_acquire(slot) == NULL);
    CHECK_STATUS(ERR_NOT_FOUND, served_refresh(slot, &changed, &err));
    CHECK(!changed);
    served_slot_destroy(slot);
}

TEST(served_takes_tables_alone_then_a_model_then_a_delta)
{
    struct item_tables *tables = fixture_tables(NOW);
    const struct served *first, *second, *third;
    struct served_slot *slot;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    fixture_publish(test_folder(), "v1", tables, false, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed);
    first = served_acquire(slot);
    CHECK_TEXT("v1+0", first->version);
    CHECK(first->model == NULL && first->item_seed == FIXTURE_SEED);
    CHECK_INT(1, item_tables_clicks(first->tables, 0));

    fixture_publish(test_folder(), "v2", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    second = served_acquire(slot);
    CHECK_TEXT("v2+0", second->version);
    CHECK(second->model != NULL);

    CHECK_INT(item_tables_rows(tables), second->trained_rows);

    item_tables_observe(tables, 0, NOW + 5000, NULL, 0);
    int32_t fresh = item_tables_index(tables, 12345, text_of("fresh"), NOW + 5000);
    for (int i = 0; i < 5; i++) /* it gets a row, of which the model knows nothing */
        item_tables_observe(tables, fresh, NOW + 5000 + i, NULL, 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 17, "v2", path, &err));
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed);
    third = served_acquire(slot);
    CHECK_TEXT("v2+17", third->version);
    CHECK_INT(second->trained_rows, third->trained_rows);
    CHECK(item_tables_rows(third->tables) > third->trained_rows);
    CHECK(third->model == second->model);
    CHECK_INT(2, item_tables_clicks(third->tables, 0));
    CHECK_INT(1, item_tables_clicks(first->tables, 0)); /* who holds an old one sees the old one */

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
    struct item_tables *tables = fixture_tables(NOW);
    const struct served *served;
    struct served_slot *slot;
    struct error err;
    char path[512];
    char *bytes;
    size_t count;
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    fixture_publish(test_folder(), "v1", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    fixture_publish(test_folder(), "v2", tables, true, true);
    CHECK_STATUS(ERR_CONFLICT, served_refresh(slot, &changed, &err));
    fixture_publish(test_folder(), "v3", tables, true, false);
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
    struct item_tables *tables = fixture_tables(NOW);
    struct served_slot *slot;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    fixture_publish(test_folder(), "v2", tables, false, false);
    item_tables_observe(tables, 0, NOW + 5000, NULL, 0);
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

        (void)snprintf(want, sizeof want, "v1+%lld", (long long)clicks - 1);
        if (strcmp(want, served->version) != 0)
            (void)atomic_fetch_add(torn, 1);
        served_release(shared, served);
    }
    return NULL;
}

TEST(served_swaps_under_readers_are_never_torn)
{
    struct item_tables *tables = fixture_tables(NOW);
    pthread_t readers[2];
    atomic_long torn = 0;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&shared, test_folder(), NULL, &err));
    fixture_publish(test_folder(), "v1", tables, false, false);
    CHECK_STATUS(OK, served_refresh(shared, &changed, &err));
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&readers[i], NULL, read_versions, &torn) == 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    for (uint64_t n = 1; n <= 100; n++) { /* delta n: n + 1 clicks of item 0 */
        item_tables_observe(tables, 0, NOW + (int64_t)n, NULL, 0);
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

TEST(served_refuses_a_model_of_other_contexts)
{
    struct item_tables *tables = fixture_tables(1700000000000);
    struct context_names names, others;
    struct served_slot *slot;
    struct error err;
    bool changed;

    CHECK_STATUS(OK, context_names_parse(&names, "surface device", &err));
    CHECK_STATUS(OK, context_names_parse(&others, "device surface", &err));
    fixture_switches = (struct model_switches){.contexts = 2, .context_names = names.print};
    fixture_publish(test_folder(), "v1", tables, true, false);
    fixture_switches = (struct model_switches){0};
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
        if (i > 0)
            served_slot_contexts(slot, i == 1 ? &names : &others);
        CHECK_STATUS(i == 2 ? ERR_CONFLICT : OK, served_refresh(slot, &changed, &err));
        CHECK(i < 2 || strstr(err.text, "model.contexts") != NULL);
        served_slot_destroy(slot);
    }
    item_tables_destroy(tables);
}

static bool serves_in_bf16(enum served_bf16 asked, double most)
{
    struct item_tables *tables = fixture_tables(NOW);
    const struct served *served;
    struct served_slot *slot;
    struct error err;
    bool changed, is;

    fixture_bf16_most = most;
    fixture_publish(test_folder(), "v1", tables, true, false);
    fixture_bf16_most = 1;
    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    served_slot_bf16(slot, asked);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    served = served_acquire(slot);
    is = model_is_rounded(served->model);
    served_release(slot, served);
    served_slot_destroy(slot);
    item_tables_destroy(tables);
    CHECK_STATUS(OK, file_remove_tree(test_folder(), &err));
    CHECK_STATUS(OK, file_make_folders(test_folder(), &err));
    return is;
}

static double bf16_gauge(void)
{
    return metric_value(metric_find("freshet_serve_bf16"));
}

TEST(served_says_of_what_serves_whether_it_is_in_bf16)
{
    struct item_tables *tables = fixture_tables(NOW);
    struct served_slot *slot;
    struct error err;
    char path[512];
    bool changed;

    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    fixture_publish(test_folder(), "v1", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed && bf16_gauge() == 0);
    served_slot_bf16(slot, SERVED_BF16_ON);
    fixture_publish(test_folder(), "v2", tables, true, true); /* of other scalars */
    CHECK_STATUS(ERR_CONFLICT, served_refresh(slot, &changed, &err));
    CHECK(bf16_gauge() == 0);
    fixture_publish(test_folder(), "v3", tables, true, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed && bf16_gauge() == 1);
    served_slot_bf16(slot, SERVED_BF16_OFF);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v3", path, &err));
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed && bf16_gauge() == 1); /* other tables, the same weights */
    fixture_publish(test_folder(), "v4", tables, false, false);
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed && bf16_gauge() == 0); /* no model: nothing is rounded */
    served_slot_destroy(slot);
    item_tables_destroy(tables);
}

TEST(served_scores_in_bf16_where_told_or_where_it_is_faster_and_changes_little)
{
    bool portable = linear_bf16_best() == LINEAR_BF16_PORTABLE;

    CHECK(!serves_in_bf16(SERVED_BF16_OFF, 0));
    CHECK(serves_in_bf16(SERVED_BF16_ON, 1));
    CHECK(!serves_in_bf16(SERVED_BF16_AUTO, .0011));
    CHECK(!serves_in_bf16(SERVED_BF16_AUTO, (double)NAN)); /* it does not say */
    CHECK(!portable || !serves_in_bf16(SERVED_BF16_AUTO, .0009));
}
