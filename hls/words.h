// Memory words: BYTES bytes that move together.
#ifndef COEXPLORE_WORDS_H
#define COEXPLORE_WORDS_H

#include "types.h"

namespace coexplore {
#ifdef COEXPLORE_NATIVE
template <int BYTES> struct Word {
    uint8_t byte[BYTES];
};
template <class T> inline UInt<8> get_byte(const T &word, int at) { return word.byte[at]; }
template <class T> inline void set_byte(T &word, int at, UInt<8> value) { word.byte[at] = value; }
template <class T> inline T blank_word() { return T(); }
#else
template <int BYTES> using Word = ap_uint<8 * BYTES>;
template <class T> inline UInt<8> get_byte(const T &word, int at) {
#pragma HLS INLINE
    UInt<8> value;
    value.range(7, 0) = word.range(8 * at + 7, 8 * at);
    return value;
}
template <class T> inline void set_byte(T &word, int at, UInt<8> value) {
#pragma HLS INLINE
    word.range(8 * at + 7, 8 * at) = value.range(7, 0);
}
template <class T> inline T blank_word() {
#pragma HLS INLINE
    return (T)0;
}
#endif

// Bytes `at` .. as a signed number of 32 bits, least significant first.
template <class T> inline Int<32> get_int(const T &word, int at) {
#pragma HLS INLINE
    UInt<32> value = 0;
bytes:
    for (int b = 3; b >= 0; --b) {
#pragma HLS UNROLL
        value = (UInt<32>)((UInt<32>)(value << 8) | (UInt<32>)get_byte(word, at + b));
    }
    return (Int<32>)value;
}
} // namespace coexplore

#endif
