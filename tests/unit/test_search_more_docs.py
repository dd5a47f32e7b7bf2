"""The files printed in the documentation are a strategy and a space as they stand."""

import re
from pathlib import Path

import numpy as np

from flow.search import conformance, load, names
from flow.search.encoded import TextSpace
from flow.search.loop import drive
from flow.space import Space
from flow.space import load as load_space
from flow.space import names as space_names

DOCS = Path(__file__).parents[2] / "docs"


def written(page: str, path: Path) -> str:
    """The page's first block of Python as a file."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)
    path.write_text(blocks[0])
    return str(path)


def test_the_documented_space_and_strategy_work_together(tmp_path: Path) -> None:
    space = load_space(written("add-a-space.md", tmp_path / "plain.py"))
    assert isinstance(space, Space)
    g = space.sample(np.random.default_rng(0))
    assert space.network(g, (1, 28, 28), 10).classes == 10 and space.loads(space.dumps(g)) == g
    text = TextSpace(space)
    strategy = written("add-a-strategy.md", tmp_path / "sweep.py")
    conformance.check(lambda s, seed, objectives: load(strategy, s, seed, objectives), text, 40)
    for name in names():
        assert len(drive(load(name, text, 0, 2), conformance.problem(text, 2), 24)) == 24


def test_every_space_and_strategy_is_in_the_documentation() -> None:
    spaces, strategies = (DOCS / "add-a-space.md").read_text(), (DOCS / "add-a-strategy.md").read_text()
    assert all(f"`{name}`" in spaces for name in space_names())
    assert all(f"`{name}`" in strategies for name in [*names(), "optuna_samplers", "pymoo_nsga2"])
