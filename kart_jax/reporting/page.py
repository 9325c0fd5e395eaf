"""A page about a policy: one HTML file with its pictures and films inside, for any browser."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from kart_jax.evaluation.statistics import end_seconds
from kart_jax.reporting.figures import draw_learning, draw_lines
from kart_jax.run_folder.logged import LoggedRun

FRAMES = 6
"""Frames that show what a policy sees in an episode."""
COLUMNS = ("driver", "episodes", "finished", "lap time", "best", "progress")
NAMES = {"straight": "straight on", "random": "random actions"}
"""Drivers that are no noun."""
SVG: Any = {"svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}
"""Text stays text, which a browser draws sharply at any size."""


@dataclass(frozen=True)
class Drive:
    """One episode on a track, filmed."""

    film: bytes | None
    """An MP4 file."""
    frames: Sequence[NDArray[np.uint8]]
    """What the policy saw, `[H, W, 1 or 3]` each; none where it sees only the state."""
    caption: str


def write_page(
    title: str,
    about: str,
    footer: str,
    report: dict[str, Any],
    drives: Mapping[str, Drive],
    run: LoggedRun | None,
    settings: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the page as HTML.

    Args:
        title: what the page is about.
        about: a line below the title.
        footer: a line at the end.
        report: what `kart_jax.evaluate --json` writes.
        drives: a filmed episode by track, where there is one.
        run: the run that trained the policy, where it is known.
        settings: the options by part.
    """
    sections = [
        _track(track, statistics, report["settings"], drives.get(track))
        for track, statistics in report["tracks"].items()
    ]
    if run is not None and (figure := draw_learning(run)) is not None:
        sections.append(_learning(figure, run))
    sections.append(_settings(settings, run))
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title), about=escape(about), footer=footer, sections="\n".join(sections)
    )


def _track(
    track: str, statistics: dict[str, Any], settings: dict[str, Any], drive: Drive | None
) -> str:
    """A track: results, the driven lines, a film, what the policy sees, where it fails."""
    others = statistics["baselines"]
    ai = max(_named("ai ", others), default=None, key=_speed)
    record = next(_named("human record ", others), None)
    panels = {f"the policy, {_finished(statistics)}": statistics}
    if ai is not None:
        panels[f"the game's AI, {_lap(ai)}"] = ai
    if record is not None:
        panels[f"the human record, {_lap(record)}"] = record
    lines = draw_lines(panels, statistics["outline"])
    conditions = f"difficulty {settings['difficulty']}"
    if settings["opponents"]:
        conditions += f", {settings['opponents']} opponents"
    parts = [
        f"<h2>{escape(track)}</h2>",
        f'<p class="note">{_failures(statistics)} {conditions.capitalize()}.</p>',
        _cards(statistics, ai, record),
        "<h3>Where it drives</h3>",
        f'<img class="wide" alt="Driven lines on {escape(track)}" src="{_svg(lines)}">',
        '<div class="pair">',
        _film(drive),
        f"<div>{_seen(drive)}</div></div>" if drive else "</div>",
        "<h3>Beside other drivers</h3>",
        _drivers({"policy": statistics, **others}),
        _ended_early(statistics["episodes"]),
    ]
    return f"<section>{''.join(parts)}</section>"


def _named(start: str, drivers: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The statistics of drivers whose names begin so: one for each difficulty."""
    return (row for name, row in drivers.items() if name.startswith(start))


def _speed(statistics: dict[str, Any]) -> tuple[float, float]:
    """What is greater for a faster lap, or, of drivers without one, for more progress."""
    best = statistics["lap_time_best"]
    return (-best if best is not None else -np.inf, statistics["progress_mean"])


def _cards(own: dict[str, Any], ai: dict[str, Any] | None, record: dict[str, Any] | None) -> str:
    cards = [
        ("own", f"{own['finish_rate']:.0%}", f"finished, of {own['count']} episodes"),
        ("own", _lap(own), "a lap, on average"),
        ("own", _seconds(own["lap_time_best"]), "its best lap"),
    ]
    if ai is not None:
        cards.append(("", _lap(ai), f"the game's AI, difficulty {ai['episodes'][0]['difficulty']}"))
    if record is not None:
        cards.append(("", _lap(record), "the human world record"))
    text = "".join(f'<div class="{kind}"><b>{b}</b><span>{s}</span></div>' for kind, b, s in cards)
    return f'<div class="cards">{text}</div>'


def _failures(statistics: dict[str, Any]) -> str:
    """Say in a sentence how many episodes ended early, and how."""
    ends = [e["end"].replace("_", " ") for e in statistics["episodes"] if not e["finished"]]
    if not ends:
        return f"All {statistics['count']} episodes finished."
    kinds = ", ".join(f"{end} {ends.count(end)}" for end in dict.fromkeys(ends))
    return f"{len(ends)} of {statistics['count']} episodes ended early: {escape(kinds)}."


def _ended_early(episodes: Iterable[dict[str, Any]]) -> str:
    rows = [
        [
            str(episode["seed"]),
            escape(episode["end"].replace("_", " ")),
            f"{episode['progress_m']:.0f} m ({episode['progress_fraction']:.0%})",
            f"{end_seconds(episode):.1f} s",
        ]
        for episode in episodes
        if not episode["finished"]
    ]
    if not rows:
        return ""
    return "<h3>Where it fails</h3>" + _table(("seed", "end", "after", "time"), rows)


def _film(drive: Drive | None) -> str:
    if drive is None or drive.film is None:
        return ""
    source = _data("video/mp4", drive.film)
    return (
        "<div><h3>A race</h3>"
        f'<video class="film" controls muted loop playsinline preload="auto" src="{source}">'
        f"</video><figure><figcaption>{escape(drive.caption)}</figcaption></figure></div>"
    )


def _seen(drive: Drive) -> str:
    """What the policy saw at equal distances in time."""
    if not drive.frames:
        text = "The policy sees no frames, but the game's state as a vector of numbers."
        return f'<h3>What it sees</h3><p class="note">{text}</p>'
    places = np.linspace(0, len(drive.frames) - 1, FRAMES).round().astype(int)
    images = "".join(
        f'<img alt="A frame as the policy sees it" src="{_png(drive.frames[place])}">'
        for place in places
    )
    height, width = drive.frames[0].shape[:2]
    return (
        f'<h3>What it sees</h3><div class="frames">{images}</div>'
        f"<figure><figcaption>{width} x {height} pixels, at equal times of this race"
        "</figcaption></figure>"
    )


def _learning(figure: Figure, run: LoggedRun) -> str:
    parts = []
    if run.rounds:
        minutes = run.rounds[-1]["seconds"] / 60
        parts.append(f"{len(run.rounds)} rounds of imitation in {minutes:.1f} minutes")
    if run.metrics:
        parts.append(f"PPO for {run.step:,} policy steps")
    return (
        f"<section><h2>How it learnt</h2>"
        f'<p class="note">{", then ".join(parts)}. Episodes of the training may begin at random '
        "points of the lap.</p>"
        f'<img class="wide" alt="Learning curves" src="{_svg(figure)}"></section>'
    )


def _settings(settings: Mapping[str, Mapping[str, Any]], run: LoggedRun | None) -> str:
    blocks = []
    for part, values in settings.items():
        rows = "".join(
            f'<tr><td>{escape(name)}</td><td class="value">{_value(value)}</td></tr>'
            for name, value in values.items()
        )
        blocks.append(f"<div><h3>{escape(part)}</h3><table>{rows}</table></div>")
    return (
        f"<section><h2>Settings</h2>{_starts(run)}"
        f'<details><summary>All options</summary><div class="settings">{"".join(blocks)}</div>'
        "</details></section>"
    )


def _starts(run: LoggedRun | None) -> str:
    """When the run began or resumed, by which command, on what."""
    if run is None or not run.starts:
        return ""
    rows = []
    for start in run.starts:
        devices = start["devices"]
        commit = (start.get("git") or {}).get("commit") or "-"
        rows.append(
            [
                start["time"].replace("T", " ").removesuffix("+00:00"),
                f"{start['step']:,}",
                escape(f"{devices['count']} x {devices['kind']}, {start['cores']} cores"),
                escape(f"kart_jax {start['kart_jax']}, JAX {start['packages'].get('jax', '-')}"),
                f"<code>{escape(commit[:10])}</code>",
            ]
        )
    names = ("PPO began (UTC)", "at step", "device", "versions", "commit")
    command = f'<p class="note"><code>{escape(run.starts[0]["command"])}</code></p>'
    return command + _table(names, rows)


def _drivers(drivers: Mapping[str, dict[str, Any]]) -> str:
    """A row for each driver; parentheses hold 95% confidence intervals."""
    rows = []
    for name, row in drivers.items():
        rows.append(
            [
                escape(_driver(name)),
                str(row["count"]),
                f"{row['finish_rate']:.0%}" + _interval(row["finish_rate_interval"], ".0%"),
                _lap(row) + _interval(row["lap_time_interval"], ".1f"),
                _seconds(row["lap_time_best"]),
                f"{row['progress_mean']:.0f} m" + _interval(row["progress_interval"], ".0f"),
            ]
        )
    return _table(COLUMNS, rows, own=0)


def _driver(name: str) -> str:
    """The name of a driver in a report, in words; that of the AI ends with its difficulty."""
    kind, _, difficulty = name.rpartition(" ")
    words = {"ai": "the game's AI", "human record": "the human record"}
    return (
        f"{words[kind]}, difficulty {difficulty}"
        if kind in words
        else NAMES.get(name, f"the {name}")
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], own: int | None = None) -> str:
    """A table of cells that are HTML already; the row `own` stands out."""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr{' class=own' if place == own else ''}>"
        + "".join(f"<td>{cell}</td>" for cell in row)
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _finished(statistics: dict[str, Any]) -> str:
    done = sum(episode["finished"] for episode in statistics["episodes"])
    return f"{done} of {statistics['count']} finished"


def _lap(statistics: dict[str, Any]) -> str:
    return _seconds(statistics["lap_time_mean"])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _interval(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "-"
    return "-" if value is None else escape(str(value))


def _svg(figure: Figure) -> str:
    """A figure as the address of an image that holds it."""
    with rc_context(SVG):
        figure.savefig(
            buffer := io.BytesIO(), format="svg", bbox_inches="tight", metadata={"Date": None}
        )
    return _data("image/svg+xml", buffer.getvalue())


def _png(frame: NDArray[np.uint8]) -> str:
    Image.fromarray(frame.squeeze()).save(buffer := io.BytesIO(), format="PNG")
    return _data("image/png", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
