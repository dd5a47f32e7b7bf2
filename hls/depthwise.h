// Depthwise convolution: PE channels at a time, UNROLL kernel positions a cycle.
#ifndef COEXPLORE_DEPTHWISE_H
#define COEXPLORE_DEPTHWISE_H

#include "mac.h"
#include "requant.h"

namespace coexplore {

// C: PIXELS, NF (channels / PE), KERNEL (positions), UNROLL (positions a cycle), SUB (cycles per input beat; a beat holds
// UNROLL * SUB positions x PE lanes), PE, RAISE (left shift of products), In, Out, Acc, Product and what requant.h asks.
// weights[nf * (KERNEL / UNROLL) + k][position][pe]; bias, mult, shift [nf][pe].
template <class C, class W, class B, class M, class S>
void depthwise(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const W weights[C::NF * C::KERNEL / C::UNROLL][C::UNROLL][C::PE],
               const B bias[C::NF][C::PE], const M mult[C::MULTS][C::PE], const S shift[C::SHIFTS][C::PE]) {
#pragma HLS INLINE
    typename C::In current;
    typename C::Acc acc[C::PE];
#pragma HLS ARRAY_PARTITION variable=current.lane complete dim=1
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
    int nf = 0, k = 0, sub = 0, at = 0;
products:
    for (int i = 0; i < C::PIXELS * C::NF * (C::KERNEL / C::UNROLL); ++i) {
#pragma HLS PIPELINE II=1
        if (sub == 0) current = in.read();
        typename C::Out result;
    channels:
        for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
            typename C::Acc sum = k == 0 ? (typename C::Acc)bias[nf][p] : acc[p];
        positions:
            for (int u = 0; u < C::UNROLL; ++u) {
#pragma HLS UNROLL
                typename C::Product product = Multiply<typename C::Product, C::MULT>::apply(
                    weights[at][u][p], current.lane[(sub * C::UNROLL + u) * C::PE + p]);
                sum = (typename C::Acc)(sum + (typename C::Acc)((typename C::Acc)product * ((typename C::Acc)1 << C::RAISE)));
            }
            acc[p] = sum;
            result.lane[p] = requantise<C>(sum, (int)mult[C::MULTS > 1 ? nf : 0][p], (int)shift[C::SHIFTS > 1 ? nf : 0][p]);
        }
        if (k == C::KERNEL / C::UNROLL - 1) out.write(result);

        at = at == C::NF * (C::KERNEL / C::UNROLL) - 1 ? 0 : at + 1;
        if (++sub == C::SUB) sub = 0;
        if (++k == C::KERNEL / C::UNROLL) {
            k = 0;
            if (++nf == C::NF) nf = 0;
        }
    }
}

} // namespace coexplore
#endif
