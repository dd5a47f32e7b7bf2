// Requantisation: scale an accumulator, round to nearest with ties to even, add the zero point, saturate.
#ifndef COEXPLORE_REQUANT_H
#define COEXPLORE_REQUANT_H

#include "types.h"

namespace coexplore {

// acc / 2^S, rounded half to even.
template <class Acc, int S> struct RoundShift {
    static Acc apply(Acc acc) {
#pragma HLS INLINE
        const Acc odd = (Acc)((acc >> S) & 1);
        return (Acc)((Acc)(acc + (Acc)(((Acc)1 << (S > 0 ? S - 1 : 0)) - 1) + odd) >> S);
    }
};
template <class Acc> struct RoundShift<Acc, 0> {
    static Acc apply(Acc acc) {
#pragma HLS INLINE
        return acc;
    }
};

template <class Acc> inline Acc round_shift(Acc acc, int s) {
#pragma HLS INLINE
    const Acc odd = (Acc)((acc >> s) & 1);
    const Acc half = s > 0 ? (Acc)(((Acc)1 << (s > 0 ? s - 1 : 0)) - 1 + odd) : (Acc)0;
    return (Acc)((Acc)(acc + half) >> s);
}

// acc / D for a constant D that is no power of two, rounded half to even. The floor is a multiplication by
// M = ceil(2^P / D), exact for every accumulator of the design (flow/blocks/requant.py proves it when it chooses P);
// OFFSET * D makes the dividend non-negative.
template <class C> struct RoundDivide {
    static typename C::Acc apply(typename C::Acc acc) {
#pragma HLS INLINE
        typedef typename C::Wide Wide;
        const Wide n = (Wide)((Wide)acc + (Wide)C::DIV_OFFSET * (Wide)C::DIV_D);
        const Wide q = (Wide)((Wide)(n * (Wide)C::DIV_M) >> C::DIV_P);
        const Wide twice = (Wide)((Wide)(n - (Wide)(q * (Wide)C::DIV_D)) << 1);
        const Wide floor = (Wide)(q - (Wide)C::DIV_OFFSET);
        const bool up = twice > (Wide)C::DIV_D || (twice == (Wide)C::DIV_D && (floor & 1) != 0);
        return (typename C::Acc)(floor + (up ? 1 : 0));
    }
};

template <class C> inline typename C::OutT saturate(typename C::Acc rounded) {
#pragma HLS INLINE
    const typename C::Acc shifted = (typename C::Acc)(rounded + (typename C::Acc)C::ZERO);
    if (shifted < (typename C::Acc)C::LO) return (typename C::OutT)C::LO;
    if (shifted > (typename C::Acc)C::HI) return (typename C::OutT)C::HI;
    return (typename C::OutT)shifted;
}

// How a stage rounds is chosen by C::ROUND: 0 constant shift, 1 shift per channel, 2 constant divisor,
// 3 multiplier and shift per channel, 4 one multiplier (C::SCALE) and shift for all.
template <class C, int ROUND> struct Rounding {
    static typename C::Acc apply(typename C::Acc acc, int, int) {
#pragma HLS INLINE
        return RoundShift<typename C::Acc, C::SHIFT>::apply((typename C::Acc)(acc << C::UP));
    }
};
template <class C> struct Rounding<C, 1> {
    static typename C::Acc apply(typename C::Acc acc, int, int shift) {
#pragma HLS INLINE
        return round_shift<typename C::Acc>((typename C::Acc)(acc << C::UP), shift);
    }
};
template <class C> struct Rounding<C, 2> {
    static typename C::Acc apply(typename C::Acc acc, int, int) {
#pragma HLS INLINE
        return RoundDivide<C>::apply((typename C::Acc)(acc << C::UP));
    }
};
template <class C> struct Rounding<C, 3> {
    static typename C::Acc apply(typename C::Acc acc, int mult, int shift) {
#pragma HLS INLINE
        return (typename C::Acc)round_shift<typename C::Wide>(
            (typename C::Wide)((typename C::Wide)acc * (typename C::Wide)mult), shift);
    }
};

template <class C> struct Rounding<C, 4> {
    static typename C::Acc apply(typename C::Acc acc, int, int) {
#pragma HLS INLINE
        return (typename C::Acc)RoundShift<typename C::Wide, C::SHIFT>::apply((typename C::Wide)((typename C::Wide)acc * (typename C::Wide)C::SCALE));
    }
};

template <class C> inline typename C::OutT requantise(typename C::Acc acc, int mult, int shift) {
#pragma HLS INLINE
    return saturate<C>(Rounding<C, C::ROUND>::apply(acc, mult, shift));
}

} // namespace coexplore
#endif
