"""Finding spaces by name or file."""

from pathlib import Path

import numpy as np
import pytest

from flow.space import Options, Space, SpaceError, load, names

OWN = """
from dataclasses import dataclass
import numpy as np
from flow.space.hardware import HardwareGenotype
from flow.space.network import INPUT, Layer, NetSpec

@dataclass(frozen=True)
class Width:
    channels: int

class OwnSpace:
    name = "own"
    def sample(self, rng): return Width(int(rng.integers(4, 9)))
    def mutate(self, g, rng): return Width(4 + (g.channels - 3) % 5)
    def crossover(self, a, b, rng): return (a, b)[int(rng.integers(2))]
    def network(self, g, input_shape, classes):
        layers = (Layer("conv", (INPUT,), g.channels, 3), Layer("gap", (0,)), Layer("dense", (1,), classes))
        return NetSpec(input_shape, classes, layers)
    def hardware(self, g): return HardwareGenotype(200.0, 0.5)
    def features(self, g): return np.array([g.channels], float)
    def dumps(self, g): return {"channels": g.channels}
    def loads(self, obj): return Width(obj["channels"])

def space(options): return OwnSpace()
"""


def test_a_user_s_file_is_a_space(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    space = load(str(tmp_path / "own.py"))
    assert isinstance(space, Space) and space.name == "own"
    g = space.sample(np.random.default_rng(0))
    assert space.loads(space.dumps(g)) == g and space.mutate(g, np.random.default_rng(0)) != g
    assert space.network(g, (1, 12, 12), 3).classes == 3


def test_shipped_spaces_are_found_without_a_list() -> None:
    assert "default" in names() and "network" not in names()
    assert isinstance(load("default"), Space)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "defines no function space"),
        ("def space(options): return 3", "lacks .*sample"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message) as e:
        load(str(path))
    assert str(path) in str(e.value) and "\n" not in str(e.value)


def test_unknown_names_list_the_known_and_missing_files_are_named() -> None:
    with pytest.raises(SpaceError, match=r"no space 'nope': there are .*default"):
        load("nope")
    with pytest.raises(SpaceError, match="no space file"):
        load("nowhere/x.py")


def test_options_narrow_the_choices() -> None:
    space = load("default", Options(weight_bits=(4,), activation_bits=(8,), max_clock_mhz=160, budgets=(0.5,)))
    rng = np.random.default_rng(1)
    for _ in range(30):
        g = space.mutate(space.sample(rng), rng)
        assert space.hardware(g).clock_mhz in (100.0, 150.0) and space.hardware(g).budget == 0.5
        layers = [x for x in space.network(g, (1, 28, 28), 10).layers if x.weighted]
        assert {x.weight_bits for x in layers[1:-1]} == {4} and layers[0].weight_bits == layers[-1].weight_bits == 8
    with pytest.raises(SpaceError, match="weight bits"):
        load("default", Options(weight_bits=(16,)))
