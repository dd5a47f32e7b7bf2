// Two maps behind one another: channels pixel by pixel, rows or columns.
#ifndef COEXPLORE_CONCAT_H
#define COEXPLORE_CONCAT_H

#include "types.h"

namespace coexplore {

// FIRST beats of the one, SECOND of the other, and again.
// C: ITERATIONS, FIRST, SECOND, LANES, In0, In1, Out.
template <class C> void concat(hls::stream<typename C::In0> &a, hls::stream<typename C::In1> &b, hls::stream<typename C::Out> &out) {
    typedef typename C::Out::Element Element;
    int at = 0;
merge:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        typename C::Out result;
        if (at < C::FIRST) {
            const typename C::In0 beat = a.read();
        first:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                result.lane[l] = (Element)beat.lane[l];
            }
        } else {
            const typename C::In1 beat = b.read();
        second:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                result.lane[l] = (Element)beat.lane[l];
            }
        }
        out.write(result);
        at = at == C::FIRST + C::SECOND - 1 ? 0 : at + 1;
    }
}

// Whole pixels of both in one beat: wires. C: ITERATIONS, LANES0, LANES1, In0, In1, Out.
template <class C> void concat_wide(hls::stream<typename C::In0> &a, hls::stream<typename C::In1> &b, hls::stream<typename C::Out> &out) {
    typedef typename C::Out::Element Element;
pixels:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In0 x = a.read();
        const typename C::In1 y = b.read();
        typename C::Out result;
    first:
        for (int l = 0; l < C::LANES0; ++l) {
#pragma HLS UNROLL
            result.lane[l] = (Element)x.lane[l];
        }
    second:
        for (int l = 0; l < C::LANES1; ++l) {
#pragma HLS UNROLL
            result.lane[C::LANES0 + l] = (Element)y.lane[l];
        }
        out.write(result);
    }
}

} // namespace coexplore
#endif
