/*
 * ops/hash.h - the door to xxHash and libsodium: fast hashes, digests, random tokens.
 *
 * XXH3 is for tables, shards and identities (seeded, not cryptographic); SHA-256 is
 * for files that others verify.
 * Thread: any, but call hash_start() once before threads (it initialises libsodium).
 */
#ifndef OPS_HASH_H
#define OPS_HASH_H

#include "ops/status.h"
#include "ops/text.h"

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES     32
#define SHA256_HEX_BYTES 65 /* 64 digits and the zero */

MUST_CHECK enum status hash_start(struct error *err);

uint64_t hash64(const void *bytes, size_t count, uint64_t seed); /* XXH3_64bits_withSeed */
uint64_t hash64_text(struct text text, uint64_t seed);
struct hash128 {
    uint64_t low, high;
};
struct hash128 hash128(const void *bytes, size_t count, uint64_t seed); /* XXH3_128bits_withSeed */
uint64_t hash64_mix(uint64_t a, uint64_t b); /* combines two hashes, order matters */

void hash_random_bytes(void *into, size_t count);           /* from the system's generator */
void hash_hex(char *into, const void *bytes, size_t count); /* 2 * count + 1 characters */

struct sha256 {
    uint64_t opaque[26]; /* large enough for libsodium's state; checked at compile time */
};
void sha256_begin(struct sha256 *state);
void sha256_add(struct sha256 *state, const void *bytes, size_t count);
void sha256_end(struct sha256 *state, char hex[SHA256_HEX_BYTES]);
/* Errors: ERR_NOT_FOUND, ERR_IO, ERR_MALFORMED (not a regular file). */
MUST_CHECK enum status sha256_file(const char *path, char hex[SHA256_HEX_BYTES], struct error *err);

#endif
