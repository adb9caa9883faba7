// Products of int8 and int16 matrices: 32-bit lanes sum groups of narrow products, and wrap.

#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__AVX2__) && !defined(PORTABLE)
#include <immintrin.h>
#endif

#include "requantize.h"

namespace {

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

}  // namespace
