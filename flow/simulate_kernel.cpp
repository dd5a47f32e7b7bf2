// Event-driven execution of a netlist with finite FIFOs: one step per transfer of beats, not per cycle.
//
// Every process moves its beats at fixed iterations of one II = 1 loop, so the cycle of every transfer is a maximum of
// earlier cycles plus constants (flow/simulate.py states the model). A process runs until it needs a transfer that is not
// computed yet; the process at the other end of that FIFO wakes it up. When none can run and images are left: deadlock.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

namespace {

typedef int64_t i64;
const i64 NEVER = std::numeric_limits<i64>::min() / 4; // no constraint yet
const i64 UNKNOWN = -1;                                // the other end has not come so far
const int PORTS = 8;

struct Fifo {
    i64 capacity, written, read;
    std::vector<i64> write_cycle, read_cycle; // rings over the last `capacity` beats
    i64 write_slot, read_slot;
    i64 resolved, counted, counted_slot, resolved_slot, peak; // occupancy, see resolve()
    int reader, writer;
    bool reader_waits, writer_waits;

    Fifo(i64 capacity_, int reader_, int writer_)
        : capacity(capacity_), written(0), read(0), write_cycle(capacity_), read_cycle(capacity_), write_slot(0), read_slot(0), resolved(0),
          counted(0), counted_slot(0), resolved_slot(0), peak(0), reader(reader_), writer(writer_), reader_waits(false), writer_waits(false) {}

    i64 next(i64 slot) const { return slot + 1 == capacity ? 0 : slot + 1; }
    // A beat can be read the cycle after it is written; its place can be written the cycle after it is read.
    i64 data() const { return read == written ? UNKNOWN : write_cycle[read_slot] + 1; }
    i64 room() const { return written < capacity ? 0 : written - capacity >= read ? UNKNOWN : read_cycle[write_slot] + 1; }

    void push(i64 cycle) {
        write_cycle[write_slot] = cycle;
        write_slot = next(write_slot);
        ++written;
    }
    void pop(i64 cycle) {
        resolve(cycle);
        read_cycle[read_slot] = cycle;
        read_slot = next(read_slot);
        ++read;
    }
    // Beats held at each write up to `cycle`: those written so far less those read in earlier cycles. Reads before `cycle`
    // are all known then, and both rings still hold what is asked for because occupancy never exceeds the capacity.
    void resolve(i64 cycle) {
        while (resolved < written && write_cycle[resolved_slot] <= cycle) {
            while (counted < read && read_cycle[counted_slot] < write_cycle[resolved_slot]) {
                ++counted;
                counted_slot = next(counted_slot);
            }
            ++resolved;
            resolved_slot = next(resolved_slot);
            peak = std::max(peak, resolved - counted);
        }
    }
};

// Iterations at which one side of a process moves beats, the ports that take part, and the cycles of the latest image.
struct Side {
    i64 events, at; // at: the next event of the current image
    const int32_t *iteration;
    const uint8_t *mask;
    const int32_t *fifo;
    std::vector<i64> cycle;
};

struct Process {
    i64 iterations, depth, image;
    i64 start;       // first cycle in which iteration 0 of the current image may fire
    i64 fired, left; // lower bounds of (cycle - iteration) at the entry and (cycle - iteration - depth + 1) at the exit
    i64 entered;     // read events at or before the next write's iteration
    i64 emptied;     // write events that leave before the next read's iteration can enter
    bool queued, rigid;
    Side in, out;
};

struct Simulation {
    std::vector<Process> processes;
    std::vector<Fifo> fifos;
    std::vector<i64> completion, growth, least; // per image; growth and least: see follow()
    std::deque<int> ready;
    i64 limit, last;

    void wake(int p) {
        if (!processes[p].queued) {
            processes[p].queued = true;
            ready.push_back(p);
        }
    }

    // Earliest cycle that the FIFOs of the next event allow; UNKNOWN when one must come first, which then wakes us.
    i64 inputs(const Process &p) {
        i64 cycle = 0;
        for (int k = 0, m = p.in.mask[p.in.at]; m; ++k, m >>= 1) {
            if (!(m & 1) || p.in.fifo[k] < 0) continue;
            Fifo &f = fifos[p.in.fifo[k]];
            const i64 ready_at = f.data();
            if (ready_at == UNKNOWN) {
                f.reader_waits = true;
                return UNKNOWN;
            }
            cycle = std::max(cycle, ready_at);
        }
        return cycle;
    }
    i64 outputs(const Process &p) {
        i64 cycle = 0;
        for (int k = 0, m = p.out.mask[p.out.at]; m; ++k, m >>= 1) {
            if (!(m & 1) || p.out.fifo[k] < 0) continue;
            Fifo &f = fifos[p.out.fifo[k]];
            const i64 free_at = f.room();
            if (free_at == UNKNOWN) {
                f.writer_waits = true;
                return UNKNOWN;
            }
            cycle = std::max(cycle, free_at);
        }
        return cycle;
    }

    // Growth: the longest and the least time by which a transfer follows the same transfer of the image before.
    void follow(const Process &p, i64 cycles) {
        if (p.image == 0) return;
        growth[p.image] = std::max(growth[p.image], cycles);
        least[p.image] = std::min(least[p.image], cycles);
    }
    void record(Process &p, Side &side, i64 cycle) {
        follow(p, cycle - side.cycle[side.at]);
        side.cycle[side.at++] = cycle;
        last = std::max(last, cycle);
    }
    void consume(Process &p, i64 cycle) {
        for (int k = 0, m = p.in.mask[p.in.at]; m; ++k, m >>= 1) {
            if (!(m & 1) || p.in.fifo[k] < 0) continue;
            Fifo &f = fifos[p.in.fifo[k]];
            f.pop(cycle);
            if (f.writer_waits) {
                f.writer_waits = false;
                wake(f.writer);
            }
        }
        record(p, p.in, cycle);
    }
    void produce(Process &p, i64 cycle) {
        for (int k = 0, m = p.out.mask[p.out.at]; m; ++k, m >>= 1) {
            if (!(m & 1) || p.out.fifo[k] < 0) continue;
            Fifo &f = fifos[p.out.fifo[k]];
            f.push(cycle);
            if (f.reader_waits) {
                f.reader_waits = false;
                wake(f.reader);
            }
        }
        record(p, p.out, cycle);
    }

    // Write j may leave once every read of iterations <= j is done; read r may enter once write r - depth + 1 leaves.
    static bool behind_reads(const Process &p) { return p.in.at < p.in.events && p.in.iteration[p.in.at] <= p.out.iteration[p.out.at]; }
    static bool behind_writes(const Process &p) {
        return p.out.at < p.out.events && p.out.iteration[p.out.at] <= p.in.iteration[p.in.at] - p.depth + 1;
    }

    bool write_flushing(Process &p) {
        if (p.out.at == p.out.events || behind_reads(p)) return false;
        const i64 room = outputs(p);
        if (room == UNKNOWN) return false;
        const i64 j = p.out.iteration[p.out.at];
        while (p.entered < p.in.at && p.in.iteration[p.entered] <= j) ++p.entered;
        const i64 fired = p.entered ? p.in.cycle[p.entered - 1] - p.in.iteration[p.entered - 1] : p.start;
        p.left = std::max(std::max(p.left, fired), room - j - p.depth + 1);
        produce(p, p.left + j + p.depth - 1);
        return true;
    }
    bool read_flushing(Process &p) {
        if (p.in.at == p.in.events || behind_writes(p)) return false;
        const i64 data = inputs(p);
        if (data == UNKNOWN) return false;
        const i64 r = p.in.iteration[p.in.at];
        while (p.emptied < p.out.at && p.out.iteration[p.emptied] <= r - p.depth + 1) ++p.emptied;
        if (p.emptied) p.fired = std::max(p.fired, p.out.cycle[p.emptied - 1] - p.out.iteration[p.emptied - 1] - p.depth + 1);
        p.fired = std::max(p.fired, data - r);
        consume(p, p.fired + r);
        return true;
    }
    // A stalling pipeline takes all its steps together: step k reads for iteration k and writes for iteration k - depth + 1.
    static i64 step(const Process &p, bool &reads, bool &writes) {
        const i64 none = std::numeric_limits<i64>::max();
        const i64 r = p.in.at < p.in.events ? p.in.iteration[p.in.at] : none;
        const i64 w = p.out.at < p.out.events ? p.out.iteration[p.out.at] + p.depth - 1 : none;
        reads = r <= w && r != none;
        writes = w <= r && w != none;
        return std::min(r, w);
    }
    bool step_rigid(Process &p) {
        bool reads, writes;
        const i64 k = step(p, reads, writes);
        if (!reads && !writes) return false;
        const i64 data = reads ? inputs(p) : 0, room = writes ? outputs(p) : 0;
        if (data == UNKNOWN || room == UNKNOWN) return false;
        p.fired = std::max(p.fired, std::max(data, room) - k);
        if (reads) consume(p, p.fired + k);
        if (writes) produce(p, p.fired + k);
        return true;
    }

    // The region restarts a process three cycles after its last iteration left: one to leave the function, one to enter it,
    // one of the region (flow/design.py: process_cycles, stage_cycles).
    void next_image(Process &p) {
        const i64 exit = p.iterations - 1 + p.depth - 1 + std::max(p.fired, p.left);
        const i64 start = exit + 3 + (p.depth == 1 ? 1 : 0);
        completion[p.image] = std::max(completion[p.image], exit + 2);
        follow(p, start - p.start);
        p.start = p.fired = start;
        p.left = NEVER;
        p.in.at = p.out.at = p.entered = p.emptied = 0;
        ++p.image;
    }

    void advance(int index) {
        Process &p = processes[index];
        while (p.image < limit) {
            if (p.rigid) {
                while (step_rigid(p)) {
                }
            } else {
                bool moved = true;
                while (moved) {
                    moved = false;
                    while (write_flushing(p)) moved = true;
                    while (read_flushing(p)) moved = true;
                }
            }
            if (p.in.at < p.in.events || p.out.at < p.out.events) return;
            next_image(p);
        }
    }

    bool run(i64 images) {
        limit = images;
        completion.resize(images, 0);
        growth.resize(images, NEVER);
        least.resize(images, -NEVER);
        for (size_t p = 0; p < processes.size(); ++p) wake((int)p);
        while (!ready.empty()) {
            const int p = ready.front();
            ready.pop_front();
            processes[p].queued = false;
            advance(p);
        }
        for (const Process &p : processes)
            if (p.image < limit) return false;
        return true;
    }

    // FIFOs that a process stands at and finds empty (empty = true) or full, after a deadlock.
    void waits(const Process &p, bool empty, uint8_t *found) const {
        if (p.image == limit) return;
        const Side &side = empty ? p.in : p.out;
        if (side.at == side.events) return;
        if (p.rigid) {
            bool reads, writes;
            step(p, reads, writes);
            if (!(empty ? reads : writes)) return;
        } else if (empty ? behind_writes(p) : behind_reads(p)) {
            return;
        }
        for (int k = 0, m = side.mask[side.at]; m; ++k, m >>= 1) {
            if (!(m & 1) || side.fifo[k] < 0) continue;
            const Fifo &f = fifos[side.fifo[k]];
            if ((empty ? f.data() : f.room()) == UNKNOWN) found[side.fifo[k]] |= empty ? 1 : 2;
        }
    }
};

} // namespace

extern "C" {

// Arrays belong to the caller and must outlive the simulation. `events` holds, per process and side (in, out), where its
// events start in `iteration` and `mask`; `fifo` PORTS indices per process and side, -1 for none.
void *flow_sim_new(int processes, int fifos, int rigid, const i64 *iterations, const i64 *depth, const i64 *events, const int32_t *iteration,
                   const uint8_t *mask, const int32_t *fifo, const i64 *capacity, const int32_t *reader, const int32_t *writer) {
    Simulation *s = new Simulation();
    s->limit = 0;
    s->last = -1;
    for (int f = 0; f < fifos; ++f) s->fifos.emplace_back(capacity[f], reader[f], writer[f]);
    for (int p = 0; p < processes; ++p) {
        Process q = Process();
        q.iterations = iterations[p];
        q.depth = depth[p];
        q.left = NEVER;
        q.rigid = rigid || depth[p] == 1; // with one stage nothing is in flight, the styles coincide
        Side *sides[2] = {&q.in, &q.out};
        for (int k = 0; k < 2; ++k) {
            const i64 first = events[2 * p + k];
            Side &side = *sides[k];
            side.events = events[2 * p + k + 1] - first;
            side.iteration = iteration + first;
            side.mask = mask + first;
            side.fifo = fifo + (2 * p + k) * PORTS;
            side.cycle.resize(side.events);
        }
        s->processes.push_back(q);
    }
    return s;
}

// Run until `images` images are done: 1, or 0 for a deadlock.
int flow_sim_run(void *handle, i64 images) { return ((Simulation *)handle)->run(images); }

void flow_sim_images(void *handle, i64 *completion, i64 *growth, i64 *least) {
    const Simulation &s = *(Simulation *)handle;
    std::copy(s.completion.begin(), s.completion.end(), completion);
    std::copy(s.growth.begin(), s.growth.end(), growth);
    std::copy(s.least.begin(), s.least.end(), least);
}

// Most beats held and, after a deadlock, who waits (1: the reader, 2: the writer) per FIFO; returns the last transfer's cycle.
i64 flow_sim_fifos(void *handle, i64 *peak, uint8_t *waits) {
    Simulation &s = *(Simulation *)handle;
    for (size_t f = 0; f < s.fifos.size(); ++f) {
        s.fifos[f].resolve(std::numeric_limits<i64>::max());
        peak[f] = s.fifos[f].peak;
        waits[f] = 0;
    }
    for (const Process &p : s.processes) {
        s.waits(p, true, waits);
        s.waits(p, false, waits);
    }
    return s.last;
}

void flow_sim_free(void *handle) { delete (Simulation *)handle; }
}
