// The tiled engine's arithmetic: TM x TN products a cycle with stationary weights, or windows channel by channel.
#ifndef COEXPLORE_ENGINE_ARRAY_H
#define COEXPLORE_ENGINE_ARRAY_H

#include "mac.h"
#include "words.h"

namespace coexplore {

// C: what engine.h asks; ACC_DEPTH, TAPS, LANES, X (activation), Acc, Result (TM sums), and what mac.h asks (PE = TM, SIMD = TN).

// A byte of the input tile as a number; the padding value outside the map.
template <class C>
void inputs(const UInt<8> tile[C::NB][C::IN_DEPTH][C::G], int at, bool inside, bool is_signed, int pad_value, typename C::X x[C::TN]) {
#pragma HLS INLINE
banks:
    for (int n = 0; n < C::NB; ++n) {
#pragma HLS UNROLL
    lanes:
        for (int l = 0; l < C::G; ++l) {
#pragma HLS UNROLL
            const UInt<8> byte = tile[n][inside ? at : 0][l];
            x[n * C::G + l] = !inside ? (typename C::X)pad_value : is_signed ? (typename C::X)(Int<8>)byte : (typename C::X)byte;
        }
    }
}

// Word number `i` of a kernel position's weights, [tn][tm] bytes.
template <class C> void place(const typename C::Weight &word, int i, Int<8> next[C::TM][C::TN]) {
#pragma HLS INLINE
rows:
    for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
    columns:
        for (int s = 0; s < C::TN; ++s) {
#pragma HLS UNROLL
            if (i == (s * C::TM + p) / C::WP) next[p][s] = (Int<8>)get_byte(word, (s * C::TM + p) % C::WP);
        }
    }
}

template <class C>
void products(const int f[C::compute_COUNT], const UInt<8> tile[C::NB][C::IN_DEPTH][C::G], hls::stream<typename C::Weight> &words,
              hls::stream<typename C::Result> &out, typename C::Acc acc[C::ACC_DEPTH][C::TM]) {
    Int<8> current[C::TM][C::TN], next[C::TM][C::TN];
#pragma HLS ARRAY_PARTITION variable=current complete dim=0
#pragma HLS ARRAY_PARTITION variable=next complete dim=0
    const int plane = f[C::compute_in_rows] * f[C::compute_in_cols], image_step = f[C::compute_in_depth] * plane;
    const int row_step = f[C::compute_sy] * f[C::compute_in_cols], kernel_step = f[C::compute_dy] * f[C::compute_in_cols];
    const int start = f[C::compute_y0] * f[C::compute_in_cols], length = f[C::compute_length];
    // Counters are compared with their last value, not after the step: one operator less from turn to turn.
    const int end = length - 1, last_col = f[C::compute_cols] - 1, last_row = f[C::compute_rows] - 1;
    const int last_kx = f[C::compute_kw] - 1, last_ky = f[C::compute_kh] - 1, last_n = f[C::compute_depth] - 1;
    const int positions = f[C::compute_depth] * f[C::compute_kh] * f[C::compute_kw] * f[C::compute_tiles];
first_weights:
    for (int i = 0; i < f[C::compute_position_words]; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=256
#pragma HLS PIPELINE II=1
        const typename C::Weight arrived = words.read();
        place<C>(arrived, i, next);
    }
first_use:
    for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
    first_columns:
        for (int s = 0; s < C::TN; ++s) {
#pragma HLS UNROLL
            current[p][s] = next[p][s];
        }
    }
    int i = 0, position = 0, kx = 0, ky = 0, n = 0;                // where in the position, and which
    int x0 = f[C::compute_x0], y0 = f[C::compute_y0], word = 0;    // of the position's first window; of its array word
    int origin = start;                                            // address of the position's first row
    int col = 0, row = 0, x = x0, y = y0, line = origin, image = 0; // of the window; addresses of its row and image
steps:
    for (int turn = 0; turn < positions * length; ++turn) {
#pragma HLS LOOP_TRIPCOUNT min=1024 max=262144
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=acc inter false
        const bool fresh = f[C::compute_first] != 0 && n == 0 && ky == 0 && kx == 0;
        const bool done = n == last_n && ky == last_ky && kx == last_kx;
        if (i < f[C::compute_position_words] && position < positions - 1) {
            const typename C::Weight arrived = words.read();
            place<C>(arrived, i, next);
        }
        if (i < f[C::compute_steps]) {
            const bool inside = y >= 0 && y < f[C::compute_in_rows] && x >= 0 && x < f[C::compute_in_cols];
            typename C::X lanes[C::TN];
#pragma HLS ARRAY_PARTITION variable=lanes complete dim=0
            inputs<C>(tile, line + x, inside, f[C::compute_is_signed] != 0, f[C::compute_pad_value], lanes);
            typename C::Acc sum[C::TM];
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
            Dot<C, C::MULT>::apply(current, lanes, sum);
            typename C::Result result;
        sums:
            for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
                const typename C::Acc total = (typename C::Acc)((fresh ? (typename C::Acc)0 : acc[i][p]) + sum[p]);
                acc[i][p] = total;
                result.lane[p] = total;
            }
            if (done && f[C::compute_last] != 0) out.write(result);
            if (col != last_col) {
                ++col;
                x += f[C::compute_sx];
            } else {
                col = 0;
                x = x0;
                if (row != last_row) {
                    ++row;
                    y += f[C::compute_sy];
                    line += row_step;
                } else {
                    row = 0;
                    y = y0;
                    image += image_step;
                    line = origin + image;
                }
            }
        }
        if (i != end) {
            ++i;
        } else {
            i = 0;
            ++position;
            if (kx != last_kx) {
                ++kx;
                x0 += f[C::compute_dx];
            } else {
                kx = 0;
                x0 = f[C::compute_x0];
                if (ky != last_ky) {
                    ++ky;
                    y0 += f[C::compute_dy];
                    origin += kernel_step;
                } else {
                    ky = 0;
                    y0 = f[C::compute_y0];
                    word = n == last_n ? 0 : word + plane;
                    origin = start + word;
                    n = n == last_n ? 0 : n + 1;
                }
            }
            col = 0;
            row = 0;
            x = x0;
            y = y0;
            image = 0;
            line = origin;
        use:
            for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
            use_columns:
                for (int s = 0; s < C::TN; ++s) {
#pragma HLS UNROLL
                    current[p][s] = next[p][s];
                }
            }
        }
    }
}

// Word number `i` of a window pass's weights, [taps][lanes] bytes.
template <class C> void place_taps(const typename C::Weight &word, int i, Int<8> next[C::TAPS][C::LANES]) {
#pragma HLS INLINE
taps:
    for (int t = 0; t < C::TAPS; ++t) {
#pragma HLS UNROLL
    lanes:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            if (i == (t * C::LANES + l) / C::WP) next[t][l] = (Int<8>)get_byte(word, (t * C::LANES + l) % C::WP);
        }
    }
}

// The window's numbers of one lane, combined: the greatest, the sum, or the sum of products.
template <class C>
typename C::Acc combine(const typename C::X window[C::TAPS][C::LANES], const Int<8> weight[C::TAPS][C::LANES], int lane, int mode, int first, int count) {
#pragma HLS INLINE
    typename C::Acc best = (typename C::Acc)C::LEAST, total = 0;
taps:
    for (int t = 0; t < C::TAPS; ++t) {
#pragma HLS UNROLL
        const typename C::X x = window[t][lane];
        const bool used = t >= first && t < first + count;
        typename C::Acc term = x;
        if (C::USES_DEPTHWISE && mode == C::MODE_DEPTHWISE) term = (typename C::Acc)Multiply<typename C::Product, MULT_LUT>::apply(weight[t][lane], x);
        if (used && (typename C::Acc)x > best) best = x;
        total = (typename C::Acc)(total + (used ? term : (typename C::Acc)0));
    }
    return mode == C::MODE_MAX ? best : total;
}

template <class C>
void windows(const int f[C::compute_COUNT], const UInt<8> tile[C::NB][C::IN_DEPTH][C::G], hls::stream<typename C::Weight> &words,
             hls::stream<typename C::Result> &out, typename C::Acc acc[C::ACC_DEPTH][C::TM]) {
    Int<8> current[C::TAPS][C::LANES], next[C::TAPS][C::LANES];
    typename C::X window[C::TAPS][C::LANES];
#pragma HLS ARRAY_PARTITION variable=current complete dim=0
#pragma HLS ARRAY_PARTITION variable=next complete dim=0
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
    const int plane = f[C::compute_in_rows] * f[C::compute_in_cols], image_step = f[C::compute_in_depth] * plane;
    const int row_step = f[C::compute_sy] * f[C::compute_in_cols], kernel_step = f[C::compute_dy] * f[C::compute_in_cols];
    const int start = f[C::compute_y0] * f[C::compute_in_cols], length = f[C::compute_length], mode = f[C::compute_mode];
    const int end = length - 1, last_row = f[C::compute_rows] - 1;
    const int last_kx = f[C::compute_kw] - 1, last_ky = f[C::compute_kh] - 1, last_slice = f[C::compute_slices] - 1;
    const int positions = f[C::compute_slices] * f[C::compute_kh] * f[C::compute_kw] * f[C::compute_tiles];
    const int scan = (f[C::compute_cols] - 1) * f[C::compute_sx] + f[C::compute_reach], first_tap = C::TAPS - f[C::compute_reach], last_at = scan - 1;
first_weights:
    for (int i = 0; i < f[C::compute_position_words]; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        const typename C::Weight arrived = words.read();
        place_taps<C>(arrived, i, next);
    }
blank:
    for (int t = 0; t < C::TAPS; ++t) {
#pragma HLS UNROLL
    blank_lanes:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            current[t][l] = next[t][l];
            window[t][l] = 0;
        }
    }
    int i = 0, position = 0, kx = 0, ky = 0, slice = 0;
    int x0 = f[C::compute_x0], y0 = f[C::compute_y0], word = 0, origin = start, left = f[C::compute_taps];
    int at = 0, wait = f[C::compute_reach] - 1, pixel = 0, row = 0, y = y0, line = origin, image = 0;
steps:
    for (int turn = 0; turn < positions * length; ++turn) {
#pragma HLS LOOP_TRIPCOUNT min=1024 max=262144
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=acc inter false
        const bool fresh = ky == 0 && kx == 0;
        const bool done = slice == last_slice && ky == last_ky && kx == last_kx;
        if (i < f[C::compute_position_words] && position < positions - 1) {
            const typename C::Weight arrived = words.read();
            place_taps<C>(arrived, i, next);
        }
        if (i < f[C::compute_steps]) {
            const int x = x0 + at;
            const bool inside = y >= 0 && y < f[C::compute_in_rows] && x >= 0 && x < f[C::compute_in_cols];
            typename C::X lanes[C::TN];
#pragma HLS ARRAY_PARTITION variable=lanes complete dim=0
            inputs<C>(tile, line + x, inside, f[C::compute_is_signed] != 0, f[C::compute_pad_value], lanes);
        shift:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            shift_taps:
                for (int t = 0; t < C::TAPS - 1; ++t) {
#pragma HLS UNROLL
                    window[t][l] = window[t + 1][l];
                }
                window[C::TAPS - 1][l] = lanes[l];
            }
            if (wait == 0) {
                const int valid = f[C::compute_reach] == 1 ? 1 : left < C::TAPS ? left : (int)C::TAPS;
                typename C::Result result;
            sums:
                for (int p = 0; p < C::TM; ++p) {
#pragma HLS UNROLL
                    const typename C::Acc value = combine<C>(window, current, p % C::LANES, mode, first_tap, valid);
                    const typename C::Acc old = acc[pixel][p];
                    const typename C::Acc joined = mode == C::MODE_MAX ? (old > value ? old : value) : (typename C::Acc)(old + value);
                    const typename C::Acc total = p / C::LANES != slice ? old : fresh ? value : joined;
                    acc[pixel][p] = total;
                    result.lane[p] = total;
                }
                if (done) out.write(result);
                ++pixel;
            }
            wait = wait == 0 ? f[C::compute_sx] - 1 : wait - 1;
            if (at != last_at) {
                ++at;
            } else {
                at = 0;
                wait = f[C::compute_reach] - 1;
                if (row != last_row) {
                    ++row;
                    y += f[C::compute_sy];
                    line += row_step;
                } else {
                    row = 0;
                    y = y0;
                    image += image_step;
                    line = origin + image;
                }
            }
        }
        if (i != end) {
            ++i;
        } else {
            i = 0;
            ++position;
            if (kx != last_kx) {
                ++kx;
                x0 += f[C::compute_chunk];
                left -= C::TAPS;
            } else {
                kx = 0;
                x0 = f[C::compute_x0];
                left = f[C::compute_taps];
                if (ky != last_ky) {
                    ++ky;
                    y0 += f[C::compute_dy];
                    origin += kernel_step;
                } else {
                    ky = 0;
                    y0 = f[C::compute_y0];
                    word = slice == last_slice ? 0 : word + plane;
                    origin = start + word;
                    slice = slice == last_slice ? 0 : slice + 1;
                }
            }
            at = 0;
            wait = f[C::compute_reach] - 1;
            pixel = 0;
            row = 0;
            y = y0;
            image = 0;
            line = origin;
        use:
            for (int t = 0; t < C::TAPS; ++t) {
#pragma HLS UNROLL
            use_lanes:
                for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                    current[t][l] = next[t][l];
                }
            }
        }
    }
}

template <class C>
void compute(hls::stream<int> &in, const UInt<8> tile[C::NB][C::IN_DEPTH][C::G], hls::stream<typename C::Weight> &words, hls::stream<typename C::Result> &out,
             typename C::Acc acc[C::ACC_DEPTH][C::TM]) {
    int f[C::compute_COUNT];
#pragma HLS ARRAY_PARTITION variable=f complete dim=0
take_fields:
    for (int i = 0; i < C::compute_COUNT; ++i) {
#pragma HLS PIPELINE II=1
        f[i] = in.read();
    }
    if (f[C::compute_mode] == C::MODE_CONV) products<C>(f, tile, words, out, acc);
    if (C::USES_WINDOWS && f[C::compute_mode] > C::MODE_CONV) windows<C>(f, tile, words, out, acc);
}

} // namespace coexplore
#endif
