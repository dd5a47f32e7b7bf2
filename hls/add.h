// Element-wise sum or difference of two maps at their common finest scale.
#ifndef COEXPLORE_ADD_H
#define COEXPLORE_ADD_H

#include "requant.h"

namespace coexplore {

// C: ITERATIONS, LANES, LEFT0, LEFT1 (left shifts), SIGN (of the second), OFFSET, In0, In1, Out, Acc and what requant.h asks.
template <class C> void add(hls::stream<typename C::In0> &a, hls::stream<typename C::In1> &b, hls::stream<typename C::Out> &out) {
sum:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In0 x = a.read();
        const typename C::In1 y = b.read();
        typename C::Out result;
    channels:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            const typename C::Acc left = (typename C::Acc)((typename C::Acc)x.lane[l] * ((typename C::Acc)1 << C::LEFT0));
            const typename C::Acc right = (typename C::Acc)((typename C::Acc)y.lane[l] * ((typename C::Acc)1 << C::LEFT1));
            const typename C::Acc sum = (typename C::Acc)((C::SIGN < 0 ? (typename C::Acc)(left - right) : (typename C::Acc)(left + right)) + (typename C::Acc)C::OFFSET);
            result.lane[l] = requantise<C>(sum, 1, 0);
        }
        out.write(result);
    }
}

} // namespace coexplore
#endif
