"""Platform files: those of the package, one's own, and ones that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flow import platform
from flow.board import BoardError
from flow.platform import Link

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
GOOD = """
name = "mine"
boards = ["zcu102", "zcu102", "pynq-z2"]
[link]
bandwidth_gb_s = 2
latency_us = 0.5
[reconfiguration]
ms = 30
[sources]
link = "made up"
"""


@pytest.mark.parametrize("name", platform.names())
def test_every_platform_loads_and_names_its_sources(name: str) -> None:
    got = platform.load(name)
    assert got.name == name and len(got.boards) >= 2 and got.links
    data = tomllib.loads((ROOT / "boards/platforms" / f"{name}.toml").read_text(encoding="utf-8"))
    assert {"boards", "bandwidth", "latency"} <= set(data["sources"])
    assert all(len(s) > 20 for s in data["sources"].values())
    assert list(platform.every()) == [platform.load(n) for n in platform.names()]


def test_chain() -> None:
    got = platform.parse(GOOD, "x.toml", None)
    assert got.links == (Link(0, 1, 2.0, 0.5), Link(1, 2, 2.0, 0.5)) and got.reconfiguration_ms == 30
    assert got.link(1, 0) is None and got.link(1, 2) == Link(1, 2, 2.0, 0.5)
    assert got.routes() == ((0, 1, 2), (1, 2), (2,))  # (0,) and (1,) are beginnings
    assert {b.clock_mhz for b in got.at(150.0).boards} == {150.0}


def test_routes_over_any_links() -> None:
    text = 'name = "ring"\nboards = ["zcu102", "zc706", "zcu102"]\n'
    text += "".join(
        f"[[links]]\nfrom = {a}\nto = {b}\nbandwidth_gb_s = 1\nlatency_us = 0\n" for a, b in ((0, 1), (1, 2), (2, 0))
    )
    got = platform.parse(text, "ring.toml", None)
    assert set(got.routes()) == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


def test_a_board_file_beside_the_platform_file(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text((ROOT / "boards/zcu102.toml").read_text().replace('"zcu102"', '"other"', 1))
    (tmp_path / "p.toml").write_text('name = "p"\nboards = ["b.toml"]\n')
    assert [b.name for b in platform.load(str(tmp_path / "p.toml")).boards] == ["other"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mine"', "", "key name"),
        ('name = "mine"', 'name = "a b"', "key name"),
        ("[link]", "[link]\nspeed = 3", "unknown key link.speed; known: bandwidth_gb_s, latency_us"),
        ("[link]", "[wire]", "unknown key wire"),
        ("bandwidth_gb_s = 2", "bandwidth_gb_s = 0", "above zero"),
        ("bandwidth_gb_s = 2", "", "key links.bandwidth_gb_s is missing"),
        ("bandwidth_gb_s = 2", 'bandwidth_gb_s = "fast"', "must be a number"),
        ("ms = 30", "ms = -1", "reconfiguration.ms"),
        ('["zcu102", "zcu102", "pynq-z2"]', "[]", "key boards"),
        ('["zcu102", "zcu102", "pynq-z2"]', '["zcu101"]', "unknown board 'zcu101'"),
        ('["zcu102", "zcu102", "pynq-z2"]', str(["zcu102"] * 17), "16 are supported"),
        ("[link]", "[[links]]\nfrom = 0\nto = 3", "two different boards, 0 to 2"),
        ("[link]", "[[links]]\nfrom = 1\nto = 1", "two different boards"),
        ("[reconfiguration]", "[[links]]\nfrom = 0\nto = 1\n[reconfiguration]", "not both"),
        ("[sources]", "[sources", "not valid TOML"),
    ],
)
def test_bad_files_give_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BoardError, match=r"^[^\n]*$") as e:
        platform.load(str(path))
    assert said in str(e.value)


def test_unknown_names() -> None:
    with pytest.raises(BoardError, match="nearest: two-zcu102"):
        platform.load("two-zcu10")
    with pytest.raises(BoardError, match="does not exist"):
        platform.load("none.toml")
    with pytest.raises(BoardError, match="link is missing"):
        platform.parse('name = "x"\nboards = ["zcu102", "zcu102"]', "x.toml", None)
