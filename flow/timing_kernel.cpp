// Schedules of a netlist of II = 1 loops (flow/timing.py states them): latency, and the beats that FIFOs hold.
//
// The iterations at which a port moves beats come as rows of eight numbers, one row for each piece of its schedule:
//   0, start, n0, s0, n1, s1, n2, s2   start + i0 s0 + i1 s1 + i2 s2, i2 innermost
//   1, last, n, num, off, den, -, -    (k num + off) / den rounded down, k < n; the last beat at `last`
//   2, address, n, -, -, -, -, -       an array of n iterations
#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
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
    i64 beats() const {
        i64 n = 0;
        for (i64 i = 0; i < count; ++i) n += rows[8 * i] == 0 ? rows[8 * i + 2] * rows[8 * i + 4] * rows[8 * i + 6] : rows[8 * i + 2];
        return n;
    }
    // Of all beats, one after another.
    void iterations(Times &all) const {
        all.resize(beats());
        i64 *to = all.data();
        for (const i64 *row = rows; row != rows + 8 * count; row += 8) {
            if (row[0] == 0) {
                for (i64 i = 0; i < row[2]; ++i)
                    for (i64 j = 0; j < row[4]; ++j)
                        for (i64 k = 0, base = row[1] + i * row[3] + j * row[5]; k < row[6]; ++k) *to++ = base + k * row[7];
            } else if (row[0] == 1) {
                if (!row[2]) continue;
                const i64 whole = row[3] / row[5], part = row[3] % row[5];
                i64 at = row[4] / row[5], rest = row[4] % row[5];
                for (i64 k = 0; k + 1 < row[2]; ++k) {
                    *to++ = at;
                    at += whole, rest += part;
                    if (rest >= row[5]) rest -= row[5], ++at;
                }
                *to++ = row[1];
            } else
                to = std::copy(reinterpret_cast<const i64 *>(row[1]), reinterpret_cast<const i64 *>(row[1]) + row[2], to);
        }
    }
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
    for (const Port &p : out) {
        if (p.stream < 0) continue;
        written[p.stream].reserve(p.beats());
        writes.push_back(std::make_pair(p.cursor(), &written[p.stream]));
    }
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
    i64 steps() const { return iterations + depth - 1; } // of the pipeline, draining included
};

// A periodic schedule of all processes, and the beats that FIFOs hold under it.
//
// A process takes step s of its pipeline at s + ahead, and `ahead` only grows: at the reads that wait for their beats
// (early), or before the writes whose reader lets them be late.
class Periodic {
  public:
    Periodic(const std::vector<Process> &all, const i64 *bits, i64 streams, i64 period, i64 *depths)
        : all_(all), period_(period), depths_(depths), written_(streams), source_(streams, -1), last_(all.size()), waits_(all.size()) {
        for (size_t p = 0; p < all.size(); ++p) {
            for (const Port &port : all[p].out) if (port.stream >= 0) source_[port.stream] = i64(p);
            waits_[p] = expands(all[p], bits);
            early(p);
        }
    }

  private:
    // What it writes needs more room than what it reads: better let its reader's pace hold it back.
    static bool expands(const Process &p, const i64 *bits) {
        if (p.in.size() != 1 || p.out.size() != 1 || p.in[0].stream < 0 || p.out[0].stream < 0) return false;
        return bits[p.out[0].stream] > bits[p.in[0].stream];
    }

    // As early as beats come, a step after the one before, the next image's first step after this one's last. A process
    // without inputs takes the period evenly.
    void early(size_t at) {
        const Process &p = all_[at];
        std::vector<const Port *> reads;
        for (const Port &port : p.in) if (port.stream >= 0) reads.push_back(&port);
        if (reads.empty()) {
            const Grid grid(period_ - 2, p.steps());
            for (const Port &port : p.out) {
                if (port.stream < 0) continue;
                Times &to = written_[port.stream];
                port.iterations(to);
                for (i64 &t : to) t = grid.at(t + p.depth - 1);
            }
            return;
        }
        Times step, ahead; // of reads, of any port
        reads[0]->iterations(step);
        need(*reads[0], step, ahead);
        for (size_t k = 1; k < reads.size(); ++k) merge(*reads[k], step, ahead);
        const i64 most = *std::max_element(ahead.begin(), ahead.end());
        i64 now = most + p.steps() + 2 - period_;
        for (i64 &x : ahead) x = now = std::max(now, x);
        last_[at] = now;
        for (const Port &port : p.out) if (port.stream >= 0) write(port, p.depth - 1, step, ahead);
        if (waits_[at]) return;
        Times read;
        for (const Port *port : reads) {
            if (reads.size() == 1) read.swap(step);
            else port->iterations(read);
            if (reads.size() == 1) for (size_t k = 0; k < read.size(); ++k) read[k] += ahead[k];
            else shift(read, 0, step, ahead);
            settle(*port, read);
        }
    }
    // How far ahead each read of a port can be at least, for its beat to be there.
    void need(const Port &port, const Times &step, Times &ahead) const {
        const Times &came = written_[port.stream];
        ahead.resize(step.size());
        for (size_t k = 0; k < step.size(); ++k) ahead[k] = came[k] + 1 - step[k];
    }
    void merge(const Port &port, Times &step, Times &ahead) const {
        Times more, later, both, all;
        port.iterations(more);
        need(port, more, later);
        both.reserve(step.size() + more.size());
        all.reserve(step.size() + more.size());
        for (size_t i = 0, j = 0; i < step.size() || j < more.size();) {
            const bool one = j == more.size() || (i < step.size() && step[i] <= more[j]), two = i == step.size() || (j < more.size() && more[j] <= step[i]);
            both.push_back(one ? step[i] : more[j]);
            all.push_back(one && two ? std::max(ahead[i], later[j]) : one ? ahead[i] : later[j]);
            i += one, j += two;
        }
        step.swap(both);
        ahead.swap(all);
    }
    // Times of iterations, `later` steps after them; ahead[k] from step[k] on.
    static void shift(Times &times, i64 later, const Times &step, const Times &ahead) {
        const size_t last = step.size() - 1;
        size_t k = 0;
        for (i64 &t : times) {
            const i64 at = t + later;
            while (k < last && step[k + 1] <= at) ++k;
            t = at + ahead[k];
        }
    }
    void write(const Port &port, i64 later, const Times &step, const Times &ahead) {
        Times &to = written_[port.stream];
        port.iterations(to);
        shift(to, later, step, ahead);
    }

    // A process that waited, now that the times are known at which what it writes is read: as late as they allow, but never
    // earlier than beats come.
    void late(size_t at, const Times &read) {
        const Process &p = all_[at];
        Times &written = written_[p.out[0].stream], most(read.size());
        p.out[0].iterations(written);
        const i64 n = i64(read.size()), later = p.depth - 1;
        i64 least = std::numeric_limits<i64>::max();
        for (i64 k = n; k-- > 0;) most[k] = least = std::min(least, read[k] - 1 - (written[k] + later));
        const i64 limit = most[0] + period_ - 2 - p.steps(), after = std::min(std::max(most[n - 1], last_[at]), limit);
        for (i64 &x : most) x = std::min(x, limit);
        Times came;
        p.in[0].iterations(came);
        i64 k = 0;
        for (i64 &t : came) {
            while (k < n && written[k] + later < t) ++k;
            t += k < n ? most[k] : after;
        }
        for (i64 i = 0; i < n; ++i) written[i] += later + most[i];
        settle(p.in[0], came);
    }

    // The times of a port's reads are decided: those of a process that waited for them too, and what lies in between.
    void settle(const Port &port, const Times &read) {
        const i64 from = source_[port.stream];
        if (from >= 0 && waits_[from]) late(from, read);
        depths_[port.stream] = std::max(i64(2), occupancy(written_[port.stream], read, period_));
        Times().swap(written_[port.stream]);
    }

    const std::vector<Process> &all_;
    i64 period_, *depths_;
    std::vector<Times> written_;
    std::vector<i64> source_, last_; // last_: how far ahead a process is at its end, as early as can be
    std::vector<bool> waits_;
};

const i64 NONE = std::numeric_limits<i64>::max();

// Cycles of the beats that a FIFO of so many places holds, and of the places that became free.
struct Fifo {
    i64 room, written, read, head, tail;
    std::vector<i64> came, went;
    int reader, writer;
    bool reader_waits, writer_waits;
    explicit Fifo(i64 places) : room(places), written(0), read(0), head(0), tail(0), came(places), went(places), reader_waits(false), writer_waits(false) {}
    // Cycle from which on the next beat can be read, or written; NONE while the other end has not come so far.
    i64 data() const { return read == written ? NONE : came[tail] + 1; }
    i64 space() const { return written < room ? 0 : written - room >= read ? NONE : went[head] + 1; }
    void push(i64 cycle) {
        came[head] = cycle;
        if (++head == room) head = 0;
        ++written;
    }
    void pop(i64 cycle) {
        went[tail] = cycle;
        if (++tail == room) tail = 0;
        ++read;
    }
};

struct End {
    Cursor cursor;
    int fifo;
    i64 at; // iteration of the next beat, NONE after the last
    End(const Cursor &c, i64 f) : cursor(c), fifo(int(f)), at(c.more() ? c.at() : NONE) {}
    void next() {
        cursor.next();
        at = cursor.more() ? cursor.at() : NONE;
    }
};

// (iteration, value) of a number that only grows, first in, first out. Few at a time: those within a pipeline.
class Steps {
  public:
    Steps() : all_(8), head_(0), tail_(0) {}
    bool empty() const { return head_ == tail_; }
    const std::pair<i64, i64> &front() const { return all_[head_ & (all_.size() - 1)]; }
    void push_back(const std::pair<i64, i64> &step) {
        if (tail_ - head_ == all_.size()) {
            std::vector<std::pair<i64, i64> > more(2 * all_.size());
            for (size_t i = head_; i != tail_; ++i) more[i & (more.size() - 1)] = all_[i & (all_.size() - 1)];
            all_.swap(more);
        }
        all_[tail_++ & (all_.size() - 1)] = step;
    }
    void pop_front() { ++head_; }

  private:
    std::vector<std::pair<i64, i64> > all_; // a ring of a power of two
    size_t head_, tail_;
};

// One image through FIFOs of finite depth, pipelines flushing (flow/simulate.py states the model and simulates it a
// second time): `fired` and `left` are cycle less iteration at the entry and at the exit of the pipeline.
struct Stage {
    i64 iterations, depth, fired, left, ahead;
    std::vector<End> in, out;
    Steps entered, gone;
    bool queued;
    i64 reads, writes; // iterations of the next ones

    static i64 next(const std::vector<End> &ends) {
        i64 at = NONE;
        for (const End &e : ends) at = std::min(at, e.at);
        return at;
    }
};

class Patient {
  public:
    std::vector<Stage> stages;
    std::vector<Fifo> fifos;

    i64 run() {
        for (size_t s = 0; s < stages.size(); ++s) {
            stages[s].reads = Stage::next(stages[s].in), stages[s].writes = Stage::next(stages[s].out);
            wake(int(s));
        }
        while (!ready_.empty()) {
            const int s = ready_.front();
            ready_.pop_front();
            stages[s].queued = false;
            advance(stages[s]);
        }
        i64 end = 0;
        for (const Stage &s : stages) {
            if (Stage::next(s.in) != NONE || Stage::next(s.out) != NONE) return -1;
            end = std::max(end, s.iterations + s.depth + std::max(s.fired, s.left));
        }
        return end;
    }

  private:
    std::deque<int> ready_;
    void wake(int s) {
        if (!stages[s].queued) stages[s].queued = true, ready_.push_back(s);
    }
    i64 data(const Stage &s, i64 r) {
        i64 cycle = 0;
        for (const End &e : s.in) {
            if (e.at != r) continue;
            const i64 found = fifos[e.fifo].data();
            if (found == NONE) {
                fifos[e.fifo].reader_waits = true;
                return NONE;
            }
            cycle = std::max(cycle, found);
        }
        return cycle;
    }
    i64 space(const Stage &s, i64 w) {
        i64 cycle = 0;
        for (const End &e : s.out) {
            if (e.at != w) continue;
            const i64 found = fifos[e.fifo].space();
            if (found == NONE) {
                fifos[e.fifo].writer_waits = true;
                return NONE;
            }
            cycle = std::max(cycle, found);
        }
        return cycle;
    }
    void take(Stage &s, i64 r, i64 cycle) {
        s.reads = NONE;
        for (End &e : s.in) {
            if (e.at == r) {
                Fifo &f = fifos[e.fifo];
                f.pop(cycle);
                e.next();
                if (f.writer_waits) f.writer_waits = false, wake(f.writer);
            }
            s.reads = std::min(s.reads, e.at);
        }
    }
    void give(Stage &s, i64 w, i64 cycle) {
        s.writes = NONE;
        for (End &e : s.out) {
            if (e.at == w) {
                Fifo &f = fifos[e.fifo];
                f.push(cycle);
                e.next();
                if (f.reader_waits) f.reader_waits = false, wake(f.reader);
            }
            s.writes = std::min(s.writes, e.at);
        }
    }
    // A write leaves once all reads up to its iteration are done; a read enters once what is depth - 1 ahead has left.
    static i64 leave(Stage &s, i64 w, i64 free_at) {
        for (; !s.entered.empty() && s.entered.front().first <= w; s.entered.pop_front()) s.ahead = s.entered.front().second;
        const i64 left = std::max(std::max(s.left, s.ahead), free_at - w - s.depth + 1);
        if (left > s.left) s.left = left, s.gone.push_back(std::make_pair(w, left));
        return left + w + s.depth - 1;
    }
    static i64 enter(Stage &s, i64 r, i64 ready_at) {
        i64 fired = s.fired;
        for (; !s.gone.empty() && s.gone.front().first <= r - s.depth + 1; s.gone.pop_front()) fired = std::max(fired, s.gone.front().second);
        fired = std::max(fired, ready_at - r);
        if (fired > s.fired) s.fired = fired, s.entered.push_back(std::make_pair(r, fired));
        return fired + r;
    }
    bool write(Stage &s, i64 w) {
        const i64 free_at = space(s, w);
        if (free_at == NONE) return false;
        give(s, w, leave(s, w, free_at));
        return true;
    }
    bool read(Stage &s, i64 r) {
        const i64 ready_at = data(s, r);
        if (ready_at == NONE) return false;
        take(s, r, enter(s, r, ready_at));
        return true;
    }
    bool both(Stage &s, i64 k) { // a pipeline of one stage: reads and writes of an iteration in one cycle
        const i64 ready_at = data(s, k), free_at = space(s, k);
        if (ready_at == NONE || free_at == NONE) return false;
        s.fired = std::max(s.fired, std::max(ready_at, free_at) - k);
        take(s, k, s.fired + k);
        give(s, k, s.fired + k);
        return true;
    }
    void plain(Stage &s) { // one FIFO in, one out: the same without loops over them
        End &in = s.in[0], &out = s.out[0];
        Fifo &from = fifos[in.fifo], &to = fifos[out.fifo];
        for (;;) {
            const i64 r = in.at, w = out.at;
            if (w < r) {
                const i64 free_at = to.space();
                if (free_at != NONE) {
                    to.push(leave(s, w, free_at));
                    out.next();
                    if (to.reader_waits) to.reader_waits = false, wake(to.reader);
                    continue;
                }
                to.writer_waits = true;
                if (w <= r - s.depth + 1) return;
            }
            if (r == NONE) return;
            const i64 ready_at = from.data();
            if (ready_at == NONE) {
                from.reader_waits = true;
                return;
            }
            from.pop(enter(s, r, ready_at));
            in.next();
            if (from.writer_waits) from.writer_waits = false, wake(from.writer);
        }
    }
    void advance(Stage &s) {
        if (s.depth > 1 && s.in.size() == 1 && s.out.size() == 1) return plain(s);
        for (;;) {
            const i64 r = s.reads, w = s.writes;
            if (r == NONE && w == NONE) return;
            if (s.depth == 1 ? both(s, std::min(r, w)) : w < r && write(s, w)) continue;
            if (s.depth == 1 || r == NONE || w <= r - s.depth + 1 || !read(s, r)) return;
        }
    }
};

std::vector<Process> processes_of(i64 count, const i64 *shape, const i64 *ports, const i64 *rows) {
    std::vector<Process> all(count);
    for (i64 i = 0; i < count; ++i) {
        Process &p = all[i];
        p.iterations = shape[4 * i];
        p.depth = shape[4 * i + 1];
        for (i64 k = 0; k < shape[4 * i + 2] + shape[4 * i + 3]; ++k, ports += 2) {
            const Port port = {ports[0], rows, ports[1]};
            (k < shape[4 * i + 2] ? p.in : p.out).push_back(port);
            rows += 8 * ports[1];
        }
    }
    return all;
}

} // namespace

extern "C" {

// processes: (iterations, depth, inputs, outputs) each; ports: (stream or -1, rows), inputs first, process by process.
// bits (of an image), depths (in beats): one a stream, depths for a period above 0. Returns the latency, 0 where `latency` says nobody asks for it.
int64_t flow_timing(int64_t processes, const int64_t *shape, const int64_t *ports, const int64_t *rows, int64_t streams, int64_t latency,
                    int64_t period, const int64_t *bits, int64_t *depths) {
    const std::vector<Process> all = processes_of(processes, shape, ports, rows);
    i64 end = 0;
    std::vector<Times> written(streams);
    for (const Process &p : all) {
        if (!latency) break;
        end = std::max(end, earliest(p.iterations, p.depth, p.in, p.out, written));
        for (const Port &port : p.in) if (port.stream >= 0) Times().swap(written[port.stream]);
    }
    if (period > 0) {
        Periodic(all, bits, streams, period, depths);
    }
    return latency ? end + 1 : 0;
}

// The latency with FIFOs of these depths; -1 for a deadlock. Arguments as above.
int64_t flow_timing_finite(int64_t processes, const int64_t *shape, const int64_t *ports, const int64_t *rows, int64_t streams,
                           const int64_t *depths) {
    Patient all;
    for (i64 f = 0; f < streams; ++f) all.fifos.push_back(Fifo(depths[f]));
    for (const Process &p : processes_of(processes, shape, ports, rows)) {
        Stage s = {p.iterations, p.depth, 0, std::numeric_limits<i64>::min() / 4, 0, {}, {}, {}, {}, false, NONE, NONE};
        const int index = int(all.stages.size());
        for (const Port &port : p.in)
            if (port.stream >= 0) s.in.push_back(End(port.cursor(), port.stream)), all.fifos[port.stream].reader = index;
        for (const Port &port : p.out)
            if (port.stream >= 0) s.out.push_back(End(port.cursor(), port.stream)), all.fifos[port.stream].writer = index;
        all.stages.push_back(s);
    }
    return all.run();
}
}
