/*
 * Tests schemas/bundle and schemas/manifest: publishing by renames, verification of everything a
 * manifest claims, names that are paths, and what pruning keeps.
 */
#include "schemas/bundle.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct manifest manifest, back;
static char json[MANIFEST_BYTES_MAX];
static char root[96], path[256];
static struct error err;

static void start(void)
{
    (void)snprintf(root, sizeof root, "%s/models", test_folder());
}

static const char *in_root(const char *a, const char *b)
{
    (void)snprintf(path, sizeof path, "%s/%s%s%s", root, a, b == NULL ? "" : "/",
                   b == NULL ? "" : b);
    return path;
}

static void put(const char *at, const char *text)
{
    FILE *out = fopen(at, "wb");

    CHECK(out != NULL && fputs(text, out) >= 0 && fclose(out) == 0);
}

static void make_manifest(const char *version, const char *parent)
{
    manifest = (struct manifest){.created_at_ms = 1700000000000,
                                 .trained_until_ms = 1699999999999,
                                 .preset = "small",
                                 .shape = {{"layers", 2}, {"V", -7}},
                                 .shape_count = 2,
                                 .scalars = {"log_pop_7d", "covis"},
                                 .scalars_count = 2,
                                 .item_seed = UINT64_MAX,
                                 .seed = 1,
                                 .config_hash = "0123456789abcdef",
                                 .offsets = {{"events", 3, 5, INT64_MAX}},
                                 .offsets_count = 1,
                                 .metrics = {{"ndcg@10", 0.1234567890123}, {"hr@20", 0.5}},
                                 .metrics_count = 2,
                                 .gate = "G0 ok\nG2 \"refused\": \x01 no gain"};
    (void)snprintf(manifest.version, sizeof manifest.version, "%s", version);
    (void)snprintf(manifest.parent, sizeof manifest.parent, "%s", parent);
}

static void publish(const char *version, const char *parent, int64_t created_at_ms, bool current)
{
    static const char *const files[] = {"items", "weights.safetensors"};
    char *folder;

    CHECK_STATUS(OK, bundle_begin(root, version, &folder, &err));
    (void)snprintf(path, sizeof path, "%s/items", folder);
    put(path, "these are items");
    (void)snprintf(path, sizeof path, "%s/weights.safetensors", folder);
    put(path, version);
    free(folder);
    make_manifest(version, parent);
    manifest.created_at_ms = created_at_ms;
    CHECK_STATUS(OK, bundle_publish(root, &manifest, files, 2, current, &err));
}

TEST(manifest_comes_back)
{
    size_t bytes;

    make_manifest("v000012-3f9a", "v000011");
    manifest.files_count = 1;
    (void)snprintf(manifest.files[0].name, sizeof manifest.files[0].name, "items");
    memset(manifest.files[0].sha256, 'a', 64);
    manifest.files[0].bytes = 77;
    bytes = manifest_encode(&manifest, json, sizeof json);
    CHECK(bytes > 0 && manifest_encode(&manifest, json, bytes - 1) == 0);
    bytes = manifest_encode(&manifest, json, sizeof json);
    CHECK_STATUS(OK, manifest_decode(&back, (struct text){json, bytes}, &err));
    CHECK(memcmp(&back, &manifest, sizeof back) == 0);
}

TEST(manifest_at_every_limit_fits_and_comes_back)
{
    size_t bytes;

    make_manifest("v", "");
    memset(manifest.version, 'v', MODEL_VERSION_MAX - 1);
    memset(manifest.gate, 1, sizeof manifest.gate - 1); /* each byte six characters */
    manifest.shape_count = 32;
    for (int i = 0; i < 32; i++) {
        (void)snprintf(manifest.shape[i].name, sizeof manifest.shape[i].name, "%031d", i);
        manifest.shape[i].value = INT64_MIN + i;
    }
    manifest.scalars_count = BUNDLE_SCALARS_MAX;
    for (int i = 0; i < BUNDLE_SCALARS_MAX; i++)
        (void)snprintf(manifest.scalars[i], sizeof manifest.scalars[i], "%031d", i);
    manifest.metrics_count = BUNDLE_METRICS_MAX;
    for (int i = 0; i < BUNDLE_METRICS_MAX; i++) {
        (void)snprintf(manifest.metrics[i].name, sizeof manifest.metrics[i].name, "%047d", i);
        manifest.metrics[i].value = -1.2345678901234567e-300 * (i + 1);
    }
    manifest.offsets_count = BUNDLE_OFFSETS_MAX;
    for (int i = 0; i < BUNDLE_OFFSETS_MAX; i++) {
        manifest.offsets[i] = (struct manifest_offset){"", INT32_MAX - i, INT64_MAX, INT64_MAX};
        memset(manifest.offsets[i].topic, 't', sizeof manifest.offsets[i].topic - 1);
    }
    bytes = manifest_encode(&manifest, json, sizeof json);
    CHECK(bytes > 0);
    CHECK_STATUS(OK, manifest_decode(&back, (struct text){json, bytes}, &err));
    CHECK(memcmp(&back, &manifest, sizeof back) == 0);
    make_manifest("v1", "");
    manifest.metrics[0].value = NAN;
    bytes = manifest_encode(&manifest, json, sizeof json);
    CHECK_STATUS(OK, manifest_decode(&back, (struct text){json, bytes}, &err));
    CHECK(isnan(back.metrics[0].value) && back.metrics_count == 2);
}

/* The manifest with one piece of its text replaced. */
static enum status decode_with(const char *from, const char *to)
{
    static char changed[MANIFEST_BYTES_MAX];
    size_t bytes = manifest_encode(&manifest, json, sizeof json - 1);
    char *at;

    json[bytes] = 0;
    at = strstr(json, from);
    CHECK(at != NULL);
    (void)snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - json), json, to,
                   at + strlen(from));
    return manifest_decode(&back, text_of(changed), &err);
}

TEST(manifest_refuses_members_that_are_missing_or_wrong)
{
    static const char *const cases[][2] = {
        {"\"version\":\"v1\"", "\"version\":\"../x\""},
        {"\"version\":\"v1\"", "\"version\":\"\""},
        {"\"version\":\"v1\"", "\"version\":7"},
        {"\"version\":\"v1\"", "\"x\":1"},
        {"\"parent\":\"\"", "\"parent\":\"a/b\""},
        {"\"created_at_ms\":1700000000000", "\"created_at_ms\":-1"},
        {"\"created_at_ms\":1700000000000", "\"created_at_ms\":\"now\""},
        {"\"trained_until_ms\":1699999999999", "\"trained_until_ms\":1e30"},
        {"\"preset\":\"small\"", "\"preset\":\"0123456789abcdef\""},
        {"\"item_seed\":\"ffffffffffffffff\"", "\"item_seed\":1"},
        {"\"item_seed\":\"ffffffffffffffff\"", "\"item_seed\":\"fffffffffffffffg\""},
        {"\"item_seed\":\"ffffffffffffffff\"", "\"item_seed\":\"-fffffffffffffff\""},
        {"\"shape\":{\"layers\":2", "\"shape\":{\"layers\":2.5"},
        {"\"shape\":{\"layers\":2", "\"shape\":{\"0123456789012345678901234567890x\":2"},
        {"\"shape\":{\"layers\":2,\"V\":-7}", "\"shape\":[]"},
        {"[\"log_pop_7d\",\"covis\"]", "[\"log_pop_7d\",3]"},
        {"\"partition\":3", "\"partition\":2147483648"},
        {"\"partition\":3", "\"partition\":-1"},
        {"\"from\":5", "\"from\":-5"},
        {"\"hr@20\":0.5", "\"hr@20\":\"0.5\""},
        {"\"name\":\"items\"", "\"name\":\"/etc/passwd\""},
        {"\"name\":\"items\"", "\"name\":\"..\""},
        {"\"bytes\":77", "\"bytes\":-77"},
        {"\"sha256\":\"a", "\"sha256\":\"A"},
        {"\"sha256\":\"a", "\"sha256\":\""},
        {"\"format\":1", "\"format\":0"},
    };

    make_manifest("v1", "");
    manifest.files_count = 1;
    (void)snprintf(manifest.files[0].name, sizeof manifest.files[0].name, "items");
    memset(manifest.files[0].sha256, 'a', 64);
    manifest.files[0].bytes = 77;
    CHECK_STATUS(OK, decode_with("\"format\":1", "\"new\":{\"x\":[1]},\"format\":1"));
    CHECK_STATUS(ERR_VERSION, decode_with("\"format\":1", "\"format\":2"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (decode_with(cases[i][0], cases[i][1]) != ERR_MALFORMED)
            test_fail(__FILE__, __LINE__, "taken: %s", cases[i][1]);
    CHECK_STATUS(ERR_MALFORMED, manifest_decode(&back, text_of("[]"), &err));
    CHECK_STATUS(ERR_MALFORMED, manifest_decode(&back, text_of(""), &err));
}

TEST(manifest_survives_every_truncation_and_every_flipped_byte)
{
    size_t bytes;

    make_manifest("v1", "");
    bytes = manifest_encode(&manifest, json, sizeof json);
    for (size_t cut = 0; cut < bytes; cut++)
        CHECK_STATUS(ERR_MALFORMED, manifest_decode(&back, (struct text){json, cut}, &err));
    for (size_t at = 0; at < bytes; at++) {
        json[at] ^= (char)(1 << at % 7);
        if (manifest_decode(&back, (struct text){json, bytes}, &err) == OK)
            CHECK(bundle_name_valid(back.version, sizeof back.version));
        else
            CHECK(back.version[0] == 0);
        json[at] ^= (char)(1 << at % 7);
    }
}

TEST(bundle_is_published_verified_and_current)
{
    char version[MODEL_VERSION_MAX];
    char *folder;

    start();
    CHECK_STATUS(ERR_NOT_FOUND, bundle_current(root, version, &err));
    publish("v1", "", 1, true);
    CHECK_STATUS(OK, bundle_current(root, version, &err));
    CHECK_TEXT("v1", version);
    publish("v2", "v1", 2, false);
    CHECK_STATUS(OK, bundle_current(root, version, &err));
    CHECK_TEXT("v1", version);
    CHECK_STATUS(OK, bundle_verify(root, "v2", &back, &err));
    CHECK(memcmp(&back, &manifest, sizeof back) == 0 && back.files_count == 2);
    CHECK_STATUS(OK, bundle_set_current(root, "v2", &err));
    CHECK_STATUS(OK, bundle_current(root, version, &err));
    CHECK_TEXT("v2", version);
    CHECK_STATUS(ERR_NOT_FOUND, bundle_set_current(root, "v3", &err));
    CHECK_STATUS(ERR_NOT_FOUND, bundle_verify(root, "v3", &back, &err));
    CHECK_STATUS(ERR_CONFLICT, bundle_begin(root, "v2", &folder, &err));
    CHECK(folder == NULL);
}

TEST(bundle_that_was_not_published_is_not_there_and_is_cleaned_up)
{
    static const char *const none[] = {"items"};
    char *first, *second;

    start();
    CHECK_STATUS(OK, bundle_begin(root, "v1", &first, &err));
    make_manifest("v1", "");
    CHECK_STATUS(ERR_NOT_FOUND, bundle_publish(root, &manifest, none, 1, true, &err));
    CHECK(access(in_root("v1", NULL), F_OK) != 0 && access(in_root("current", NULL), F_OK) != 0);
    CHECK_STATUS(OK, bundle_begin(root, "v2", &second, &err));
    CHECK(access(first, F_OK) != 0 && access(second, F_OK) == 0);
    free(first);
    free(second);
}

TEST(bundle_names_are_names_not_paths)
{
    static const char *const bad[] = {"",        ".",   "..",  "../x",    "a/b",         "/x",
                                      ".hidden", "a b", "a\n", "current", "items.delta", "a\\b",
                                      "\xc3\xa9"};
    static const char *const bad_files[] = {"../items", "manifest.json", ""};
    char long_name[MODEL_VERSION_MAX + 1];
    char version[MODEL_VERSION_MAX];
    char *folder;

    start();
    publish("v1", "", 1, true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(ERR_MALFORMED, bundle_begin(root, bad[i], &folder, &err));
        CHECK_STATUS(ERR_MALFORMED, bundle_verify(root, bad[i], &back, &err));
        CHECK_STATUS(ERR_MALFORMED, bundle_set_current(root, bad[i], &err));
        put(in_root("current", NULL), bad[i]);
        CHECK(i == 8 || bundle_current(root, version, &err) == ERR_MALFORMED);
    }
    for (int i = 0; i < 3; i++) {
        make_manifest("v2", "");
        CHECK_STATUS(ERR_MALFORMED, bundle_publish(root, &manifest, &bad_files[i], 1, true, &err));
    }
    memset(long_name, 'v', sizeof long_name);
    long_name[MODEL_VERSION_MAX] = 0;
    CHECK_STATUS(ERR_MALFORMED, bundle_begin(root, long_name, &folder, &err));
    put(in_root("current", NULL), long_name);
    CHECK_STATUS(ERR_MALFORMED, bundle_current(root, version, &err));
    long_name[MODEL_VERSION_MAX - 1] = 0;
    CHECK_STATUS(OK, bundle_begin(root, long_name, &folder, &err));
    free(folder);
}

TEST(bundle_current_is_a_small_regular_file)
{
    char version[MODEL_VERSION_MAX], big[400];

    start();
    publish("v1", "", 1, true);
    memset(big, 'v', sizeof big);
    big[sizeof big - 1] = 0;
    put(in_root("current", NULL), big);
    CHECK_STATUS(ERR_MALFORMED, bundle_current(root, version, &err));
    put(in_root("elsewhere", NULL), "v1");
    CHECK(unlink(in_root("current", NULL)) == 0);
    CHECK(symlink("elsewhere", path) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_current(root, version, &err));
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_current(root, version, &err));
    CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_current(root, version, &err));
}

TEST(bundle_verify_believes_no_file)
{
    start();
    publish("v1", "", 1, true);
    put(in_root("v1", "items"), "these are itemz");
    CHECK_STATUS(ERR_CORRUPT, bundle_verify(root, "v1", &back, &err));
    put(in_root("v1", "items"), "these are item");
    CHECK_STATUS(ERR_CORRUPT, bundle_verify(root, "v1", &back, &err));
    CHECK(unlink(in_root("v1", "items")) == 0);
    CHECK_STATUS(ERR_CORRUPT, bundle_verify(root, "v1", &back, &err));
    put(in_root("v1", "other"), "these are items");
    CHECK(symlink("other", in_root("v1", "items")) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_verify(root, "v1", &back, &err));
    CHECK(unlink(in_root("v1", "items")) == 0 && mkfifo(path, 0600) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_verify(root, "v1", &back, &err));
    CHECK(unlink(path) == 0);
    put(path, "these are items");
    CHECK_STATUS(OK, bundle_verify(root, "v1", &back, &err));

    /* The manifest of another version, no manifest, and a version that is a link. */
    publish("v2", "v1", 2, true);
    char from[256];
    memcpy(from, in_root("v2", NULL), sizeof from);
    CHECK(rename(from, in_root("v3", NULL)) == 0);
    CHECK_STATUS(ERR_CORRUPT, bundle_verify(root, "v3", &back, &err));
    CHECK(symlink("v1", in_root("v4", NULL)) == 0);
    CHECK_STATUS(ERR_MALFORMED, bundle_verify(root, "v4", &back, &err));
    CHECK(unlink(in_root("v1", MANIFEST_NAME)) == 0);
    CHECK_STATUS(ERR_NOT_FOUND, bundle_verify(root, "v1", &back, &err));
}

TEST(bundle_verify_survives_every_truncation_of_its_manifest)
{
    char *bytes;
    size_t count;

    start();
    publish("v1", "", 1, true);
    CHECK_STATUS(OK, file_read(in_root("v1", MANIFEST_NAME), 1 << 20, &bytes, &count, &err));
    for (size_t cut = 0; cut < count; cut++) {
        (void)unlink(path);
        FILE *out = fopen(path, "wb");

        CHECK(out != NULL && fwrite(bytes, 1, cut, out) == cut && fclose(out) == 0);
        CHECK_STATUS(ERR_MALFORMED, bundle_verify(root, "v1", &back, &err));
    }
    free(bytes);
}

TEST(bundle_exposed_tells_that_others_may_write)
{
    start();
    publish("v1", "", 1, true);
    CHECK(!bundle_exposed(root, "v1"));
    CHECK(chmod(in_root("v1", NULL), 0777) == 0);
    CHECK(bundle_exposed(root, "v1") && !bundle_exposed(root, NULL));
    CHECK(chmod(root, 0777) == 0 && bundle_exposed(root, NULL));
}

/* The clock was wrong when v6 was published: it is the newest all the same. */
TEST(bundle_prune_keeps_the_newest_the_current_and_its_parent)
{
    static const char *const left[] = {"v1", "v2", "v6", "v10"};
    static const char *const gone[] = {"v3", "v4"};

    start();
    publish("v1", "", 1, false);
    publish("v2", "v1", 2, true);
    publish("v3", "v2", 3, false);
    publish("v4", "v2", 4, false);
    publish("v6", "v2", 0, false);
    publish("v10", "v2", 6, false);
    CHECK(mkdir(in_root("notes", NULL), 0755) == 0);
    CHECK_STATUS(OK, bundle_prune(root, 2, &err));
    for (int i = 0; i < 4; i++)
        CHECK_STATUS(OK, bundle_verify(root, left[i], &back, &err));
    for (int i = 0; i < 2; i++)
        CHECK(access(in_root(gone[i], NULL), F_OK) != 0);
    CHECK(access(in_root("notes", NULL), F_OK) == 0);
    CHECK_STATUS(OK, bundle_prune(root, 100, &err));
    CHECK_STATUS(OK, bundle_verify(root, "v6", &back, &err));
}
