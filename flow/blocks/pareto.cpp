// Which rows of a table no other row of the same label beats or equals in every column (flow/blocks/pareto.py).
#include <algorithm>
#include <cstdint>
#include <vector>

extern "C" {

// Distinct keys ascending, and for each key which of them it is; returns how many.
int64_t flow_labels(int64_t n, const int64_t *key, int64_t *distinct, int64_t *label) {
    std::copy(key, key + n, distinct);
    std::sort(distinct, distinct + n);
    int64_t *end = std::unique(distinct, distinct + n);
    for (int64_t i = 0; i < n; ++i) label[i] = std::lower_bound(distinct, end, key[i]) - distinct;
    return end - distinct;
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
