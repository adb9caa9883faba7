// The golden model's operators in tight loops. What each computes is written in hw/spec/arith.py, and tests/sim/test_fast.py
// holds them together; the conditions under which 32 and 64 bits are enough are checked by sim/fast/operators.py.
// Arrays are contiguous unless strides (in elements) are passed.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__AVX2__) && !defined(PORTABLE)
#include <immintrin.h>
#endif

namespace {

using i8 = std::int8_t;
using u8 = std::uint8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

// ---- products: 32-bit lanes sum groups of narrow products, and wrap ----

#if defined(__AVX512BW__) && !defined(PORTABLE)
constexpr int LANES = 16;
#elif defined(__AVX2__) && !defined(PORTABLE)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int ROWS = 8;     // of a register tile
constexpr int VECTORS = 3;  // of LANES columns; ROWS x VECTORS accumulators, VECTORS + 1 operands: 28 registers

typedef i32 Lanes __attribute__((vector_size(4 * LANES)));

struct Pairs {  // int16 x int16
    using Left = i16;
    using Right = i16;
    static constexpr i64 group = 2;
    static constexpr i32 offset = 0;  // what the left operand is stored with
    static Lanes dot(Lanes acc, Lanes a, Lanes b) {
#if defined(__AVX512VNNI__) && !defined(PORTABLE)
        return (Lanes)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__) && !defined(PORTABLE)
        return acc + (Lanes)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && !defined(PORTABLE)
        return acc + (Lanes)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
        return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
    }
};

#if defined(__AVX512VNNI__) && !defined(PORTABLE)
struct Bytes {  // (int8 + 128) x int8
    using Left = u8;
    using Right = i8;
    static constexpr i64 group = 4;
    static constexpr i32 offset = 128;
    static Lanes dot(Lanes acc, Lanes a, Lanes b) {
        return (Lanes)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
    }
};
#else
using Bytes = Pairs;
#endif

template <class T>
using Format = std::conditional_t<sizeof(T) == 1, Bytes, Pairs>;

constexpr i64 rounded_up(i64 x, i64 unit) { return (x + unit - 1) / unit * unit; }

// sums[r][c] = sum over groups of a[r] . b[c] for R rows and V vectors of columns
template <class F, int R, int V>
void tile(const typename F::Left *a, i64 depth, const typename F::Right *b, i32 *sums) {
    Lanes acc[R][V] = {};
    for (i64 k = 0; k < depth; k += F::group) {
        Lanes weight[V];
        for (int v = 0; v < V; ++v) std::memcpy(&weight[v], b + (v * depth + k) * LANES, sizeof(Lanes));
        for (int r = 0; r < R; ++r) {
            i32 some;
            std::memcpy(&some, a + r * depth + k, 4);
            const Lanes x = Lanes{} + some;
            for (int v = 0; v < V; ++v) acc[r][v] = F::dot(acc[r][v], x, weight[v]);
        }
    }
    std::memcpy(sums, acc, sizeof acc);
}

template <class F>
using Tile = void (*)(const typename F::Left *, i64, const typename F::Right *, i32 *);
template <class F, int V>
constexpr Tile<F> TILES[ROWS + 1] = {nullptr,       tile<F, 1, V>, tile<F, 2, V>, tile<F, 3, V>, tile<F, 4, V>,
                                     tile<F, 5, V>, tile<F, 6, V>, tile<F, 7, V>, tile<F, 8, V>};

// b[k][n] in panels of LANES columns, in each of which a column's numbers of a group follow each other; `fix` becomes
// bias minus what the offset of the left operand adds
template <class F>
void pack(const i8 *b, i64 depth, i64 columns, i64 k_stride, i64 n_stride, const i32 *bias, typename F::Right *out,
          i32 *fix) {
    constexpr i64 g = F::group;
    const i64 deep = rounded_up(depth, g);
    for (i64 first = 0; first < columns; first += LANES) {
        const i64 count = std::min<i64>(LANES, columns - first);
        const i8 *from = b + first * n_stride;
        i32 sums[LANES] = {};
        const auto group = [&](i64 k, i64 size, i64 k_step, i64 n_step) {
            for (i64 n = 0; n < count; ++n)
                for (i64 j = 0; j < size; ++j) {
                    out[n * g + j] = from[(k + j) * k_step + n * n_step];
                    if (F::offset) sums[n] += from[(k + j) * k_step + n * n_step];
                }
        };
        for (i64 k = 0; k < deep; k += g, out += g * LANES) {
            if (count < LANES || k + g > depth) std::fill(out, out + g * LANES, 0);
            if (k + g > depth)
                group(k, depth - k, k_stride, n_stride);
            else if (k_stride == 1)
                group(k, g, 1, n_stride);  // with constants, for the compiler
            else if (n_stride == 1)
                group(k, g, k_stride, 1);
            else
                group(k, g, k_stride, n_stride);
        }
        for (i64 n = 0; n < count; ++n) fix[first + n] = (bias ? bias[first + n] : 0) - F::offset * sums[n];
    }
}

// ---- requantization through float64 ----

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

// What becomes of finished sums, of which `bias` and, unless T is i32, `factor` are by column
template <class T>
struct Finish {
    const i32 *bias;
    const double *factor;
    void operator()(const i32 *sums, i64 columns, i64 first, T *out) const {
        const double *f = sizeof(T) == 4 ? nullptr : factor + first;
        if (columns == VECTORS * LANES)
            row(sums, VECTORS * LANES, bias + first, f, out);  // with a constant, for the compiler
        else
            row(sums, columns, bias + first, f, out);
    }

private:
    static inline __attribute__((always_inline)) void row(const i32 *__restrict sums, i64 columns,
                                                          const i32 *__restrict bias, const double *__restrict factor,
                                                          T *__restrict out) {
        for (i64 c = 0; c < columns; ++c)
            if constexpr (sizeof(T) == 4)
                out[c] = sums[c] + bias[c];
            else
                out[c] = scaled<T>(sums[c] + bias[c], factor[c]);
    }
};

// ---- matrix products ----

template <class A, class T>
void product(const A *a, i64 a_row, i64 rows, i64 depth, const typename Format<A>::Right *b, Finish<T> finish,
             i64 columns, T *out, i64 out_row) {
    using F = Format<A>;
    static thread_local std::vector<typename F::Left> left;
    const i64 deep = rounded_up(depth, F::group);
    left.resize(rows * deep);
    for (i64 r = 0; r < rows; ++r) {
        auto *row = left.data() + r * deep;
        for (i64 k = 0; k < depth; ++k) row[k] = typename F::Left(a[r * a_row + k] + F::offset);
        std::fill(row + depth, row + deep, 0);
    }
    i32 sums[ROWS * VECTORS * LANES];
    for (i64 c = 0; c < columns; c += VECTORS * LANES) {
        const i64 count = std::min<i64>(VECTORS * LANES, columns - c), width = rounded_up(count, LANES);
        const Tile<F> *tiles = width == 3 * LANES ? TILES<F, 3> : width == 2 * LANES ? TILES<F, 2> : TILES<F, 1>;
        for (i64 r = 0; r < rows; r += ROWS) {
            const i64 some = std::min<i64>(ROWS, rows - r);
            tiles[some](left.data() + r * deep, deep, b + c * deep, sums);
            for (i64 i = 0; i < some; ++i) finish(sums + i * width, count, c, out + (r + i) * out_row + c);
        }
    }
}

template <class A, class T>
void products(const A *a, const i64 *a_strides, const i8 *b, const i64 *b_strides, const double *factor, T *out,
              const i64 *out_strides, const i64 *shape) {
    using F = Format<A>;
    static thread_local std::vector<typename F::Right> packed;
    static thread_local std::vector<i32> fix;
    static thread_local std::vector<double> factors;
    const i64 batch = shape[0], heads = shape[1], rows = shape[2], depth = shape[3], columns = shape[4];
    packed.resize(rounded_up(columns, LANES) * rounded_up(depth, F::group));
    fix.resize(columns);
    factors.assign(columns, factor ? *factor : 1);
    for (i64 i = 0; i < batch; ++i)
        for (i64 h = 0; h < heads; ++h) {
            pack<F>(b + i * b_strides[0] + h * b_strides[1], depth, columns, b_strides[2], b_strides[3], nullptr,
                    packed.data(), fix.data());
            product(a + i * a_strides[0] + h * a_strides[1], a_strides[2], rows, depth, packed.data(),
                    Finish<T>{fix.data(), factors.data()}, columns, out + i * out_strides[0] + h * out_strides[1],
                    out_strides[2]);
        }
}

// ---- requantization through integers and of sums of two ----

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

// ---- rows ----

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

extern "C" {

// What the products run on
const char *processor() {
#if defined(__AVX512VNNI__) && !defined(PORTABLE)
    return "AVX-512 VNNI";
#elif defined(__AVX512BW__) && !defined(PORTABLE)
    return "AVX-512";
#elif defined(__AVX2__) && !defined(PORTABLE)
    return "AVX2";
#else
    return "portable vectors";
#endif
}

// Bytes of a packed weight matrix
i64 packed_size(i64 outputs, i64 depth) {
    return rounded_up(outputs, LANES) * rounded_up(depth, Bytes::group) * i64(sizeof(Bytes::Right));
}

void pack_weight(const i8 *weight, i64 outputs, i64 depth, const i32 *bias, void *out, i32 *fix) {
    pack<Bytes>(weight, depth, outputs, 1, depth, bias, static_cast<Bytes::Right *>(out), fix);
}

// T is i32 for the sums themselves, else what they are requantized to
#define LINEAR(name, T)                                                                                             \
    void name(const i8 *x, i64 rows, i64 depth, const void *packed, const i32 *fix, i64 outputs, const double *factor, \
              T *out) {                                                                                             \
        product(x, depth, rows, depth, static_cast<const Bytes::Right *>(packed), Finish<T>{fix, factor}, outputs, out, \
                outputs);                                                                                           \
    }
LINEAR(linear_i32, i32)
LINEAR(linear_i16, i16)
LINEAR(linear_i8, i8)

// out[i][h] = a[i][h] @ b[i][h]; shape: batch, heads, rows, depth, columns; strides of a: batch, head, row; of b: batch,
// head, depth, column; of out: batch, head, row
#define MATMUL(name, A, T)                                                                                     \
    void name(const A *a, const i64 *sa, const i8 *b, const i64 *sb, const double *factor, T *out, const i64 *so, \
              const i64 *shape) {                                                                              \
        products(a, sa, b, sb, factor, out, so, shape);                                                        \
    }
MATMUL(matmul_i8_i32, i8, i32)
MATMUL(matmul_i8_i16, i8, i16)
MATMUL(matmul_i8_i8, i8, i8)
MATMUL(matmul_i16_i32, i16, i32)
MATMUL(matmul_i16_i16, i16, i16)
MATMUL(matmul_i16_i8, i16, i8)

void requantize_float_i8(const i32 *z, i64 rows, i64 columns, const double *factor, i64 factors, i8 *out) {
    requantize_float(z, rows, columns, factor, factors, out);
}
void requantize_float_i16(const i32 *z, i64 rows, i64 columns, const double *factor, i64 factors, i16 *out) {
    requantize_float(z, rows, columns, factor, factors, out);
}

// 1 if a value has more than 46 bits, and then the result is void
#define REQUANTIZE(name, Z, T)                                                                            \
    i64 name(const Z *z, i64 rows, i64 columns, const i64 *mult, const i64 *shift, i64 factors, T *out) { \
        return requantize(z, rows, columns, mult, shift, factors, out);                                   \
    }
REQUANTIZE(requantize_i32_i8, i32, i8)
REQUANTIZE(requantize_i32_i16, i32, i16)
REQUANTIZE(requantize_i64_i8, i64, i8)
REQUANTIZE(requantize_i64_i16, i64, i16)

#define ADD(name, X, T)                                                                                          \
    void name(const X *x, const double *factor, const i16 *y, const double *identity_factor, i64 count, T *out) { \
        add(x, *factor, y, *identity_factor, count, out);                                                        \
    }
ADD(add_i16_i8, i16, i8)
ADD(add_i16_i16, i16, i16)
ADD(add_i32_i8, i32, i8)
ADD(add_i32_i16, i32, i16)

#define SHIFTMAX(name, T, SHIFT)                                                                           \
    void name(const i8 *x, i64 rows, i64 length, const i32 *exp, const i8 *hidden, const i64 *which, i64 least, \
              T *out) {                                                                                    \
        shiftmax(x, rows, length, exp, SHIFT, hidden, which, i32(least), out);                             \
    }
SHIFTMAX(shiftmax_i8, i8, 24)
SHIFTMAX(shiftmax_i16, i16, 16)

void gelu_i32(const i8 *x, i64 rows, i64 length, const i32 *table, i32 *out) {
    shift_gelu(x, rows, length, table, out);
}
void gelu_i16(const i8 *x, i64 rows, i64 length, const i16 *table, i16 *out) {
    shift_gelu(x, rows, length, table, out);
}
void gelu_i8(const i8 *x, i64 rows, i64 length, const i8 *table, i8 *out) { shift_gelu(x, rows, length, table, out); }
void norm_i64(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, i64 *out) {
    layer_norm(x, rows, length, bias, start, steps, out);
}
void norm_i8(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, const i64 *mult,
             const i64 *shift, i64 factors, i8 *out) {
    layer_norm(x, rows, length, bias, start, steps, mult, shift, factors, out);
}
void norm_i16(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, const i64 *mult,
              const i64 *shift, i64 factors, i16 *out) {
    layer_norm(x, rows, length, bias, start, steps, mult, shift, factors, out);
}
}
