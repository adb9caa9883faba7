// Shiftmax, ShiftGELU and I-LayerNorm of rows.

#pragma once

#include <algorithm>
#include <vector>

#include "requantize.h"

namespace {

inline i8 maximum(const i8 *x, i64 length) {
    i8 top = x[0];
    for (i64 i = 1; i < length; ++i) top = std::max(top, x[i]);
    return top;
}

// exp[255 + d] is E(d); hidden[which[r]], where there is one, marks what row r does not see: E is `least` there
template <class T>
void shiftmax(const i8 *x, i64 rows, i64 length, const i32 *exp, i64 shift, const i8 *hidden, const i64 *which,
              i32 least, T *out) {
    static thread_local std::vector<i32> row;
    static thread_local std::vector<i8> seen;
    row.resize(length), seen.resize(length);
    i32 *e = row.data();
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        const i8 *h = hidden ? hidden + which[r] * length : nullptr, *y = x;
        if (h) {
            for (i64 i = 0; i < length; ++i) seen[i] = h[i] ? -128 : x[i];
            y = seen.data();
        }
        const i32 *table = exp + 255 - maximum(y, length);
        for (i64 i = 0; i < length; ++i) e[i] = table[y[i]];
        if (h)
            for (i64 i = 0; i < length; ++i) e[i] = h[i] ? least : e[i];
        i64 sum = 0;
        for (i64 i = 0; i < length; ++i) sum += e[i];
        const i32 factor = INT32_MAX / std::min<i64>(sum, INT32_MAX);
        for (i64 i = 0; i < length; ++i) out[i] = T((e[i] * factor) >> shift);
    }
}

template <class T>
void shift_gelu(const i8 *x, i64 rows, i64 length, const T *table, T *out) {
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        const T *y = table + (maximum(x, length) + 128) * 256 + 128;  // table[maximum + 128][x + 128]
        for (i64 i = 0; i < length; ++i) out[i] = y[x[i]];
    }
}

i64 floor_divide(i64 a, i64 b) { return a / b - (a % b < 0); }

i64 mean_of(i64 sum, i64 count) {
    const i64 quotient = floor_divide(sum, count), twice = 2 * (sum - quotient * count);
    return quotient + (twice > count || (twice == count && (quotient & 1)));
}

struct Norm {  // mean and reciprocal root of a row
    i64 mean, factor;
    Norm(const i16 *x, i64 length, i64 root, i64 steps) {
        i64 sum = 0, squares = 0;
        for (i64 i = 0; i < length; ++i) sum += x[i];
        mean = mean_of(sum, length);
        for (i64 i = 0; i < length; ++i) squares += (x[i] - mean) * (x[i] - mean);
        for (i64 step = 0, last = 0; step < steps && root != last; ++step) {  // a step that changes nothing is the last
            last = root;
            root = (root + squares / root) >> 1;
        }
        factor = INT32_MAX / root;
    }
    i64 operator()(i64 x, i64 bias) const { return (((x - mean) * factor) >> 1) + bias; }
};

void layer_norm(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, i64 *out) {
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        const Norm norm(x, length, start, steps);
        for (i64 i = 0; i < length; ++i) out[i] = norm(x[i], bias[i]);
    }
}

template <class T>
void layer_norm(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, const i64 *mult,
                const i64 *shift, i64 factors, T *out) {
    static thread_local Factors f;
    f.assign(length, mult, shift, factors, HALVED);
    const i64 *m = f.mult.data(), *s = f.shift.data(), *b = f.below.data(), *o = f.odd.data();
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        const Norm norm(x, length, start, steps);
        for (i64 i = 0; i < length; ++i)
            out[i] = clamp<T>(round_shift(halves(norm(x[i], bias[i]), m[i]), s[i], b[i], o[i]));
    }
}

}  // namespace
