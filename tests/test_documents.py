"""Every command in the documents is understood, and run if it is quick; every link exists."""

import argparse
import dataclasses
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

import pytest
import tyro

import kart_jax.train
from kart_jax.config import ClusterConfig, TrainConfig, save
from kart_jax.evaluate import EvaluateConfig
from kart_jax.game import RaceConfig
from kart_jax.game.config import ObservationName
from kart_jax.game.state import FIELDS, SIZE
from kart_jax.play import PlayConfig
from kart_jax.plot import PlotConfig
from kart_jax.record import RecordConfig
from kart_jax.report import ReportConfig
from kart_jax.saliency import SaliencyConfig
from tests.helpers.tiny_run import arguments

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
CARDS = sorted(ROOT.glob("kart_jax/policies/*/README.md"))
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def commands(start: str) -> list[str]:
    """The distinct commands in the documents, in blocks and in lines, that begin with `start`."""
    found = []
    for document in [*DOCUMENTS, *CARDS]:
        text = document.read_text()
        lines = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL):
            lines += block.replace("\\\n", " ").splitlines()
        for line in lines:
            command = " ".join(shlex.split(line, comments=True))
            if command.startswith(start):
                found.append(command)
    return sorted(set(found))


def known_flags() -> set[str]:
    """The flags of all our commands: the fields of their configurations, and those by name."""
    configs = [*vars(TrainConfig()).values(), ClusterConfig]
    configs += [PlayConfig, EvaluateConfig, PlotConfig, RecordConfig, ReportConfig, SaliencyConfig]
    names = {field.name for config in configs for field in dataclasses.fields(config)}
    sources = [*ROOT.glob("kart_jax/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    added = r"add_argument\(\s*\"(--[a-z-]+)\""
    return {"--" + name.replace("_", "-") for name in names} | {
        flag for source in sources for flag in re.findall(added, source.read_text())
    }


class Parsed(BaseException):
    """The command line was understood; what it asks for is not done."""


def start(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command in this process, as its own program; raises what it raises."""
    _, _, module, *arguments = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    for name in (module, f"{module}.__main__"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    runpy.run_module(module, run_name="__main__")


def stop_after(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_and_stop(*args: Any, **options: Any) -> Any:
        parse(*args, **options)
        raise Parsed

    return parse_and_stop


@pytest.mark.parametrize("command", commands("python -m "))
def test_a_python_command_is_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)  # for --resume, whose defaults are the run's
    save(TrainConfig(), tmp_path / "runs/x/config.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tyro, "cli", stop_after(tyro.cli))
    parser = argparse.ArgumentParser
    monkeypatch.setattr(parser, "parse_args", stop_after(parser.parse_args))
    with pytest.raises(Parsed):
        start(command, monkeypatch)


@pytest.mark.parametrize("command", commands("python -m benchmarks."))
def test_a_benchmark_writes_where_json_says(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all the flags that the documents give it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tyro, "cli", stop_after(tyro.cli))
    named: list[Any] = []
    parser = argparse.ArgumentParser
    for name in ("parse_args", "parse_known_args"):
        monkeypatch.setattr(parser, name, take_json(getattr(parser, name), named))
    with pytest.raises(Parsed):
        start(f"{command} --json out.json", monkeypatch)
    assert named == [Path("out.json")]


def take_json(parse: Callable[..., Any], named: list[Any]) -> Callable[..., Any]:
    """Note what `--json` names, and stop."""

    def parse_and_stop(*args: Any, **options: Any) -> Any:
        parsed = parse(*args, **options)
        space = parsed[0] if isinstance(parsed, tuple) else parsed
        if hasattr(space, "json"):
            named.append(space.json)
            raise Parsed
        return parsed

    return parse_and_stop


ON_A_RUN = [
    "python -m kart_jax.play runs/x --episodes 3",
    "python -m kart_jax.evaluate runs/x --tracks lighthouse --episodes 20 "
    "--json x.json --plot plots",
    "python -m kart_jax.runs",
    "python -m kart_jax.plot runs/x",
    "python -m kart_jax.plot x.json",
    "python -m kart_jax.report runs/x",
    "python -m kart_jax.export runs/x my-policy",
    "python -m kart_jax.play my-policy --episodes 1",
]
BY_THEMSELVES = {
    "python -m kart_jax.data": "supertuxkart",
    "python -m kart_jax.summary --preset reference": "37,748,246",
    "python -m kart_jax.play lighthouse --episodes 1": "1 episodes: ",
    "python -m kart_jax.play --driver ai --track zengarden --episodes 1": "1 episodes: ",
}
"""What the quick ones print."""


def test_commands_on_a_run_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the documents, on a run of the fake game."""
    monkeypatch.chdir(tmp_path)
    train = arguments(Path("runs/x"), 2, "--workers", "serial", "--track", "lighthouse")
    assert kart_jax.train.main(train) == 0
    for command in ON_A_RUN:
        assert command in commands("python -m ")
        with pytest.raises(SystemExit) as leave:
            start(command, monkeypatch)
        assert leave.value.code == 0, capsys.readouterr().err
    assert "3 episodes: " in capsys.readouterr().out
    for made in ("plots/learning_curves.png", "plots/x_lighthouse_lines.png", "x.json"):
        assert Path(made).stat().st_size > 0
    assert Path("my-policy/policy.stablehlo").exists()


@pytest.mark.real_game
@pytest.mark.parametrize("command", BY_THEMSELVES)
def test_commands_that_need_nothing_do_what_they_say(command: str, tmp_path: Path) -> None:
    assert command in commands("python -m ")
    _, *rest = shlex.split(command)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *rest],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert BY_THEMSELVES[command] in done.stdout


@pytest.mark.parametrize("document", [*DOCUMENTS, *CARDS], ids=_name)
def test_a_flag_in_the_text_exists(document: Path) -> None:
    """In lines of code that are no whole command, such as `--resume`."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    named = {flag for code in re.findall(r"`(--[^`]+)`", text) for flag in FLAG.findall(code)}
    assert named <= known_flags()


@pytest.mark.parametrize("command", commands("make "))
def test_a_make_command_has_its_target(command: str) -> None:
    _, target, *_ = command.split()
    assert target in TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_the_environments_reference_tells_of_every_option() -> None:
    text = (ROOT / "docs/environment.md").read_text()
    names = [field.name for field in dataclasses.fields(RaceConfig)]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_environments_reference_tells_of_every_entry_of_the_state() -> None:
    """In order, with its unit and scale; a star stands for a part of a name."""
    text = (ROOT / "docs" / "environment.md").read_text().split("### The state")[1]
    rows = re.findall(r"^\| (`[a-z_*`, ]+`) \| (\S+) \| (.+?) \|", text, re.MULTILINE)
    rows = [row for row in rows if row[0].strip("`") not in get_args(ObservationName)]
    assert f"({SIZE},)" in text
    last = 0
    for field in FIELDS:
        matching = [
            (len(name), number, unit, scale)
            for number, (entries, unit, scale) in enumerate(rows)
            for name in re.findall(r"[a-z_*]+", entries)
            if fnmatchcase(field.name, name)
        ]
        assert matching, field
        _, number, unit, scale = max(matching)
        own = re.sub(r"\D", "", field.name) if scale == "its distance" else scale
        assert (unit, float(own)) == (field.unit, field.scale), field
        assert number >= last or "*" in rows[number][0], f"{field.name} is out of order"
        last = number
