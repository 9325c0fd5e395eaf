"""Tables on the screen and JSON beside it, with the machine they were measured on."""

import importlib.metadata
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from kart_jax.files import check_output

RESULTS = Path(__file__).parent / "results"
_file: Path | None = None
_written: dict[str, Any] = {}
PACKAGES = ("PySuperTuxKart2", "gymnasium", "jax", "numpy", "stable_baselines3", "torch")


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_to(path: Path | None) -> None:
    """Have what follows written to one file, by name; None: to files of `RESULTS`.

    Raises:
        ValueError: it cannot be written.
    """
    global _file
    check_output("json", path)
    _file = path
    _written.clear()


def write(name: str, content: dict[str, Any]) -> None:
    """Write JSON to `results/NAME.json`, or to the file of `write_to` under that name."""
    if _file is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    else:
        _written[name] = content
        _file.write_text(json.dumps(_written, indent=1) + "\n")


def report(name: str, rows: list[dict[str, Any]], notes: list[str]) -> None:
    """Print `rows` as a table with `notes` below; write both under that name."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = [columns, *([_shown(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{name}")
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print("\n".join(notes), flush=True)
    save(name, rows, notes)


def save(name: str, rows: list[dict[str, Any]], notes: list[str]) -> None:
    """Write `rows` and `notes` under that name, with the machine."""
    write(name, {"name": name, "machine": machine(), "notes": notes, "rows": rows})


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
