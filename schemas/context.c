/* schemas/context.c - names of a configuration, and the hash of a value. */
#include "schemas/context.h"

#include "ops/hash.h"

#include <string.h>

#define SEED_VALUE UINT64_C(0x636f6e74)
#define SEED_NAMES UINT64_C(0x6e616d65)

static bool is_of_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static enum status add(struct context_names *names, const char *at, size_t bytes, struct error *err)
{
    if (names->count == BATCH_CONTEXTS)
        return error_set(err, ERR_CONFIG, "more than %d contexts", BATCH_CONTEXTS);
    if (bytes >= CONTEXT_NAME_MAX)
        return error_set(err, ERR_CONFIG, "context \"%.*s\" is longer than %d bytes",
                         CONTEXT_NAME_MAX, at, CONTEXT_NAME_MAX - 1);
    for (int i = 0; i < names->count; i++)
        if (strlen(names->names[i]) == bytes && memcmp(names->names[i], at, bytes) == 0)
            return error_set(err, ERR_CONFIG, "context \"%s\" comes twice", names->names[i]);
    memcpy(names->names[names->count], at, bytes);
    names->print = (int32_t)(hash64(at, bytes, SEED_NAMES + (uint64_t)names->print) & INT32_MAX) |
                   1;
    names->count++;
    return OK;
}

enum status context_names_parse(struct context_names *names, const char *text, struct error *err)
{
    enum status status = OK;

    *names = (struct context_names){0};
    while (status == OK && *text != 0) {
        size_t bytes = 0;

        while (is_of_name(text[bytes]))
            bytes++;
        if (bytes > 0)
            status = add(names, text, bytes, err);
        else if (*text != ' ' && *text != ',')
            status = error_set(err, ERR_CONFIG, "contexts have a '%c', which is of no name", *text);
        text += bytes > 0 ? bytes : 1;
    }
    if (status != OK)
        *names = (struct context_names){0};
    return status;
}

int32_t context_code(struct text value)
{
    return value.bytes == 0
               ? 0
               : 1 + (int32_t)(hash64_text(value, SEED_VALUE) % (BATCH_CONTEXT_CODES - 1));
}
