// Multiply-accumulate: sum[p] = weights[p] . x, with the multipliers where the mapper put them.
#ifndef COEXPLORE_MAC_H
#define COEXPLORE_MAC_H

#include "types.h"

namespace coexplore {

enum { MULT_LUT = 0, MULT_DSP = 1, MULT_PACKED = 2 };

template <class Product, int MULT> struct Multiply {
    template <class W, class X> static Product apply(W weight, X x) {
#pragma HLS INLINE
        Product product = weight * x;
#pragma HLS BIND_OP variable=product op=mul impl=dsp
        return product;
    }
};
template <class Product> struct Multiply<Product, MULT_LUT> {
    template <class W, class X> static Product apply(W weight, X x) {
#pragma HLS INLINE
        Product product = weight * x;
#pragma HLS BIND_OP variable=product op=mul impl=fabric
        return product;
    }
};

// C: PE, SIMD, Acc, Product (holds one product).
template <class C, int MULT> struct Dot {
    template <class W, class X> static void apply(const W weights[C::PE][C::SIMD], const X x[C::SIMD], typename C::Acc sum[C::PE]) {
#pragma HLS INLINE
    rows:
        for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
            typename C::Acc total = 0;
        columns:
            for (int s = 0; s < C::SIMD; ++s) {
#pragma HLS UNROLL
                total = (typename C::Acc)(total + Multiply<typename C::Product, MULT>::apply(weights[p][s], x[s]));
            }
            sum[p] = total;
        }
    }
};

// Several products a DSP: ROWS rows from p on share x. (... + (w1 << FIELD) + w0) * x holds one product in each field of
// FIELD bits; CHAIN of them are summed before the fields are split, as many as fit every field but the highest
// (flow/blocks/mac.py proves the choice).
// C: ROWS, FIELD, CHAIN, Packed (holds the packed weights), Pair (holds CHAIN packed products).
template <class C> struct Dot<C, MULT_PACKED> {
    template <class W, class X> static void apply(const W weights[C::PE][C::SIMD], const X x[C::SIMD], typename C::Acc sum[C::PE]) {
#pragma HLS INLINE
    rows:
        for (int p = 0; p < C::PE; p += C::ROWS) {
#pragma HLS UNROLL
            typename C::Acc total[C::ROWS];
#pragma HLS ARRAY_PARTITION variable=total complete dim=0
        clear:
            for (int r = 0; r < C::ROWS; ++r) {
#pragma HLS UNROLL
                total[r] = 0;
            }
        chains:
            for (int s = 0; s < C::SIMD; s += C::CHAIN) {
#pragma HLS UNROLL
                typename C::Pair pair = 0;
            chain:
                for (int k = 0; k < C::CHAIN; ++k) {
#pragma HLS UNROLL
                    if (s + k < C::SIMD) {
                        typename C::Packed packed = 0;
                    pack:
                        for (int r = C::ROWS - 1; r >= 0; --r) {
#pragma HLS UNROLL
                            packed = (typename C::Packed)(packed * ((typename C::Packed)1 << C::FIELD));
                            if (p + r < C::PE) packed = (typename C::Packed)(packed + weights[p + r][s + k]);
                        }
                        typename C::Pair product = multiply<typename C::Pair>(packed, x[s + k]);
#pragma HLS BIND_OP variable=product op=mul impl=dsp
                        pair = (typename C::Pair)(pair + product);
                    }
                }
            split:
                for (int r = 0; r < C::ROWS - 1; ++r) {
#pragma HLS UNROLL
                    const typename C::Pair low = low_field<typename C::Pair, C::FIELD>(pair);
                    total[r] = (typename C::Acc)(total[r] + low);
                    pair = (typename C::Pair)((typename C::Pair)(pair - low) >> C::FIELD);
                }
                total[C::ROWS - 1] = (typename C::Acc)(total[C::ROWS - 1] + pair);
            }
        give:
            for (int r = 0; r < C::ROWS; ++r) {
#pragma HLS UNROLL
                if (p + r < C::PE) sum[p + r] = total[r];
            }
        }
    }
    template <class Pair, int FIELD> static Pair low_field(Pair pair) {
#pragma HLS INLINE
        // The low FIELD bits as a signed number.
        const Pair mask = (Pair)(((Pair)1 << FIELD) - 1), sign = (Pair)((Pair)1 << (FIELD - 1));
        return (Pair)((Pair)((Pair)(pair & mask) ^ sign) - sign);
    }
};

} // namespace coexplore
#endif
