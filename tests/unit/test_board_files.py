"""Boards that come with the package, against the collected facts; board files that cannot be used."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import pytest

from flow import board
from flow.board import BoardError, Resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FACTS = Path(os.environ.get("COEXPLORE_DATA", ROOT / "../shared/data")) / "boards.csv"
GOOD = (ROOT / "boards/zcu102.toml").read_text(encoding="utf-8")

# Names in the facts -> names here.  Memory figures that the facts lack, or list as another project's error.
NAMES = {
    "zc702/zedboard": ["zc702", "zedboard"],
    "pynq-z1/z2": ["pynq-z1", "pynq-z2"],
    "kv260/kr260": ["kv260"],
    "ultra96": ["ultra96", "ultra96-v2"],
}


def facts() -> list[tuple[str, dict[str, str]]]:
    with FACTS.open(encoding="utf-8", newline="") as file:
        return [(name, row) for row in csv.DictReader(file) for name in NAMES.get(row["board"], [row["board"]])]


@pytest.mark.skipif(not FACTS.is_file(), reason=f"no board facts at {FACTS} (set COEXPLORE_DATA)")
def test_numbers_equal_the_collected_facts() -> None:
    checked = 0
    for name, row in facts():
        got = board.load(name)
        want = Resources(*(int(row[k]) for k in ("lut", "ff", "dsp", "bram18", "uram")))
        assert got.available == want, name
        assert int(row["bram18"]) == 2 * int(row["bram36"]), name  # the unit that other projects mix up
        if row["mem_GBps"]:
            assert got.memory_gb_s == float(row["mem_GBps"]), name
        if name != "ultra96-v2":  # industrial grade of the same part
            assert got.part.replace("-", "") == row["part"].replace("-", ""), name
        checked += 1
    assert checked >= 18
    assert {name for name, _ in facts()} == set(board.names()) - {"picozed-7z015"}


# Width of the data bus in bits and transfers a second (millions), from the boards' manuals.
BUSES = {
    "zcu102": (64, 2400),
    "zcu104": (64, 2400),
    "zc706": (64, 1600),
    "zedboard": (32, 1066),
    "picozed-7z015": (32, 1066),
    "pynq-z1": (16, 1050),
    "pynq-z2": (16, 1050),
    "ultra96": (32, 1066),
    "kv260": (64, 2400),
    "u250": (4 * 64, 2400),
    "vcu118": (2 * 64, 2400),
    "vc709": (2 * 64, 1600),
    "arty-a7-100": (16, 667),
}


@pytest.mark.parametrize("name", BUSES)
def test_memory_bandwidth_is_bus_width_times_rate(name: str) -> None:
    bits, rate = BUSES[name]
    assert board.load(name).memory_gb_s == pytest.approx(bits / 8 * rate / 1000)


@pytest.mark.parametrize("name", board.names())
def test_every_board_loads_and_names_its_sources(name: str) -> None:
    got = board.load(name)
    assert got.name == name
    text = tomllib.loads((ROOT / "boards" / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(text["sources"]) == {"resources", "memory", "clock"} | ({"power"} if "power" in text else set())
    assert all(len(source) > 20 for source in text["sources"].values())
    assert got.processor in ("zynq_ultra_ps_e", "processing_system7", "microblaze", "xrt")
    assert got.board_part.count(":") == 3 and ":part0:" in got.board_part
    assert (got.available.uram > 0) <= got.ultrascale  # no UltraRAM in the 7 series
    assert got.memory_gb_s > 1 and 50 <= got.clock_mhz <= 400
    prefix = {"zynquplus": ("xczu", "xck"), "virtexuplus": ("xcu", "xcvu"), "zynq": ("xc7z",), "artix7": ("xc7a",)}
    assert got.part.startswith(prefix.get(got.family, ("xc7v",)))


def test_the_nine_boards_are_there() -> None:
    wanted = {"zcu102", "zcu104", "zc706", "pynq-z2", "ultra96", "kv260", "u250", "vcu118", "arty-a7-100"}
    assert wanted <= set(board.names())
    assert [b.name for b in board.every()] == board.names() == sorted(board.names())


@pytest.mark.parametrize(
    ("typed", "meant"), [("zcu12", "zcu102"), ("ZCU102", "zcu102"), ("pynqz2", "pynq-z2"), ("ultra-96", "ultra96")]
)
def test_an_unknown_board_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(BoardError, match="unknown board") as caught:
        board.load(typed)
    assert meant in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_near_nothing_lists_all() -> None:
    with pytest.raises(BoardError, match=r"zcu102.*zedboard"):
        board.load("!!!!")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lut = 274080\n", "", "resources.lut is missing"),
        ("[memory]\nbandwidth_gb_s = 19.2\n", "", "memory.bandwidth_gb_s is missing"),
        ('name = "zcu102"\n', "", "key name is missing"),
        ("lut = 274080", 'lut = "many"', "resources.lut must be a number, not 'many'"),
        ("lut = 274080", "lut = true", "resources.lut must be a number"),
        ("lut = 274080", "lut = 1.5", "resources.lut must be a number"),
        ("lut = 274080", "lut = 0", "must be above zero"),
        ("default_mhz = 200.0", "default_mhz = 0", "must be above zero"),
        ("dsp = 2520", "dsp = -1", "resources.dsp is -1, out of range"),
        ("bandwidth_gb_s = 19.2", "bandwidth_gb_s = nan", "memory.bandwidth_gb_s is nan, out of range"),
        ("bandwidth_gb_s = 19.2", "bandwidth_gb_s = inf", "memory.bandwidth_gb_s is inf, out of range"),
        ("bandwidth_gb_s = 19.2", "bandwidth_gbs = 19.2", "unknown key memory.bandwidth_gbs; known: bandwidth_gb_s"),
        ("[clock]", "[clok]", r"unknown table \[clok\]"),
        ("[clock]", "[clock", "not valid TOML"),
        ('family = "zynquplus"', 'family = "versal"', "family 'versal' is not one of"),
        ('family = "zynquplus"', "family = 7", "key family must be text"),
        ('part = "xczu9eg-ffvb1156-2-e"', 'part = "x} ; exec rm -rf {"', "key part has characters"),
        ('part = "xczu9eg-ffvb1156-2-e"', 'part = "a\\nb"', "key part has characters"),
        ('name = "zcu102"', 'name = "../../etc"', "key name has characters"),
        ("xilinx.com:zcu102:part0:3.3", "a[exec id]", "key system.board_part has characters"),
        ('name = "zcu102"', 'name = "zcu102"\ncolour = "green"', "unknown key colour"),
    ],
)
def test_a_bad_board_file_gives_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) == 1
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(BoardError, match=says) as caught:
        board.load(str(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_users_board_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace('"zcu102"', '"mine"') + "\n[power]\nstatic_w = 2\n", encoding="utf-8")
    got = board.load(str(path))
    assert (got.name, got.static_w, got.available) == ("mine", 2.0, board.load("zcu102").available)


def test_a_missing_board_file(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"none\.toml does not exist"):
        board.load(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="not valid TOML"):
        board.load(str(tmp_path / "bytes.toml"))


def test_resources_add_and_scale() -> None:
    one = Resources(1, 2, 3, 4, 5)
    assert one + one.times(2) == one.times(3) == Resources(3, 6, 9, 12, 15)
    assert one.json() == {"lut": 1, "ff": 2, "dsp": 3, "bram18": 4, "uram": 5}
