// The tiled engine's memory side: instructions, input tiles, weights and residuals. The array is in engine_array.h, the
// output stage in engine_output.h; flow/tiled says what the numbers of an instruction mean (instruction.py).
//
// C: G (bytes of a feature word), NB (feature words of an array word), TM, TN, WP (bytes of a weight word), IN_DEPTH, CACHE,
// RECORD, HOLD, PIXEL, GATHER; Feature, Weight (words); <process>_<field> and <process>_COUNT.
#ifndef COEXPLORE_ENGINE_H
#define COEXPLORE_ENGINE_H

#include "words.h"

namespace coexplore {

// One record, a part to each process.
template <class C>
void fetch(const int program[C::PROGRAM], int number, hls::stream<int> &to_load, hls::stream<int> &to_compute, hls::stream<int> &to_weights,
           hls::stream<int> &to_residual, hls::stream<int> &to_store) {
record:
    for (int i = 0; i < C::RECORD; ++i) {
#pragma HLS PIPELINE II=1
        const int value = program[number * C::RECORD + i];
        if (i < C::compute_START) to_load.write(value);
        else if (i < C::weights_START) to_compute.write(value);
        else if (i < C::residual_START) to_weights.write(value);
        else if (i < C::store_START) to_residual.write(value);
        else if (i < C::store_START + C::store_COUNT) to_store.write(value);
    }
}

// Blocks of channels: memory has [block][row][column][words], the tile [image][array word][row][column].
template <class C>
void load_blocks(const typename C::Feature memory[C::MEMORY], const int f[C::load_COUNT], UInt<8> tile[C::NB][C::IN_DEPTH][C::G]) {
    const int plane = f[C::load_rows] * f[C::load_cols], whole = f[C::load_whole];
    const bool lines = f[C::load_cols] == f[C::load_width];
    const int images = whole ? 1 : f[C::load_images], runs = whole ? 1 : f[C::load_runs], rows = whole || lines ? 1 : f[C::load_rows];
    const int last_run = f[C::load_runs] - 1, last_pixel = plane - 1, image_step = f[C::load_depth] * plane;
    int word = 0, pixel = 0, block = 0, run = 0;            // where the next word belongs
    UInt<8> bank = 0, first_bank = 0; // of this word, and of the block's first: narrow, its choice is the longest path
    int base = 0, first_base = 0;
    int image_base = 0;
    int last_words[C::RUNS], last_blocks[C::RUNS]; // of every run, less one: what its counters are compared with
#pragma HLS ARRAY_PARTITION variable=last_words complete dim=0
#pragma HLS ARRAY_PARTITION variable=last_blocks complete dim=0
numbers:
    for (int r = 0; r < C::RUNS; ++r) {
#pragma HLS UNROLL
        last_blocks[r] = f[C::load_offset0 + 3 * r + 1] - 1;
        last_words[r] = f[C::load_offset0 + 3 * r + 2] - 1;
    }
    int last_word = last_words[0], last_block = last_blocks[0];
    int following = last_run > 0 ? 1 : 0; // run
images:
    for (int i = 0; i < images; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
    runs:
        for (int r = 0; r < runs; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
            const int offset = f[C::load_offset0 + 3 * r], count = whole ? 1 : f[C::load_offset0 + 3 * r + 1], each = f[C::load_offset0 + 3 * r + 2];
        blocks:
            for (int b = 0; b < count; ++b) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
            rows:
                for (int y = 0; y < rows; ++y) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
                    const int from = f[C::load_base] + i * f[C::load_image_stride] + offset + (b * f[C::load_height] + y) * f[C::load_width] * each;
                    const int length = whole ? whole : (lines ? plane : f[C::load_cols]) * each;
                burst:
                    for (int k = 0; k < length; ++k) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=4096
#pragma HLS PIPELINE II=1
                        const typename C::Feature data = memory[from + k];
                    lanes:
                        for (int l = 0; l < C::G; ++l) {
#pragma HLS UNROLL
                            tile[bank][base + pixel][l] = get_byte(data, l);
                        }
                        const bool last_bank = bank == C::NB - 1;
                        const UInt<8> next_bank = last_bank ? (UInt<8>)0 : (UInt<8>)(bank + 1);
                        const int next_base = last_bank ? base + plane : base;
                        const int next_word = last_words[following], next_block = last_blocks[following];
                        const bool pixel_done = word == last_word, block_done = pixel_done && pixel == last_pixel;
                        const bool run_done = block_done && block == last_block, image_done = run_done && run == last_run;
                        if (image_done) image_base += image_step;
                        bank = image_done ? (UInt<8>)0 : pixel_done && !block_done ? first_bank : next_bank;
                        base = image_done ? image_base : pixel_done && !block_done ? first_base : next_base;
                        if (block_done) {
                            first_bank = bank;
                            first_base = base;
                        }
                        word = pixel_done ? 0 : word + 1;
                        pixel = block_done ? 0 : pixel_done ? pixel + 1 : pixel;
                        block = run_done ? 0 : block_done ? block + 1 : block;
                        run = image_done ? 0 : run_done ? run + 1 : run;
                        if (run_done) {
                            last_block = next_block;
                            last_word = next_word;
                            following = following == last_run ? 0 : following + 1;
                        }
                    }
                }
            }
        }
    }
}

// The network's input, PIXEL bytes a pixel: each output column's whole kernel row becomes the channels of one pixel.
template <class C>
void load_gathered(const typename C::Feature memory[C::MEMORY], const int f[C::load_COUNT], UInt<8> tile[C::NB][C::IN_DEPTH][C::G]) {
    const int group = C::G / C::PIXEL; // pixels of a memory word
    const int emits = f[C::load_cols] * f[C::load_depth], missing = f[C::load_kernel] > f[C::load_pad] ? f[C::load_kernel] - f[C::load_pad] : 0;
    const int turns = emits + (missing + group - 1) / group, plane = f[C::load_rows] * f[C::load_cols];
    const int net = group - f[C::load_stride];
    typename C::Feature line[C::LINE];
    UInt<8> hold[C::HOLD][C::PIXEL];
#pragma HLS ARRAY_PARTITION variable=hold complete dim=0
images:
    for (int i = 0; i < f[C::load_images]; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
        const int from = f[C::load_base] + i * f[C::load_image_stride];
    burst:
        for (int k = 0; k < f[C::load_rows] * f[C::load_row_words]; ++k) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=2048
#pragma HLS PIPELINE II=1
            line[k] = memory[from + k];
        }
    rows:
        for (int y = 0; y < f[C::load_rows]; ++y) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
            const int first = y * f[C::load_row_words];
        blank:
            for (int h = 0; h < C::HOLD; ++h) {
#pragma HLS UNROLL
            blank_bytes:
                for (int b = 0; b < C::PIXEL; ++b) {
#pragma HLS UNROLL
                    hold[h][b] = (UInt<8>)f[C::load_pad_value];
                }
            }
            int count = f[C::load_pad], word = 0, pixel = 0, part = 0, column = 0;
        windows:
            for (int k = 0; k < turns; ++k) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=1024
#pragma HLS PIPELINE II=1
                const bool give = count >= f[C::load_kernel] && column < f[C::load_cols];
                const bool more = count <= C::HOLD - group;
                const bool last = part == f[C::load_depth] - 1;
                if (more) {
                    const typename C::Feature data = line[word < f[C::load_row_words] ? first + word : 0];
                append:
                    for (int p = 0; p < group; ++p) {
#pragma HLS UNROLL
                    append_bytes:
                        for (int b = 0; b < C::PIXEL; ++b) {
#pragma HLS UNROLL
                            hold[count + p][b] = pixel + p < f[C::load_width] ? get_byte(data, p * C::PIXEL + b) : (UInt<8>)f[C::load_pad_value];
                        }
                    }
                    ++word;
                    pixel += group;
                }
                if (give) {
                    const int at = (i * f[C::load_depth] + part) * plane + y * f[C::load_cols] + column;
                banks:
                    for (int n = 0; n < C::NB; ++n) {
#pragma HLS UNROLL
                    lanes:
                        for (int l = 0; l < C::G; ++l) {
#pragma HLS UNROLL
                            const int byte = part * C::TN + n * C::G + l;
                            tile[n][at][l] = byte < f[C::load_kernel] * C::PIXEL ? hold[byte / C::PIXEL][l % C::PIXEL] : (UInt<8>)0;
                        }
                    }
                    if (last) {
                    shift:
                        for (int h = 0; h < C::HOLD; ++h) {
#pragma HLS UNROLL
                        shift_bytes:
                            for (int b = 0; b < C::PIXEL; ++b) {
#pragma HLS UNROLL
                                if (h + f[C::load_stride] < C::HOLD) hold[h][b] = hold[h + f[C::load_stride]][b];
                            }
                        }
                        ++column;
                    }
                    part = last ? 0 : part + 1;
                }
                const int grown = count + group, shrunk = count - f[C::load_stride], both = count + net;
                count = give && last ? (more ? both : shrunk) : (more ? grown : count);
            }
        }
    }
}

template <class C>
void load(const typename C::Feature memory[C::MEMORY], hls::stream<int> &in, UInt<8> tile[C::NB][C::IN_DEPTH][C::G]) {
    int f[C::load_COUNT];
#pragma HLS ARRAY_PARTITION variable=f complete dim=0
take_fields:
    for (int i = 0; i < C::load_COUNT; ++i) {
#pragma HLS PIPELINE II=1
        f[i] = in.read();
    }
    if (f[C::load_mode] == 1) load_blocks<C>(memory, f, tile);
    if (C::USES_GATHER && f[C::load_mode] == 2) load_gathered<C>(memory, f, tile);
}

// A tile's words: the first `post` to the output stage, the others to the array.
template <class C>
void route(const typename C::Weight &word, int post, int words, int &at, hls::stream<typename C::Weight> &to_array, hls::stream<typename C::Weight> &to_post) {
#pragma HLS INLINE
    if (at < post) to_post.write(word);
    else to_array.write(word);
    at = at == words - 1 ? 0 : at + 1;
}

template <class C>
void weights(const typename C::Weight memory[C::WEIGHTS], hls::stream<int> &in, hls::stream<typename C::Weight> &to_array, hls::stream<typename C::Weight> &to_post,
             typename C::Weight cache[C::CACHE]) {
    int f[C::weights_COUNT];
#pragma HLS ARRAY_PARTITION variable=f complete dim=0
take_fields:
    for (int i = 0; i < C::weights_COUNT; ++i) {
#pragma HLS PIPELINE II=1
        f[i] = in.read();
    }
    const int total = f[C::weights_tiles] * f[C::weights_words], kept = f[C::weights_cached], from = f[C::weights_base] + kept;
    int at = 0;
cached:
    for (int i = 0; i < kept; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
        route<C>(cache[i], f[C::weights_post], f[C::weights_words], at, to_array, to_post);
    }
burst:
    for (int i = 0; i < total - kept; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=65536
#pragma HLS PIPELINE II=1
        const typename C::Weight word = memory[from + i];
        if (i < f[C::weights_fill]) cache[i] = word;
        route<C>(word, f[C::weights_post], f[C::weights_words], at, to_array, to_post);
    }
}

// The second operand of an addition, in the order in which the output stage needs it.
template <class C>
void residual(const typename C::Feature memory[C::MEMORY], hls::stream<int> &in, hls::stream<typename C::Feature> &out) {
    int f[C::residual_COUNT];
#pragma HLS ARRAY_PARTITION variable=f complete dim=0
take_fields:
    for (int i = 0; i < C::residual_COUNT; ++i) {
#pragma HLS PIPELINE II=1
        f[i] = in.read();
    }
    const bool lines = f[C::residual_cols] == f[C::residual_width];
    const int rows = lines ? 1 : f[C::residual_rows], pixels = lines ? f[C::residual_rows] * f[C::residual_cols] : f[C::residual_cols];
tiles:
    for (int t = 0; t < f[C::residual_tiles]; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16
        const int groups = t == f[C::residual_tiles] - 1 ? f[C::residual_groups_last] : f[C::residual_groups];
    images:
        for (int i = 0; i < f[C::residual_images]; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
        rows:
            for (int y = 0; y < rows; ++y) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
                const int from = f[C::residual_base] + t * f[C::residual_tile_stride] + i * f[C::residual_image_stride] +
                                 (f[C::residual_corner] + y * f[C::residual_width]) * groups;
            burst:
                for (int k = 0; k < pixels * groups; ++k) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=4096
#pragma HLS PIPELINE II=1
                    out.write(memory[from + k]);
                }
            }
        }
    }
}

} // namespace coexplore
#endif
