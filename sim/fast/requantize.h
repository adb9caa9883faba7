// RNE(z * mult / 2^shift), clamped, in two ways: through float64 and through 64-bit integers. sim/fast/laws.py says
// where each is exact.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using i8 = std::int8_t;
using u8 = std::uint8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds |v| < 2^51 half to even

inline double rne(double v) { return (v + ROUND) - ROUND; }

template <class T>
constexpr i64 LIMIT = i64(1) << (8 * sizeof(T) - 1);

template <class T>
inline T clamp(i64 x) {
    return T(std::min(std::max(x, -LIMIT<T>), LIMIT<T> - 1));
}

// RNE(v) clamped: the last bits of v + ROUND are its two's complement
template <class T>
inline T rounded(double v) {
    const double shifted = std::min(std::max(v, double(-LIMIT<T>)), double(LIMIT<T> - 1)) + ROUND;
    i64 bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    return T(bits);
}

// Through float64, where mult * 2^-shift is exact and the one rounding of its product with z cannot move it to or over
// a half: laws.py says when.
template <class T>
inline T scaled(i32 z, double factor) {
    return rounded<T>(z * factor);
}

template <class T>
void requantize_float(const i32 *z, i64 rows, i64 columns, const double *factor, i64 factors, T *out) {
    if (factors == 1)
        for (i64 i = 0; i < rows * columns; ++i) out[i] = scaled<T>(z[i], factor[0]);
    else
        for (i64 r = 0; r < rows; ++r, z += columns, out += columns)
            for (i64 c = 0; c < columns; ++c) out[c] = scaled<T>(z[c], factor[c]);
}

// Through integers: RNE(p / 2^shift) adds half less one, and one more if the quotient is odd
struct Rounding {
    i64 shift, below, odd;
    explicit Rounding(i64 e) : shift(e), below(e ? (i64(1) << (e - 1)) - 1 : 0), odd(e != 0) {}
};

inline i64 round_shift(i64 p, i64 shift, i64 below, i64 odd) { return (p + below + ((p >> shift) & odd)) >> shift; }

// z * mult = 2^16 * high + low: what is below the half bit only has to be zero or not
inline i64 halves(i64 z, i64 mult) {
    const i64 part = z * (mult & 0xFFFF), high = z * (mult >> 16) + (part >> 16);
    return 2 * high | ((part & 0xFFFF) != 0);
}

struct Factors {  // by column; `less` is what is already shifted out
    std::vector<i64> mult, shift, below, odd;
    void assign(i64 columns, const i64 *m, const i64 *e, i64 factors, i64 less) {
        mult.resize(columns), shift.resize(columns), below.resize(columns), odd.resize(columns);
        for (i64 c = 0; c < columns; ++c) {
            const i64 from = factors == 1 ? 0 : c;
            const Rounding rounding(e[from] - less);
            mult[c] = m[from], shift[c] = rounding.shift, below[c] = rounding.below, odd[c] = rounding.odd;
        }
    }
};
constexpr i64 HALVED = 15;  // bits that `halves` leaves out

template <class Z, class T>
i64 requantize(const Z *z, i64 rows, i64 columns, const i64 *mult, const i64 *shift, i64 factors, T *out) {
    constexpr bool wide = sizeof(Z) == 8;  // 35-bit values of I-LayerNorm, times 33 bits
    static thread_local Factors f;
    f.assign(columns, mult, shift, factors, wide ? HALVED : 0);
    const i64 *m = f.mult.data(), *s = f.shift.data(), *b = f.below.data(), *o = f.odd.data();
    i64 magnitude = 0;
    for (i64 r = 0; r < rows; ++r, z += columns, out += columns)
        for (i64 c = 0; c < columns; ++c) {
            magnitude |= z[c] ^ (i64(z[c]) >> 63);
            out[c] = clamp<T>(round_shift(wide ? halves(z[c], m[c]) : z[c] * m[c], s[c], b[c], o[c]));
        }
    return magnitude >> 45 != 0;
}

// Both products are exact in float64
template <class X, class T>
void add(const X *x, double factor, const i16 *y, double factor_identity, i64 count, T *out) {
    for (i64 i = 0; i < count; ++i) out[i] = rounded<T>(rne(x[i] * factor) + rne(y[i] * factor_identity));
}

}  // namespace
