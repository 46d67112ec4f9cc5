/* Fuzzes schemas/safetensors: a header with the length of its data in front, and whole files. */
#include "schemas/bundle.h"
#include "schemas/bytes.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const headers[] = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[24,28]}}",
        "{\"__metadata__\":{\"x\":\"y\"},\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],"
        "\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
    };
    static const uint8_t bytes_of_data[] = {28, 4};

    (void)argc;
    (void)argv;
    for (int i = 0; i < 2; i++) {
        uint8_t file[512] = {0};
        size_t header = strlen(headers[i]);

        bytes_put_u64(file, header);
        memcpy(file + 8, headers[i], header);
        fuzz_seed(file, 8 + header + bytes_of_data[i]);
    }
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tensor tensors[BUNDLE_TENSORS_MAX];
    static int64_t begins[BUNDLE_TENSORS_MAX];
    struct safetensors *file;
    struct error err;
    int count;

    if (size > 8) {
        /* The header is what lies behind the length; the data is as long as the length says. */
        uint64_t length = bytes_get_u64(data);
        size_t header = length < size - 8 ? (size_t)length : size - 8;

        if (safetensors_parse_header((struct text){(const char *)data + 8, header},
                                     (int64_t)(size - 8 - header), tensors, begins, &count,
                                     &err) == OK)
            FUZZ_CHECK(count <= BUNDLE_TENSORS_MAX);
    }
    if (safetensors_read(&file, fuzz_file(data, size), &err) != OK)
        return 0;
    for (int i = 0; i < safetensors_count(file); i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        int64_t values = 1;

        for (int d = 0; d < tensor->dims_count; d++)
            values *= tensor->dims[d];
        for (int64_t v = 0; v < values; v++)
            FUZZ_CHECK(isfinite(tensor->data[v]));
    }
    safetensors_destroy(file);
    return 0;
}
