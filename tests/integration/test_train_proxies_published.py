"""Our proxies of NAS-Bench-201 networks against the scores and accuracies that others published for them."""

import os
from pathlib import Path

import numpy as np
import pytest

from flow import space
from flow.train import proxies, ranking

DATA = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "nas"
COUNT, BATCH = 24, 16
# Their networks normalise after each convolution, ours before the ReLU, and dead edges build nothing here: the
# orders agree, not the numbers.  Least rank correlation with the published score of the same name.
AGREE = {"synflow": 0.9, "params": 0.8, "flops": 0.8, "jacov": 0.7, "nwot": 0.6, "snip": 0.4, "grad_norm": 0.4}


@pytest.mark.slow
def test_orders_agree_with_published_scores() -> None:
    if not (DATA / "nb201_zc_subset.npz").is_file():
        pytest.skip(f"no {DATA}/nb201_zc_subset.npz")
    published = np.load(DATA / "nb201_zc_subset.npz", allow_pickle=False)
    cells = np.load(DATA / "nb201_acc_hw.npz", allow_pickle=False)["arch_str"]
    known = space.load("nas-bench-201")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (BATCH, 3, 32, 32), dtype=np.uint8), np.arange(BATCH) % 10
    rows, used = [], []
    for i in rng.permutation(len(published["cifar10_idx"])):
        genotype = known.of_cell(str(cells[published["cifar10_idx"][i]]))
        if not known.disconnected(genotype):
            rows.append(proxies.scores(known.network(genotype, (3, 32, 32), 10), x, y))
            used.append(i)
        if len(rows) == COUNT:
            break
    accuracy = published["cifar10_val_acc"][used]
    for name, least in AGREE.items():
        ours = [r[name] for r in rows]
        found = ranking.correlation(ours, published[f"cifar10_{name}"][used])
        assert found is not None and found > least, f"{name}: {found}"
    whole = ranking.correlation(ranking.ensemble(rows), accuracy)
    assert whole is not None and whole > 0.5
