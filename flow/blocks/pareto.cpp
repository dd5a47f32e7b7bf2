// Which rows of a table no other row of the same label beats or equals in every column (flow/blocks/pareto.py).
#include <algorithm>
#include <cstdint>
#include <vector>

extern "C" {

// Distinct keys ascending, and for each key which of them it is; returns how many. Keys repeat: few are sorted.
int64_t flow_labels(int64_t n, const int64_t *key, int64_t *distinct, int64_t *label) {
    int bits = 3;
    while (int64_t(1) << bits < 2 * n) ++bits;
    std::vector<int64_t> place(size_t(1) << bits, -1); // of a key among those met, by its hash
    const size_t mask = place.size() - 1;
    int64_t met = 0;
    for (int64_t i = 0; i < n; ++i) {
        size_t at = size_t(uint64_t(key[i]) * 0x9E3779B97F4A7C15u >> (64 - bits));
        while (place[at] >= 0 && distinct[place[at]] != key[i]) at = (at + 1) & mask;
        if (place[at] < 0) place[at] = met, distinct[met++] = key[i];
        label[i] = place[at];
    }
    std::vector<int64_t> order(met), rank(met);
    for (int64_t i = 0; i < met; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return distinct[a] < distinct[b]; });
    for (int64_t i = 0; i < met; ++i) rank[order[i]] = i;
    for (int64_t i = 0; i < n; ++i) label[i] = rank[label[i]];
    std::sort(distinct, distinct + met);
    return met;
}

// Rows come sorted, so only an earlier one can be as good: keep[i] becomes 1 for those that stay.
void flow_undominated(int64_t rows, int64_t columns, const int64_t *label, const int64_t *cost, uint8_t *keep) {
    int64_t labels = 0;
    for (int64_t i = 0; i < rows; ++i) labels = std::max(labels, label[i] + 1);
    std::vector<std::vector<int64_t> > kept(labels);
    for (int64_t i = 0; i < rows; ++i) {
        keep[i] = 1;
        for (int64_t j : kept[label[i]]) {
            int64_t c = 0;
            while (c < columns && cost[j * columns + c] <= cost[i * columns + c]) ++c;
            if (c == columns) {
                keep[i] = 0;
                break;
            }
        }
        if (keep[i]) kept[label[i]].push_back(i);
    }
}
}
