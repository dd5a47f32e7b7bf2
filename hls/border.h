// Average pooling whose divisor is the number of pixels that a window holds inside the map.
#ifndef COEXPLORE_BORDER_H
#define COEXPLORE_BORDER_H

#include "requant.h"

namespace coexplore {

// value / D with reciprocal M = ceil(2^P / D), rounded half to even; OFFSET * D makes the dividend non-negative.
// C: DIV_P, DIV_OFFSET, Acc, Wide.
template <class C> inline typename C::Acc round_by(typename C::Acc value, int divisor, int reciprocal) {
#pragma HLS INLINE
    typedef typename C::Wide Wide;
    const Wide d = (Wide)divisor;
    const Wide n = (Wide)((Wide)value + (Wide)((Wide)C::DIV_OFFSET * d));
    const Wide q = (Wide)((Wide)(n * (Wide)reciprocal) >> C::DIV_P);
    const Wide twice = (Wide)((Wide)(n - (Wide)(q * d)) << 1);
    const Wide floor = (Wide)(q - (Wide)C::DIV_OFFSET);
    const bool up = twice > d || (twice == d && (floor & 1) != 0);
    return (typename C::Acc)(floor + (up ? 1 : 0));
}

// C: ITERATIONS, CF (channel beats), OW, COLUMN_KINDS, KERNEL, UNROLL, SUB, PE, OFFSET, UP, In, Out and what round_by and
// saturate ask. rows[oy], columns[ox]: kind of the row and of the column; divisors[row kind * COLUMN_KINDS + column
// kind]: divisor and its reciprocal.
template <class C, class R, class X, class D>
void average_border(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const R rows[C::OH], const X columns[C::OW],
                    const D divisors[C::KINDS][2]) {
#pragma HLS INLINE
    typename C::In current;
    typename C::Acc acc[C::PE];
#pragma HLS ARRAY_PARTITION variable=current.lane complete dim=1
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
    int k = 0, sub = 0, cg = 0, ox = 0, oy = 0;
reduce:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        if (sub == 0) current = in.read();
        const int kind = (int)rows[oy] * C::COLUMN_KINDS + (int)columns[ox];
        typename C::Out result;
    channels:
        for (int p = 0; p < C::PE; ++p) {
#pragma HLS UNROLL
            typename C::Acc value = k == 0 ? (typename C::Acc)C::OFFSET : acc[p];
        positions:
            for (int u = 0; u < C::UNROLL; ++u) {
#pragma HLS UNROLL
                value = (typename C::Acc)(value + (typename C::Acc)current.lane[(sub * C::UNROLL + u) * C::PE + p]);
            }
            acc[p] = value;
            result.lane[p] = saturate<C>(round_by<C>((typename C::Acc)(value << C::UP), (int)divisors[kind][0], (int)divisors[kind][1]));
        }
        if (k == C::KERNEL / C::UNROLL - 1) out.write(result);
        if (++sub == C::SUB) sub = 0;
        if (++k == C::KERNEL / C::UNROLL) {
            k = 0;
            if (++cg == C::CF) {
                cg = 0;
                if (++ox == C::OW) {
                    ox = 0;
                    ++oy;
                }
            }
        }
    }
}

} // namespace coexplore
#endif
