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

// Two products a DSP: rows p and p + 1 share x. ((w1 << FIELD) + w0) * x holds both products; CHAIN of them are summed
// before the fields are split, as many as fit the low field (flow/blocks/mac.py proves the choice).
// C: FIELD, CHAIN, Packed (holds w1 << FIELD + w0), Pair (holds CHAIN packed products), Low (FIELD bits, signed).
template <class C> struct Dot<C, MULT_PACKED> {
    template <class W, class X> static void apply(const W weights[C::PE][C::SIMD], const X x[C::SIMD], typename C::Acc sum[C::PE]) {
#pragma HLS INLINE
#ifdef COEXPLORE_NATIVE_UNPACKED
        Dot<C, MULT_DSP>::apply(weights, x, sum);
#else
    rows:
        for (int p = 0; p < C::PE; p += 2) {
#pragma HLS UNROLL
            typename C::Acc low_total = 0, high_total = 0;
        chains:
            for (int s = 0; s < C::SIMD; s += C::CHAIN) {
#pragma HLS UNROLL
                typename C::Pair pair = 0;
            chain:
                for (int k = 0; k < C::CHAIN; ++k) {
#pragma HLS UNROLL
                    if (s + k < C::SIMD) {
                        const typename C::Packed packed = (typename C::Packed)(
                            (typename C::Packed)((typename C::Packed)weights[p + 1][s + k] * ((typename C::Packed)1 << C::FIELD)) + weights[p][s + k]);
                        typename C::Pair product = multiply<typename C::Pair>(packed, x[s + k]);
#pragma HLS BIND_OP variable=product op=mul impl=dsp
                        pair = (typename C::Pair)(pair + product);
                    }
                }
                const typename C::Pair low = low_field<typename C::Pair, C::FIELD>(pair);
                low_total = (typename C::Acc)(low_total + low);
                high_total = (typename C::Acc)(high_total + (typename C::Pair)((typename C::Pair)(pair - low) >> C::FIELD));
            }
            sum[p] = low_total;
            sum[p + 1] = high_total;
        }
#endif
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
