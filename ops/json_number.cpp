/*
 * ops/json_number.cpp - the shortest decimal that reads back as the same number.
 *
 * C has no such function: trying %.15g, %.16g, %.17g in turn costs about a microsecond
 * and depends on the locale. std::to_chars is in libstdc++ already, which simdjson needs.
 */
#include "ops/json_number.h"

#include <charconv>

size_t json_number_double(char *into, double value)
{
    return static_cast<size_t>(std::to_chars(into, into + JSON_NUMBER_BYTES, value).ptr - into);
}

size_t json_number_float(char *into, float value)
{
    return static_cast<size_t>(std::to_chars(into, into + JSON_NUMBER_BYTES, value).ptr - into);
}
