/*
 * tests/cuemu/ptx_table.cpp - the instructions of PTX that compute a value, by their whole names.
 *
 * A row is a name with all its modifiers, so nothing that is not written here is taken for
 * something like it. Meanings are those of NVIDIA's "Parallel Thread Execution ISA", version 9.0.
 *
 * Approximations (.approx) are as wrong as the ISA lets them be: the right value off by a part of
 * the bound, either way, by a hash of the argument. So a test that passes does not live off the
 * CPU's better exp2. What the ISA states exactly (0, infinities, NaN) is exact.
 */
#include "tests/cuemu/ptx.h"

#include <fenv.h>
#include <math.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <type_traits>

namespace
{
/* ---- bits and values ---- */

template <class T> T as(uint64_t bits)
{
    if constexpr (std::is_same_v<T, float>) {
        uint32_t low = (uint32_t)bits;
        float value;

        memcpy(&value, &low, sizeof value);
        return value;
    } else {
        return (T)bits;
    }
}

template <class T> uint64_t bits(T value)
{
    if constexpr (std::is_same_v<T, float>) {
        uint32_t low;

        memcpy(&low, &value, sizeof low);
        return low;
    } else {
        return (uint64_t)(std::make_unsigned_t<T>)value;
    }
}

/* ---- arithmetic: that of unsigned integers wraps, as the device's does for both ---- */

template <class T> uint64_t add(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(as<T>(a) + as<T>(b)));
}
template <class T> uint64_t sub(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(as<T>(a) - as<T>(b)));
}
/* 1u: two of 16 bits are not multiplied as int. */
template <class T> uint64_t mul(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(1u * as<T>(a) * as<T>(b)));
}
template <class T> uint64_t mad(uint64_t a, uint64_t b, uint64_t c)
{
    return bits<T>((T)(1u * as<T>(a) * as<T>(b) + as<T>(c)));
}
template <class T, class Wide> uint64_t mul_wide(uint64_t a, uint64_t b, uint64_t)
{
    return bits<Wide>((Wide)as<T>(a) * (Wide)as<T>(b));
}
template <class T, class Wide> uint64_t mad_wide(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((Wide)as<T>(a) * (Wide)as<T>(b)) + c;
}
template <class T, class Wide> uint64_t mul_high(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(((Wide)as<T>(a) * (Wide)as<T>(b)) >> (8 * sizeof(T))));
}
/* By 0: any value, says the ISA; the device gives all ones. */
template <class T> uint64_t divide(uint64_t a, uint64_t b, uint64_t)
{
    if (as<T>(b) == 0)
        return bits<T>((T)-1);
    if (std::is_signed_v<T> && as<T>(b) == (T)-1)
        return bits<T>((T)(0 - a));
    return bits<T>((T)(as<T>(a) / as<T>(b)));
}
template <class T> uint64_t remainder_of(uint64_t a, uint64_t b, uint64_t)
{
    if (as<T>(b) == 0)
        return bits<T>(as<T>(a));
    if (std::is_signed_v<T> && as<T>(b) == (T)-1)
        return 0;
    return bits<T>((T)(as<T>(a) % as<T>(b)));
}
template <class T> uint64_t least(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>(as<T>(a) < as<T>(b) ? as<T>(a) : as<T>(b));
}
template <class T> uint64_t greatest(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>(as<T>(a) > as<T>(b) ? as<T>(a) : as<T>(b));
}
template <class T> uint64_t negative(uint64_t a, uint64_t, uint64_t)
{
    return bits<T>((T)(0 - a));
}
template <class T> uint64_t absolute(uint64_t a, uint64_t, uint64_t)
{
    return bits<T>((T)(as<T>(a) < 0 ? 0 - a : a));
}

/* ---- bits ---- */

template <class T> uint64_t both(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(a & b));
}
template <class T> uint64_t either(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(a | b));
}
template <class T> uint64_t differ(uint64_t a, uint64_t b, uint64_t)
{
    return bits<T>((T)(a ^ b));
}
template <class T> uint64_t complement(uint64_t a, uint64_t, uint64_t)
{
    return bits<T>((T)~a);
}
/* Shifts by the width and more give 0, or the sign everywhere. */
template <class T> uint64_t shift_left(uint64_t a, uint64_t by, uint64_t)
{
    return (uint32_t)by >= 8 * sizeof(T) ? 0 : bits<T>((T)(as<T>(a) << (uint32_t)by));
}
template <class T> uint64_t shift_right(uint64_t a, uint64_t by, uint64_t)
{
    const uint32_t width = 8 * sizeof(T), most = (uint32_t)by < width ? (uint32_t)by : width - 1;

    if ((uint32_t)by >= width && !std::is_signed_v<T>)
        return 0;
    return bits<T>((T)(as<T>(a) >> most));
}
uint64_t funnel_left(uint64_t low, uint64_t high, uint64_t by)
{
    return (uint32_t)(((high << 32 | (uint32_t)low) << (by & 31)) >> 32);
}
uint64_t funnel_right(uint64_t low, uint64_t high, uint64_t by)
{
    return (uint32_t)((high << 32 | (uint32_t)low) >> (by & 31));
}
uint64_t leading_zeros_32(uint64_t a, uint64_t, uint64_t)
{
    return (uint32_t)a == 0 ? 32 : (uint64_t)__builtin_clz((uint32_t)a);
}
uint64_t leading_zeros_64(uint64_t a, uint64_t, uint64_t)
{
    return a == 0 ? 64 : (uint64_t)__builtin_clzll(a);
}
uint64_t ones_32(uint64_t a, uint64_t, uint64_t)
{
    return (uint64_t)__builtin_popcount((uint32_t)a);
}
/* A byte of two words for each of 4 selectors; the selectors' sign bit is not known here. */
uint64_t permute(uint64_t a, uint64_t b, uint64_t selectors)
{
    uint64_t words = (uint32_t)a | b << 32, result = 0;

    for (int i = 0; i < 4; i++) {
        uint64_t of = selectors >> (4 * i) & 15, byte = words >> (8 * (of & 7)) & 0xff;

        result |= ((of & 8) != 0 ? ((byte & 0x80) != 0 ? 0xff : 0) : byte) << (8 * i);
    }
    return result;
}
uint64_t not_predicate(uint64_t a, uint64_t, uint64_t)
{
    return a == 0;
}

/* ---- floats ---- */

uint64_t mul_float(uint64_t a, uint64_t b, uint64_t)
{
    return bits(as<float>(a) * as<float>(b));
}
uint64_t fused(uint64_t a, uint64_t b, uint64_t c)
{
    return bits(fmaf(as<float>(a), as<float>(b), as<float>(c)));
}
/* With another rounding; volatile: computed while it holds. */
template <int mode> uint64_t fused_rounded(uint64_t a, uint64_t b, uint64_t c)
{
    volatile float result;

    fesetround(mode);
    result = fmaf(as<float>(a), as<float>(b), as<float>(c));
    fesetround(FE_TONEAREST);
    return bits<float>(result);
}
template <int mode> uint64_t add_rounded(uint64_t a, uint64_t b, uint64_t)
{
    volatile float x = as<float>(a), y = as<float>(b), result;

    fesetround(mode);
    result = x + y;
    fesetround(FE_TONEAREST);
    return bits<float>(result);
}
uint64_t divide_float(uint64_t a, uint64_t b, uint64_t)
{
    return bits(as<float>(a) / as<float>(b));
}
/* The one that is a number; -0 below +0. */
uint64_t least_float(uint64_t a, uint64_t b, uint64_t)
{
    float x = as<float>(a), y = as<float>(b);

    if (isnan(x) || isnan(y))
        return isnan(x) ? (isnan(y) ? 0x7fffffff : bits(y)) : bits(x);
    return x == y ? bits(x) | bits(y) : bits(x < y ? x : y);
}
uint64_t greatest_float(uint64_t a, uint64_t b, uint64_t)
{
    float x = as<float>(a), y = as<float>(b);

    if (isnan(x) || isnan(y))
        return isnan(x) ? (isnan(y) ? 0x7fffffff : bits(y)) : bits(x);
    return x == y ? bits(x) & bits(y) : bits(x > y ? x : y);
}
uint64_t negative_float(uint64_t a, uint64_t, uint64_t)
{
    return (uint32_t)a ^ 0x80000000u;
}
uint64_t absolute_float(uint64_t a, uint64_t, uint64_t)
{
    return (uint32_t)a & 0x7fffffffu;
}
uint64_t root(uint64_t a, uint64_t, uint64_t)
{
    return bits(sqrtf(as<float>(a)));
}
uint64_t reciprocal(uint64_t a, uint64_t, uint64_t)
{
    return bits(1.0f / as<float>(a));
}

/* ---- approximations ----
 *
 * Bounds, by section of the ISA 9.0 ("floating point instructions"): 9.7.3.8 div.approx 2 ulp for
 * 2^-126 <= |b| <= 2^126, above that 0; div.full 2 ulp. 9.7.3.13 rcp.approx 1 ulp. 9.7.3.15
 * sqrt.approx 2^-23 of the result. 9.7.3.16 rsqrt.approx 2^-22.9 of it. 9.7.3.20 lg2.approx 2^-22,
 * as it is for arguments between 0.5 and 2, else of the result. 9.7.3.21 ex2.approx 2 ulp of the
 * rounded result. What comes of it is rounded once more, so it may be half an ulp further off. */

/* -1..1, the same for the same argument. */
double error_of(uint64_t argument)
{
    uint64_t hash = ((uint32_t)argument + 1u) * 0x9e3779b97f4a7c15u;

    return (double)(hash >> 11) / (double)(1ull << 53) * 2 - 1;
}
/* right, wrong by up to so much of it. */
uint64_t within(double right, double bound, uint64_t argument)
{
    if (right == 0 || isinf(right) || isnan(right))
        return bits((float)right);
    return bits((float)(right * (1 + error_of(argument) * bound)));
}
/* right, wrong by up to so many of what lies between it and the next float. */
uint64_t within_ulps(double right, int ulps, uint64_t argument)
{
    if (right == 0 || isinf(right) || isnan(right) || fabs(right) >= 0x1p128)
        return bits((float)right);
    return bits(
        (float)(right + error_of(argument) * ldexp(ulps, std::max(ilogb(right), -126) - 23)));
}
float flushed(uint64_t a)
{
    float value = as<float>(a);

    return fabsf(value) < 0x1p-126f ? copysignf(0.0f, value) : value;
}
uint64_t flushed_result(uint64_t result)
{
    return bits(flushed(result));
}
uint64_t power_of_2(uint64_t a, uint64_t, uint64_t)
{
    float x = as<float>(a);

    return x == 0 ? bits(1.0f) : within_ulps(exp2((double)x), 2, a);
}
uint64_t power_of_2_flushed(uint64_t a, uint64_t, uint64_t)
{
    return flushed_result(power_of_2(bits(flushed(a)), 0, 0));
}
uint64_t log_2(uint64_t a, uint64_t, uint64_t)
{
    float x = as<float>(a);

    if (x > 0.5f && x < 2.0f)
        return bits((float)(log2((double)x) + error_of(a) * 0x1p-22));
    return within(log2((double)x), 0x1p-22, a);
}
uint64_t log_2_flushed(uint64_t a, uint64_t, uint64_t)
{
    return log_2(bits(flushed(a)), 0, 0);
}
uint64_t reciprocal_about(uint64_t a, uint64_t, uint64_t)
{
    return within_ulps(1.0 / (double)as<float>(a), 1, a);
}
uint64_t reciprocal_flushed(uint64_t a, uint64_t, uint64_t)
{
    return flushed_result(reciprocal_about(bits(flushed(a)), 0, 0));
}
uint64_t root_about(uint64_t a, uint64_t, uint64_t)
{
    return within(sqrt((double)as<float>(a)), 0x1p-23, a);
}
uint64_t inverse_root(uint64_t a, uint64_t, uint64_t)
{
    return within(1.0 / sqrt((double)as<float>(a)), 0x1.125fcp-23, a); /* 2^-22.9 */
}
uint64_t divide_full(uint64_t a, uint64_t b, uint64_t)
{
    return within_ulps((double)as<float>(a) / (double)as<float>(b), 2, a ^ b);
}
uint64_t divide_about(uint64_t a, uint64_t b, uint64_t)
{
    float x = as<float>(a), y = as<float>(b);

    if (fabsf(y) > 0x1p126f && !isinf(y))
        return bits(isinf(x) || isnan(x) ? NAN : copysignf(0.0f, x * copysignf(1.0f, y)));
    return divide_full(a, b, 0);
}

/* ---- conversions ---- */

template <class To, class From> uint64_t convert(uint64_t a, uint64_t, uint64_t)
{
    return bits<To>((To)as<From>(a));
}
/* To an integer: towards 0, or to the nearest; what does not fit becomes the end, NaN 0. */
template <class To, int mode> uint64_t to_integer(uint64_t a, uint64_t, uint64_t)
{
    const double low = std::is_signed_v<To> ? -ldexp(1, 8 * (int)sizeof(To) - 1) : 0;
    const double high = ldexp(1, 8 * (int)sizeof(To) - (std::is_signed_v<To> ? 1 : 0));
    double value = (double)as<float>(a);

    value = mode == FE_TOWARDZERO ? trunc(value)
            : mode == FE_DOWNWARD ? floor(value)
            : mode == FE_UPWARD   ? ceil(value)
                                  : rint(value);
    if (isnan(value))
        return 0;
    if (value < low)
        return bits<To>((To)((uint64_t)(std::is_signed_v<To> ? 1 : 0) << (8 * sizeof(To) - 1)));
    if (value >= high)
        return bits<To>(
            (To)((To)-1 > 0 ? (To)-1 : (To)(((uint64_t)1 << (8 * sizeof(To) - 1)) - 1)));
    return bits<To>((To)value);
}
template <int mode> uint64_t to_whole(uint64_t a, uint64_t, uint64_t)
{
    float value = as<float>(a);

    return bits(mode == FE_DOWNWARD     ? floorf(value)
                : mode == FE_UPWARD     ? ceilf(value)
                : mode == FE_TOWARDZERO ? truncf(value)
                                        : rintf(value));
}
uint64_t to_unit(uint64_t a, uint64_t, uint64_t)
{
    float value = as<float>(a);

    return bits(value >= 1.0f ? 1.0f : value > 0.0f ? value : 0.0f); /* NaN: 0 */
}
/* To the nearest bfloat16, ties to the even one. */
uint64_t to_bf16(uint64_t a, uint64_t, uint64_t)
{
    uint32_t word = (uint32_t)a;

    if (isnan(as<float>(a)))
        return 0x7fff;
    return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}
uint64_t to_bf16_pair(uint64_t high, uint64_t low, uint64_t)
{
    return to_bf16(high, 0, 0) << 16 | to_bf16(low, 0, 0);
}
uint64_t from_bf16(uint64_t a, uint64_t, uint64_t)
{
    return (uint32_t)(uint16_t)a << 16;
}

/* ---- moves and choices ---- */

template <class T> uint64_t same(uint64_t a, uint64_t, uint64_t)
{
    return (uint64_t)(T)a;
}
template <class T> uint64_t choose(uint64_t a, uint64_t b, uint64_t which)
{
    return (uint64_t)(T)(which != 0 ? a : b);
}

/* ---- comparisons ---- */

enum relation { EQ, NE, LT, LE, GT, GE };
template <class T> bool holds(enum relation r, T a, T b)
{
    return r == EQ   ? a == b
           : r == NE ? a < b || a > b
           : r == LT ? a < b
           : r == LE ? a <= b
           : r == GT ? a > b
                     : a >= b;
}
enum then { ALONE, AND, OR, XOR };
bool combine(enum then with, bool result, uint64_t other)
{
    return with == ALONE ? result
           : with == AND ? result && other != 0
           : with == OR  ? result || other != 0
                         : result != (other != 0);
}
template <class T, enum relation r, enum then with>
uint64_t compare(uint64_t a, uint64_t b, uint64_t c)
{
    return combine(with, holds<T>(r, as<T>(a), as<T>(b)), c);
}
/* ...u: also true when one is no number. */
template <enum relation r, enum then with>
uint64_t compare_or_nan(uint64_t a, uint64_t b, uint64_t c)
{
    float x = as<float>(a), y = as<float>(b);

    return combine(with, isnan(x) || isnan(y) || holds<float>(r, x, y), c);
}
template <bool numbers, enum then with> uint64_t ordered(uint64_t a, uint64_t b, uint64_t c)
{
    bool are = !isnan(as<float>(a)) && !isnan(as<float>(b));

    return combine(with, are == numbers, c);
}

/* ---- the table ---- */

/* clang-format off */
#define ARITHMETIC(suffix, T)                                                                      \
    {"add." suffix, add<T>, 2, PTX_INTEGER}, {"sub." suffix, sub<T>, 2, PTX_INTEGER},              \
    {"mul.lo." suffix, mul<T>, 2, PTX_INTEGER}, {"mad.lo." suffix, mad<T>, 3, PTX_INTEGER}
#define ORDERED(suffix, T)                                                                         \
    {"div." suffix, divide<T>, 2, PTX_INTEGER}, {"rem." suffix, remainder_of<T>, 2, PTX_INTEGER},  \
    {"min." suffix, least<T>, 2, PTX_INTEGER}, {"max." suffix, greatest<T>, 2, PTX_INTEGER},       \
    {"shr." suffix, shift_right<T>, 2, PTX_INTEGER}
#define SIGNED(suffix, T)                                                                          \
    {"neg." suffix, negative<T>, 1, PTX_INTEGER}, {"abs." suffix, absolute<T>, 1, PTX_INTEGER}
#define BITS(suffix, T)                                                                            \
    {"and." suffix, both<T>, 2, PTX_INTEGER}, {"or." suffix, either<T>, 2, PTX_INTEGER},           \
    {"xor." suffix, differ<T>, 2, PTX_INTEGER}, {"not." suffix, complement<T>, 1, PTX_INTEGER},    \
    {"shl." suffix, shift_left<T>, 2, PTX_INTEGER}, {"shr." suffix, shift_right<T>, 2, PTX_INTEGER}
#define WORDS(suffix, T)                                                                           \
    {"mov." suffix, same<T>, 1, PTX_MOVE}, {"selp." suffix, choose<T>, 3, PTX_INTEGER}
#define COMPARE(with, mark, name, r, suffix, T)                                                    \
    {"setp." name mark "." suffix, compare<T, r, with>, with == ALONE ? 2 : 3, PTX_INTEGER}
#define COMPARES(with, mark, suffix, T)                                                            \
    COMPARE(with, mark, "eq", EQ, suffix, T), COMPARE(with, mark, "ne", NE, suffix, T),            \
    COMPARE(with, mark, "lt", LT, suffix, T), COMPARE(with, mark, "le", LE, suffix, T),            \
    COMPARE(with, mark, "gt", GT, suffix, T), COMPARE(with, mark, "ge", GE, suffix, T)
#define COMPARES_ALL(suffix, T)                                                                    \
    COMPARES(ALONE, "", suffix, T), COMPARES(AND, ".and", suffix, T),                              \
    COMPARES(OR, ".or", suffix, T), COMPARES(XOR, ".xor", suffix, T)
#define COMPARE_FLOAT(with, mark, name, r)                                                         \
    {"setp." name mark ".f32", compare<float, r, with>, with == ALONE ? 2 : 3, PTX_FLOAT},         \
    {"setp." name "u" mark ".f32", compare_or_nan<r, with>, with == ALONE ? 2 : 3, PTX_FLOAT}
#define COMPARES_FLOAT(with, mark)                                                                 \
    COMPARE_FLOAT(with, mark, "eq", EQ), COMPARE_FLOAT(with, mark, "ne", NE),                      \
    COMPARE_FLOAT(with, mark, "lt", LT), COMPARE_FLOAT(with, mark, "le", LE),                      \
    COMPARE_FLOAT(with, mark, "gt", GT), COMPARE_FLOAT(with, mark, "ge", GE),                      \
    {"setp.num" mark ".f32", ordered<true, with>, with == ALONE ? 2 : 3, PTX_FLOAT},               \
    {"setp.nan" mark ".f32", ordered<false, with>, with == ALONE ? 2 : 3, PTX_FLOAT}
#define CONVERTS(to, To)                                                                           \
    {"cvt." to ".s8", convert<To, int8_t>, 1, PTX_INTEGER},                                        \
    {"cvt." to ".u8", convert<To, uint8_t>, 1, PTX_INTEGER},                                       \
    {"cvt." to ".s16", convert<To, int16_t>, 1, PTX_INTEGER},                                      \
    {"cvt." to ".u16", convert<To, uint16_t>, 1, PTX_INTEGER},                                     \
    {"cvt." to ".s32", convert<To, int32_t>, 1, PTX_INTEGER},                                      \
    {"cvt." to ".u32", convert<To, uint32_t>, 1, PTX_INTEGER},                                     \
    {"cvt." to ".s64", convert<To, int64_t>, 1, PTX_INTEGER},                                      \
    {"cvt." to ".u64", convert<To, uint64_t>, 1, PTX_INTEGER}
#define FLOAT_TO(to, To)                                                                           \
    {"cvt.rzi." to ".f32", to_integer<To, FE_TOWARDZERO>, 1, PTX_FLOAT},                           \
    {"cvt.rni." to ".f32", to_integer<To, FE_TONEAREST>, 1, PTX_FLOAT},                            \
    {"cvt.rmi." to ".f32", to_integer<To, FE_DOWNWARD>, 1, PTX_FLOAT},                             \
    {"cvt.rpi." to ".f32", to_integer<To, FE_UPWARD>, 1, PTX_FLOAT}
/* clang-format on */

const ptx_operation table[] = {
    ARITHMETIC("u16", uint16_t),
    ARITHMETIC("s16", uint16_t),
    ARITHMETIC("u32", uint32_t),
    ARITHMETIC("s32", uint32_t),
    ARITHMETIC("u64", uint64_t),
    ARITHMETIC("s64", uint64_t),
    ORDERED("u16", uint16_t),
    ORDERED("s16", int16_t),
    ORDERED("u32", uint32_t),
    ORDERED("s32", int32_t),
    ORDERED("u64", uint64_t),
    ORDERED("s64", int64_t),
    SIGNED("s16", int16_t),
    SIGNED("s32", int32_t),
    SIGNED("s64", int64_t),
    {"mul.wide.u16", mul_wide<uint16_t, uint32_t>, 2, PTX_INTEGER},
    {"mul.wide.s16", mul_wide<int16_t, int32_t>, 2, PTX_INTEGER},
    {"mul.wide.u32", mul_wide<uint32_t, uint64_t>, 2, PTX_INTEGER},
    {"mul.wide.s32", mul_wide<int32_t, int64_t>, 2, PTX_INTEGER},
    {"mad.wide.u32", mad_wide<uint32_t, uint64_t>, 3, PTX_INTEGER},
    {"mad.wide.s32", mad_wide<int32_t, int64_t>, 3, PTX_INTEGER},
    {"mul.hi.u32", mul_high<uint32_t, uint64_t>, 2, PTX_INTEGER},
    {"mul.hi.s32", mul_high<int32_t, int64_t>, 2, PTX_INTEGER},
    {"mul.hi.u64", mul_high<uint64_t, unsigned __int128>, 2, PTX_INTEGER},
    {"mul.hi.s64", mul_high<int64_t, __int128>, 2, PTX_INTEGER},
    BITS("b16", uint16_t),
    BITS("b32", uint32_t),
    BITS("b64", uint64_t),
    {"and.pred", both<uint8_t>, 2, PTX_INTEGER},
    {"or.pred", either<uint8_t>, 2, PTX_INTEGER},
    {"xor.pred", differ<uint8_t>, 2, PTX_INTEGER},
    {"not.pred", not_predicate, 1, PTX_INTEGER},
    {"mov.pred", same<uint8_t>, 1, PTX_MOVE},
    {"shf.l.wrap.b32", funnel_left, 3, PTX_INTEGER},
    {"shf.r.wrap.b32", funnel_right, 3, PTX_INTEGER},
    {"clz.b32", leading_zeros_32, 1, PTX_INTEGER},
    {"clz.b64", leading_zeros_64, 1, PTX_INTEGER},
    {"popc.b32", ones_32, 1, PTX_INTEGER},
    {"prmt.b32", permute, 3, PTX_INTEGER},
    WORDS("b16", uint16_t),
    WORDS("u16", uint16_t),
    WORDS("s16", uint16_t),
    WORDS("b32", uint32_t),
    WORDS("u32", uint32_t),
    WORDS("s32", uint32_t),
    WORDS("f32", uint32_t),
    WORDS("b64", uint64_t),
    WORDS("u64", uint64_t),
    WORDS("s64", uint64_t),
    {"cvta.to.global.u64", same<uint64_t>, 1, PTX_MOVE},
    {"cvta.global.u64", same<uint64_t>, 1, PTX_MOVE},

    {"add.f32", add<float>, 2, PTX_FLOAT},
    {"add.rn.f32", add<float>, 2, PTX_FLOAT},
    {"add.rz.f32", add_rounded<FE_TOWARDZERO>, 2, PTX_FLOAT},
    {"sub.f32", sub<float>, 2, PTX_FLOAT},
    {"sub.rn.f32", sub<float>, 2, PTX_FLOAT},
    {"mul.f32", mul_float, 2, PTX_FLOAT},
    {"mul.rn.f32", mul_float, 2, PTX_FLOAT},
    {"fma.rn.f32", fused, 3, PTX_FMA},
    {"fma.rm.f32", fused_rounded<FE_DOWNWARD>, 3, PTX_FMA},
    {"fma.rz.f32", fused_rounded<FE_TOWARDZERO>, 3, PTX_FMA},
    {"min.f32", least_float, 2, PTX_FLOAT},
    {"max.f32", greatest_float, 2, PTX_FLOAT},
    {"neg.f32", negative_float, 1, PTX_FLOAT},
    {"abs.f32", absolute_float, 1, PTX_FLOAT},
    {"div.rn.f32", divide_float, 2, PTX_SPECIAL},
    {"sqrt.rn.f32", root, 1, PTX_SPECIAL},
    {"rcp.rn.f32", reciprocal, 1, PTX_SPECIAL},
    {"ex2.approx.f32", power_of_2, 1, PTX_SPECIAL},
    {"ex2.approx.ftz.f32", power_of_2_flushed, 1, PTX_SPECIAL},
    {"lg2.approx.f32", log_2, 1, PTX_SPECIAL},
    {"lg2.approx.ftz.f32", log_2_flushed, 1, PTX_SPECIAL},
    {"rcp.approx.f32", reciprocal_about, 1, PTX_SPECIAL},
    {"rcp.approx.ftz.f32", reciprocal_flushed, 1, PTX_SPECIAL},
    {"sqrt.approx.f32", root_about, 1, PTX_SPECIAL},
    {"rsqrt.approx.f32", inverse_root, 1, PTX_SPECIAL},
    {"div.approx.f32", divide_about, 2, PTX_SPECIAL},
    {"div.full.f32", divide_full, 2, PTX_SPECIAL},

    CONVERTS("u8", uint8_t),
    CONVERTS("s16", int16_t),
    CONVERTS("u16", uint16_t),
    CONVERTS("s32", int32_t),
    CONVERTS("u32", uint32_t),
    CONVERTS("s64", int64_t),
    CONVERTS("u64", uint64_t),
    {"cvt.rn.f32.s32", convert<float, int32_t>, 1, PTX_FLOAT},
    {"cvt.rn.f32.u32", convert<float, uint32_t>, 1, PTX_FLOAT},
    {"cvt.rn.f32.s64", convert<float, int64_t>, 1, PTX_FLOAT},
    {"cvt.rn.f32.u64", convert<float, uint64_t>, 1, PTX_FLOAT},
    FLOAT_TO("s32", int32_t),
    FLOAT_TO("u32", uint32_t),
    FLOAT_TO("s64", int64_t),
    FLOAT_TO("u64", uint64_t),
    {"cvt.rmi.f32.f32", to_whole<FE_DOWNWARD>, 1, PTX_FLOAT},
    {"cvt.rpi.f32.f32", to_whole<FE_UPWARD>, 1, PTX_FLOAT},
    {"cvt.rzi.f32.f32", to_whole<FE_TOWARDZERO>, 1, PTX_FLOAT},
    {"cvt.rni.f32.f32", to_whole<FE_TONEAREST>, 1, PTX_FLOAT},
    {"cvt.sat.f32.f32", to_unit, 1, PTX_FLOAT},
    {"cvt.rn.bf16.f32", to_bf16, 1, PTX_FLOAT},
    {"cvt.rn.bf16x2.f32", to_bf16_pair, 2, PTX_FLOAT},
    {"cvt.f32.bf16", from_bf16, 1, PTX_FLOAT},

    COMPARES_ALL("b16", uint16_t),
    COMPARES_ALL("u16", uint16_t),
    COMPARES_ALL("s16", int16_t),
    COMPARES_ALL("b32", uint32_t),
    COMPARES_ALL("u32", uint32_t),
    COMPARES_ALL("s32", int32_t),
    COMPARES_ALL("b64", uint64_t),
    COMPARES_ALL("u64", uint64_t),
    COMPARES_ALL("s64", int64_t),
    COMPARES_FLOAT(ALONE, ""),
    COMPARES_FLOAT(AND, ".and"),
    COMPARES_FLOAT(OR, ".or"),
    COMPARES_FLOAT(XOR, ".xor"),
};
} /* namespace */

const ptx_operation *ptx_operation_of(const std::string &name)
{
    static std::map<std::string, const ptx_operation *> of;

    if (of.empty())
        for (const ptx_operation &row : table)
            of[row.name] = &row;
    auto found = of.find(name);
    return found == of.end() ? NULL : found->second;
}
