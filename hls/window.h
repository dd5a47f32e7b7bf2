// Sliding windows over a feature map that arrives row by row, channels innermost, LANES channels a beat.
//
// window_serial: one kernel position and one channel group a beat, out of a row buffer; any kernel, stride, padding and
//                dilation. Order per output pixel: group, kernel row, kernel column, channel group.
// window_parallel: all kernel positions of one channel group in one beat, out of line buffers and shift registers; of
//                several neighbouring outputs, where input beats hold several pixels.
#ifndef COEXPLORE_WINDOW_H
#define COEXPLORE_WINDOW_H

#include "types.h"

namespace coexplore {

// C: H W (input), OH OW, KH KW, SH SW (stride), DH DW (dilation), PT PL (padding), PAD (its value), CF (channel beats a
// pixel), GROUPS (outer channel loop; CF / GROUPS beats each), ROWS (rows kept), EMIT (beats emitted per output row),
// SPACING (iterations from one store to the next), GAP (idle iterations of a phase), ITERATIONS, LANES, Beat.
//
// A phase per output row: emit the row's windows, and meanwhile store the input rows that the next output row needs. A
// phase reads only rows stored in earlier phases, so storing and emitting never wait for one another. phases[oy]: beats
// to store while row oy is emitted, and the iterations that takes; the last row is never used.
template <class C, class P, class Element>
void serial_windows(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out, const P phases[C::OH + 1][2],
                    Element rows[C::ROWS * C::W * C::CF][C::LANES]) {
#pragma HLS INLINE
    int oy = -1, ox = 0, g = 0, ky = 0, kx = 0, cg = 0; // oy == -1: filling, nothing to emit yet
    int base = 0;                                       // row slot of kernel row 0 (may stand for padding)
    int write_at = 0;                                   // next address to store to
    int pending = C::FIRST_ROWS * C::W * C::CF;         // beats to store in this phase
    int left = C::FIRST_LENGTH;                         // iterations left in this phase
    int emit = 0;                                       // beats left to emit in this phase
    int wait = 0;                                       // iterations until the next store
windows:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        if (wait > 0) {
            --wait;
        } else if (pending > 0) {
            wait = oy < 0 ? 0 : C::SPACING - 1;
            const typename C::Beat fresh = in.read();
        store:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                rows[write_at][l] = fresh.lane[l];
            }
            write_at = write_at == C::ROWS * C::W * C::CF - 1 ? 0 : write_at + 1;
            --pending;
        }
        if (emit > 0) {
            const int y = oy * C::SH - C::PT + ky * C::DH;
            const int x = ox * C::SW - C::PL + kx * C::DW;
            int slot = base + ky * C::DH;
            if (slot >= C::ROWS) slot -= C::ROWS;
            const bool inside = y >= 0 && y < C::H && x >= 0 && x < C::W;
            const int at = inside ? slot * (C::W * C::CF) + x * C::CF + g * (C::CF / C::GROUPS) + cg : 0;
            typename C::Beat beat;
        load:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                beat.lane[l] = inside ? rows[at][l] : (Element)C::PAD;
            }
            out.write(beat);
            --emit;
            if (++cg == C::CF / C::GROUPS) {
                cg = 0;
                if (++kx == C::KW) {
                    kx = 0;
                    if (++ky == C::KH) {
                        ky = 0;
                        if (++g == C::GROUPS) {
                            g = 0;
                            if (++ox == C::OW) ox = 0;
                        }
                    }
                }
            }
        }
        if (--left == 0) {
            ++oy;
            // Slot of input row (oy * SH - PT), kept non-negative; rows above the map are padding and never read.
            base = oy == 0 ? C::FIRST_SLOT : (base + C::SH >= C::ROWS ? base + C::SH - C::ROWS : base + C::SH);
            pending = phases[oy][0];
            left = phases[oy][1];
            emit = C::EMIT;
            wait = 0;
        }
    }
}

// The rows in block RAM or LUTRAM, as the tool decides by size.
template <class C, class P>
void window_serial(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out, const P phases[C::OH + 1][2]) {
#pragma HLS INLINE
    typename C::Beat::Element rows[C::ROWS * C::W * C::CF][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=rows complete dim=2
#pragma HLS BIND_STORAGE variable=rows type=ram_2p
    // Read and write addresses differ in row; flow/blocks/window.py keeps them at least four iterations apart (GAP).
#pragma HLS DEPENDENCE variable=rows type=inter false
    serial_windows<C>(in, out, phases, rows);
}

// The rows in UltraRAM.
template <class C, class P>
void window_serial_uram(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out, const P phases[C::OH + 1][2]) {
#pragma HLS INLINE
    typename C::Beat::Element rows[C::ROWS * C::W * C::CF][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=rows complete dim=2
#ifdef __VITIS_HLS__
#pragma HLS BIND_STORAGE variable=rows type=ram_2p impl=uram
#else
#pragma HLS RESOURCE variable=rows core=RAM_2P_URAM
#endif
    // Read and write addresses differ in row; flow/blocks/window.py keeps them at least four iterations apart (GAP).
#pragma HLS DEPENDENCE variable=rows type=inter false
    serial_windows<C>(in, out, phases, rows);
}

// C: as above without GROUPS; PIXELS (of a row in a beat: 1, or several with all their channels), GIVES (windows given at
// once), BEATS (positions a row: pixels / PIXELS), STEP (positions from one window, or group of GIVES, to the next of its
// row), SHIFT (positions from a row's first to the one that completes its first group), DELAY = DH * BEATS * CF (beats in
// a line buffer), TAPS (beats kept of each kernel row), FIRST and ROW_STEP (positions that complete windows).
// Order in a beat: kernel row, kernel column, window, channel.
//
// The map is one long row of positions; every window tap lies a fixed number of pixels back, and taps that fall
// outside the map are masked. So padding costs no iterations but those that flush the end.
template <class C, class Element>
void parallel_windows(hls::stream<typename C::Beat> &in, hls::stream<typename C::Window> &out,
                      Element lines[C::DELAY][C::KH > 1 ? C::KH - 1 : 1][C::LANES]) {
#pragma HLS INLINE
    const int WIDE = C::LANES / C::PIXELS; // elements of a pixel in a beat
    Element taps[C::KH][C::TAPS + 1][C::LANES];
#pragma HLS ARRAY_PARTITION variable=taps complete dim=0

    int position = 0, cg = 0, line = 0;
    int target = C::FIRST; // position that completes the next output's window
    int oy = 0, ox = 0;     // of the group's first output
slide:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        Element column[C::KH][C::LANES];
#pragma HLS ARRAY_PARTITION variable=column complete dim=0
        typename C::Beat fresh;
        if (position < C::H * C::BEATS) {
            fresh = in.read();
        } else {
        flush:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                fresh.lane[l] = 0;
            }
        }
    lanes:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            column[C::KH - 1][l] = fresh.lane[l];
        lines_read:
            for (int k = 0; k < C::KH - 1; ++k) {
#pragma HLS UNROLL
                column[k][l] = lines[line][k][l];
            }
        lines_write:
            for (int k = 0; k < C::KH - 1; ++k) {
#pragma HLS UNROLL
                lines[line][k][l] = column[k + 1][l];
            }
        rows:
            for (int k = 0; k < C::KH; ++k) {
#pragma HLS UNROLL
            shift:
                for (int t = C::TAPS; t > 0; --t) {
#pragma HLS UNROLL
                    taps[k][t][l] = taps[k][t - 1][l];
                }
                taps[k][0][l] = column[k][l];
            }
        }
        line = line == C::DELAY - 1 ? 0 : line + 1;
        if (position == target) {
            typename C::Window window;
        window_rows:
            for (int ky = 0; ky < C::KH; ++ky) {
#pragma HLS UNROLL
            window_columns:
                for (int kx = 0; kx < C::KW; ++kx) {
#pragma HLS UNROLL
                window_group:
                    for (int o = 0; o < C::GIVES; ++o) {
#pragma HLS UNROLL
                        const int y = oy * C::SH - C::PT + ky * C::DH;
                        const int x = (ox + o) * C::SW - C::PL + kx * C::DW;
                        const bool inside = y >= 0 && y < C::H && x >= 0 && x < C::W;
                        // Its pixel in the beat that completes the group, or `back` beats before it.
                        const int pixel = o * C::SW - C::PL + kx * C::DW - C::SHIFT * C::PIXELS;
                        const int back = (C::PIXELS - 1 - pixel) / C::PIXELS;
                        const int at = (pixel + back * C::PIXELS) * WIDE;
                    window_lanes:
                        for (int l = 0; l < WIDE; ++l) {
#pragma HLS UNROLL
                            window.lane[((ky * C::KW + kx) * C::GIVES + o) * WIDE + l] =
                                inside ? taps[ky][back * C::CF][at + l] : (Element)C::PAD;
                        }
                    }
                }
            }
            out.write(window);
        }
        if (++cg == C::CF) {
            cg = 0;
            if (position == target) {
                ox += C::GIVES;
                if (ox == C::OW) {
                    ox = 0;
                    ++oy;
                    target += C::ROW_STEP;
                } else {
                    target += C::STEP;
                }
            }
            ++position;
        }
    }
}

// The lines in block RAM or LUTRAM, as the tool decides by size.
template <class C> void window_parallel(hls::stream<typename C::Beat> &in, hls::stream<typename C::Window> &out) {
#pragma HLS INLINE
    typename C::Beat::Element lines[C::DELAY][C::KH > 1 ? C::KH - 1 : 1][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=lines complete dim=2
#pragma HLS ARRAY_RESHAPE variable=lines complete dim=3
#pragma HLS BIND_STORAGE variable=lines type=ram_2p
#pragma HLS DEPENDENCE variable=lines type=inter false
    parallel_windows<C>(in, out, lines);
}

// The lines in UltraRAM.
template <class C> void window_parallel_uram(hls::stream<typename C::Beat> &in, hls::stream<typename C::Window> &out) {
#pragma HLS INLINE
    typename C::Beat::Element lines[C::DELAY][C::KH > 1 ? C::KH - 1 : 1][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=lines complete dim=2
#pragma HLS ARRAY_RESHAPE variable=lines complete dim=3
#ifdef __VITIS_HLS__
#pragma HLS BIND_STORAGE variable=lines type=ram_2p impl=uram
#else
#pragma HLS RESOURCE variable=lines core=RAM_2P_URAM
#endif
#pragma HLS DEPENDENCE variable=lines type=inter false
    parallel_windows<C>(in, out, lines);
}

} // namespace coexplore
#endif
