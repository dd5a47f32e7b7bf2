// Rows and columns by index, channels innermost.
//
// frame:  a crop and pad without a buffer: the map and its surroundings are walked once; what lies outside the input is
//         filled, what lies outside the output is dropped.
// sample: any rows and columns, out of a row buffer: enlarging, strides, flips, reflected edges.
#ifndef COEXPLORE_SAMPLE_H
#define COEXPLORE_SAMPLE_H

#include "types.h"

namespace coexplore {

// C: ROWS COLUMNS CF (box around input and output, channel beats), IN_T IN_B IN_L IN_R (input in it: first and last + 1),
// OUT_T OUT_B OUT_L OUT_R (output), FILL, LANES, Beat.
template <class C> void frame(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out) {
    typedef typename C::Beat::Element Element;
    int y = 0, x = 0, cg = 0;
box:
    for (int i = 0; i < C::ROWS * C::COLUMNS * C::CF; ++i) {
#pragma HLS PIPELINE II=1
        typename C::Beat beat;
        if (y >= C::IN_T && y < C::IN_B && x >= C::IN_L && x < C::IN_R) {
            beat = in.read();
        } else {
        fill:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                beat.lane[l] = (Element)C::FILL;
            }
        }
        if (y >= C::OUT_T && y < C::OUT_B && x >= C::OUT_L && x < C::OUT_R) out.write(beat);
        if (++cg == C::CF) {
            cg = 0;
            if (++x == C::COLUMNS) {
                x = 0;
                ++y;
            }
        }
    }
}

// A phase per output row: emit the row out of the buffer, and meanwhile store the input rows that the next one needs.
// C: OH OW (output), SLOTS (rows kept), ROW (beats of an input row), CF (channel beats), FIRST_STORES, FIRST_LENGTH,
// ITERATIONS, FILL, LANES, Beat.
// phases[oy]: beats to store while row oy is emitted, iterations, address of the row in the buffer or -1; the row after
// the last only stores. columns[ox]: address of the column in a row, or -1.
template <class C, class P, class X>
void sample(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out, const P phases[C::OH + 1][3], const X columns[C::OW]) {
#pragma HLS INLINE
    typedef typename C::Beat::Element Element;
    Element rows[C::SLOTS * C::ROW][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=rows complete dim=2
#pragma HLS BIND_STORAGE variable=rows type=ram_2p
    // A phase reads rows stored in earlier phases; flow/blocks/sample.py ends a phase late enough after its last store.
#pragma HLS DEPENDENCE variable=rows type=inter false
    int oy = -1, ox = 0, cg = 0;
    int write_at = 0;
    int pending = C::FIRST_STORES; // beats to store in this phase
    int left = C::FIRST_LENGTH;    // iterations left in this phase
    int emit = 0;                  // beats left to emit in this phase
    int base = 0;                  // address of the row, -1 for a filled one
pixels:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        if (pending > 0) {
            const typename C::Beat fresh = in.read();
        store:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                rows[write_at][l] = fresh.lane[l];
            }
            write_at = write_at == C::SLOTS * C::ROW - 1 ? 0 : write_at + 1;
            --pending;
        }
        if (emit > 0) {
            const int column = (int)columns[ox];
            const bool inside = base >= 0 && column >= 0;
            const int at = inside ? base + column + cg : 0;
            typename C::Beat beat;
        load:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                beat.lane[l] = inside ? rows[at][l] : (Element)C::FILL;
            }
            out.write(beat);
            --emit;
            if (++cg == C::CF) {
                cg = 0;
                if (++ox == C::OW) ox = 0;
            }
        }
        if (--left == 0) {
            ++oy;
            pending = (int)phases[oy][0];
            left = (int)phases[oy][1];
            base = (int)phases[oy][2];
            emit = oy < C::OH ? C::OW * C::CF : 0;
        }
    }
}

} // namespace coexplore
#endif
