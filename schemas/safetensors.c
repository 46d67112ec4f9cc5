/*
 * schemas/safetensors.c - named float32 tensors in the public format, so that anyone can open
 * them; and read as if whoever wrote them meant harm.
 */
#include "schemas/bundle.h"

#include "ops/json.h"
#include "ops/json_writer.h"
#include "schemas/bytes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT     64
#define LENGTH_BYTES  8
#define HEADER_NODES  8192 /* ten a tensor, and room for metadata */
#define METADATA_NAME "__metadata__"
#define DIM_MAX       INT32_MAX
#define EXPONENT_BITS 0x7f800000u

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "tensors are read and written as they lie");

struct safetensors {
    struct tensor tensors[BUNDLE_TENSORS_MAX];
    int count;
    void *block;
};

/* Bytes of the data, or -1 when the dims are out of bounds. */
static int64_t tensor_bytes(const struct tensor *tensor)
{
    int64_t bytes = sizeof(float);

    if (tensor->dims_count < 0 || tensor->dims_count > BUNDLE_DIMS_MAX)
        return -1;
    for (int d = 0; d < tensor->dims_count; d++) {
        if (tensor->dims[d] < 0 || tensor->dims[d] > DIM_MAX)
            return -1;
        if (tensor->dims[d] > 0 && bytes > BUNDLE_WEIGHTS_MAX / tensor->dims[d])
            return -1;
        bytes *= tensor->dims[d];
    }
    return bytes;
}

/* ---- writing ---- */

static size_t put_header(char *into, size_t bytes, const struct tensor *tensors, int count)
{
    struct json_writer w;
    int64_t begin = 0;

    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    for (int i = 0; i < count; i++) {
        int64_t end = begin + tensor_bytes(&tensors[i]);

        json_key(&w, tensors[i].name);
        json_object_begin(&w);
        json_text(&w, "dtype", text_of("F32"));
        json_key(&w, "shape");
        json_array_begin(&w);
        for (int d = 0; d < tensors[i].dims_count; d++)
            json_put_int(&w, tensors[i].dims[d]);
        json_array_end(&w);
        json_key(&w, "data_offsets");
        json_array_begin(&w);
        json_put_int(&w, begin);
        json_put_int(&w, end);
        json_array_end(&w);
        json_object_end(&w);
        begin = end;
    }
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}

static void check_tensors(const struct tensor *tensors, int count)
{
    int64_t bytes = 0;

    assert(count >= 0 && count <= BUNDLE_TENSORS_MAX);
    for (int i = 0; i < count; i++) {
        int64_t own = tensor_bytes(&tensors[i]);

        assert(own >= 0 && tensors[i].name[0] != 0 && strcmp(tensors[i].name, METADATA_NAME) != 0);
        bytes += own;
        assert(bytes <= BUNDLE_WEIGHTS_MAX);
        for (int k = 0; k < i; k++)
            assert(strcmp(tensors[i].name, tensors[k].name) != 0);
    }
}

static enum status write_all(FILE *file, const char *path, const void *from, size_t bytes,
                             struct error *err)
{
    if (bytes == 0 || fwrite(from, 1, bytes, file) == bytes)
        return OK;
    return error_set(err, ERR_IO, "could not write \"%s\": %s", path, strerror(errno));
}

enum status safetensors_write(const char *path, const struct tensor *tensors, int count,
                              struct error *err)
{
    /* A name of 63 bytes may need 6 characters each. */
    size_t room = LENGTH_BYTES + 64 + (size_t)count * 640;
    uint8_t *header;
    enum status status;
    size_t bytes;
    FILE *file;

    check_tensors(tensors, count);
    header = calloc(1, room + ALIGNMENT);
    if (header == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the header of \"%s\"", path);
    bytes = put_header((char *)header + LENGTH_BYTES, room - LENGTH_BYTES, tensors, count);
    assert(bytes > 0);
    while ((LENGTH_BYTES + bytes) % ALIGNMENT != 0)
        header[LENGTH_BYTES + bytes++] = ' ';
    bytes_put_u64(header, bytes);

    file = fopen(path, "wbe");
    if (file == NULL) {
        free(header);
        return error_set(err, ERR_IO, "could not open \"%s\": %s", path, strerror(errno));
    }
    status = write_all(file, path, header, LENGTH_BYTES + bytes, err);
    for (int i = 0; i < count && status == OK; i++)
        status = write_all(file, path, tensors[i].data, (size_t)tensor_bytes(&tensors[i]), err);
    if (status == OK && (fflush(file) != 0 || fsync(fileno(file)) != 0))
        status = error_set(err, ERR_IO, "could not write \"%s\": %s", path, strerror(errno));
    if (fclose(file) != 0 && status == OK)
        status = error_set(err, ERR_IO, "could not close \"%s\": %s", path, strerror(errno));
    free(header);
    return status;
}

/* ---- the header ---- */

static enum status bad(struct error *err, struct text name, const char *why)
{
    return error_set(err, ERR_MALFORMED, "tensor \"%.*s\" %s",
                     (int)(name.bytes < 64 ? name.bytes : 64), name.at, why);
}

static enum status parse_tensor(const struct json_node *node, struct tensor *tensor, int64_t *begin,
                                int64_t *end, struct error *err)
{
    const struct json_node *shape = json_member(node, "shape");
    const struct json_node *offsets = json_member(node, "data_offsets");
    struct text dtype = json_text_or(json_member(node, "dtype"), "");
    int64_t bytes;

    *tensor = (struct tensor){0};
    if (node->key.bytes == 0 || node->key.bytes >= sizeof tensor->name)
        return bad(err, node->key, "has no name of 1..63 bytes");
    memcpy(tensor->name, node->key.at, node->key.bytes);
    if (node->value.type != JSON_OBJECT || !text_equal(dtype, text_of("F32")))
        return bad(err, node->key, "is not of dtype F32");
    if (shape == NULL || shape->value.type != JSON_ARRAY || shape->children_count > BUNDLE_DIMS_MAX)
        return bad(err, node->key, "has no shape of up to 4 dims");
    for (const struct json_node *dim = shape->child; dim != NULL; dim = dim->next) {
        if (dim->value.type != JSON_INT)
            return bad(err, node->key, "has a dim that is no integer");
        tensor->dims[tensor->dims_count++] = dim->value.integer;
    }
    bytes = tensor_bytes(tensor);
    if (bytes < 0)
        return error_set(err, ERR_LIMIT, "tensor \"%s\" is larger than %lld bytes", tensor->name,
                         (long long)BUNDLE_WEIGHTS_MAX);
    if (offsets == NULL || offsets->value.type != JSON_ARRAY || offsets->children_count != 2 ||
        offsets->child->value.type != JSON_INT || offsets->child->next->value.type != JSON_INT)
        return bad(err, node->key, "has no two data_offsets");
    *begin = offsets->child->value.integer;
    *end = offsets->child->next->value.integer;
    if (*begin < 0 || *end < *begin || *end - *begin != bytes)
        return bad(err, node->key, "has data_offsets that are not as long as its shape");
    return OK;
}

/* Puts the tensors in the order of their data, by insertion: there are at most 256. A stable
 * sort, so that empty tensors stay where they were. */
static void sort_by_begin(struct tensor *tensors, int64_t *begins, int count)
{
    for (int i = 1; i < count; i++) {
        struct tensor tensor = tensors[i];
        int64_t begin = begins[i];
        int at = i;

        for (; at > 0 &&
               (begins[at - 1] > begin || (begins[at - 1] == begin && tensor_bytes(&tensor) == 0 &&
                                           tensor_bytes(&tensors[at - 1]) > 0));
             at--) {
            tensors[at] = tensors[at - 1];
            begins[at] = begins[at - 1];
        }
        tensors[at] = tensor;
        begins[at] = begin;
    }
}

static enum status check_tiling(const struct tensor *tensors, const int64_t *begins, int count,
                                int64_t data_bytes, struct error *err)
{
    int64_t end = 0;

    for (int i = 0; i < count; i++) {
        for (int k = 0; k < i; k++)
            if (strcmp(tensors[i].name, tensors[k].name) == 0)
                return bad(err, text_of(tensors[i].name), "is there twice");
        if (begins[i] != end)
            return bad(err, text_of(tensors[i].name),
                       begins[i] < end ? "overlaps another" : "has a hole before it");
        end += tensor_bytes(&tensors[i]);
    }
    if (end != data_bytes)
        return error_set(err, ERR_MALFORMED, "tensors cover %lld of %lld bytes of data",
                         (long long)end, (long long)data_bytes);
    return OK;
}

enum status safetensors_parse_header(struct text header, int64_t data_bytes,
                                     struct tensor tensors[BUNDLE_TENSORS_MAX],
                                     int64_t begins[BUNDLE_TENSORS_MAX], int *count,
                                     struct error *err)
{
    /* No more than the text can hold: a value has at least one byte and something beside it. */
    size_t nodes_max = header.bytes / 2 + 2 < HEADER_NODES ? header.bytes / 2 + 2 : HEADER_NODES;
    struct json_parser *parser = json_parser_create(SAFETENSORS_HEADER_MAX, nodes_max);
    const struct json_node *root;
    enum status status;
    int64_t end;

    *count = 0;
    if (parser == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a header of tensors");
    status = json_parse(parser, header, &root, err);
    if (status == OK && root->value.type != JSON_OBJECT)
        status = error_set(err, ERR_MALFORMED, "header of tensors is no object");
    if (status != OK)
        goto done;
    for (const struct json_node *node = root->child; node != NULL; node = node->next) {
        if (text_equal(node->key, text_of(METADATA_NAME)))
            continue;
        if (*count == BUNDLE_TENSORS_MAX) {
            status = error_set(err, ERR_LIMIT, "more than %d tensors", BUNDLE_TENSORS_MAX);
            goto done;
        }
        status = parse_tensor(node, &tensors[*count], &begins[*count], &end, err);
        if (status != OK)
            goto done;
        ++*count;
    }
    sort_by_begin(tensors, begins, *count);
    status = check_tiling(tensors, begins, *count, data_bytes, err);
done:
    if (status != OK)
        *count = 0;
    json_parser_destroy(parser);
    return status;
}

/* ---- reading ---- */

static enum status read_exactly(int fd, const char *path, void *into, size_t bytes,
                                struct error *err)
{
    char *at = into;

    while (bytes > 0) {
        ssize_t count = read(fd, at, bytes);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(err, ERR_IO, "could not read \"%s\": %s", path, strerror(errno));
        if (count == 0)
            return error_set(err, ERR_MALFORMED, "\"%s\" ends too early", path);
        at += count;
        bytes -= (size_t)count;
    }
    return OK;
}

/* Opens a regular file and reads its header; *data_bytes is what follows it. */
static enum status read_header(const char *path, int *fd, char **header, size_t *header_bytes,
                               int64_t *data_bytes, struct error *err)
{
    uint8_t length[LENGTH_BYTES];
    struct stat info;
    enum status status;
    uint64_t claimed;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (*fd < 0)
        return error_set(err,
                         errno == ENOENT  ? ERR_NOT_FOUND
                         : errno == ELOOP ? ERR_MALFORMED
                                          : ERR_IO,
                         "could not open \"%s\": %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode))
        return error_set(err, ERR_MALFORMED, "\"%s\" is not a regular file", path);
    if (info.st_size > BUNDLE_WEIGHTS_MAX + SAFETENSORS_HEADER_MAX)
        return error_set(err, ERR_LIMIT, "\"%s\" has %lld bytes", path, (long long)info.st_size);
    status = read_exactly(*fd, path, length, sizeof length, err);
    if (status != OK)
        return status;
    claimed = bytes_get_u64(length);
    if (claimed > SAFETENSORS_HEADER_MAX)
        return error_set(err, ERR_LIMIT, "\"%s\" claims a header of %llu bytes, at most %d", path,
                         (unsigned long long)claimed, SAFETENSORS_HEADER_MAX);
    if ((int64_t)claimed > info.st_size - LENGTH_BYTES)
        return error_set(err, ERR_MALFORMED, "\"%s\" ends inside its header", path);
    *header = malloc((size_t)claimed + 1);
    if (*header == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the header of \"%s\"", path);
    *header_bytes = (size_t)claimed;
    *data_bytes = info.st_size - LENGTH_BYTES - (int64_t)claimed;
    return read_exactly(*fd, path, *header, (size_t)claimed, err);
}

static bool all_finite(const float *values, size_t count)
{
    uint32_t bad_values = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, values + i, sizeof bits);
        bad_values |= (uint32_t)((bits & EXPONENT_BITS) == EXPONENT_BITS);
    }
    return bad_values == 0;
}

/* Reads all data into one block, each tensor at a multiple of 64 bytes. */
static enum status read_data(int fd, const char *path, struct safetensors *file, struct error *err)
{
    size_t bytes = ALIGNMENT;
    char *at;

    for (int i = 0; i < file->count; i++)
        bytes += ((size_t)tensor_bytes(&file->tensors[i]) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    file->block = aligned_alloc(ALIGNMENT, bytes);
    if (file->block == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %zu bytes of \"%s\"", bytes, path);
    at = file->block;
    for (int i = 0; i < file->count; i++) {
        struct tensor *tensor = &file->tensors[i];
        size_t own = (size_t)tensor_bytes(tensor);
        enum status status = read_exactly(fd, path, at, own, err);

        if (status != OK)
            return status;
        tensor->data = (float *)(void *)at;
        if (!all_finite(tensor->data, own / sizeof(float)))
            return bad(err, text_of(tensor->name), "holds a value that is not finite");
        at += (own + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return OK;
}

enum status safetensors_read(struct safetensors **file, const char *path, struct error *err)
{
    struct safetensors *made = calloc(1, sizeof *made);
    int64_t begins[BUNDLE_TENSORS_MAX];
    char *header = NULL;
    size_t header_bytes = 0;
    int64_t data_bytes = 0;
    enum status status;
    int fd = -1;

    *file = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    status = read_header(path, &fd, &header, &header_bytes, &data_bytes, err);
    if (status != OK)
        goto done;
    status = safetensors_parse_header((struct text){header, header_bytes}, data_bytes,
                                      made->tensors, begins, &made->count, err);
    if (status != OK) {
        (void)error_prefix(err, "\"%s\"", path);
        goto done;
    }
    status = read_data(fd, path, made, err);
    if (status != OK)
        goto done;
    *file = made;
    made = NULL;
done:
    if (fd >= 0)
        (void)close(fd);
    free(header);
    safetensors_destroy(made);
    return status;
}

int safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct tensor *safetensors_at(const struct safetensors *file, int index)
{
    assert(index >= 0 && index < file->count);
    return &file->tensors[index];
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

void safetensors_destroy(struct safetensors *file)
{
    if (file == NULL)
        return;
    free(file->block);
    free(file);
}
