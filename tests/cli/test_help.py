"""The help of training: short or whole, with the chosen preset's defaults."""

import dataclasses
import re

import pytest

from kart_jax.cli.help import USED_MOST
from kart_jax.cli.options import parse
from kart_jax.config import PRESETS, ClusterConfig

FIELDS = {
    part: [field.name for field in dataclasses.fields(values)]
    for part, values in vars(PRESETS["cpu"]).items()
}
CLUSTER = [field.name for field in dataclasses.fields(ClusterConfig)]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as leave:
        parse(arguments)
    assert leave.value.code == 0
    return capsys.readouterr().out


def flags(text: str) -> set[str]:
    return set(re.findall(r"^\W{1,2}(--[a-z][a-z-]+)", text, re.MULTILINE))


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_help_shows_what_is_used_most_and_its_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = shown(capsys, "--help")
    used_most = {flag(name) for names in USED_MOST.values() for name in names}
    assert flags(text) - {"--config"} == used_most
    assert len(text.splitlines()) < 140
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"--height INT +Height of a frame in pixels. \(default: 72\)", text)
    text = shown(capsys, "--preset", "gpu", "-h")
    assert re.search(r"--height INT +Height of a frame in pixels. \(default: 96\)", text)


def test_help_all_shows_every_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    every = {flag(name) for names in (*FIELDS.values(), CLUSTER) for name in names}
    assert flags(shown(capsys, "--help-all")) - {"--config"} == every


@pytest.mark.parametrize("part", FIELDS)
def test_what_is_used_most_are_fields(part: str) -> None:
    assert set(USED_MOST[part]) <= set(FIELDS[part])
