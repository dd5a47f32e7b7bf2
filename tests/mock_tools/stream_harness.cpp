// The accelerator as its streams see it, one process per programmed device, so that its static state lives on.
// Standard input, repeated: batch length (uint32), the words of one image. Standard output: the output's words, then a
// byte with TLAST for each. Arguments: words in, words out.
#include "accel.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

int main(int, char **argv) {
    const int words_in = std::atoi(argv[1]), words_out = std::atoi(argv[2]);
    unsigned images;
    while (std::fread(&images, 4, 1, stdin) == 1) {
        hls::stream<input_word> in("in");
        hls::stream<output_word> out("out");
        for (int i = 0; i < words_in; ++i) {
            input_word word;
            if (std::fread(word.data, sizeof word.data, 1, stdin) != 1) return 3;
            word.last = false;
            in.write(word);
        }
        accel(in, out, images);
        if (!in.empty() || (int)out.size() != words_out) return 4;
        std::vector<unsigned char> last;
        while (!out.empty()) {
            const output_word word = out.read();
            std::fwrite(word.data, sizeof word.data, 1, stdout);
            last.push_back(word.last);
        }
        std::fwrite(&last[0], 1, last.size(), stdout);
        std::fflush(stdout);
    }
    return 0;
}
