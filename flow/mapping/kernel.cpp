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
    void resize(size_t n) {
        for (int k = 0; k < KINDS; ++k) of[k].resize(n);
    }
    void set(size_t i, const Cost &c) {
        for (int k = 0; k < KINDS; ++k) of[k][i] = c.of[k];
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
    std::vector<int> inner, in, out, label; // inner: the stage's own stream, by number, 0 for none; label: in * outs + out
};

// What joins a tensor's producer to a reader: a stream, or two with a converter between them.
struct Joint {
    int to;
    std::vector<Cost> gear;
    std::vector<int> near, far; // streams by number; far 0: no converter
};

struct Fifo {
    int number;
    Cost small, block; // in shift registers, in block RAM, as shallow as can be
};

enum Op { SOURCE, EDGE_LAST, EDGE_KEEP, JOIN_LAST, JOIN_KEEP, STAGE, DROP, EDGE_FREE, JOIN_FREE };

struct Step {
    Op op;
    i64 what, outer, axis, inner, last; // sizes of the table before the step around the axis it works on
};

// In what order stages and what joins them are taken up: a stage of the network's input (kind 0), a tensor read through a
// joint (1), or a stage whose inputs are there (2). `joined`: not a stage's first input; `last`: nobody reads it later.
struct Visit {
    i64 kind, what, joined, last;
};

struct Problem {
    std::vector<const Layer *> stages;
    std::vector<std::vector<int> > inner; // per stage and option: the stage's own stream as deep as it is here
    std::vector<std::vector<Cost> > forks; // per stage and output label
    std::vector<std::vector<std::pair<int, int> > > fork_fifos; // how many streams of which number
    std::vector<const Joint *> joints;
    std::vector<std::pair<int, int> > ends; // of each joint: stage that gives, stage that takes
    std::vector<std::vector<int> > around;  // per stage: joints at it
    std::vector<Visit> visits;
    std::vector<Fifo> fifos;
    std::vector<int> fifo_at; // number -> index
    Cost fixed;
    i64 cap; // entries of a table
    Problem() : fixed() {}
};

// Everything under one vector of weights.
struct Priced {
    std::vector<double> fifo;                    // by index
    std::vector<double> joint;                   // from * to, one joint after another
    std::vector<double> option;                  // that is allowed, one stage after another
    std::vector<double> best;                    // label, one stage after another
    std::vector<int> which;
    std::vector<std::vector<double> > free;      // per joint: least over `from`
    std::vector<Table> table;                    // after each step
    double value;
};

// The options of at most `interval` cycles, or those of them that are left, numbered anew with their labels.
class Solver {
  public:
    Solver(const Problem &p, const double *budget) : p_(p), empty_(true), work_(0) { // without options
        for (int k = 0; k < KINDS; ++k) {
            budget_[k] = budget[k] - p.fixed.of[k];
            scale_[k] = 1.0 / std::max(budget_[k], 1.0);
        }
    }
    Solver(const Problem &p, i64 interval, const double *budget) : Solver(p, budget) {
        bool roomy = true;
        for (int k = 0; k < KINDS; ++k) roomy &= budget_[k] >= 0;
        active_.resize(p.stages.size());
        for (size_t s = 0; s < p.stages.size(); ++s) {
            const Layer &layer = *p.stages[s];
            for (size_t o = 0; o < layer.cycles.size(); ++o)
                if (roomy && layer.cycles[o] <= interval && interval < layer.expiry[o] && layer.cost[o].within(budget_)) active_[s].push_back(int(o));
        }
        compact();
    }
    bool empty() const { return empty_; }

    void price(const double *share, Priced &out) const {
        double w[KINDS];
        weights(share, w);
        out.fifo.resize(p_.fifos.size());
        for (size_t i = 0; i < p_.fifos.size(); ++i) out.fifo[i] = fifo(p_.fifos[i], w);
        out.fifo.push_back(0);
        weigh(gears_, w, out.joint);
        for (size_t i = 0; i < out.joint.size(); ++i) out.joint[i] += out.fifo[near_[i]] + out.fifo[far_[i]];
        weigh(costs_, w, out.option);
        out.best.assign(labels_.back(), NEVER);
        out.which.assign(labels_.back(), -1);
        for (size_t s = 0; s < active_.size(); ++s) {
            const int *option = active_[s].data() - first_[s];
            for (size_t i = first_[s]; i < first_[s + 1]; ++i) {
                out.option[i] += out.fifo[inner_[i]] + forks_[i] * out.fifo[forked_[i]];
                if (out.option[i] < out.best[label_[i]]) out.best[label_[i]] = out.option[i], out.which[label_[i]] = option[i];
            }
        }
        fill(out);
    }

    // The design that the tables' minima stand for: an option (index of the layer) a stage.
    void trace(const Priced &v, int *picks) const {
        size_t i = std::min_element(v.table.back().begin(), v.table.back().end()) - v.table.back().begin();
        for (size_t s = steps_.size(); s-- > 0;) i = back(s, i, v, picks);
    }

    // Cost of a design, its streams of the kind that the weights prefer.
    Cost cost(const double *share, const int *picks) const {
        double w[KINDS];
        weights(share, w);
        Cost total = Cost();
        for (size_t s = 0; s < p_.stages.size(); ++s) add(total, own(s, picks[s], w));
        for (size_t j = 0; j < p_.joints.size(); ++j) add(total, between(j, picks, w));
        return total;
    }

    // What a stage's option costs, forks behind it included.
    Cost own(size_t s, int o, const double *w) const {
        const Layer &layer = *p_.stages[s];
        const int give = layer.out[o];
        Cost total = layer.cost[o];
        add(total, p_.forks[s][give]);
        if (p_.inner[s][o]) add_fifo(total, p_.inner[s][o], w);
        if (p_.fork_fifos[s][give].first) add_fifo(total, p_.fork_fifos[s][give].second, w, p_.fork_fifos[s][give].first);
        return total;
    }
    // What joins two stages' picks.
    Cost between(size_t j, const int *picks, const double *w) const {
        const Layer &from = *p_.stages[p_.ends[j].first], &to = *p_.stages[p_.ends[j].second];
        const Joint &e = *p_.joints[j];
        const int i = from.out[picks[p_.ends[j].first]] * e.to + to.in[picks[p_.ends[j].second]];
        Cost total = e.gear[i];
        add_fifo(total, e.near[i], w);
        if (e.far[i]) add_fifo(total, e.far[i], w);
        return total;
    }

    // Leaves out options through which no design costs at most the budget under the weights of `v`; how many.
    size_t filter(const Priced &v) {
        if (v.value >= NEVER) return 0;
        std::vector<double> through;
        backwards(v, through);
        size_t gone = 0;
        for (size_t s = 0; s < active_.size(); ++s) {
            size_t kept = 0;
            for (size_t i = 0, at = first_[s]; i < active_[s].size(); ++i, ++at)
                if (v.option[at] + through[label_[at]] <= 1 + CLOSE) active_[s][kept++] = active_[s][i];
            gone += active_[s].size() - kept;
            active_[s].resize(kept);
        }
        if (gone) compact();
        return gone;
    }

    void weights(const double *share, double *w) const {
        for (int k = 0; k < KINDS; ++k) w[k] = share[k] * scale_[k];
    }
    const double *budget() const { return budget_; }
    const double *scale() const { return scale_; }
    const std::vector<std::vector<int> > &active() const { return active_; }
    void allow(int stage, const std::vector<int> &options) {
        active_[stage] = options;
        compact();
    }
    const Problem &problem() const { return p_; }
    i64 work() const { return work_; } // sums for one vector of weights
    static void add(Cost &a, const Cost &b, double n = 1) {
        for (int k = 0; k < KINDS; ++k) a.of[k] += n * b.of[k];
    }

  private:
    struct Labels { // those that some option has
        std::vector<int> kept, to; // new -> old, old -> new
        int size() const { return int(kept.size()); }
        void reset(int n) { kept.clear(), to.assign(n, -1); }
        void number(int old) {
            if (to[old] < 0) to[old] = size(), kept.push_back(old);
        }
    };

    void compact() {
        empty_ = false;
        ins_.resize(active_.size());
        outs_.resize(active_.size());
        first_.assign(1, 0);
        for (const std::vector<int> &a : active_) first_.push_back(first_.back() + a.size());
        label_.resize(first_.back());
        labels_.assign(1, 0);
        work_ = KINDS * i64(first_.back());
        for (size_t s = 0; s < active_.size(); ++s) {
            const Layer &layer = *p_.stages[s];
            ins_[s].reset(layer.ins);
            outs_[s].reset(layer.outs);
            for (int o : active_[s]) ins_[s].number(layer.in[o]), outs_[s].number(layer.out[o]);
            int *label = label_.data() + first_[s];
            for (int o : active_[s]) *label++ = labels_[s] + ins_[s].to[layer.in[o]] * outs_[s].size() + outs_[s].to[layer.out[o]];
            labels_.push_back(labels_[s] + ins_[s].size() * outs_[s].size());
            empty_ |= active_[s].empty();
        }
        if (!empty_) list();
        steps_.clear();
        if (empty_) return;
        std::vector<std::pair<int, i64> > alive; // tensors by the stages that give them, and their lanes
        for (const Visit &v : p_.visits) {
            const i64 s = v.what;
            if (v.kind == 1) read(v, alive);
            else if (v.kind == 0) {
                step(SOURCE, s, 1, 0, 1, outs_[s].size());
                alive.assign(1, std::make_pair(int(s), i64(outs_[s].size())));
            } else {
                step(STAGE, s, size(alive, 0, alive.size() - 1), alive.back().second, 1, outs_[s].size());
                alive.back() = std::make_pair(int(s), i64(outs_[s].size()));
                cut(alive);
            }
        }
    }
    // Costs of what is left, as arrays.
    void list() {
        costs_.resize(first_.back()), inner_.resize(first_.back()), forks_.resize(first_.back()), forked_.resize(first_.back());
        for (size_t s = 0; s < active_.size(); ++s) {
            const Layer &layer = *p_.stages[s];
            size_t i = first_[s];
            for (int o : active_[s]) {
                const int give = layer.out[o];
                Cost c = layer.cost[o];
                add(c, p_.forks[s][give]);
                costs_.set(i, c);
                inner_[i] = at(p_.inner[s][o]);
                forks_[i] = p_.fork_fifos[s][give].first;
                forked_[i++] = at(p_.fork_fifos[s][give].second);
            }
        }
        joined_.assign(1, 0);
        for (const std::pair<int, int> &e : p_.ends) joined_.push_back(joined_.back() + outs_[e.first].size() * ins_[e.second].size());
        gears_.resize(joined_.back()), near_.resize(joined_.back()), far_.resize(joined_.back());
        for (size_t j = 0; j < p_.joints.size(); ++j) {
            const Joint &e = *p_.joints[j];
            size_t to = joined_[j];
            for (int a : outs_[p_.ends[j].first].kept)
                for (int b : ins_[p_.ends[j].second].kept) {
                    const int i = a * e.to + b;
                    gears_.set(to, e.gear[i]);
                    near_[to] = at(e.near[i]);
                    far_[to++] = at(e.far[i]);
                }
        }
    }
    void step(Op op, i64 what, i64 outer, i64 axis, i64 inner, i64 last) {
        const Step s = {op, what, outer, axis, inner, last};
        steps_.push_back(s);
        work_ += std::max(i64(1), outer) * std::max(i64(1), axis) * std::max(i64(1), inner) * std::max(i64(1), last);
    }
    static i64 size(const std::vector<std::pair<int, i64> > &alive, size_t from, size_t to) {
        i64 n = 1;
        for (size_t i = from; i < to; ++i) n *= alive[i].second;
        return n;
    }
    void read(const Visit &v, std::vector<std::pair<int, i64> > &alive) {
        const int giver = p_.ends[v.what].first;
        const i64 takes = ins_[p_.ends[v.what].second].size();
        const size_t end = alive.size() - (v.joined ? 1 : 0);
        size_t i = 0;
        while (i < end && alive[i].first != giver) ++i;
        if (i == end) step(v.joined ? JOIN_FREE : EDGE_FREE, v.what, size(alive, 0, end), 0, 1, takes);
        else {
            const Op op = v.joined ? (v.last ? JOIN_LAST : JOIN_KEEP) : (v.last ? EDGE_LAST : EDGE_KEEP);
            step(op, v.what, size(alive, 0, i), alive[i].second, size(alive, i + 1, end), takes);
            if (v.last) alive.erase(alive.begin() + i);
        }
        if (!v.joined) alive.push_back(std::make_pair(-1, takes));
        cut(alive);
    }
    // Forgets lanes of the longest axis while the table is too large, which keeps a bound a bound.
    void cut(std::vector<std::pair<int, i64> > &alive) {
        while (alive.size() > 1 && size(alive, 0, alive.size()) > p_.cap) {
            size_t longest = 0;
            for (size_t i = 1; i + 1 < alive.size(); ++i) if (alive[i].second > alive[longest].second) longest = i;
            step(DROP, 0, size(alive, 0, longest), alive[longest].second, size(alive, longest + 1, alive.size()), 1);
            alive.erase(alive.begin() + longest);
        }
    }

    // Index of a stream, one past the last for none.
    int at(int number) const { return number ? p_.fifo_at[number] : int(p_.fifos.size()); }
    double fifo(const Fifo &f, const double *w) const {
        const bool block = f.block.within(budget_);
        return std::min(f.small.dot(w), block ? f.block.dot(w) : NEVER);
    }
    void add_fifo(Cost &total, int number, const double *w, int count = 1) const {
        const Fifo &f = p_.fifos[at(number)];
        add(total, f.block.within(budget_) && f.block.dot(w) < f.small.dot(w) ? f.block : f.small, count);
    }

    void fill(Priced &v) const {
        v.table.resize(steps_.size());
        v.free.resize(p_.joints.size());
        for (size_t s = 0; s < steps_.size(); ++s) {
            const Step &t = steps_[s];
            const double *old = s ? v.table[s - 1].data() : nullptr;
            Table &now = v.table[s];
            const i64 O = t.outer, A = t.axis, I = t.inner, B = t.last;
            switch (t.op) {
            case SOURCE: now.assign(v.best.begin() + labels_[t.what], v.best.begin() + labels_[t.what + 1]); break;
            case EDGE_LAST: {
                const double *e = v.joint.data() + joined_[t.what];
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
                const double *e = v.joint.data() + joined_[t.what];
                now.resize(O * A * I * B);
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) now[n * B + b] = old[n] + e[n / I % A * B + b];
                break;
            }
            case JOIN_LAST: {
                const double *e = v.joint.data() + joined_[t.what];
                now.assign(O * I * B, NEVER);
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) for (i64 b = 0; b < B; ++b) {
                    double &y = now[(o * I + i) * B + b];
                    y = std::min(y, old[((o * A + a) * I + i) * B + b] + e[a * B + b]);
                }
                break;
            }
            case JOIN_KEEP: {
                const double *e = v.joint.data() + joined_[t.what];
                now.resize(O * A * I * B);
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) now[n * B + b] = old[n * B + b] + e[n / I % A * B + b];
                break;
            }
            case STAGE: {
                const double *m = v.best.data() + labels_[t.what];
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
                std::vector<double> &f = v.free[t.what];
                f.assign(B, NEVER);
                for (size_t i = joined_[t.what], b = 0; i < joined_[t.what + 1]; ++i, b = b + 1 == size_t(B) ? 0 : b + 1) f[b] = std::min(f[b], v.joint[i]);
                now.resize(O * B);
                for (i64 o = 0; o < O; ++o) for (i64 b = 0; b < B; ++b) now[o * B + b] = (t.op == EDGE_FREE ? old[o] : old[o * B + b]) + f[b];
            }
            }
        }
        v.value = *std::min_element(v.table.back().begin(), v.table.back().end());
    }

    // The table entry before step `s` that entry `n` after it came from.
    size_t back(size_t s, size_t n, const Priced &v, int *picks) const {
        const Step &t = steps_[s];
        const size_t A = t.axis, I = t.inner, B = t.last;
        const Table *old = s ? &v.table[s - 1] : nullptr;
        size_t from = 0, best = 0;
        double least = std::numeric_limits<double>::infinity();
        switch (t.op) {
        case SOURCE: picks[t.what] = v.which[labels_[t.what] + n]; return 0;
        case STAGE: {
            const size_t b = n % B, o = n / B;
            for (size_t a = 0; a < A; ++a) {
                const double c = (*old)[o * A + a] + v.best[labels_[t.what] + a * B + b];
                if (c < least) least = c, best = a;
            }
            picks[t.what] = v.which[labels_[t.what] + best * B + b];
            return o * A + best;
        }
        case EDGE_LAST: case JOIN_LAST: {
            const size_t b = n % B, i = n / B % I, o = n / B / I;
            for (size_t a = 0; a < A; ++a) {
                const size_t k = t.op == EDGE_LAST ? (o * A + a) * I + i : ((o * A + a) * I + i) * B + b;
                const double c = (*old)[k] + v.joint[joined_[t.what] + a * B + b];
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


    // For each stage and label the least cost of all else; `fill` the other way round.
    void backwards(const Priced &v, std::vector<double> &through) const {
        through.assign(labels_.back(), NEVER);
        Table now(v.table.back().size(), 0.0), old;
        for (size_t s = steps_.size(); s-- > 0;) {
            const Step &t = steps_[s];
            const i64 O = t.outer, A = t.axis, I = t.inner, B = t.last;
            const double *e = t.op == SOURCE || t.op == STAGE || t.op == DROP ? nullptr : v.joint.data() + joined_[t.what];
            if (t.op == SOURCE) {
                std::copy(now.begin(), now.end(), through.begin() + labels_[t.what]);
                break;
            }
            old.assign(v.table[s - 1].size(), NEVER);
            switch (t.op) {
            case EDGE_LAST:
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) for (i64 b = 0; b < B; ++b) {
                    double &x = old[(o * A + a) * I + i];
                    x = std::min(x, now[(o * I + i) * B + b] + e[a * B + b]);
                }
                break;
            case EDGE_KEEP:
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) old[n] = std::min(old[n], now[n * B + b] + e[n / I % A * B + b]);
                break;
            case JOIN_LAST:
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) for (i64 b = 0; b < B; ++b)
                    old[((o * A + a) * I + i) * B + b] = now[(o * I + i) * B + b] + e[a * B + b];
                break;
            case JOIN_KEEP:
                for (i64 n = 0; n < O * A * I; ++n) for (i64 b = 0; b < B; ++b) old[n * B + b] = now[n * B + b] + e[n / I % A * B + b];
                break;
            case STAGE: {
                const double *m = v.best.data() + labels_[t.what];
                const Table &before = v.table[s - 1];
                double *all = through.data() + labels_[t.what];
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 b = 0; b < B; ++b) {
                    const double rest = now[o * B + b];
                    old[o * A + a] = std::min(old[o * A + a], rest + m[a * B + b]);
                    all[a * B + b] = std::min(all[a * B + b], before[o * A + a] + rest);
                }
                break;
            }
            case DROP:
                for (i64 o = 0; o < O; ++o) for (i64 a = 0; a < A; ++a) for (i64 i = 0; i < I; ++i) old[(o * A + a) * I + i] = now[o * I + i];
                break;
            case EDGE_FREE:
                for (i64 o = 0; o < O; ++o) for (i64 b = 0; b < B; ++b) old[o] = std::min(old[o], now[o * B + b] + v.free[t.what][b]);
                break;
            default:
                for (i64 o = 0; o < O; ++o) for (i64 b = 0; b < B; ++b) old[o * B + b] = now[o * B + b] + v.free[t.what][b];
            }
            now.swap(old);
        }
    }

    const Problem &p_;
    double budget_[KINDS], scale_[KINDS];
    bool empty_;
    i64 work_;
    std::vector<std::vector<int> > active_; // per stage: options
    // What follows has one stage, or joint, after another: where each one's options, labels and pairs of lanes begin.
    std::vector<size_t> first_, joined_;
    std::vector<int> labels_, label_; // label_: of each option, as numbered here
    std::vector<Labels> ins_, outs_;
    Costs costs_, gears_; // of options, forks behind them included; of converters
    std::vector<int> inner_, forks_, forked_, near_, far_; // streams by index; forks: how many
    std::vector<Step> steps_;
};

// min t with all of a mixture of `columns` below t: the mixture, and the weights that prove it. Dense simplex.
class Mixture {
  public:
    double solve(const std::vector<Cost> &columns, double *share, std::vector<double> &part) {
        const int n = int(columns.size()), width = n + KINDS + 2, rows = KINDS + 1, rhs = width - 1, t = n + KINDS;
        std::vector<std::vector<double> > a(rows + 1, std::vector<double>(width, 0.0));
        std::vector<int> basis(rows);
        for (int k = 0; k < KINDS; ++k) {
            for (int j = 0; j < n; ++j) a[k][j] = columns[j].of[k];
            a[k][n + k] = 1;
            a[k][t] = -1;
            basis[k] = n + k;
        }
        for (int j = 0; j < n; ++j) a[KINDS][j] = 1;
        a[KINDS][rhs] = 1;
        a[rows][t] = 1; // reduced costs
        int worst = 0;
        for (int k = 1; k < KINDS; ++k) if (columns[0].of[k] > columns[0].of[worst]) worst = k;
        pivot(a, KINDS, 0), basis[KINDS] = 0;
        pivot(a, worst, t), basis[worst] = t;
        for (int round = 0; round < 500; ++round) {
            int enter = -1, leave = -1;
            double least = -1e-11, ratio = 0;
            for (int j = 0; j < rhs; ++j) if (a[rows][j] < least) least = a[rows][j], enter = j;
            if (enter < 0) break;
            for (int i = 0; i < rows; ++i)
                if (a[i][enter] > 1e-11 && (leave < 0 || a[i][rhs] / a[i][enter] < ratio)) leave = i, ratio = a[i][rhs] / a[i][enter];
            if (leave < 0) break;
            pivot(a, leave, enter);
            basis[leave] = enter;
        }
        double sum = 0;
        for (int k = 0; k < KINDS; ++k) sum += share[k] = std::max(a[rows][n + k], 0.0);
        for (int k = 0; k < KINDS; ++k) share[k] = sum > 0 ? share[k] / sum : 1.0 / KINDS;
        part.assign(n, 0.0);
        for (int i = 0; i < rows; ++i) if (basis[i] < n) part[basis[i]] = a[i][rhs];
        return -a[rows][rhs];
    }

  private:
    static void pivot(std::vector<std::vector<double> > &a, int row, int column) {
        const double by = a[row][column];
        for (double &x : a[row]) x /= by;
        for (size_t i = 0; i < a.size(); ++i) {
            const double f = int(i) == row ? 0 : a[i][column];
            if (f != 0) for (size_t j = 0; j < a[i].size(); ++j) a[i][j] -= f * a[row][j];
        }
    }
};

// Cheapest designs under different weights.
struct Seen {
    std::vector<Cost> used; // shares of the budget
    std::vector<std::vector<int> > picks;
    std::vector<double> part; // of the mixture that overuses least
    double share[KINDS], value; // weights of the best bound so far
    Priced best;
};

double over(const double *used) {
    double most = 0;
    for (int k = 0; k < KINDS; ++k) most = std::max(most, used[k] - 1);
    return most;
}

// Moves weights towards what is short (cutting planes, kept near the best weights so far). 1: picks fit as far as costs are
// known here; 0: proved that nothing fits; -1: neither.
int balance(const Solver &s, int rounds, double *share, int *picks, Seen &seen) {
    if (s.empty()) return 0;
    const size_t stages = s.problem().stages.size();
    std::copy(share, share + KINDS, seen.share);
    seen.value = -1;
    double ask[KINDS], next[KINDS];
    std::copy(share, share + KINDS, ask);
    Priced v;
    Mixture mixture;
    double near = 0.5;
    for (int k = 0; k < rounds; ++k) {
        s.price(ask, v);
        if (v.value > 1 + CLOSE) {
            std::copy(ask, ask + KINDS, share);
            return 0;
        }
        s.trace(v, picks);
        Cost used = s.cost(ask, picks);
        for (int r = 0; r < KINDS; ++r) used.of[r] = s.budget()[r] <= 0 ? (used.of[r] > 0 ? 2 : 0) : used.of[r] * s.scale()[r];
        if (over(used.of) <= 0) {
            std::copy(ask, ask + KINDS, share);
            return 1;
        }
        const bool better = v.value > seen.value;
        if (better) {
            seen.value = v.value;
            std::copy(ask, ask + KINDS, seen.share);
            std::swap(seen.best, v);
        }
        seen.used.push_back(used);
        seen.picks.push_back(std::vector<int>(picks, picks + stages));
        const double most = mixture.solve(seen.used, next, seen.part);
        // A mixture fits, or the weights are as good as they get.
        if (most <= 1 || most - seen.value < 1e-4 * (1 - seen.value) + 1e-9) break;
        near = better ? 0.5 : near * 0.6;
        for (int r = 0; r < KINDS; ++r) ask[r] = near * seen.share[r] + (1 - near) * next[r];
    }
    std::copy(seen.share, seen.share + KINDS, share);
    return -1;
}

// What exceeds the budget, summed over resources, once a change came to what is used; for many changes.
WIDE void left_over(size_t n, const double *a, const double *b, const double *c, const double *d, const double *e, const double *free, double *out) {
    for (size_t i = 0; i < n; ++i) {
        const double over = std::max(0.0, a[i] - free[0]) + std::max(0.0, b[i] - free[1]) + std::max(0.0, c[i] - free[2]);
        out[i] = over + std::max(0.0, d[i] - free[3]) + std::max(0.0, e[i] - free[4]);
    }
}
void left_over(const Costs &c, size_t n, const double *free, double *out) {
    left_over(n, c.of[0].data(), c.of[1].data(), c.of[2].data(), c.of[3].data(), c.of[4].data(), free, out);
}

// Exchanges options, one or two at a time, while that lessens what is used beyond the budget; whether all fits then.
class Exchange {
  public:
    Exchange(const Solver &s, const double *share) : s_(s), p_(s.problem()), first_(1, 0) {
        s.weights(share, w_);
        for (size_t i = 0; i < p_.stages.size(); ++i) {
            for (int o : s.active()[i]) own_.push_back(s.own(i, o, w_)), stage_.push_back(int(i)), option_.push_back(o);
            first_.push_back(own_.size());
        }
        change_.resize(own_.size());
        price_.resize(own_.size());
        left_.resize(own_.size());
    }

    bool run(const double *share, int *picks) {
        picks_ = picks;
        used_ = s_.cost(share, picks);
        scaled(used_);
        for (size_t i = 0; i < p_.stages.size(); ++i) list(int(i));
        for (int round = 0; round < 200 && beyond() > 0; ++round)
            if (!single() && !pair()) return false;
        return beyond() <= 0;
    }

  private:
    static const size_t PAIRED = 250; // cheapest moves that are tried two at a time
    void scaled(Cost &c) const {
        for (int k = 0; k < KINDS; ++k) c.of[k] *= s_.scale()[k];
    }
    double limit(int k) const { return s_.budget()[k] > 0 ? 1 : 0; }
    double beyond() const {
        double sum = 0;
        for (int k = 0; k < KINDS; ++k) sum += std::max(0.0, used_.of[k] - limit(k));
        return sum;
    }
    Cost around(int stage) const {
        Cost c = Cost();
        for (int j : p_.around[stage]) Solver::add(c, s_.between(j, picks_, w_));
        return c;
    }
    // What each option of a stage would change, as its neighbours are.
    void list(int i) {
        const Layer &layer = *p_.stages[i];
        const int now = picks_[i];
        Cost before = s_.own(i, now, w_);
        Solver::add(before, around(i));
        joined_.resize(layer.ins * layer.outs);
        known_.assign(joined_.size(), 0);
        for (size_t m = first_[i]; m < first_[i + 1]; ++m) {
            const int label = layer.label[option_[m]];
            if (!known_[label]) {
                picks_[i] = option_[m];
                known_[label] = 1, joined_[label] = around(i);
            }
            Cost change = own_[m];
            Solver::add(change, joined_[label]);
            Solver::add(change, before, -1);
            price_[m] = change.dot(w_);
            scaled(change);
            change_.set(m, change);
        }
        picks_[i] = now;
    }
    void take(size_t m) {
        const int stage = stage_[m];
        for (int k = 0; k < KINDS; ++k) used_.of[k] += change_.of[k][m];
        picks_[stage] = option_[m];
    }
    void renew(int stage) { // after its pick changed
        list(stage);
        for (int j : p_.around[stage]) list(p_.ends[j].first == stage ? p_.ends[j].second : p_.ends[j].first);
    }
    void room(double *free, size_t m) const {
        for (int k = 0; k < KINDS; ++k) free[k] = limit(k) - used_.of[k] - change_.of[k][m];
    }
    bool single() {
        double free[KINDS];
        for (int k = 0; k < KINDS; ++k) free[k] = limit(k) - used_.of[k];
        left_over(change_, left_.size(), free, left_.data());
        const size_t m = std::min_element(left_.begin(), left_.end()) - left_.begin();
        if (!(left_[m] < beyond() - CLOSE)) return false;
        take(m);
        renew(stage_[m]);
        return true;
    }
    bool pair() {
        order_.clear();
        for (size_t m = 0; m < price_.size(); ++m) if (option_[m] != picks_[stage_[m]]) order_.push_back(int(m));
        const size_t most = std::min(order_.size(), PAIRED);
        const auto cheaper = [&](int a, int b) { return price_[a] != price_[b] ? price_[a] < price_[b] : a < b; };
        if (most < order_.size()) std::nth_element(order_.begin(), order_.begin() + most, order_.end(), cheaper);
        std::sort(order_.begin(), order_.begin() + most, cheaper);
        few_.resize(most);
        for (int k = 0; k < KINDS; ++k) for (size_t i = 0; i < most; ++i) few_.of[k][i] = change_.of[k][order_[i]];
        int one = -1, two = -1;
        double least = beyond() - CLOSE, free[KINDS];
        for (size_t i = 1; i < most; ++i) {
            room(free, order_[i]);
            left_over(few_, i, free, left_.data());
            for (size_t j = 0; j < i; ++j)
                if (left_[j] < least && apart(stage_[order_[i]], stage_[order_[j]])) least = left_[j], one = order_[i], two = order_[j];
        }
        if (one < 0) return false;
        take(one), take(two);
        renew(stage_[one]), renew(stage_[two]);
        return true;
    }
    bool apart(int a, int b) const {
        if (a == b) return false;
        for (int j : p_.around[a]) if (p_.ends[j].first == b || p_.ends[j].second == b) return false;
        return true;
    }

    const Solver &s_;
    const Problem &p_;
    double w_[KINDS];
    std::vector<size_t> first_; // of each stage's options
    std::vector<Cost> own_, joined_; // by option; by label of one stage
    std::vector<int> stage_, option_, order_;
    std::vector<char> known_;
    Costs change_, few_; // as shares of the budget; of the cheapest
    std::vector<double> price_, left_;
    int *picks_;
    Cost used_;
};

// A stage and a kind in whose cost the designs of a mixture differ most: allowing less than `middle` on one side and more on
// the other leaves the mixture on neither.
struct Split {
    int stage, kind;
    double middle, spread;
};

Split widest(const Solver &s, const Seen &seen) {
    Split found = {-1, 0, 0, 0};
    for (size_t i = 0; i < s.active().size(); ++i)
        for (int r = 0; r < KINDS; ++r) {
            double low = 0, high = 0;
            bool first = true;
            for (size_t k = 0; k < seen.used.size(); ++k) {
                if (k >= seen.part.size() || seen.part[k] < 1e-6) continue;
                const double c = s.problem().stages[i]->cost[seen.picks[k][i]].of[r];
                low = first ? c : std::min(low, c);
                high = first ? c : std::max(high, c);
                first = false;
            }
            const double spread = (high - low) * s.scale()[r] * (seen.share[r] + 0.01);
            if (spread > found.spread) {
                const Split better = {int(i), r, (high + low) / 2, spread};
                found = better;
            }
        }
    return found;
}

const int PASSES = 6; // of weights and what they leave out

// As balance, then by leaving out what cannot be part of a design, by exchanges, and by branch and bound: what weights leave
// open is split in two until they decide or `effort` sums are done.
int decide(Solver &s, int rounds, double *share, int *picks, i64 &effort) {
    Seen seen;
    for (int pass = 0; pass < PASSES; ++pass) {
        seen = Seen();
        const int found = balance(s, rounds, share, picks, seen);
        effort -= s.work() * i64(seen.used.size() + 2);
        if (found >= 0) return found;
        size_t options = 0;
        for (const std::vector<int> &a : s.active()) options += a.size();
        const size_t gone = s.filter(seen.best);
        if (s.empty()) return 0;
        if (10 * gone < options) break;
    }
    std::vector<size_t> order;
    for (size_t k = 0; k < seen.part.size(); ++k) if (seen.part[k] > 1e-6) order.push_back(k);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return over(seen.used[a].of) < over(seen.used[b].of); });
    for (size_t n = 0; n < std::min<size_t>(order.size(), 3); ++n) {
        std::copy(seen.picks[order[n]].begin(), seen.picks[order[n]].end(), picks);
        if (Exchange(s, seen.share).run(seen.share, picks)) return 1;
    }
    const Split split = widest(s, seen);
    if (effort <= 0 || split.stage < 0) return -1;
    bool open = false;
    for (int side = 0; side < 2; ++side) {
        std::vector<int> part;
        for (int o : s.active()[split.stage])
            if ((s.problem().stages[split.stage]->cost[o].of[split.kind] <= split.middle) == (side == 0)) part.push_back(o);
        Solver inside = s;
        inside.allow(split.stage, part);
        double w[KINDS];
        std::copy(share, share + KINDS, w);
        const int found = decide(inside, 18, w, picks, effort);
        if (found == 1) {
            std::copy(w, w + KINDS, share);
            return 1;
        }
        open |= found < 0;
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
    layer->cycles.assign(cycles, cycles + n);
    layer->in.assign(in, in + n);
    layer->out.assign(out, out + n);
    layer->inner.assign(inner, inner + n);
    layer->label.resize(n);
    layer->cost.resize(n);
    for (i64 i = 0; i < n; ++i) {
        layer->label[i] = int(in[i] * outs + out[i]);
        for (int k = 0; k < KINDS; ++k) layer->cost[i].of[k] = double(cost[i * KINDS + k]);
    }
    layer->expiry.assign(n, std::numeric_limits<i64>::max());
    std::vector<std::vector<int> > groups(ins * outs);
    for (i64 i = 0; i < n; ++i) groups[layer->label[i]].push_back(int(i));
    for (std::vector<int> &group : groups) {
        std::stable_sort(group.begin(), group.end(), [&](int a, int b) { return cycles[a] < cycles[b]; });
        for (size_t i = 0; i < group.size(); ++i)
            for (size_t j = i + 1; j < group.size(); ++j) {
                const int a = group[i], b = group[j];
                if (cycles[b] == cycles[a] || layer->inner[b] != layer->inner[a] || !layer->cost[b].within(layer->cost[a].of)) continue;
                layer->expiry[a] = cycles[b];
                break;
            }
    }
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
        e->near.push_back(int(near[i]));
        e->far.push_back(int(far[i]));
    }
    return e;
}
void flow_map_joint_free(void *joint) { delete static_cast<Joint *>(joint); }

// layers, joints: handles. forks: per stage and output label, one stage after another: 5 of cost, streams, their number.
// fifos: number, 5 of cost in shift registers, 5 in block RAM. visits: 4 each. cap: entries of a table. deep: stage, number of
// its own stream, number of the stream that it is here.
void *flow_map_problem(int64_t stages, void *const *layers, const int64_t *forks, int64_t joints, void *const *joint,
                       const int64_t *ends, int64_t visits, const int64_t *visit, int64_t fifos, const int64_t *fifo, const int64_t *fixed,
                       int64_t cap, int64_t deeper, const int64_t *deep) {
    Problem *p = new Problem();
    for (i64 s = 0; s < stages; ++s) {
        const Layer *layer = static_cast<const Layer *>(layers[s]);
        p->stages.push_back(layer);
        p->inner.push_back(layer->inner);
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
    p->cap = cap;
    for (i64 d = 0; d < deeper; ++d, deep += 3)
        for (size_t o = 0; o < p->inner[deep[0]].size(); ++o)
            if (p->stages[deep[0]]->inner[o] == deep[1]) p->inner[deep[0]][o] = int(deep[2]);
    p->around.resize(stages);
    for (i64 j = 0; j < joints; ++j) {
        p->around[p->ends[j].first].push_back(int(j));
        if (p->ends[j].first != p->ends[j].second) p->around[p->ends[j].second].push_back(int(j));
    }
    for (i64 s = 0; s < visits; ++s, visit += 4) {
        const Visit v = {visit[0], visit[1], visit[2], visit[3]};
        p->visits.push_back(v);
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
// The same with other options of the first and the last stage, of the same labels.
void *flow_map_relaxed(const void *problem, const void *first, const void *last) {
    Problem *p = new Problem(*static_cast<const Problem *>(problem));
    p->stages.front() = static_cast<const Layer *>(first);
    p->stages.back() = static_cast<const Layer *>(last);
    p->inner.front() = p->stages.front()->inner;
    p->inner.back() = p->stages.back()->inner;
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
    const auto proved = [&](i64 interval) {
        std::copy(share, share + KINDS, w);
        Seen seen;
        return balance(Solver(p, interval, budget), rounds, w, picks.data(), seen) == 0;
    };
    if (proved(high)) {
        std::copy(w, w + KINDS, share);
        return -1;
    }
    while (low < high) {
        // Cycles spread over orders of magnitude: halve the ratio.
        i64 mid = i64(std::sqrt(double(low) * double(high)));
        mid = std::min(std::max(mid, low), high - 1);
        if (proved(mid)) {
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

// A design of at most `interval`: 1 and its picks, 0 when none is possible, -1 when neither was found out with `effort`.
int flow_map_fit(void *problem, int64_t interval, const double *budget, int rounds, int64_t effort, double *share, int *picks) {
    Solver s(*static_cast<const Problem *>(problem), interval, budget);
    i64 left = effort;
    return decide(s, rounds, share, picks, left);
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
void flow_map_cost(void *problem, const double *budget, const double *share, const int *picks, double *cost) {
    const Problem &p = *static_cast<const Problem *>(problem);
    const Cost total = Solver(p, budget).cost(share, picks);
    for (int k = 0; k < KINDS; ++k) cost[k] = total.of[k] + p.fixed.of[k];
}

int64_t flow_map_next(void *problem, int64_t interval) { return next_candidate(*static_cast<const Problem *>(problem), interval); }
}
