// One option a stage, with what joins the stages, within a budget (flow/mapping/choose.py states the problem).
//
// A cost has five kinds. Given a weight for each, the cheapest design is found by dynamic programming over the lanes of
// the tensors that are alive: a table has one axis a tensor, `program` says how it grows and shrinks.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

typedef int64_t i64;
typedef std::vector<double> Table;
const int KINDS = 5;
const double NEVER = 1e30;
const double CLOSE = 1e-9; // keeps rounding from proving something false

// Loops over many costs, twice as fast where the processor has longer registers.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

struct Cost {
    double of[KINDS];
    double dot(const double *w) const {
        double s = 0;
        for (int k = 0; k < KINDS; ++k) s += w[k] * of[k];
        return s;
    }
    bool within(const double *limit) const {
        for (int k = 0; k < KINDS; ++k) if (of[k] > limit[k]) return false;
        return true;
    }
};

// Costs by kind, one after another, for loops over all of them.
struct Costs {
    std::vector<double> of[KINDS];
    void add(const Cost &c) {
        for (int k = 0; k < KINDS; ++k) of[k].push_back(c.of[k]);
    }
    void clear() {
        for (int k = 0; k < KINDS; ++k) of[k].clear();
    }
};

WIDE void weigh(size_t n, const double *a, const double *b, const double *c, const double *d, const double *e, const double *w, double *out) {
    for (size_t i = 0; i < n; ++i) out[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i] + w[4] * e[i];
}
void weigh(const Costs &c, const double *w, std::vector<double> &out) {
    out.resize(c.of[0].size());
    weigh(out.size(), c.of[0].data(), c.of[1].data(), c.of[2].data(), c.of[3].data(), c.of[4].data(), w, out.data());
}

// Foldings of a layer. From `expiry` cycles on another one of the same labels is as good.
struct Layer {
    int ins, outs;
    std::vector<i64> cycles, expiry;
    std::vector<Cost> cost;
    std::vector<int> inner, label; // inner: the stage's own stream, by number, 0 for none; label: in * outs + out
};

// What joins a tensor's producer to a reader: a stream, or two with a converter between them.
struct Joint {
    int to;
    std::vector<Cost> gear;
    Costs gears;
    std::vector<int> near, far; // streams by number; far 0: no converter
};

struct Fifo {
    int number;
    Cost small, block; // in shift registers, in block RAM, as shallow as can be
};

enum Op { SOURCE, EDGE_LAST, EDGE_KEEP, JOIN_LAST, JOIN_KEEP, STAGE, DROP, EDGE_FREE, JOIN_FREE };

struct Step {
    i64 op, what, outer, axis, inner, last; // sizes of the table before the step around the axis it works on
};

struct Problem {
    std::vector<const Layer *> stages;
    std::vector<std::vector<Cost> > forks; // per stage and output label
    std::vector<std::vector<std::pair<int, int> > > fork_fifos; // how many streams of which number
    std::vector<const Joint *> joints;
    std::vector<std::pair<int, int> > ends; // of each joint: stage that gives, stage that takes
    std::vector<Step> steps;
    std::vector<Fifo> fifos;
    std::vector<int> fifo_at; // number -> index
    Cost fixed;
    Problem() : fixed() {}
};

// Everything under one vector of weights.
struct Priced {
    std::vector<double> fifo;                    // by index
    std::vector<std::vector<double> > joint;     // per joint: from * to
    std::vector<std::vector<double> > best;      // per stage and label
    std::vector<std::vector<int> > which;
    std::vector<std::vector<double> > free;      // per joint: least over `from`
    std::vector<Table> table;                    // after each step
    double value;
    std::vector<double> work;
};

// Options of a stage that are allowed, as arrays.
struct Active {
    std::vector<int> option, label, inner; // inner: index of the stage's own stream, one past the last for none
    Costs cost;
};

class Solver {
  public:
    Solver(const Problem &p, i64 interval, const double *budget) : p_(p), interval_(interval) {
        for (int k = 0; k < KINDS; ++k) {
            budget_[k] = budget[k] - p.fixed.of[k];
            scale_[k] = 1.0 / std::max(budget_[k], 1.0);
        }
        empty_ = false;
        for (int k = 0; k < KINDS; ++k) if (budget_[k] < 0) empty_ = true;
        active_.resize(p.stages.size());
        for (size_t s = 0; s < p.stages.size(); ++s) {
            const Layer &layer = *p.stages[s];
            for (size_t o = 0; o < layer.cycles.size(); ++o)
                if (layer.cycles[o] <= interval && interval < layer.expiry[o] && layer.cost[o].within(budget_)) active_[s].push_back(int(o));
            if (active_[s].empty()) empty_ = true;
        }
        lists_.resize(p.stages.size());
        if (!empty_) for (size_t s = 0; s < p.stages.size(); ++s) list(s);
    }
    bool empty() const { return empty_; }

    void price(const double *share, Priced &out) const {
        double w[KINDS];
        for (int k = 0; k < KINDS; ++k) w[k] = share[k] * scale_[k];
        out.fifo.resize(p_.fifos.size());
        for (size_t i = 0; i < p_.fifos.size(); ++i) out.fifo[i] = fifo(p_.fifos[i], w);
        out.fifo.push_back(0);
        out.joint.resize(p_.joints.size());
        for (size_t j = 0; j < p_.joints.size(); ++j) {
            const Joint &e = *p_.joints[j];
            std::vector<double> &t = out.joint[j];
            weigh(e.gears, w, t);
            for (size_t i = 0; i < t.size(); ++i) t[i] += out.fifo[at(e.near[i])] + (e.far[i] ? out.fifo[at(e.far[i])] : 0);
        }
        out.best.resize(p_.stages.size());
        out.which.resize(p_.stages.size());
        for (size_t s = 0; s < p_.stages.size(); ++s) {
            const Layer &layer = *p_.stages[s];
            const size_t labels = size_t(layer.ins) * layer.outs;
            out.best[s].assign(labels, NEVER);
            out.which[s].assign(labels, -1);
            const Active &a = lists_[s];
            double *best = out.best[s].data();
            int *which = out.which[s].data();
            weigh(a.cost, w, out.work);
            for (size_t i = 0; i < out.work.size(); ++i) {
                const double c = out.work[i] + out.fifo[a.inner[i]];
                if (c < best[a.label[i]]) best[a.label[i]] = c, which[a.label[i]] = a.option[i];
            }
            for (int l = 0; l < layer.outs; ++l) { // forks behind the stage
                const std::pair<int, int> more = p_.fork_fifos[s][l];
                const double c = p_.forks[s][l].dot(w) + (more.first ? more.first * out.fifo[at(more.second)] : 0);
                if (c > 0)
                    for (size_t i = l; i < labels; i += layer.outs) if (which[i] >= 0) best[i] += c;
            }
        }
        fill(out);
    }

    // The design that the tables' minima stand for: an option (index of the layer) a stage.
    void trace(const Priced &v, int *picks) const {
        size_t i = std::min_element(v.table.back().begin(), v.table.back().end()) - v.table.back().begin();
        for (size_t s = p_.steps.size(); s-- > 0;) i = back(s, i, v, picks);
    }

    // Cost of a design, its streams of the kind that the weights prefer.
    Cost cost(const double *share, const int *picks) const {
        double w[KINDS];
        for (int k = 0; k < KINDS; ++k) w[k] = share[k] * scale_[k];
        Cost total = Cost();
        for (size_t s = 0; s < p_.stages.size(); ++s) {
            const Layer &layer = *p_.stages[s];
            const int label = layer.label[picks[s]] % layer.outs;
            add(total, layer.cost[picks[s]]);
            add(total, p_.forks[s][label]);
            if (layer.inner[picks[s]]) add_fifo(total, layer.inner[picks[s]], w);
            if (p_.fork_fifos[s][label].first) add_fifo(total, p_.fork_fifos[s][label].second, w, p_.fork_fifos[s][label].first);
        }
        for (size_t j = 0; j < p_.joints.size(); ++j) {
            const Layer &from = *p_.stages[p_.ends[j].first], &to = *p_.stages[p_.ends[j].second];
            const Joint &e = *p_.joints[j];
            const int i = from.label[picks[p_.ends[j].first]] % from.outs * e.to + to.label[picks[p_.ends[j].second]] / to.outs;
            add(total, e.gear[i]);
            add_fifo(total, e.near[i], w);
            if (e.far[i]) add_fifo(total, e.far[i], w);
        }
        return total;
    }

    const double *budget() const { return budget_; }
    const double *scale() const { return scale_; }
    const std::vector<std::vector<int> > &active() const { return active_; }
    void allow(int stage, const std::vector<int> &options) {
        active_[stage] = options;
        list(stage);
    }
    const Problem &problem() const { return p_; }

  private:
    void list(size_t s) {
        const Layer &layer = *p_.stages[s];
        Active &a = lists_[s];
        a.option = active_[s];
        a.label.clear();
        a.inner.clear();
        a.cost.clear();
        for (int o : a.option) {
            a.label.push_back(layer.label[o]);
            a.inner.push_back(layer.inner[o] ? at(layer.inner[o]) : int(p_.fifos.size()));
            a.cost.add(layer.cost[o]);
        }
    }
    int at(int number) const { return p_.fifo_at[number]; }
    double fifo(const Fifo &f, const double *w) const {
        const bool block = f.block.within(budget_);
        return std::min(f.small.dot(w), block ? f.block.dot(w) : NEVER);
    }
    void add_fifo(Cost &total, int number, const double *w, int count = 1) const {
        const Fifo &f = p_.fifos[at(number)];
        add(total, f.block.within(budget_) && f.block.dot(w) < f.small.dot(w) ? f.block : f.small, count);
    }
    static void add(Cost &a, const Cost &b, double n = 1) {
        for (int k = 0; k < KINDS; ++k) a.of[k] += n * b.of[k];
    }

    void fill(Priced &v) const {
        v.table.resize(p_.steps.size());
        v.free.resize(p_.joints.size());
        for (size_t s = 0; s < p_.steps.size(); ++s) {
            const Step &t = p_.steps[s];
            const double *old = s ? v.table[s - 1].data() : nullptr;
            Table &now = v.table[s];
            const i64 O = t.outer, A = t.axis, I = t.inner, B = t.last;
            switch (t.op) {
            case SOURCE: now = v.best[t.what]; break;
            case EDGE_LAST: {
                const double *e = v.joint[t.what].data();
                now.assign(O * I * B, NEVER);
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) {
                    const double x = old[(o * A + a) * I + i];
                    if (x >= NEVER) continue;
                    double *y = &now[(o * I + i) * B];
                    for (i64 b = 0; b < B; ++b) y[b] = std::min(y[b], x + e[a * B + b]);
                }
                break;
            }
            case EDGE_KEEP: {
                const double *e = v.joint[t.what].data();
                now.resize(O * A * I * B);
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) now[n * B + b] = old[n] + e[n / I % A * B + b];
                break;
            }
            case JOIN_LAST: {
                const double *e = v.joint[t.what].data();
                now.assign(O * I * B, NEVER);
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) for (i64 b = 0; b < B; ++b) {
                    double &y = now[(o * I + i) * B + b];
                    y = std::min(y, old[((o * A + a) * I + i) * B + b] + e[a * B + b]);
                }
                break;
            }
            case JOIN_KEEP: {
                const double *e = v.joint[t.what].data();
                now.resize(O * A * I * B);
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) now[n * B + b] = old[n * B + b] + e[n / I % A * B + b];
                break;
            }
            case STAGE: {
                const double *m = v.best[t.what].data();
                now.assign(O * B, NEVER);
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) {
                    const double x = old[o * A + a];
                    if (x >= NEVER) continue;
                    double *y = &now[o * B];
                    for (i64 b = 0; b < B; ++b) y[b] = std::min(y[b], x + m[a * B + b]);
                }
                break;
            }
            case DROP:
                now.assign(O * I, NEVER);
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i)
                    now[o * I + i] = std::min(now[o * I + i], old[(o * A + a) * I + i]);
                break;
            case EDGE_FREE: case JOIN_FREE: {
                const std::vector<double> &e = v.joint[t.what];
                std::vector<double> &f = v.free[t.what];
                f.assign(B, NEVER);
                for (size_t i = 0; i < e.size(); ++i) f[i % B] = std::min(f[i % B], e[i]);
                now.resize(O * B);
                for (i64 o = 0; o < O; ++o) for (i64 b = 0; b < B; ++b) now[o * B + b] = (t.op == EDGE_FREE ? old[o] : old[o * B + b]) + f[b];
            }
            }
        }
        v.value = *std::min_element(v.table.back().begin(), v.table.back().end());
    }

    // The table entry before step `s` that entry `n` after it came from.
    size_t back(size_t s, size_t n, const Priced &v, int *picks) const {
        const Step &t = p_.steps[s];
        const size_t A = t.axis, I = t.inner, B = t.last;
        const Table *old = s ? &v.table[s - 1] : nullptr;
        size_t from = 0, best = 0;
        double least = std::numeric_limits<double>::infinity();
        switch (t.op) {
        case SOURCE: picks[t.what] = v.which[t.what][n]; return 0;
        case STAGE: {
            const size_t b = n % B, o = n / B;
            for (size_t a = 0; a < A; ++a) {
                const double c = (*old)[o * A + a] + v.best[t.what][a * B + b];
                if (c < least) least = c, best = a;
            }
            picks[t.what] = v.which[t.what][best * B + b];
            return o * A + best;
        }
        case EDGE_LAST: case JOIN_LAST: {
            const size_t b = n % B, i = n / B % I, o = n / B / I;
            for (size_t a = 0; a < A; ++a) {
                const size_t k = t.op == EDGE_LAST ? (o * A + a) * I + i : ((o * A + a) * I + i) * B + b;
                const double c = (*old)[k] + v.joint[t.what][a * B + b];
                if (c < least) least = c, from = k;
            }
            return from;
        }
        case DROP:
            for (size_t a = 0; a < A; ++a) {
                const size_t k = (n / I * A + a) * I + n % I;
                if ((*old)[k] < least) least = (*old)[k], from = k;
            }
            return from;
        case EDGE_KEEP: case EDGE_FREE: return n / B;
        default: return n;
        }
    }

    const Problem &p_;
    i64 interval_;
    double budget_[KINDS], scale_[KINDS];
    bool empty_;
    std::vector<std::vector<int> > active_;
    std::vector<Active> lists_;
};

// A stage and a kind in whose cost the designs of different weights differ most: allowing less than `middle` on one side
// and more on the other leaves their mixture, which weights cannot tell from a design, on neither.
struct Split {
    int stage, kind;
    double middle, spread;
};

// Moves weights towards what is short. 1: picks fit as far as costs are known here; 0: proved that nothing fits; -1: neither,
// and `split` says what to decide next (stage -1: nothing).
int balance(const Solver &s, int rounds, double *share, int *picks, Split *split) {
    if (s.empty()) return 0;
    const Problem &p = s.problem();
    const size_t stages = p.stages.size();
    std::vector<Cost> low(stages), high(stages);
    Priced v;
    for (int k = 0; k < rounds; ++k) {
        s.price(share, v);
        if (v.value > 1 + CLOSE) return 0;
        s.trace(v, picks);
        const Cost total = s.cost(share, picks);
        double over = 0, sum = 0, norm = 0;
        for (int r = 0; r < KINDS; ++r) over = std::max(over, total.of[r] * s.scale()[r] - (s.budget()[r] <= 0 ? 0 : 1));
        if (over <= 0) return 1;
        for (size_t i = 0; split && i < stages; ++i) {
            const Cost &c = p.stages[i]->cost[picks[i]];
            for (int r = 0; r < KINDS; ++r) {
                low[i].of[r] = k <= rounds / 3 ? c.of[r] : std::min(low[i].of[r], c.of[r]);
                high[i].of[r] = k <= rounds / 3 ? c.of[r] : std::max(high[i].of[r], c.of[r]);
            }
        }
        for (int r = 0; r < KINDS; ++r) norm = std::max(norm, std::fabs(total.of[r] * s.scale()[r] - 1));
        const double step = std::min(2.0, 1.5 / norm) / (1 + k / 6.0);
        for (int r = 0; r < KINDS; ++r) sum += share[r] *= std::exp((total.of[r] * s.scale()[r] - 1) * step);
        for (int r = 0; r < KINDS; ++r) share[r] = std::max(share[r] / sum, 1e-7);
        sum = 0;
        for (int r = 0; r < KINDS; ++r) sum += share[r];
        for (int r = 0; r < KINDS; ++r) share[r] /= sum;
    }
    if (split) {
        const Split none = {-1, 0, 0, 0};
        *split = none;
        for (size_t i = 0; i < stages; ++i)
            for (int r = 0; r < KINDS; ++r) {
                const double spread = (high[i].of[r] - low[i].of[r]) * s.scale()[r] * (share[r] + 0.01);
                if (spread > split->spread) {
                    const Split found = {int(i), r, (high[i].of[r] + low[i].of[r]) / 2, spread};
                    *split = found;
                }
            }
    }
    return -1;
}

// Branch and bound: what weights leave open is split in two until they decide. As balance.
int branch(Solver &s, int rounds, double *share, int *picks, i64 &nodes) {
    Split split = {-1, 0, 0, 0};
    const int found = balance(s, rounds, share, picks, &split);
    if (found >= 0) return found;
    if (nodes <= 0 || split.stage < 0) return -1;
    bool open = false;
    const std::vector<int> whole = s.active()[split.stage];
    for (int side = 0; side < 2; ++side) {
        --nodes;
        std::vector<int> part;
        for (int o : whole)
            if ((s.problem().stages[split.stage]->cost[o].of[split.kind] <= split.middle) == (side == 0)) part.push_back(o);
        s.allow(split.stage, part);
        double w[KINDS];
        std::copy(share, share + KINDS, w);
        const int inside = branch(s, 18, w, picks, nodes);
        if (inside == 1) std::copy(w, w + KINDS, share);
        s.allow(split.stage, whole);
        if (inside == 1) return 1;
        open |= inside < 0;
    }
    return open ? -1 : 0;
}

i64 next_candidate(const Problem &p, i64 interval) {
    i64 found = std::numeric_limits<i64>::max();
    for (const Layer *layer : p.stages) for (i64 c : layer->cycles) if (c >= interval) found = std::min(found, c);
    return found;
}

} // namespace

extern "C" {

// cost, inner: a row an option; in, out: labels. exclusive: an option ends where the next slower one begins.
void *flow_map_layer(int64_t n, int64_t ins, int64_t outs, int64_t exclusive, const int64_t *cycles, const int64_t *cost, const int64_t *in, const int64_t *out,
                     const int64_t *inner) {
    Layer *layer = new Layer();
    layer->ins = int(ins);
    layer->outs = int(outs);
    for (i64 i = 0; i < n; ++i) {
        Cost c;
        for (int k = 0; k < KINDS; ++k) c.of[k] = double(cost[i * KINDS + k]);
        layer->cycles.push_back(cycles[i]);
        layer->cost.push_back(c);
        layer->inner.push_back(int(inner[i]));
        layer->label.push_back(int(in[i] * outs + out[i]));
    }
    layer->expiry.assign(n, std::numeric_limits<i64>::max());
    std::vector<std::vector<int> > groups(ins * outs);
    for (i64 i = 0; i < n; ++i) groups[layer->label[i]].push_back(int(i));
    for (const std::vector<int> &group : groups)
        for (int a : group)
            for (int b : group)
                if (layer->cycles[b] > layer->cycles[a] && layer->cycles[b] < layer->expiry[a] && layer->inner[b] == layer->inner[a] &&
                    layer->cost[b].within(layer->cost[a].of))
                    layer->expiry[a] = layer->cycles[b];
    if (exclusive)
        for (i64 a = 0; a < n; ++a)
            for (i64 b = 0; b < n; ++b) if (cycles[b] > cycles[a]) layer->expiry[a] = std::min(layer->expiry[a], cycles[b]);
    return layer;
}
void flow_map_layer_free(void *layer) { delete static_cast<Layer *>(layer); }

void *flow_map_joint(int64_t from, int64_t to, const int64_t *gear, const int64_t *near, const int64_t *far) {
    Joint *e = new Joint();
    e->to = int(to);
    for (i64 i = 0; i < from * to; ++i) {
        Cost c;
        for (int k = 0; k < KINDS; ++k) c.of[k] = double(gear[i * KINDS + k]);
        e->gear.push_back(c);
        e->gears.add(c);
        e->near.push_back(int(near[i]));
        e->far.push_back(int(far[i]));
    }
    return e;
}
void flow_map_joint_free(void *joint) { delete static_cast<Joint *>(joint); }

// layers, joints: handles. forks: per stage and output label, one stage after another: 5 of cost, streams, their number.
// fifos: number, 5 of cost in shift registers, 5 in block RAM. steps: 6 each.
void *flow_map_problem(int64_t stages, void *const *layers, const int64_t *forks, int64_t joints, void *const *joint,
                       const int64_t *ends, int64_t steps,                       const int64_t *step, int64_t fifos, const int64_t *fifo, const int64_t *fixed) {
    Problem *p = new Problem();
    for (i64 s = 0; s < stages; ++s) {
        const Layer *layer = static_cast<const Layer *>(layers[s]);
        p->stages.push_back(layer);
        std::vector<Cost> cost(layer->outs);
        std::vector<std::pair<int, int> > streams(layer->outs);
        for (int o = 0; o < layer->outs; ++o, forks += 7) {
            for (int k = 0; k < KINDS; ++k) cost[o].of[k] = double(forks[k]);
            streams[o] = std::make_pair(int(forks[5]), int(forks[6]));
        }
        p->forks.push_back(cost);
        p->fork_fifos.push_back(streams);
    }
    for (i64 j = 0; j < joints; ++j) {
        p->joints.push_back(static_cast<const Joint *>(joint[j]));
        p->ends.push_back(std::make_pair(int(ends[2 * j]), int(ends[2 * j + 1])));
    }
    for (i64 s = 0; s < steps; ++s, step += 6) {
        const Step t = {step[0], step[1], step[2], step[3], step[4], step[5]};
        p->steps.push_back(t);
    }
    for (i64 f = 0; f < fifos; ++f, fifo += 11) {
        Fifo x;
        x.number = int(fifo[0]);
        for (int k = 0; k < KINDS; ++k) x.small.of[k] = double(fifo[1 + k]), x.block.of[k] = double(fifo[6 + k]);
        if (int(p->fifo_at.size()) <= x.number) p->fifo_at.resize(x.number + 1, -1);
        p->fifo_at[x.number] = int(f);
        p->fifos.push_back(x);
    }
    for (int k = 0; k < KINDS; ++k) p->fixed.of[k] = double(fixed[k]);
    return p;
}
void flow_map_problem_free(void *problem) { delete static_cast<Problem *>(problem); }

// Smallest interval of at least `low` that weights do not prove too small; `share` starts and ends near the answer's.
// -1: even the slowest foldings do not fit.
int64_t flow_map_floor(void *problem, int64_t low, const double *budget, int rounds, double *share) {
    const Problem &p = *static_cast<const Problem *>(problem);
    std::vector<int> picks(p.stages.size());
    i64 high = low;
    for (const Layer *layer : p.stages) {
        i64 fastest = std::numeric_limits<i64>::max();
        for (i64 c : layer->cycles) fastest = std::min(fastest, c), high = std::max(high, c);
        low = std::max(low, fastest);
    }
    double w[KINDS];
    std::copy(share, share + KINDS, w);
    if (balance(Solver(p, high, budget), rounds, w, picks.data(), nullptr) == 0) return -1;
    while (low < high) {
        // Cycles spread over orders of magnitude: halve the ratio.
        i64 mid = i64(std::sqrt(double(low) * double(high)));
        mid = std::min(std::max(mid, low), high - 1);
        std::copy(share, share + KINDS, w);
        if (balance(Solver(p, mid, budget), rounds, w, picks.data(), nullptr) == 0) {
            std::copy(w, w + KINDS, share);
            low = next_candidate(p, mid + 1);
        } else {
            // Nothing changes down to the interval of the slowest option that is allowed.
            i64 used = low;
            for (const Layer *layer : p.stages) for (i64 c : layer->cycles) if (c <= mid) used = std::max(used, c);
            high = std::max(low, std::min(used, mid));
        }
    }
    return low;
}

// A design of at most `interval`: 1 and its picks, 0 when none is possible, -1 when neither was found out.
int flow_map_fit(void *problem, int64_t interval, const double *budget, int rounds, int64_t nodes, double *share, int *picks) {
    Solver s(*static_cast<const Problem *>(problem), interval, budget);
    if (nodes <= 0) return balance(s, rounds, share, picks, nullptr);
    i64 left = nodes;
    return branch(s, rounds, share, picks, left);
}

// The design of least weighted cost: its picks, and whether it fits.
int flow_map_cheapest(void *problem, int64_t interval, const double *budget, const double *share, int *picks) {
    const Problem &p = *static_cast<const Problem *>(problem);
    const Solver s(p, interval, budget);
    if (s.empty()) return 0;
    Priced v;
    s.price(share, v);
    if (v.value >= NEVER) return 0;
    s.trace(v, picks);
    return s.cost(share, picks).within(s.budget());
}

// The same as costs are known here: 5 numbers, what every design has included.
void flow_map_cost(void *problem, int64_t interval, const double *budget, const double *share, const int *picks, double *cost) {
    const Problem &p = *static_cast<const Problem *>(problem);
    const Cost total = Solver(p, interval, budget).cost(share, picks);
    for (int k = 0; k < KINDS; ++k) cost[k] = total.of[k] + p.fixed.of[k];
}

int64_t flow_map_next(void *problem, int64_t interval) { return next_candidate(*static_cast<const Problem *>(problem), interval); }
}
