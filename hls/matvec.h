// Matrix-vector unit: PE output channels x SIMD inputs a cycle; the heart of convolutions and dense layers.
#ifndef COEXPLORE_MATVEC_H
#define COEXPLORE_MATVEC_H

#include "mac.h"
#include "requant.h"

namespace coexplore {

// C: VECTORS (input vectors an image, groups included), GROUPS, NF (output folds per group: rows / PE), SF (input folds:
// columns / SIMD), SUB (SIMD slices per input beat), PE, SIMD, RAISE (left shift of sums: zero
// bits that all weights share are not stored), MULT, In, Out, T (input element), Acc and what requant.h asks.
// weights[(g * NF + nf) * SF + sf][pe][s], bias, mult and shift [g * NF + nf][pe].
template <class C, class W, class B, class M, class S>
void matvec(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const W weights[C::GROUPS * C::NF * C::SF][C::PE][C::SIMD],
            const B bias[C::GROUPS * C::NF][C::PE], const M mult[C::MULTS][C::PE], const S shift[C::SHIFTS][C::PE]) {
#pragma HLS INLINE
    typename C::T kept[C::SF / C::SUB][C::SIMD * C::SUB]; // the vector, for its second and later output folds
    typename C::T current[C::SIMD * C::SUB];
    typename C::Acc acc[C::PE];
#pragma HLS ARRAY_RESHAPE variable=kept complete dim=2
#pragma HLS ARRAY_PARTITION variable=current complete dim=0
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
    int nf = 0, sf = 0, sub = 0, beat = 0, row = 0, at = 0;
products:
    for (int i = 0; i < C::VECTORS * C::NF * C::SF; ++i) {
#pragma HLS PIPELINE II=1
        if (sub == 0) {
            if (nf == 0) {
                const typename C::In fresh = in.read();
            take:
                for (int l = 0; l < C::SIMD * C::SUB; ++l) {
#pragma HLS UNROLL
                    current[l] = fresh.lane[l];
                    if (C::NF > 1) kept[beat][l] = fresh.lane[l];
                }
            } else {
            recall:
                for (int l = 0; l < C::SIMD * C::SUB; ++l) {
#pragma HLS UNROLL
                    current[l] = kept[beat][l];
                }
            }
        }
        typename C::T x[C::SIMD];
#pragma HLS ARRAY_PARTITION variable=x complete dim=0
    slice:
        for (int s = 0; s < C::SIMD; ++s) {
#pragma HLS UNROLL
            x[s] = current[sub * C::SIMD + s];
        }
        typename C::Acc sum[C::PE];
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
        Dot<C, C::MULT>::apply(weights[at], x, sum);
        typename C::Out result;
    elements:
        for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
            acc[p] = (typename C::Acc)((sf == 0 ? (typename C::Acc)bias[row][p] : acc[p]) + (typename C::Acc)(sum[p] * ((typename C::Acc)1 << C::RAISE)));
            result.lane[p] = requantise<C>(acc[p], (int)mult[C::MULTS > 1 ? row : 0][p], (int)shift[C::SHIFTS > 1 ? row : 0][p]);
        }
        if (sf == C::SF - 1) out.write(result);

        at = at == C::GROUPS * C::NF * C::SF - 1 ? 0 : at + 1;
        if (++sub == C::SUB) {
            sub = 0;
            ++beat;
        }
        if (++sf == C::SF) {
            sf = 0;
            beat = 0;
            row = row == C::GROUPS * C::NF - 1 ? 0 : row + 1;
            if (++nf == C::NF) nf = 0;
        }
    }
}

// The same for GIVES pixels at once on shared weights, all output channels together. C: VECTORS (groups of pixels an
// image), SF, GIVES, CHANNELS (of an input pixel), PE (output channels), SIMD, RAISE, MULT and the types as above.
// An input beat holds the windows of a group: kernel position, pixel, channel; an output beat pixel, channel.
// weights[sf][channel][s]; bias, mult and shift have one row.
template <class C, class W, class B, class M, class S>
void matvec_pixels(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const W weights[C::SF][C::PE][C::SIMD], const B bias[1][C::PE],
                   const M mult[1][C::PE], const S shift[1][C::PE]) {
#pragma HLS INLINE
    typename C::T current[C::GIVES][C::SF * C::SIMD];
    typename C::Acc acc[C::GIVES][C::PE];
#pragma HLS ARRAY_PARTITION variable=current complete dim=0
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
    int sf = 0;
products:
    for (int i = 0; i < C::VECTORS * C::SF; ++i) {
#pragma HLS PIPELINE II=1
        if (sf == 0) {
            const typename C::In fresh = in.read();
        take:
            for (int o = 0; o < C::GIVES; ++o) {
#pragma HLS UNROLL
            columns:
                for (int k = 0; k < C::SF * C::SIMD; ++k) {
#pragma HLS UNROLL
                    current[o][k] = fresh.lane[(k / C::CHANNELS * C::GIVES + o) * C::CHANNELS + k % C::CHANNELS];
                }
            }
        }
        typename C::Out result;
    pixels:
        for (int o = 0; o < C::GIVES; ++o) {
#pragma HLS UNROLL
            typename C::T x[C::SIMD];
            typename C::Acc sum[C::PE];
#pragma HLS ARRAY_PARTITION variable=x complete dim=0
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
        slice:
            for (int s = 0; s < C::SIMD; ++s) {
#pragma HLS UNROLL
                x[s] = current[o][sf * C::SIMD + s];
            }
            Dot<C, C::MULT>::apply(weights[sf], x, sum);
        elements:
            for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
                acc[o][p] = (typename C::Acc)((sf == 0 ? (typename C::Acc)bias[0][p] : acc[o][p]) + (typename C::Acc)(sum[p] * ((typename C::Acc)1 << C::RAISE)));
                result.lane[o * C::PE + p] = requantise<C>(acc[o][p], (int)mult[0][p], (int)shift[0][p]);
            }
        }
        if (sf == C::SF - 1) out.write(result);
        sf = sf == C::SF - 1 ? 0 : sf + 1;
    }
}

} // namespace coexplore
#endif
