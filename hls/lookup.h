// A function of each element by table.
#ifndef COEXPLORE_LOOKUP_H
#define COEXPLORE_LOOKUP_H

#include "types.h"

namespace coexplore {

// C: ITERATIONS, LANES, GROUPS (channel beats with tables of their own; 1: all alike), ENTRIES (of one table), LOW (the
// element that entry 0 is for), In, Out. table[lane][group * ENTRIES + entry]: every lane reads a memory of its own.
template <class C, class T>
void lookup(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const T table[C::LANES][C::GROUPS * C::ENTRIES]) {
#pragma HLS INLINE
    typedef typename C::Out::Element Element;
    int base = -C::LOW;
functions:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In x = in.read();
        typename C::Out result;
    channels:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            result.lane[l] = (Element)table[l][base + (int)x.lane[l]];
        }
        out.write(result);
        base = base == (C::GROUPS - 1) * C::ENTRIES - C::LOW ? -C::LOW : base + C::ENTRIES;
    }
}

} // namespace coexplore
#endif
