// The tiled engine's output stage: bias, scale, rounding and limits on G channels a cycle, a residual added, words to memory.
#ifndef COEXPLORE_ENGINE_OUTPUT_H
#define COEXPLORE_ENGINE_OUTPUT_H

#include "requant.h"
#include "words.h"

namespace coexplore {

// C: what engine.h asks; Sum (holds every intermediate number), POST_WORDS, USES_MULTIPLIER, USES_DIVISION, USES_RESIDUAL, USES_WIDE.

template <class C> typename C::Sum limited(typename C::Sum value, int lo, int hi) {
#pragma HLS INLINE
    return value < (typename C::Sum)lo ? (typename C::Sum)lo : value > (typename C::Sum)hi ? (typename C::Sum)hi : value;
}

// value / divisor, rounded half to even: the floor by a multiplication that flow/blocks/requant.py proves exact.
template <class C> typename C::Sum divided(typename C::Sum value, const int f[C::store_COUNT]) {
#pragma HLS INLINE
    typedef typename C::Sum Sum;
    const Sum n = (Sum)(value + (Sum)((Sum)f[C::store_offset] * (Sum)f[C::store_divisor]));
    const Sum q = (Sum)((Sum)(n * (Sum)f[C::store_magic]) >> f[C::store_magic_shift]);
    const Sum twice = (Sum)((Sum)(n - (Sum)(q * (Sum)f[C::store_divisor])) << 1);
    const Sum floor = (Sum)(q - (Sum)f[C::store_offset]);
    const bool up = twice > (Sum)f[C::store_divisor] || (twice == (Sum)f[C::store_divisor] && (floor & 1) != 0);
    return (Sum)(floor + (up ? 1 : 0));
}

template <class C>
typename C::Sum finished(typename C::Acc acc, Int<32> bias, Int<8> shift, Int<32> mult, UInt<8> other, const int f[C::store_COUNT]) {
#pragma HLS INLINE
    typedef typename C::Sum Sum;
    Sum scaled = (Sum)((Sum)((Sum)acc + (Sum)bias) << f[C::store_up]);
    if (C::USES_MULTIPLIER) scaled = (Sum)(scaled * (Sum)mult);
    Sum rounded = round_shift<Sum>(scaled, (int)shift);
    if (C::USES_DIVISION && f[C::store_divisor] != 0) rounded = divided<C>(scaled, f);
    const Sum value = limited<C>((Sum)(rounded + (Sum)f[C::store_zero]), f[C::store_lo], f[C::store_hi]);
    if (!C::USES_RESIDUAL || f[C::store_add] == 0) return value;
    const Sum second = f[C::store_add_signed] != 0 ? (Sum)(Int<8>)other : (Sum)other;
    const Sum left = (Sum)(value << f[C::store_left]), right = (Sum)(second << f[C::store_right]);
    const Sum total = (Sum)((f[C::store_left_minus] != 0 ? (Sum)-left : left) + (f[C::store_right_minus] != 0 ? (Sum)-right : right));
    Sum both = (Sum)((Sum)(total + (Sum)f[C::store_add_offset]) << f[C::store_add_up]);
    if (C::USES_MULTIPLIER) both = (Sum)(both * (Sum)f[C::store_add_mult]);
    const Sum sum = (Sum)(round_shift<Sum>(both, f[C::store_add_shift]) + (Sum)f[C::store_add_zero]);
    return limited<C>(sum, f[C::store_add_lo], f[C::store_add_hi]);
}

template <class C>
void store(hls::stream<int> &in, hls::stream<typename C::Result> &results, hls::stream<typename C::Weight> &post, hls::stream<typename C::Feature> &others,
           typename C::Feature memory[C::MEMORY]) {
    int f[C::store_COUNT];
    Int<32> bias[C::TM], mult[C::TM];
    Int<8> shift[C::TM];
    typename C::Acc sums[C::TM];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
#pragma HLS ARRAY_PARTITION variable=f complete dim=0
#pragma HLS ARRAY_PARTITION variable=bias complete dim=0
#pragma HLS ARRAY_PARTITION variable=mult complete dim=0
#pragma HLS ARRAY_PARTITION variable=shift complete dim=0
take_fields:
    for (int i = 0; i < C::store_COUNT; ++i) {
#pragma HLS PIPELINE II=1
        f[i] = in.read();
    }
    const bool lines = f[C::store_cols] == f[C::store_width], wide = C::USES_WIDE && f[C::store_wide] != 0;
    const int rows = lines ? 1 : f[C::store_rows], pixels = lines ? f[C::store_rows] * f[C::store_cols] : f[C::store_cols];
tiles:
    for (int t = 0; t < f[C::store_tiles]; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16
    parameters:
        for (int i = 0; i < C::POST_WORDS; ++i) {
#pragma HLS PIPELINE II=1
            const typename C::Weight word = post.read();
        channels:
            for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
                if (i == 4 * p / C::WP) bias[p] = get_int(word, 4 * p % C::WP);
                if (i == (4 * C::TM + p) / C::WP) shift[p] = (Int<8>)get_byte(word, (4 * C::TM + p) % C::WP);
                if (C::USES_MULTIPLIER && i == (5 * C::TM + 4 * p) / C::WP) mult[p] = get_int(word, (5 * C::TM + 4 * p) % C::WP);
            }
        }
        const int groups = t == f[C::store_tiles] - 1 ? f[C::store_groups_last] : f[C::store_groups];
    images:
        for (int i = 0; i < f[C::store_images]; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
        rows:
            for (int y = 0; y < rows; ++y) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
                const int to = f[C::store_base] + t * f[C::store_tile_stride] + i * f[C::store_image_stride] +
                               (f[C::store_corner] + y * f[C::store_width]) * groups;
                int group = 0;
            burst:
                for (int k = 0; k < pixels * groups; ++k) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=4096
#pragma HLS PIPELINE II=1
                    if (group == 0) {
                        const typename C::Result result = results.read();
                    pixel:
                        for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
                            sums[p] = result.lane[p];
                        }
                    }
                    typename C::Feature other = blank_word<typename C::Feature>(), word = blank_word<typename C::Feature>();
                    if (C::USES_RESIDUAL && f[C::store_add] != 0) other = others.read();
                    const int base = wide ? group * (C::G / 2) : group * C::G;
                lanes:
                    for (int l = 0; l < C::G; ++l) {
#pragma HLS UNROLL
                        const int lane = base + (wide ? l / 2 : l), p = lane < C::TM ? lane : 0;
                        const UInt<8> second = C::USES_RESIDUAL && f[C::store_add] != 0 ? get_byte(other, l) : (UInt<8>)0;
                        const typename C::Sum value = finished<C>(sums[p], bias[p], shift[p], C::USES_MULTIPLIER ? mult[p] : (Int<32>)1, second, f);
                        set_byte(word, l, wide && l % 2 ? (UInt<8>)(value >> 8) : (UInt<8>)value);
                    }
                    memory[to + k] = word;
                    group = group == groups - 1 ? 0 : group + 1;
                }
            }
        }
    }
}

} // namespace coexplore
#endif
