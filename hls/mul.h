// Element-wise product of two maps.
#ifndef COEXPLORE_MUL_H
#define COEXPLORE_MUL_H

#include "mac.h"
#include "requant.h"

namespace coexplore {

// C: ITERATIONS, LANES, ZERO0, ZERO1 (zero points), MULT, In0, In1, Out, X0, X1 (zero point subtracted), Product, Acc and
// what requant.h asks.
template <class C> void mul(hls::stream<typename C::In0> &a, hls::stream<typename C::In1> &b, hls::stream<typename C::Out> &out) {
multiply:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In0 x = a.read();
        const typename C::In1 y = b.read();
        typename C::Out result;
    channels:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            const typename C::X0 left = (typename C::X0)(x.lane[l] - (typename C::X0)C::ZERO0);
            const typename C::X1 right = (typename C::X1)(y.lane[l] - (typename C::X1)C::ZERO1);
            const typename C::Acc product = Multiply<typename C::Product, C::MULT>::apply(left, right);
            result.lane[l] = requantise<C>(product, 1, 0);
        }
        out.write(result);
    }
}

} // namespace coexplore
#endif
