/* Fuzzes schemas/manifest: what is accepted is written and read again as the same. */
#include "schemas/bundle.h"
#include "tests/fuzz/fuzz.h"

static struct manifest manifest, again;
static char json[MANIFEST_BYTES_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    manifest = (struct manifest){.version = "v1",
                                 .parent = "v0",
                                 .created_at_ms = 5,
                                 .preset = "small",
                                 .shape = {{"layers", 2}},
                                 .shape_count = 1,
                                 .scalars = {"covis"},
                                 .scalars_count = 1,
                                 .offsets = {{"events", 0, 1, 2}},
                                 .offsets_count = 1,
                                 .metrics = {{"ndcg@10", 0.25}},
                                 .metrics_count = 1,
                                 .gate = "G0 ok",
                                 .files_count = 1};
    memcpy(manifest.files[0].name, "items", 6);
    memset(manifest.files[0].sha256, 'a', 64);
    fuzz_seed(json, manifest_encode(&manifest, json, sizeof json));
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    size_t bytes;

    if (manifest_decode(&manifest, (struct text){(const char *)data, size}, &err) != OK)
        return 0;
    FUZZ_CHECK(bundle_name_valid(manifest.version, sizeof manifest.version));
    bytes = manifest_encode(&manifest, json, sizeof json);
    FUZZ_CHECK(bytes > 0);
    FUZZ_CHECK(manifest_decode(&again, (struct text){json, bytes}, &err) == OK);
    for (int i = 0; i < manifest.metrics_count; i++)
        if (manifest.metrics[i].value != manifest.metrics[i].value)
            manifest.metrics[i].value = again.metrics[i].value = 0; /* NaN has many bits */
    FUZZ_CHECK(strcmp(manifest.version, again.version) == 0 &&
               strcmp(manifest.gate, again.gate) == 0);
    FUZZ_CHECK(manifest.metrics_count == again.metrics_count &&
               manifest.offsets_count == again.offsets_count &&
               manifest.files_count == again.files_count);
    return 0;
}
