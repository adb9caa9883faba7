// The golden model's operators in tight loops, as C functions. What each computes is written in hw/spec/arith.py, and
// tests/sim/test_fast.py holds them together; the conditions under which 32 and 64 bits are enough are checked by
// sim/fast/laws.py. Arrays are contiguous unless strides, in elements, are passed.

#include "products.h"
#include "requantize.h"
#include "rows.h"

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
