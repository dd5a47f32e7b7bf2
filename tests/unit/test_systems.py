"""Published systems by name: every file is a runnable configuration, and the command line comes before it."""

import inspect
from pathlib import Path

import pytest

from flow import cli, config, search, space, systems
from flow.modes import MODES
from flow.study import parts

DOCS = Path(__file__).parents[2] / "docs" / "systems.md"
WANTED = {
    "fnas", "co-exploration", "nahas", "hsconas", "hotnas", "edd", "dance", "once-for-all", "codesign-nas",
}  # fmt: skip


@pytest.fixture
def started(monkeypatch):
    """The configuration that a command line would run."""
    seen = []

    def run(settings, folder, say):
        seen.append(settings)
        return {"points": []}

    monkeypatch.setattr("flow.run.start", run)
    monkeypatch.setattr(cli, "finished", lambda *_: 0)

    def start(*words):
        assert cli.main(["search", *words]) == 0
        return seen[-1]

    return start


def test_the_surveys_systems_are_there():
    assert set(systems.names()) >= WANTED


@pytest.mark.parametrize("name", systems.names())
def test_a_system_can_start(name, started):
    """Its space, strategy, mode and options exist and fit together; the strategy proposes."""
    found = systems.load(name)
    assert found.same and found.differs and found.paper and found.search["mode"] in MODES
    settings = started("--system", name, "--trials", "30", "--seed", "5")
    assert settings.trials == 30 and settings.seed == 5 and settings.system == name
    assert settings.space == found.search["space"] in space.names()
    assert settings.strategy == found.search["strategy"] in search.names()
    assert config.options(settings.option) == found.options
    made = parts(settings)
    genotypes = made.strategy.ask(3)
    assert len(genotypes) == 3
    assert made.space.network(genotypes[0], (1, 28, 28), 10).classes == 10


def test_the_command_line_comes_first(started):
    settings = started("--system", "nahas", "--mode", "hw-aware", "--budget", "0.3")
    assert (settings.mode, settings.budget, settings.space) == ("hw-aware", 0.3, "nahas")
    plain = started("--board", "pynq-z2")
    assert (plain.mode, plain.space, plain.system) == ("joint", "default", "")


def test_a_system_of_one_s_own(tmp_path, started):
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\n[search]\nstrategy = "tpe"\ntrials = 7\n[options]\ncandidates = 5\n')
    settings = started("--system", str(path))
    assert (settings.strategy, settings.trials, settings.option) == ("tpe", 7, ("candidates=5",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "not valid TOML"),
        ('title = "x"', "key search is missing"),
        ('title = "x"\nyear = 3\n[search]\n', "unknown key year"),
        ('title = "x"\n[search]\nsapce = "default"', "unknown key search.sapce"),
        ("title = 3\n[search]\n", "title must be a str"),
    ],
)
def test_a_bad_file_is_one_line(text, message):
    with pytest.raises(systems.SystemFileError, match=message):
        systems.parse("bad", text)


def test_an_unknown_system_names_the_nearest(capsys):
    assert cli.main(["search", "--system", "nahsa"]) == 1
    assert "nearest: nahas" in capsys.readouterr().err


def test_the_page_is_made_from_the_files():
    assert DOCS.read_text(encoding="utf-8") == systems.markdown(), "flow systems --markdown > docs/systems.md"


def test_options_are_typed():
    found = config.options(("a=3", "b=-0.5", "c=true", "d=rnn", "e=1e-3"))
    assert found == {"a": 3, "b": -0.5, "c": True, "d": "rnn", "e": 0.001}
    with pytest.raises(config.ConfigError, match="NAME=VALUE"):
        config.options(("population",))


def test_what_a_system_may_set_are_options_of_search():
    known = set(inspect.signature(config.Config).parameters) | {"time", "bits"}
    assert set(systems.SEARCH) <= known
