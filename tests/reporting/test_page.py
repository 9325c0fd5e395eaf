"""The page about a policy: all in one file, with what the evaluation and the run say."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kart_jax.reporting.page import Drive, write_page
from kart_jax.run_folder.logged import LoggedRun, read_run
from tests.test_plot import write_run

PATH = [[0.0, 0.0, 1.0], [9.0, 1.0, 20.0], [19.0, 4.0, 15.0]]
INSIDE = r"data:(image/png|image/svg\+xml|video/mp4);base64,"
OUTLINE = [[0, 0, 10, 0, 4], [10, 0, 20, 5, 4]]


def episode(finished: bool, seed: int = 0) -> dict[str, Any]:
    return {
        "finished": finished,
        "path": PATH,
        "seed": seed,
        "end": "finished" if finished else "no_progress",
        "progress_m": 400.0 if finished else 123.0,
        "progress_fraction": 1.0 if finished else 0.31,
        "finish_time": 31.5 if finished else None,
        "game_seconds": 40.0,
        "difficulty": 2,
    }


def statistics(*finished: bool, lap: float = 31.5) -> dict[str, Any]:
    return {
        "count": len(finished),
        "finish_rate": float(np.mean(finished)),
        "finish_rate_interval": (0.2, 1.0),
        "lap_time_mean": lap if any(finished) else None,
        "lap_time_interval": None,
        "lap_time_best": lap if any(finished) else None,
        "progress_mean": 300.0,
        "progress_interval": (290.0, 310.0),
        "episodes": [episode(f, seed) for seed, f in enumerate(finished)],
    }


def report(*finished: bool, **baselines: dict[str, Any]) -> dict[str, Any]:
    track = {**statistics(*finished), "baselines": baselines, "outline": OUTLINE}
    return {"settings": {"difficulty": 2, "opponents": 0}, "tracks": {"bends": track}}


class Page(HTMLParser):
    """The tags that are left open, the addresses, and the text."""

    EMPTY = ("meta", "img", "link", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] != "style" else ""


def write(
    evaluation: dict[str, Any], run: LoggedRun | None = None, drive: Drive | None = None
) -> Page:
    drives = {"bends": drive} if drive else {}
    html = write_page("a <run>", "About & so on", "The end", evaluation, drives, run, {"race": {}})
    assert not re.search(r"(?:src|href)=\"?https?:|url\(|@import", html)
    page = Page(html)
    assert page.open == []
    assert all(re.match(INSIDE, address) for address in page.addresses)
    return page


@pytest.fixture
def run(tmp_path: Path) -> LoggedRun:
    rounds = [
        {"round": n, "seconds": 60.0 * n, "progress_m": 9.0 * n, "finish_rate": 0.5, "same": 0.9}
        for n in (1, 2)
    ]
    return replace(read_run(write_run(tmp_path / "run")), rounds=rounds)


def test_everything_is_in_the_file(run: LoggedRun) -> None:
    frames = [np.full((12, 16, 1), 10 * n, np.uint8) for n in range(20)]
    drive = Drive(b"a film", frames, "bends: 400 m")
    record = {"human record 3": statistics(True, lap=20.25)}
    page = write(report(True, True, **{"ai 3": statistics(True, lap=25.0)}, **record), run, drive)
    kinds = [address.split(";")[0] for address in page.addresses]
    assert kinds.count("data:video/mp4") == 1
    assert kinds.count("data:image/png") == 6
    assert kinds.count("data:image/svg+xml") == 2
    for text in ("a <run>", "About & so on", "All 2 episodes finished", "31.5 s", "20.2 s"):
        assert text in page.text
    assert "2 rounds of imitation in 2.0 minutes, then PPO for 500 policy steps" in page.text


def test_the_ai_shown_is_the_fastest() -> None:
    slow, fast, never = statistics(True, lap=40.0), statistics(True, lap=30.0), statistics(False)
    page = write(report(True, **{"ai 0": slow, "ai 1": fast, "ai 2": never}))
    assert re.search(r"30\.0 s\s*the game's AI", page.text)


def test_where_it_fails_is_listed() -> None:
    page = write(report(True, False, False))
    assert "2 of 3 episodes ended early: no progress 2" in page.text
    for text in ("Where it fails", "123 m (31%)", "40.0 s"):
        assert text in page.text
    assert "Where it fails" not in write(report(True)).text


def test_a_policy_without_a_run_frames_or_other_drivers_has_a_page() -> None:
    page = write(report(False), drive=Drive(None, [], "bends: 123 m"))
    assert "How it learnt" not in page.text
    assert "The policy sees no frames" in page.text
