// Cycles and bytes of a step for all of its tilings: the sums of flow/tiled/nest.py over equal iterations.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

typedef int64_t i64;

// Of the step and the engine; flow/tiled/tilings.py fills it in this order.
struct Job {
    i64 gathered, windowed, residual, double_buffer;
    i64 w, h, c, stride, kernel, reach;                        // of the map, the output's columns, columns of a window
    i64 n_words, depth, row_words, position_words, post_words; // as in nest.py
    i64 granule, wp, ports;
    i64 read_latency, write_latency, wait, start, fill, fewest, record, distance;
};

// `times` blocks of `tiles` output tiles that cost the same.
struct Block {
    i64 times, tiles, words, runs, positions, width, last_width, kept, fresh; // kept, fresh: weights that come from memory
};

struct Cost {
    i64 cycles, read, written, refill;
};

class Iteration {
  public:
    Iteration(const Job &j, double memory, double port) : j_(j), memory_(memory), port_(port) {}

    Cost cost(i64 images, const i64 *row, const i64 *col, const Block &b, i64 weights) const {
        const i64 r = row[0], ly = row[1], c = col[0], lx = col[1];
        i64 bursts = images, read = images * ly, load;
        if (j_.gathered) {
            read *= j_.row_words;
            load = read + images * ly * (c * j_.depth + j_.kernel);
        } else {
            const bool wide = lx == j_.w;
            bursts = !wide || ly != j_.h ? images * b.runs * (wide ? 1 : ly) : b.words == j_.n_words ? 1 : images;
            load = read *= lx * b.words;
        }
        load += bursts * j_.read_latency;
        const i64 pixels = images * r * c;
        const i64 steps = j_.windowed ? images * r * ((c - 1) * j_.stride + j_.reach) : pixels;
        const i64 beat = std::max(std::max(steps, j_.position_words + 1), j_.fewest);
        i64 compute = b.tiles * b.positions * beat + j_.position_words + j_.fill;
        if (!j_.double_buffer) compute += load;
        const i64 stream = b.tiles * (b.positions * j_.position_words + j_.post_words);
        const i64 fetch = std::max(stream, weights) + (weights > 0 ? j_.read_latency : 0);
        const i64 out = pixels * b.width, segments = b.tiles * images * (c == j_.c ? 1 : r);
        const i64 store = out + segments * j_.write_latency + b.tiles * j_.post_words;
        const i64 other = j_.residual ? out + segments * (j_.read_latency + j_.wait) : 0;
        const i64 taken[3] = {read * j_.granule, weights * j_.wp, j_.residual ? out * j_.granule : 0};
        i64 shared[3] = {0, 0, 0};
        for (i64 k = 0; k < 3; ++k) shared[k % j_.ports] += taken[k];
        Cost found;
        found.read = taken[0] + taken[1] + taken[2];
        found.written = out * j_.granule;
        const double moving = std::ceil(double(found.read + found.written) / memory_);
        const double passing = std::ceil(double(j_.ports * std::max(std::max(shared[0], shared[1]), shared[2])) / port_);
        i64 own = std::max(std::max(load + bursts * j_.wait, store + segments * j_.wait), std::max(other, fetch));
        own = std::max(own, std::max(compute, j_.record + j_.start));
        found.cycles = i64(std::max(double(own), std::max(moving, passing))) + j_.start;
        found.refill = pixels * b.last_width + j_.write_latency + load + j_.record + j_.read_latency + j_.distance * j_.start;
        return found;
    }

  private:
    const Job &j_;
    const double memory_, port_;
};

} // namespace

extern "C" {

// Candidates: two sizes of image groups each (images, counts), `high` and `wide` kinds of row and column tiles (outputs, loaded,
// how many). Groups of `blocks` belong together (`counts` of them each): one row of the results a group.
void flow_tilings(int64_t n, int64_t high, int64_t wide, const int64_t *images, const int64_t *image_counts, const int64_t *rows, const int64_t *cols,
                  const int64_t *job, double memory, double port, int64_t groups, const int64_t *counts, const int64_t *blocks, int64_t *cycles,
                  int64_t *moved) {
    const Job &j = *reinterpret_cast<const Job *>(job);
    const Iteration each(j, memory, port);
    const Block *block = reinterpret_cast<const Block *>(blocks);
    for (i64 g = 0; g < groups; block += counts[g++]) {
        for (i64 k = 0; k < n; ++k) {
            const i64 *row = rows + 3 * high * k, *col = cols + 3 * wide * k;
            i64 total = 0, bytes = 0, iterations = 0, refill = 0;
            for (const Block *b = block; b != block + counts[g]; ++b) {
                iterations = 0;
                i64 own = 0, data = 0;
                Cost first = Cost();
                for (i64 i = 0; i < 2; ++i)
                    for (i64 y = 0; y < high; ++y)
                        for (i64 x = 0; x < wide; ++x) {
                            const i64 times = image_counts[2 * k + i] * row[3 * y + 2] * col[3 * x + 2];
                            if (!times) continue;
                            const Cost c = each.cost(images[2 * k + i], row + 3 * y, col + 3 * x, *b, b->kept);
                            if (!iterations) first = c;
                            iterations += times;
                            own += times * c.cycles;
                            data += times * (c.read + c.written);
                        }
                // Of each block, the first iteration takes its weights from memory.
                const Cost fresh = each.cost(images[2 * k], row, col, *b, b->fresh);
                total += b->times * (own + fresh.cycles - first.cycles);
                bytes += b->times * (data + fresh.read - first.read);
                refill = fresh.refill;
            }
            cycles[g * n + k] = total + (iterations < j.distance ? refill : 0);
            moved[g * n + k] = bytes;
        }
    }
}
}
