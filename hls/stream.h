// Plumbing: AXI4-Stream in and out, width conversion, forks.
#ifndef COEXPLORE_STREAM_H
#define COEXPLORE_STREAM_H

#include "types.h"

namespace coexplore {

// AXI4-Stream words to beats. C: WORDS, LANES, SLOT (bits of a lane in the word), Word, Out.
template <class C> void from_axis(hls::stream<typename C::Word> &in, hls::stream<typename C::Out> &out) {
words:
    for (int i = 0; i < C::WORDS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::Word word = in.read();
        typename C::Out beat;
    lanes:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            beat.lane[l] = axis_get<typename C::Out::Element, C::SLOT>(word, l);
        }
        out.write(beat);
    }
}

// Beats to AXI4-Stream words; TLAST ends the batch. `images` is the batch length; the count survives between calls.
template <class C> void to_axis(hls::stream<typename C::In> &in, hls::stream<typename C::Word> &out, unsigned images) {
    static unsigned image = 0;
words:
    for (int i = 0; i < C::WORDS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In beat = in.read();
        typename C::Word word;
        axis_clear<C::WIDTH>(word);
    lanes:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            axis_set<C::SLOT>(word, l, beat.lane[l]);
        }
        word.last = i == C::WORDS - 1 && image + 1 >= images;
        out.write(word);
    }
    image = image + 1 >= images ? 0 : image + 1;
}

// A-lane beats to B-lane beats; TOTAL elements an image, the last beat on either side may be partly filled.
// C: A, B, READS, WRITES, ITERATIONS, In, Out.
template <class C> void gearbox(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out) {
    typename C::Out::Element held[C::A + C::B];
#pragma HLS ARRAY_PARTITION variable=held complete dim=0
    int count = 0, reads = 0, writes = 0;
convert:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        // Both decisions from the registers alone: deciding to give after counting what was taken would not fit one cycle.
        const bool take = count < C::B && reads < C::READS;
        const bool full = take ? count >= C::B - C::A : count >= C::B;
        const bool last = take ? reads == C::READS - 1 : reads == C::READS;
        const bool give = writes < C::WRITES && (full || last);
        if (take) {
            const typename C::In beat = in.read();
        fill:
            for (int l = 0; l < C::A; ++l) {
#pragma HLS UNROLL
                held[count + l] = beat.lane[l];
            }
            ++reads;
        }
        if (give) {
            typename C::Out beat;
        drain:
            for (int l = 0; l < C::B; ++l) {
#pragma HLS UNROLL
                beat.lane[l] = held[l];
            }
        move:
            for (int l = 0; l < C::A; ++l) {
#pragma HLS UNROLL
                held[l] = held[l + C::B];
            }
            ++writes;
            out.write(beat);
        }
        const int kept = take ? (full ? count + (C::A - C::B) : 0) : (full ? count - C::B : 0);
        const int more = take ? count + C::A : count;
        count = give ? kept : more;
    }
}

// One stream to two. C: ITERATIONS, Beat.
template <class C> void fork(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &a, hls::stream<typename C::Beat> &b) {
copy:
    for (int i = 0; i < C::ITERATIONS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::Beat beat = in.read();
        a.write(beat);
        b.write(beat);
    }
}

} // namespace coexplore
#endif
