// Integer and vector types shared by every block.
//
// One source, two speeds: with COEXPLORE_NATIVE the same code uses the machine's own integers, wide enough for every
// value (range analysis guarantees that nothing overflows in either mode); without it, Xilinx's arbitrary-precision
// types, exactly as wide as the hardware.
#ifndef COEXPLORE_TYPES_H
#define COEXPLORE_TYPES_H

#ifdef COEXPLORE_NATIVE
#include "native.h"
#else
#include <ap_axi_sdata.h>
#include <ap_int.h>
#include <hls_stream.h>
namespace coexplore {
template <int W> using Int = ap_int<W>;
template <int W> using UInt = ap_uint<W>;
template <int W> using Axis = ap_axiu<W, 0, 0, 0>;

// A product no narrower than R; arbitrary-precision operands already give one.
template <class R, class A, class B> inline R multiply(A a, B b) {
#pragma HLS INLINE
    return a * b;
}
template <class T, int SLOT, class Word> inline T axis_get(const Word &word, int lane) {
#pragma HLS INLINE
    T value;
    value.range(T::width - 1, 0) = word.data.range(lane * SLOT + T::width - 1, lane * SLOT);
    return value;
}
template <int SLOT, class Word, class T> inline void axis_set(Word &word, int lane, T value) {
#pragma HLS INLINE
    ap_int<SLOT> wide = value; // sign or zero extended to the slot
    word.data.range(lane * SLOT + SLOT - 1, lane * SLOT) = wide.range(SLOT - 1, 0);
}
template <int W> inline void axis_clear(Axis<W> &word) {
#pragma HLS INLINE
    word.data = 0;
    word.keep = -1;
    word.strb = -1;
    word.last = 0;
}
} // namespace coexplore
#endif

namespace coexplore {
// One beat of a stream: N lanes.
template <class T, int N> struct Vec {
    typedef T Element;
    T lane[N];
};
} // namespace coexplore

#endif
