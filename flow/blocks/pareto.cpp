// Which rows of a table no other row of the same label beats or equals in every column (flow/blocks/pareto.py).
#include <algorithm>
#include <cstdint>
#include <vector>

extern "C" {

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
