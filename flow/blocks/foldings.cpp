// Every undominated folding of a stage (flow/blocks/foldings.py states the contract; what the parts mean and
// cost stands in matvec.py, depthwise.py, mac.py and window.py, and tests compare both, option by option).
//
// Component laws are Python's: asked for once a size and remembered here.
#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace {

typedef int64_t i64;
const int KINDS = 5, COLUMNS = 11; // pe, simd, lanes, kind, cycles, resources, inner
enum Law { ROM, BRAM, RAM, ADDER, MUX, REGISTER, SELECT, COMPARATOR, CONTROL, LAWS };
typedef void (*Ask)(i64 law, i64 a, i64 b, i64 *cost);

struct Cost {
    i64 of[KINDS];
    Cost() : of() {}
    Cost &operator+=(const Cost &o) {
        for (int k = 0; k < KINDS; ++k) of[k] += o.of[k];
        return *this;
    }
    Cost operator+(const Cost &o) const { return Cost(*this) += o; }
    Cost operator*(i64 n) const {
        Cost c(*this);
        for (int k = 0; k < KINDS; ++k) c.of[k] *= n;
        return c;
    }
};

class Laws {
  public:
    Ask ask;
    Laws() : ask(nullptr) {}
    const Cost &operator()(Law law, i64 a, i64 b = 0) {
        std::unordered_map<i64, Cost> &known = known_[law];
        const i64 key = a << 24 ^ b;
        std::unordered_map<i64, Cost>::iterator found = known.find(key);
        if (found == known.end()) {
            Cost c;
            ask(law, a, b, c.of);
            found = known.insert(std::make_pair(key, c)).first;
        }
        return found->second;
    }

  private:
    std::unordered_map<i64, Cost> known_[LAWS];
};

Laws law;
std::mutex one_at_a_time;
std::vector<i64> answer; // rows of the last enumeration

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
int bit_length(i64 n) {
    int bits = 0;
    for (; n > 0; n >>= 1) ++bits;
    return bits;
}
std::vector<i64> divisors(i64 n) {
    std::vector<i64> found;
    for (i64 d = 1; d <= n; ++d)
        if (n % d == 0) found.push_back(d);
    return found;
}

struct Unit { // as foldings.py packs it
    i64 channels, height, width, kh, kw, sh, sw, pt, pl, pb, pr, dh, dw, window_groups, oh, ow, windowed, parallel_legal;
    i64 inputs, kernel, outputs, groups, vectors, lanes_of;
    i64 x_bits, weight_bits, product_bits, acc_bits, table_bits, rounding_latency;
    i64 rounding[KINDS], dsp[KINDS], lut[KINDS];   // one lane's rounding; one product in a DSP, in LUTs
    i64 packing[4][2];                             // rows and chain for PE 1, 2, 3 and more; 0 rows: illegal
    i64 lag, serial_depth, parallel_depth, hazard, shallow, most_pixels, most_products;
    i64 whole, maximum; // of a pool
};

Cost cost_of(const i64 *of) {
    Cost c;
    std::copy(of, of + KINDS, c.of);
    return c;
}

// ---- window.py

struct Serial {
    i64 rows, first_length, emit, total, most; // most: the largest number in the table of phases
};

Serial serial(const Unit &g, i64 lanes) {
    const i64 cf = g.channels / lanes, row = g.width * cf, reach = (g.kh - 1) * g.dh;
    Serial s;
    s.emit = g.ow * g.kh * g.kw * cf;
    s.rows = reach + 1 + g.sh;
    if (g.height < s.rows && reach < g.height && g.sh <= g.height) s.rows = g.height;
    const i64 first = std::min(std::max(reach + 1 - g.pt, i64(0)), g.height);
    const i64 per_group = cf / (g.window_groups ? g.window_groups : g.channels / lanes);
    i64 stored = first, most = 0;
    std::vector<i64> counts;
    for (i64 y = 0; y < g.oh; ++y) {
        i64 need = y == g.oh - 1 ? g.height : std::min((y + 1) * g.sh - g.pt + reach + 1, g.height);
        need = std::max(need, stored);
        counts.push_back((need - stored) * row);
        most = std::max(most, counts.back());
        stored = need;
    }
    const i64 spacing = std::max(i64(1), s.emit / std::max(most, i64(1)));
    i64 distance = 1 + (g.kh - 1) * g.kw * per_group - (g.sh - 1) * std::max(i64(0), g.kw * per_group - row);
    distance += std::max(s.emit, most * spacing) - 1 - std::max(most - 1, i64(0)) * spacing;
    const i64 gap = std::max(i64(0), g.hazard - distance);
    s.first_length = std::max(i64(1), first * row);
    s.total = s.first_length;
    s.most = 0;
    for (i64 c : counts) {
        const i64 length = std::max(c * spacing, s.emit) + gap;
        s.total += length;
        s.most = std::max(s.most, std::max(c, length));
    }
    return s;
}

// A way to bring windows to the unit; window.cost and window.iterations of it.
struct Head {
    i64 mode, lanes, beat, iterations; // mode: 0 none, 1 parallel, 2 serial
    Cost cost;
};

void serial_head(const Unit &g, Head &h) {
    const Serial s = serial(g, h.lanes);
    const i64 cf = g.channels / h.lanes;
    h.iterations = s.total;
    h.cost = law(RAM, s.rows * g.width * cf, h.lanes * g.x_bits);
    h.cost += law(ROM, g.oh + 1, 2 * bit_length(s.most));
    h.cost += law(CONTROL, 10) + law(REGISTER, 2 * h.lanes * g.x_bits);
}

struct Raster { // Geometry.raster, and parallel_positions' step between rows and positions in all
    i64 pixels, gives, channel_beats, beats, groups, step, shift, row_step, positions;
};

Raster raster(const Unit &g, i64 lanes) {
    Raster r;
    r.pixels = std::max(i64(1), lanes / g.channels);
    r.gives = std::max(i64(1), r.pixels / g.sw);
    r.channel_beats = std::max(i64(1), g.channels / lanes);
    r.beats = g.width / r.pixels;
    r.groups = g.ow / r.gives;
    r.step = g.sw * r.gives / r.pixels;
    r.shift = ((r.gives - 1) * g.sw + (g.kw - 1) * g.dw - g.pl) / r.pixels;
    const i64 row = g.sh * r.beats, first = ((g.kh - 1) * g.dh - g.pt) * r.beats + r.shift;
    r.row_step = row - (r.groups - 1) * r.step;
    r.positions = std::max(g.height * r.beats, first + (g.oh - 1) * row + (r.groups - 1) * r.step + 1);
    return r;
}

void parallel_head(const Unit &g, Head &h) {
    const Raster r = raster(g, h.lanes);
    const i64 cf = r.channel_beats, bits = h.lanes * g.x_bits;
    const i64 taps = (r.pixels - 1 + g.pl + r.shift * r.pixels) / r.pixels * cf;
    h.iterations = r.positions * cf;
    h.cost = law(CONTROL, 6) + law(REGISTER, bits);
    if (g.kh > 1) h.cost += law(RAM, g.dh * r.beats * cf, (g.kh - 1) * bits);
    h.cost += law(REGISTER, g.kh * (taps + 1) * bits);
    if (!(g.pt || g.pl || g.pb || g.pr)) return;
    h.cost += law(SELECT, h.lanes / r.pixels * g.x_bits) * (g.kh * g.kw * r.gives);
    h.cost += law(COMPARATOR, 16) * (2 * g.kw * r.gives + 2 * g.kh);
}

// window.pixel_choices
std::vector<i64> pixel_choices(const Unit &g) {
    std::vector<i64> found;
    if (g.window_groups > 1 || (g.windowed && !g.parallel_legal)) return found;
    for (i64 n = 2; n <= std::min(g.most_pixels, g.width); ++n)
        if (g.width % n == 0 && n % g.sw == 0 && g.ow % (n / g.sw) == 0 && raster(g, n * g.channels).row_step >= 1) found.push_back(n);
    return found;
}

Head head(const Unit &g, i64 mode, i64 lanes) {
    Head h;
    h.mode = mode;
    h.lanes = lanes;
    h.beat = lanes * (mode == 1 ? g.kernel : 1);
    h.iterations = 0;
    if (mode == 1) parallel_head(g, h);
    if (mode == 2) serial_head(g, h);
    return h;
}

// ---- mac.py

Cost tree(i64 leaves, i64 bits, i64 limit) {
    Cost total;
    for (; leaves > 1; leaves -= leaves / 2) {
        bits = std::min(bits + 1, limit);
        total += (law(ADDER, bits) + law(REGISTER, bits)) * (leaves / 2);
    }
    return total;
}

enum Mult { DSP, LUT, PACKED };

struct Dots { // of one SIMD width: each group of rows that share DSPs, each further row, each row; latency
    Cost group, join, row;
    i64 latency;
};

Dots dots(const Unit &u, i64 simd, Mult mult, i64 chain) {
    Dots d;
    if (mult == PACKED) {
        const i64 chains = ceil_div(simd, chain), field = std::min(u.product_bits + bit_length(std::min(chain, simd) - 1), u.acc_bits);
        d.group.of[2] = simd;
        d.join = law(ADDER, field) * chains;
        d.row = law(REGISTER, field) * chains + tree(chains, field, u.acc_bits);
        d.latency = 3 + std::min(chain, simd) + bit_length(std::max(i64(0), chains - 1));
        return d;
    }
    d.row = cost_of(mult == LUT ? u.lut : u.dsp) * simd;
    if (mult == DSP)
        d.row += tree(ceil_div(simd, 2), u.product_bits + 1, u.acc_bits);
    else
        d.row += law(REGISTER, u.product_bits) * simd + tree(simd, u.product_bits, u.acc_bits);
    d.latency = (mult == DSP ? 3 : 2) + bit_length(std::max(i64(0), simd - 1));
    return d;
}

Cost lanes_cost(const Unit &u, i64 pe) {
    return (cost_of(u.rounding) + law(ADDER, u.acc_bits) + law(SELECT, u.acc_bits) + law(REGISTER, u.acc_bits)) * pe;
}

// ---- rows and which of them to keep

typedef std::array<i64, COLUMNS> Row;
std::vector<Row> rows;

void add(i64 pe, i64 simd, i64 lanes, i64 mode, i64 mult, i64 memory, i64 cycles, const Cost &c, i64 inner) {
    const i64 kind = (mode * 3 + mult) * 2 + memory;
    const Row r = {{pe, simd, lanes, kind, cycles, c.of[0], c.of[1], c.of[2], c.of[3], c.of[4], inner}};
    rows.push_back(r);
}

bool before(const Row &a, const Row &b) {
    for (int k : {4, 5, 6, 7, 8, 9, 0, 1, 2, 3})
        if (a[k] != b[k]) return a[k] < b[k];
    return false;
}

// As Options.undominated: sorted, without those that an earlier row of the same lanes beats or equals.
i64 finish() {
    struct Key {
        i64 most; // cycles, then LUT as far as they go: decides nearly always
        int row;
    };
    const i64 lut = (i64(1) << 22) - 1;
    std::vector<Key> keys(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) keys[i] = {rows[i][4] << 22 | std::min(rows[i][5], lut), int(i)};
    std::sort(keys.begin(), keys.end(), [](const Key &a, const Key &b) { return a.most != b.most ? a.most < b.most : before(rows[a.row], rows[b.row]); });
    std::unordered_map<i64, int> last; // by lanes: the last kept row
    std::vector<int> order, earlier;   // kept rows, and where the one of the same lanes before each is
    for (const Key &key : keys) {
        const Row &r = rows[key.row];
        int &end = last.insert(std::make_pair(r[0] << 32 | r[2], -1)).first->second;
        bool beaten = false;
        for (int j = end; j >= 0 && !beaten; j = earlier[j]) {
            const Row &o = rows[order[j]];
            int k = 5; // no earlier row has more cycles
            while (k < COLUMNS && o[k] <= r[k]) ++k;
            beaten = k == COLUMNS;
        }
        if (beaten) continue;
        earlier.push_back(end);
        end = int(order.size());
        order.push_back(key.row);
    }
    const i64 n = i64(order.size());
    answer.resize(n * COLUMNS);
    // numbers (n, 3), kind, cycles, resources (n, 5), inner, one after another
    i64 *to = answer.data();
    for (int i : order) for (int k = 0; k < 3; ++k) *to++ = rows[i][k];
    for (int i : order) *to++ = rows[i][3];
    for (int i : order) *to++ = rows[i][4];
    for (int i : order) for (int k = 5; k < 10; ++k) *to++ = rows[i][k];
    for (int i : order) *to++ = rows[i][10];
    rows.clear();
    return n;
}

// matvec.feed_cost
Cost feed_cost(const Unit &u, bool again, i64 simd, i64 beat) {
    const i64 bits = beat * u.x_bits;
    Cost total = law(REGISTER, bits);
    if (again) {
        const i64 beats = u.inputs * u.kernel / beat;
        total += beats > 1 ? law(RAM, beats, bits) : law(REGISTER, bits);
        total += law(SELECT, bits);
    }
    if (beat > simd) total += law(MUX, beat / simd, simd * u.x_bits);
    return total;
}

// matvec.weight_cost
Cost weight_cost(const Unit &u, i64 products, i64 memory) {
    const i64 words = u.groups * u.outputs * u.inputs * u.kernel / products, width = products * u.weight_bits;
    return words > 1 ? law(memory ? ROM : BRAM, words, width) + law(REGISTER, width) : Cost();
}

i64 stage_cycles(const Unit &u, i64 iterations, i64 depth, const Head &h) {
    const i64 window = h.mode == 1 ? u.parallel_depth : u.serial_depth, own = u.lag + iterations + std::max(depth - 1, i64(1));
    return h.mode ? std::max(own, u.lag + h.iterations + std::max(window - 1, i64(1))) : own;
}

// pixels.options
void several_pixels(const Unit &u) {
    if (u.groups != 1) return;
    std::vector<i64> choices;
    if (u.windowed) choices = pixel_choices(u);
    for (i64 n = 2; !u.windowed && n <= u.most_pixels; ++n) if (u.vectors % n == 0) choices.push_back(n);
    const i64 columns = u.inputs * u.kernel, slowest = u.windowed ? std::max(u.vectors, u.height * u.width) : u.vectors;
    const i64 *pack = u.packing[std::min(u.outputs, i64(4)) - 1];
    const Cost lanes = lanes_cost(u, u.outputs) + law(CONTROL, 6);
    for (i64 pixels : choices) {
        const i64 out = u.windowed ? raster(u, pixels * u.lanes_of).gives : pixels, groups = u.vectors / out;
        const Head h = head(u, u.windowed ? 1 : 0, pixels * u.lanes_of);
        for (i64 simd : divisors(columns)) {
            const i64 iterations = groups * (columns / simd);
            if (iterations >= slowest || u.outputs * simd * out > u.most_products) continue;
            Cost feed = law(REGISTER, columns * u.x_bits);
            if (columns > simd) feed += law(MUX, columns / simd, simd * u.x_bits);
            for (Mult m : {DSP, LUT, PACKED}) {
                if (m == PACKED && !pack[0]) continue;
                const Dots d = dots(u, simd, m, pack[1]);
                const i64 rows = m == PACKED ? ceil_div(u.outputs, pack[0]) : u.outputs;
                const Cost one = d.group * rows + d.join * (u.outputs - rows) + d.row * u.outputs + lanes + feed;
                const Cost c = one * out + weight_cost(u, u.outputs * simd, 1) + law(CONTROL, 1) + h.cost;
                const i64 depth = 2 + d.latency + 1 + u.rounding_latency + 1;
                add(u.outputs * out, simd, h.lanes, h.mode, m, 1, stage_cycles(u, iterations, depth, h), c,
                    h.mode ? out * columns * u.x_bits : 0);
            }
        }
    }
}

// depthwise.several
void several_channelwise(const Unit &u) {
    for (i64 n : pixel_choices(u)) {
        const Head h = head(u, u.windowed ? 1 : 0, n * u.channels);
        const i64 pe = raster(u, h.lanes).gives * u.channels, bits = pe * u.kernel * u.x_bits;
        for (Mult m : {DSP, LUT}) {
            const Dots d = dots(u, u.kernel, m, 1);
            const Cost c = d.row * pe + lanes_cost(u, pe) + law(CONTROL, 4) + law(REGISTER, bits) + h.cost;
            const i64 depth = 2 + d.latency + 1 + u.rounding_latency + 1;
            add(pe, u.kernel, h.lanes, h.mode, m, 1, stage_cycles(u, u.vectors * u.channels / pe, depth, h), c, h.mode ? bits : 0);
        }
    }
}

// pool.layer_options, for one way to bring windows
void pooled(const Unit &u, const Head &h, i64 pe, i64 simd) {
    const i64 acc = u.acc_bits, bits = pe * u.x_bits * (h.mode == 1 ? u.kernel : 1), narrow = pe * simd * u.x_bits;
    const Cost one = u.maximum ? law(COMPARATOR, acc) + law(SELECT, acc) : law(ADDER, acc);
    Cost c = ((one + law(REGISTER, acc)) * simd + law(REGISTER, acc) + cost_of(u.rounding)) * pe + law(CONTROL, 3) + law(REGISTER, bits);
    if (u.whole)
        c += law(REGISTER, acc * pe * (u.channels / pe - 1));
    else if (bits > narrow)
        c += law(MUX, bits / narrow, narrow);
    const i64 iterations = u.whole ? u.height * u.width * u.channels / pe : u.vectors * u.channels / pe * (u.kernel / simd);
    const i64 depth = 2 + bit_length(std::max(i64(1), simd - 1)) + u.rounding_latency + 1;
    add(pe, simd, h.lanes, h.mode, LUT, 1, stage_cycles(u, iterations, depth, h), c + h.cost, h.mode ? bits : 0);
}

struct Pair {
    i64 simd, at; // at: among the SIMD widths
    Head head;
    Cost feed[2];
};

} // namespace

extern "C" {

void flow_foldings_laws(Ask ask) { law.ask = ask; }

// conv.layer_options: the number of rows that flow_foldings_rows copies out.
int64_t flow_foldings_dense(const int64_t *unit) {
    const std::lock_guard<std::mutex> alone(one_at_a_time);
    const Unit &u = *reinterpret_cast<const Unit *>(unit);
    std::vector<Pair> pairs;
    std::vector<i64> widths;
    for (i64 mode = 0; mode < 3; ++mode) {
        if ((mode == 0) == bool(u.windowed) || (mode == 1 && !u.parallel_legal)) continue;
        for (i64 lanes : divisors(u.lanes_of)) {
            const Head h = head(u, mode, lanes);
            for (i64 simd : mode == 1 ? divisors(h.beat) : std::vector<i64>(1, lanes)) {
                if (simd < lanes) continue;
                Pair p = {simd, 0, h, {feed_cost(u, false, simd, h.beat), feed_cost(u, true, simd, h.beat)}};
                pairs.push_back(p);
                widths.push_back(simd);
            }
        }
    }
    std::sort(widths.begin(), widths.end());
    widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
    for (Pair &p : pairs) p.at = std::lower_bound(widths.begin(), widths.end(), p.simd) - widths.begin();
    std::vector<Dots> products[3];
    i64 chain = 0;
    for (i64 simd : widths) for (Mult m : {DSP, LUT}) products[m].push_back(dots(u, simd, m, 1));
    for (i64 pe : divisors(u.outputs)) {
        Cost lanes = lanes_cost(u, pe) + law(CONTROL, 6);
        const i64 table = u.groups * (u.outputs / pe);
        if (table > 1) lanes += law(ROM, table, pe * u.table_bits);
        const i64 *pack = u.packing[std::min(pe, i64(4)) - 1];
        if (pack[0] && pack[1] != chain) {
            chain = pack[1];
            products[PACKED].clear();
            for (i64 simd : widths) products[PACKED].push_back(dots(u, simd, PACKED, chain));
        }
        std::vector<std::array<Cost, 2> > stores;
        for (i64 simd : widths) stores.push_back({{weight_cost(u, pe * simd, 0), weight_cost(u, pe * simd, 1)}});
        for (Mult m : {DSP, LUT, PACKED}) {
            if (m == PACKED && !pack[0]) continue;
            const i64 groups = m == PACKED ? ceil_div(pe, pack[0]) : pe;
            for (const Pair &p : pairs) {
                const Dots &d = products[m][p.at];
                const i64 words = table * (u.inputs * u.kernel / p.simd), depth = 2 + d.latency + 1 + u.rounding_latency + 1;
                const i64 window = p.head.mode == 1 ? u.parallel_depth : u.serial_depth;
                i64 cycles = u.lag + u.vectors * words + std::max(depth - 1, i64(1));
                if (p.head.mode) cycles = std::max(cycles, u.lag + p.head.iterations + std::max(window - 1, i64(1)));
                const Cost c = d.group * groups + d.join * (pe - groups) + d.row * pe + lanes + p.head.cost + p.feed[u.outputs > pe];
                for (int memory = 0; memory < 2; ++memory)
                    if (memory || words > u.shallow)
                        add(pe, p.simd, p.head.lanes, p.head.mode, m, memory, cycles, c + stores[p.at][memory],
                            p.head.mode ? p.head.beat * u.x_bits : 0);
            }
        }
    }
    several_pixels(u);
    return finish();
}

// depthwise.layer_options: SIMD means kernel positions a cycle, and lanes are PE.
int64_t flow_foldings_depthwise(const int64_t *unit) {
    const std::lock_guard<std::mutex> alone(one_at_a_time);
    const Unit &u = *reinterpret_cast<const Unit *>(unit);
    for (i64 mode = 0; mode < 3; ++mode) {
        if ((mode == 0) == bool(u.windowed) || (mode == 1 && !u.parallel_legal)) continue;
        for (i64 pe : divisors(u.channels)) {
            const Head h = head(u, mode, pe);
            const i64 nf = u.channels / pe, beat_bits = h.beat * u.x_bits;
            for (i64 unroll : mode == 1 ? divisors(u.kernel) : std::vector<i64>(1, 1)) {
                const i64 folds = u.kernel / unroll, width = pe * unroll * u.weight_bits;
                Cost rest = lanes_cost(u, pe) + law(CONTROL, 4) + law(REGISTER, beat_bits) + h.cost;
                if (nf > 1) rest += law(ROM, nf, pe * u.table_bits);
                if (beat_bits > pe * unroll * u.x_bits)
                    rest += law(MUX, beat_bits / (pe * unroll * u.x_bits), pe * unroll * u.x_bits);
                for (Mult m : {DSP, LUT}) {
                    const Dots d = dots(u, unroll, m, 1);
                    const i64 depth = 2 + d.latency + 1 + u.rounding_latency + 1, busy = nf * folds;
                    i64 cycles = u.lag + u.vectors * busy + std::max(depth - 1, i64(1));
                    const i64 window = mode == 1 ? u.parallel_depth : u.serial_depth;
                    if (mode) cycles = std::max(cycles, u.lag + h.iterations + std::max(window - 1, i64(1)));
                    for (int memory = 0; memory < 2; ++memory) {
                        Cost c = d.row * pe + rest;
                        if (busy > 1) c += law(memory ? ROM : BRAM, busy, width) + law(REGISTER, width);
                        add(pe, unroll, pe, mode, m, memory, cycles, c, mode ? beat_bits : 0);
                    }
                }
            }
        }
    }
    several_channelwise(u);
    return finish();
}

// pool.layer_options.
int64_t flow_foldings_pool(const int64_t *unit) {
    const std::lock_guard<std::mutex> alone(one_at_a_time);
    const Unit &u = *reinterpret_cast<const Unit *>(unit);
    const bool windowed = u.windowed && !u.whole;
    for (i64 mode = 0; mode < 3; ++mode) {
        if ((mode == 0) == windowed || (mode == 1 && !u.parallel_legal)) continue;
        for (i64 pe : divisors(u.channels)) {
            const Head h = head(u, mode, pe);
            for (i64 simd : mode == 1 ? divisors(u.kernel) : std::vector<i64>(1, 1)) pooled(u, h, pe, simd);
        }
    }
    if (!u.whole)
        for (i64 n : pixel_choices(u)) {
            const Head h = head(u, windowed ? 1 : 0, n * u.channels);
            pooled(u, h, raster(u, h.lanes).gives * u.channels, u.kernel);
        }
    return finish();
}

void flow_foldings_rows(int64_t *to) { std::copy(answer.begin(), answer.end(), to); }
}
