// The three kernels of a card with the streams between them; Xilinx's types. Standard input, repeated: kernel (uint32: 0
// mm2s, 1 s2mm), words (uint32), and for mm2s the words. Standard output: the words of each s2mm, or none where the
// stream does not hold as many. Arguments: words of an image in.
#include "kernels.cpp"

#include <cstdio>
#include <cstdlib>
#include <vector>

template <class T> static void get(T &word) {
    for (int b = 0; b < T::width / 8; ++b) word.range(8 * b + 7, 8 * b) = std::getchar();
}
template <class T> static void put(const T &word) {
    for (int b = 0; b < T::width / 8; ++b) std::putchar((int)word.range(8 * b + 7, 8 * b).to_uint());
}

int main(int, char **argv) {
    const unsigned words_in = std::atoi(argv[1]);
    hls::stream<input_word> to("to");
    hls::stream<output_word> from("from");
    unsigned command[2];
    while (std::fread(command, 4, 2, stdin) == 2) {
        const unsigned words = command[1];
        unsigned char done = 1;
        if (command[0] == 0) {
            std::vector<input_memory> memory(words);
            for (unsigned i = 0; i < words; ++i) get(memory[i]);
            mm2s(&memory[0], words, to);
            while (to.size() >= words_in) accel_stream(to, from);
            std::fwrite(&done, 1, 1, stdout);
        } else {
            done = from.size() >= words;
            std::fwrite(&done, 1, 1, stdout);
            std::vector<output_memory> memory(words);
            if (done) {
                s2mm(&memory[0], words, from);
                for (unsigned i = 0; i < words; ++i) put(memory[i]);
            }
        }
        std::fflush(stdout);
    }
    return 0;
}
