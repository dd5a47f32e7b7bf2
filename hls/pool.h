// Pooling: maximum or average over a window, or the average of a whole map.
#ifndef COEXPLORE_POOL_H
#define COEXPLORE_POOL_H

#include "requant.h"

namespace coexplore {

// C: ITERATIONS (pixels * channel groups * KERNEL / UNROLL), KERNEL, UNROLL, SUB (cycles per input beat), PE, MAXIMUM,
// OFFSET, In, Out, Acc and what requant.h asks. An input beat holds UNROLL * SUB positions x PE lanes.
template <class C> void pool(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out) {
    typename C::In current;
    typename C::Acc acc[C::PE];
#pragma HLS ARRAY_PARTITION variable=current.lane complete dim=1
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
    int k = 0, sub = 0;
reduce:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        if (sub == 0) current = in.read();
        typename C::Out result;
    channels:
        for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
            typename C::Acc value = k == 0 ? (C::MAXIMUM ? (typename C::Acc)current.lane[sub * C::UNROLL * C::PE + p] : (typename C::Acc)C::OFFSET) : acc[p];
        positions:
            for (int u = 0; u < C::UNROLL; ++u) {
#pragma HLS UNROLL
                const typename C::Acc x = current.lane[(sub * C::UNROLL + u) * C::PE + p];
                if (C::MAXIMUM) {
                    value = x > value ? x : value;
                } else {
                    value = (typename C::Acc)(value + x);
                }
            }
            acc[p] = value;
            result.lane[p] = requantise<C>(value, 1, 0);
        }
        if (k == C::KERNEL / C::UNROLL - 1) out.write(result);
        if (++sub == C::SUB) sub = 0;
        if (++k == C::KERNEL / C::UNROLL) k = 0;
    }
}

// C: PIXELS, CF (channel beats a pixel), LANES, OFFSET, In, Out, Acc and what requant.h asks.
// The CF running sums go round in a shift register, so no sum is read and written at one address in one cycle.
template <class C> void pool_global(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out) {
    typename C::Acc sums[C::CF][C::LANES];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
    int pixel = 0, cg = 0;
reduce:
    for (int i = 0; i < C::PIXELS * C::CF; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In beat = in.read();
        typename C::Out result;
    channels:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            const typename C::Acc sum = (typename C::Acc)((pixel == 0 ? (typename C::Acc)C::OFFSET : sums[C::CF - 1][l]) + beat.lane[l]);
        rotate:
            for (int k = C::CF - 1; k > 0; --k) {
#pragma HLS UNROLL
                sums[k][l] = sums[k - 1][l];
            }
            sums[0][l] = sum;
            result.lane[l] = requantise<C>(sum, 1, 0);
        }
        if (pixel == C::PIXELS - 1) out.write(result);
        if (++cg == C::CF) {
            cg = 0;
            ++pixel;
        }
    }
}

} // namespace coexplore
#endif
