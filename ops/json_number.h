/*
 * ops/json_number.h - the shortest decimal that reads back as the same number.
 * Thread: any.
 */
#ifndef OPS_JSON_NUMBER_H
#define OPS_JSON_NUMBER_H

#include <stddef.h>

#define JSON_NUMBER_BYTES 32 /* the longest is 24: -2.2250738585072014e-308 */

#ifdef __cplusplus
extern "C" {
#endif

/* value must be finite. Writes at most JSON_NUMBER_BYTES, no zero; returns how many. */
size_t json_number_double(char *into, double value);
size_t json_number_float(char *into, float value);

#ifdef __cplusplus
}
#endif
#endif
