/* ops/hash.c - xxHash's XXH3 and libsodium behind our own names. */
#include "ops/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct sha256), "state fits");
_Static_assert(_Alignof(crypto_hash_sha256_state) <= _Alignof(struct sha256), "state is aligned");
_Static_assert(SHA256_BYTES == crypto_hash_sha256_BYTES, "same digest");

enum status hash_start(struct error *err)
{
    if (sodium_init() < 0) /* 1: it was initialised before, which is fine */
        return error_set(err, ERR_IO, "could not initialise libsodium: no source of random bytes");
    return OK;
}

uint64_t hash64(const void *bytes, size_t count, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes == NULL ? "" : bytes, count, seed);
}

uint64_t hash64_text(struct text text, uint64_t seed)
{
    return hash64(text.at, text.bytes, seed);
}

struct hash128 hash128(const void *bytes, size_t count, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes == NULL ? "" : bytes, count, seed);

    return (struct hash128){hash.low64, hash.high64};
}

/* Two multiply-and-fold rounds with the constants of SplitMix64; a is spread before b
 * joins it, so that mix(a, b) and mix(b, a) differ. */
uint64_t hash64_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ a >> 30) * 0xbf58476d1ce4e5b9u + b + 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    return z ^ z >> 31;
}

void hash_random_bytes(void *into, size_t count)
{
    randombytes_buf(into, count);
}

void hash_hex(char *into, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < count; i++) {
        into[2 * i] = "0123456789abcdef"[at[i] >> 4];
        into[2 * i + 1] = "0123456789abcdef"[at[i] & 15];
    }
    into[2 * count] = 0;
}

void sha256_begin(struct sha256 *state)
{
    (void)crypto_hash_sha256_init((crypto_hash_sha256_state *)(void *)state);
}

void sha256_add(struct sha256 *state, const void *bytes, size_t count)
{
    if (count > 0)
        (void)crypto_hash_sha256_update((crypto_hash_sha256_state *)(void *)state, bytes, count);
}

void sha256_end(struct sha256 *state, char hex[SHA256_HEX_BYTES])
{
    unsigned char digest[SHA256_BYTES];

    (void)crypto_hash_sha256_final((crypto_hash_sha256_state *)(void *)state, digest);
    hash_hex(hex, digest, sizeof digest);
}

/* Opened without blocking and checked after: a FIFO at a file's name must not hang us. */
enum status sha256_file(const char *path, char hex[SHA256_HEX_BYTES], struct error *err)
{
    unsigned char buffer[16384];
    struct sha256 state;
    struct stat info;
    ssize_t got;
    enum status status = OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "could not open \"%s\": %s",
                         path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = error_set(err, ERR_MALFORMED, "\"%s\" is not a regular file", path);
        goto done;
    }
    sha256_begin(&state);
    while ((got = read(fd, buffer, sizeof buffer)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = error_set(err, ERR_IO, "could not read \"%s\": %s", path, strerror(errno));
            goto done;
        }
        sha256_add(&state, buffer, (size_t)got);
    }
    sha256_end(&state, hex);
done:
    (void)close(fd);
    return status;
}
