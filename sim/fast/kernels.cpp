// The golden model's operators in tight loops. What each computes is written in hw/spec/arith.py, and tests/sim/test_fast.py
// holds them together; the conditions under which 32 and 64 bits are enough are checked by sim/fast/operators.py.
// Arrays are contiguous unless strides (in elements) are passed.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX2__) && !defined(PORTABLE)
#include <immintrin.h>
#endif

namespace {

using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

// ---- int16 x int16 -> int32 products: pairs of products summed into 32-bit lanes, which wrap ----

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

// acc + a.low * b.low + a.high * b.high in every lane, whose halves are signed 16-bit numbers
inline Lanes dot(Lanes acc, Lanes a, Lanes b) {
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

inline i32 pair(const i16 *p) {
    i32 value;
    std::memcpy(&value, p, 4);
    return value;
}

// out[r][c] = sum over pairs of a[r] . b[c] + bias[c] for R rows and V vectors, of which `columns` are stored
template <int R, int V>
void tile(const i16 *a, i64 a_row, const i16 *b, i64 pairs, const i32 *bias, i32 *out, i64 out_row, i64 columns) {
    Lanes acc[R][V] = {};
    const i64 panel = pairs * 2 * LANES;
    for (i64 k = 0; k < pairs; ++k) {
        Lanes weight[V];
        for (int v = 0; v < V; ++v) std::memcpy(&weight[v], b + v * panel + k * 2 * LANES, sizeof(Lanes));
        for (int r = 0; r < R; ++r) {
            const Lanes x = Lanes{} + pair(a + r * a_row + 2 * k);
            for (int v = 0; v < V; ++v) acc[r][v] = dot(acc[r][v], x, weight[v]);
        }
    }
    for (int r = 0; r < R; ++r) {
        i32 row[V * LANES];
        std::memcpy(row, acc[r], sizeof row);
        if (bias)
            for (i64 c = 0; c < columns; ++c) row[c] += bias[c];
        std::memcpy(out + r * out_row, row, 4 * columns);
    }
}

using Tile = void (*)(const i16 *, i64, const i16 *, i64, const i32 *, i32 *, i64, i64);
template <int V>
Tile tile_of(i64 rows) {
    static constexpr Tile tiles[ROWS] = {tile<1, V>, tile<2, V>, tile<3, V>, tile<4, V>,
                                         tile<5, V>, tile<6, V>, tile<7, V>, tile<8, V>};
    return tiles[rows - 1];
}

// b[k][n] in panels of LANES columns, in each of which the pairs of a column's numbers follow each other
void pack(const i8 *b, i64 depth, i64 columns, i64 k_stride, i64 n_stride, i16 *out) {
    const i64 pairs = (depth + 1) / 2;
    for (i64 first = 0; first < columns; first += LANES, out += pairs * 2 * LANES) {
        const i64 count = std::min<i64>(LANES, columns - first);
        if (count < LANES || depth & 1) std::memset(out, 0, pairs * 4 * LANES);
        if (n_stride == 1) {
            for (i64 k = 0; k < depth; ++k)
                for (i64 n = 0; n < count; ++n)
                    out[(k / 2 * LANES + n) * 2 + (k & 1)] = b[k * k_stride + first + n];
        } else {
            for (i64 n = 0; n < count; ++n)
                for (i64 k = 0; k < depth; ++k)
                    out[(k / 2 * LANES + n) * 2 + (k & 1)] = b[k * k_stride + (first + n) * n_stride];
        }
    }
}

template <class T>
void product(const T *a, i64 a_row, i64 rows, i64 depth, const i16 *b, i64 columns, const i32 *bias, i32 *out,
             i64 out_row) {
    static thread_local std::vector<i16> wide;
    const i64 pairs = (depth + 1) / 2, width = 2 * pairs;
    wide.resize(rows * width);
    for (i64 r = 0; r < rows; ++r) {
        std::copy(a + r * a_row, a + r * a_row + depth, wide.data() + r * width);
        if (width != depth) wide[r * width + depth] = 0;
    }
    for (i64 c = 0; c < columns; c += VECTORS * LANES) {
        const i64 count = std::min<i64>(VECTORS * LANES, columns - c);
        const i16 *panels = b + c * width;
        for (i64 r = 0; r < rows; r += ROWS) {
            const i64 some = std::min<i64>(ROWS, rows - r);
            const Tile run = count > 2 * LANES ? tile_of<3>(some) : count > LANES ? tile_of<2>(some) : tile_of<1>(some);
            run(wide.data() + r * width, width, panels, pairs, bias ? bias + c : nullptr, out + r * out_row + c,
                out_row, count);
        }
    }
}

template <class T>
void products(const T *a, const i64 *a_strides, const i8 *b, const i64 *b_strides, i32 *out, const i64 *out_strides,
              const i64 *shape) {
    static thread_local std::vector<i16> packed;
    const i64 batch = shape[0], heads = shape[1], rows = shape[2], depth = shape[3], columns = shape[4];
    packed.resize((columns + LANES - 1) / LANES * LANES * ((depth + 1) / 2 * 2));
    for (i64 i = 0; i < batch; ++i)
        for (i64 h = 0; h < heads; ++h) {
            pack(b + i * b_strides[0] + h * b_strides[1], depth, columns, b_strides[2], b_strides[3], packed.data());
            product(a + i * a_strides[0] + h * a_strides[1], a_strides[2], rows, depth, packed.data(), columns, nullptr,
                    out + i * out_strides[0] + h * out_strides[1], out_strides[2]);
        }
}

// ---- RNE(p / 2^shift) ----

struct Rounding {
    i64 shift, below, odd;  // half minus one, and the mask of the quotient's last bit: both 0 without shift
    explicit Rounding(i64 e) : shift(e), below(e ? (i64(1) << (e - 1)) - 1 : 0), odd(e != 0) {}
    i64 operator()(i64 p) const { return (p + below + ((p >> shift) & odd)) >> shift; }
};

// z * mult = 2^16 * high + low: what is below the half bit only has to be zero or not
inline i64 halves(i64 z, i64 mult) {
    const i64 part = z * (mult & 0xFFFF), high = z * (mult >> 16) + (part >> 16);
    return 2 * high | ((part & 0xFFFF) != 0);
}

template <class T>
inline T clamp(i64 x) {
    constexpr i64 limit = i64(1) << (8 * sizeof(T) - 1);
    return T(std::min(std::max(x, -limit), limit - 1));
}

template <class Z, class T>
i64 requantize(const Z *z, i64 rows, i64 columns, const i64 *mult, const i64 *shift, i64 factors, T *out) {
    constexpr bool wide = sizeof(Z) == 8;  // 35-bit values of I-LayerNorm, times 33 bits
    const auto one = [](Z value, i64 m, const Rounding &rounding) {
        return clamp<T>(rounding(wide ? halves(value, m) : value * m));
    };
    i64 magnitude = 0;
    if (wide)
        for (i64 i = 0; i < rows * columns; ++i) magnitude |= z[i] ^ (i64(z[i]) >> 63);
    if (magnitude >> 45) return 1;
    const i64 less = wide ? 15 : 0;
    if (factors == 1) {
        const Rounding rounding(shift[0] - less);
        const i64 m = mult[0];
        for (i64 i = 0; i < rows * columns; ++i) out[i] = one(z[i], m, rounding);
        return 0;
    }
    static thread_local std::vector<i64> shifts, below, odd;
    shifts.resize(columns), below.resize(columns), odd.resize(columns);
    for (i64 c = 0; c < columns; ++c) {
        const Rounding rounding(shift[c] - less);
        shifts[c] = rounding.shift, below[c] = rounding.below, odd[c] = rounding.odd;
    }
    const i64 *s = shifts.data(), *b = below.data(), *o = odd.data();
    for (i64 r = 0; r < rows; ++r, z += columns, out += columns)
        for (i64 c = 0; c < columns; ++c) {
            const i64 p = wide ? halves(z[c], mult[c]) : z[c] * mult[c];
            out[c] = clamp<T>((p + b[c] + ((p >> s[c]) & o[c])) >> s[c]);
        }
    return 0;
}

template <class T>
void add(const i32 *x, i64 m, i64 e, const i32 *y, i64 m1, i64 e1, i64 count, T *out) {
    const Rounding first(e), second(e1);
    for (i64 i = 0; i < count; ++i) out[i] = clamp<T>(first(x[i] * m) + second(y[i] * m1));
}

// ---- rows ----

template <class T>
void shiftmax(const i8 *x, i64 rows, i64 length, const i32 *exp, i64 shift, T *out) {
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        i8 top = x[0];
        for (i64 i = 1; i < length; ++i) top = std::max(top, x[i]);
        const i32 *e = exp + 255 - top;  // exp[255 + d] is E(d)
        i64 sum = 0;
        for (i64 i = 0; i < length; ++i) sum += e[x[i]];
        const i32 factor = INT32_MAX / std::min<i64>(sum, INT32_MAX);
        for (i64 i = 0; i < length; ++i) out[i] = T((e[x[i]] * factor) >> shift);
    }
}

void shift_gelu(const i8 *x, i64 rows, i64 length, const i32 *table, i32 *out) {
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        i8 top = x[0];
        for (i64 i = 1; i < length; ++i) top = std::max(top, x[i]);
        const i32 *y = table + (top + 128) * 256 + 128;  // table[top + 128][x + 128]
        for (i64 i = 0; i < length; ++i) out[i] = y[x[i]];
    }
}

i64 floor_divide(i64 a, i64 b) { return a / b - (a % b < 0); }

i64 mean_of(i64 sum, i64 count) {
    const i64 quotient = floor_divide(sum, count), twice = 2 * (sum - quotient * count);
    return quotient + (twice > count || (twice == count && (quotient & 1)));
}

void layer_norm(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, i64 *out) {
    for (i64 r = 0; r < rows; ++r, x += length, out += length) {
        i64 sum = 0, squares = 0;
        for (i64 i = 0; i < length; ++i) sum += x[i];
        const i64 mean = mean_of(sum, length);
        for (i64 i = 0; i < length; ++i) squares += (x[i] - mean) * (x[i] - mean);
        i64 root = start;
        for (i64 step = 0; step < steps; ++step) root = (root + squares / root) >> 1;
        const i64 factor = INT32_MAX / root;
        for (i64 i = 0; i < length; ++i) out[i] = (((x[i] - mean) * factor) >> 1) + bias[i];
    }
}

}  // namespace

extern "C" {

i64 lanes() { return LANES; }

void pack_weight(const i8 *weight, i64 outputs, i64 depth, i16 *out) { pack(weight, depth, outputs, 1, depth, out); }

void linear(const i8 *x, i64 rows, i64 depth, const i16 *packed, i64 outputs, const i32 *bias, i32 *out) {
    product(x, depth, rows, depth, packed, outputs, bias, out, outputs);
}

// out[i][h] = a[i][h] @ b[i][h]; shape: batch, heads, rows, depth, columns; strides of a: batch, head, row; of b: batch,
// head, depth, column; of out: batch, head, row
void matmul_i8(const i8 *a, const i64 *sa, const i8 *b, const i64 *sb, i32 *out, const i64 *so, const i64 *shape) {
    products(a, sa, b, sb, out, so, shape);
}
void matmul_i16(const i16 *a, const i64 *sa, const i8 *b, const i64 *sb, i32 *out, const i64 *so, const i64 *shape) {
    products(a, sa, b, sb, out, so, shape);
}

// 1 if a value has more than 46 bits, and then nothing was computed
#define REQUANTIZE(name, Z, T)                                                                                  \
    i64 name(const Z *z, i64 rows, i64 columns, const i64 *mult, const i64 *shift, i64 factors, T *out) {       \
        return requantize(z, rows, columns, mult, shift, factors, out);                                         \
    }
REQUANTIZE(requantize_i32_i8, i32, i8)
REQUANTIZE(requantize_i32_i16, i32, i16)
REQUANTIZE(requantize_i64_i8, i64, i8)
REQUANTIZE(requantize_i64_i16, i64, i16)

void add_i8(const i32 *x, i64 m, i64 e, const i32 *y, i64 m1, i64 e1, i64 count, i8 *out) {
    add(x, m, e, y, m1, e1, count, out);
}
void add_i16(const i32 *x, i64 m, i64 e, const i32 *y, i64 m1, i64 e1, i64 count, i16 *out) {
    add(x, m, e, y, m1, e1, count, out);
}

void shiftmax_i8(const i8 *x, i64 rows, i64 length, const i32 *exp, i8 *out) { shiftmax(x, rows, length, exp, 24, out); }
void shiftmax_i16(const i8 *x, i64 rows, i64 length, const i32 *exp, i16 *out) {
    shiftmax(x, rows, length, exp, 16, out);
}
void gelu(const i8 *x, i64 rows, i64 length, const i32 *table, i32 *out) { shift_gelu(x, rows, length, table, out); }
void norm(const i16 *x, i64 rows, i64 length, const i64 *bias, i64 start, i64 steps, i64 *out) {
    layer_norm(x, rows, length, bias, start, steps, out);
}
}
