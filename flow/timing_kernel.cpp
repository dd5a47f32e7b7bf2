// Schedules of a netlist of II = 1 loops (flow/timing.py states them): latency, and the beats that FIFOs hold.
//
// The iterations at which a port moves beats come as rows of eight numbers, one row for each piece of its schedule:
//   0, start, n0, s0, n1, s1, n2, s2   start + i0 s0 + i1 s1 + i2 s2, i2 innermost
//   1, last, n, num, off, den, -, -    (k num + off) / den rounded down, k < n; the last beat at `last`
//   2, address, n, -, -, -, -, -       an array of n iterations
#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

typedef int64_t i64;
typedef std::vector<i64> Times;

class Cursor {
  public:
    Cursor(const i64 *rows, i64 count) : row_(rows), end_(rows + 8 * count) { open(); }
    bool more() const { return row_ != end_; }
    i64 at() const { return value_; }
    void next() {
        ++k_;
        switch (row_[0]) {
        case 0:
            if (k_ < row_[6]) {
                value_ += row_[7];
                return;
            }
            k_ = 0;
            if (++j_ < row_[4]) {
                value_ = base_ + j_ * row_[5];
                return;
            }
            j_ = 0;
            if (++i_ < row_[2]) {
                value_ = base_ = row_[1] + i_ * row_[3];
                return;
            }
            break;
        case 1:
            if (k_ < row_[2]) {
                value_ = k_ + 1 == row_[2] ? row_[1] : (k_ * row_[3] + row_[4]) / row_[5];
                return;
            }
            break;
        default:
            if (k_ < row_[2]) {
                value_ = reinterpret_cast<const i64 *>(row_[1])[k_];
                return;
            }
        }
        row_ += 8;
        open();
    }

  private:
    void open() {
        i_ = j_ = k_ = 0;
        while (row_ != end_ && (row_[2] == 0 || (row_[0] == 0 && (row_[4] == 0 || row_[6] == 0)))) row_ += 8;
        if (row_ == end_) return;
        switch (row_[0]) {
        case 0: value_ = base_ = row_[1]; break;
        case 1: value_ = row_[2] == 1 ? row_[1] : row_[4] / row_[5]; break;
        default: value_ = reinterpret_cast<const i64 *>(row_[1])[0];
        }
    }
    const i64 *row_, *end_;
    i64 i_, j_, k_, base_, value_;
};

struct Port {
    i64 stream; // -1: outside
    const i64 *rows;
    i64 count;
    Cursor cursor() const { return Cursor(rows, count); }
};

// i * span / steps rounded down, without a division for each.
class Grid {
  public:
    Grid(i64 span, i64 steps) : span_(span), steps_(steps), ratio_(double(span) / double(steps)) {}
    i64 at(i64 i) const {
        i64 q = i64(double(i) * ratio_);
        const i64 rest = i * span_ - q * steps_;
        if (rest < 0) return q - 1;
        return rest >= steps_ ? q + 1 : q;
    }

  private:
    i64 span_, steps_;
    double ratio_;
};

// Fires every iteration as early as its beats allow; returns the cycle after the last result leaves.
i64 earliest(i64 iterations, i64 depth, const std::vector<Port> &in, const std::vector<Port> &out, std::vector<Times> &written) {
    std::vector<std::pair<Cursor, const i64 *> > reads;
    std::vector<std::pair<Cursor, Times *> > writes;
    for (const Port &p : in) if (p.stream >= 0) reads.push_back(std::make_pair(p.cursor(), written[p.stream].data()));
    for (const Port &p : out) if (p.stream >= 0) writes.push_back(std::make_pair(p.cursor(), &written[p.stream]));
    i64 ahead = 0; // cycle of an iteration less its number: it only grows
    for (;;) {
        std::pair<Cursor, Times *> *next = nullptr;
        for (std::pair<Cursor, Times *> &w : writes)
            if (w.first.more() && (!next || w.first.at() < next->first.at())) next = &w;
        if (!next) break;
        const i64 at = next->first.at();
        for (std::pair<Cursor, const i64 *> &r : reads)
            for (; r.first.more() && r.first.at() <= at; r.first.next()) ahead = std::max(ahead, *r.second++ + 1 - r.first.at());
        next->second->push_back(at + ahead + depth - 1);
        next->first.next();
    }
    for (std::pair<Cursor, const i64 *> &r : reads)
        for (; r.first.more(); r.first.next()) ahead = std::max(ahead, *r.second++ + 1 - r.first.at());
    return iterations - 1 + ahead + depth;
}

// Beats held at most when images follow one another every `period` cycles.
i64 occupancy(const Times &written, const Times &read, i64 period) {
    const i64 n = i64(read.size()), first = written[0] - 1;
    // How many beats were read by then, those of earlier images counted negative.
    i64 image = (first - read[0]) / period;
    while (image * period > first - read[0]) --image;
    const i64 inside = first - image * period;
    i64 j = image * n + (std::upper_bound(read.begin(), read.end(), inside) - read.begin());
    i64 slot = j - image * n, shift = image * period, most = 0;
    if (slot == n) slot = 0, shift += period;
    for (i64 k = 0; k < n; ++k) {
        while (read[slot] + shift < written[k]) {
            ++j;
            if (++slot == n) slot = 0, shift += period;
        }
        most = std::max(most, k + 1 - j);
    }
    return most;
}

struct Process {
    i64 iterations, depth;
    std::vector<Port> in, out;
};

// Every process evenly over the period, as soon as no beat comes late.
void periodic(const Process &p, i64 period, std::vector<Times> &written, i64 *depths) {
    const Grid grid(period - 2, p.iterations + p.depth - 1);
    i64 offset = 0;
    for (const Port &port : p.in) {
        if (port.stream < 0) continue;
        const i64 *w = written[port.stream].data();
        for (Cursor c = port.cursor(); c.more(); c.next()) offset = std::max(offset, *w++ + 1 - grid.at(c.at()));
    }
    Times read;
    for (const Port &port : p.in) {
        if (port.stream < 0) continue;
        read.clear();
        for (Cursor c = port.cursor(); c.more(); c.next()) read.push_back(grid.at(c.at()) + offset);
        depths[port.stream] = std::max(i64(2), occupancy(written[port.stream], read, period));
        Times().swap(written[port.stream]);
    }
    for (const Port &port : p.out) {
        if (port.stream < 0) continue;
        for (Cursor c = port.cursor(); c.more(); c.next()) written[port.stream].push_back(grid.at(c.at() + p.depth - 1) + offset);
    }
}

} // namespace

extern "C" {

// processes: (iterations, depth, inputs, outputs) each; ports: (stream or -1, rows), inputs first, process by process.
// depths (one a stream) are computed for a period above 0. Returns the latency, 0 where `latency` says nobody asks for it.
int64_t flow_timing(int64_t processes, const int64_t *shape, const int64_t *ports, const int64_t *rows, int64_t streams, int64_t latency,
                    int64_t period, int64_t *depths) {
    std::vector<Process> all(processes);
    for (i64 i = 0; i < processes; ++i) {
        Process &p = all[i];
        p.iterations = shape[4 * i];
        p.depth = shape[4 * i + 1];
        for (i64 k = 0; k < shape[4 * i + 2] + shape[4 * i + 3]; ++k, ports += 2) {
            const Port port = {ports[0], rows, ports[1]};
            (k < shape[4 * i + 2] ? p.in : p.out).push_back(port);
            rows += 8 * ports[1];
        }
    }
    i64 end = 0;
    std::vector<Times> written(streams);
    for (const Process &p : all) {
        if (!latency) break;
        end = std::max(end, earliest(p.iterations, p.depth, p.in, p.out, written));
        for (const Port &port : p.in) if (port.stream >= 0) Times().swap(written[port.stream]);
    }
    if (period > 0) {
        for (Times &t : written) t.clear();
        for (const Process &p : all) periodic(p, period, written, depths);
    }
    return latency ? end + 1 : 0;
}
}
