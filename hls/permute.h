// Elements in another order.
//
// permute: the stream is cut into chunks of IN beats, and each leaves as OUT beats in the order of a table.
// slice:   some beats of every pixel.
// select:  whole pixels, channels rewired.
#ifndef COEXPLORE_PERMUTE_H
#define COEXPLORE_PERMUTE_H

#include "types.h"

namespace coexplore {

// C: CHUNKS, IN, OUT (beats of a chunk), LENGTH (iterations a chunk), FILL, LANES, Beat.
// order[k]: beat of the chunk that leaves at place k, or -1 for a filled one. While one chunk is stored, the chunk before
// it is emitted from the other half of the buffer.
template <class C, class A>
void permute(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out, const A order[C::OUT]) {
#pragma HLS INLINE
    typedef typename C::Beat::Element Element;
    Element kept[2 * C::IN][C::LANES];
#pragma HLS ARRAY_RESHAPE variable=kept complete dim=2
#pragma HLS BIND_STORAGE variable=kept type=ram_2p
    // The halves never meet, and LENGTH keeps a beat's store and its first load in the next chunk apart.
#pragma HLS DEPENDENCE variable=kept type=inter false
    int k = 0, chunk = 0, half = 0;
chunks:
    for (int i = 0; i < (C::CHUNKS + 1) * C::LENGTH; ++i) {
#pragma HLS PIPELINE II=1
        if (chunk < C::CHUNKS && k < C::IN) {
            const typename C::Beat fresh = in.read();
        store:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                kept[half + k][l] = fresh.lane[l];
            }
        }
        if (chunk > 0 && k < C::OUT) {
            const int place = (int)order[k];
            const int at = place < 0 ? 0 : C::IN - half + place;
            typename C::Beat beat;
        load:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                beat.lane[l] = place < 0 ? (Element)C::FILL : kept[at][l];
            }
            out.write(beat);
        }
        if (++k == C::LENGTH) {
            k = 0;
            ++chunk;
            half = C::IN - half;
        }
    }
}

// C: PIXELS, IN, FROM, TO (beats FROM..TO-1 of every IN stay), Beat.
template <class C> void slice(hls::stream<typename C::Beat> &in, hls::stream<typename C::Beat> &out) {
    int k = 0;
beats:
    for (int i = 0; i < C::PIXELS * C::IN; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::Beat beat = in.read();
        if (k >= C::FROM && k < C::TO) out.write(beat);
        k = k == C::IN - 1 ? 0 : k + 1;
    }
}

// C: PIXELS, LANES (of the output), FILL, In, Out. order[k]: channel of the input, or -1; constants, so only wires remain.
template <class C, class A>
void select(hls::stream<typename C::In> &in, hls::stream<typename C::Out> &out, const A order[C::LANES]) {
#pragma HLS INLINE
    typedef typename C::Out::Element Element;
    typename C::In pixel;
#pragma HLS ARRAY_PARTITION variable=pixel.lane complete dim=1
pixels:
    for (int i = 0; i < C::PIXELS; ++i) {
#pragma HLS PIPELINE II=1
        pixel = in.read();
        typename C::Out result;
    channels:
        for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
            const int place = (int)order[l];
            result.lane[l] = place < 0 ? (Element)C::FILL : (Element)pixel.lane[place < 0 ? 0 : place];
        }
        out.write(result);
    }
}

} // namespace coexplore
#endif
