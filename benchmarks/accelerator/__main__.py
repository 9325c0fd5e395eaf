"""All figures of an accelerator, by one command, in at most eight minutes.

    python -m benchmarks.accelerator [--parts ceilings gpu] [--small] [--slack 1] [--json FILE]
    python -m benchmarks.accelerator --expect [--tflops 989] [--share 0.6] [--bandwidth 3.35]

Each part has a process and a time limit of its own: a crash, a lack of memory or a hang costs that
part alone, and its reason is printed. The JSON is written after each row. Without an accelerator
sizes are small, and only show that the command works. `--expect` measures nothing: it prints what
follows from operations and bytes, given a device's rate of bfloat16 matrix products, the share of
it that is hoped for, and its memory's bandwidth.
"""

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.accelerator.parts import PARTS, Part
from benchmarks.accelerator.process import run
from benchmarks.command import make_parser, one_line_errors
from benchmarks.report import RESULTS, report, save, write_to


def measure(part: Part, small: bool, slack: float) -> list[dict[str, Any]]:
    """Run a part; print its table and why it ended, and write both; return its rows."""
    part = replace(part, limit=slack * part.limit)
    print(f"\n{part.name}: at most {part.limit:g} s", flush=True)
    rows: list[dict[str, Any]] = []
    notes = [part.about]
    start = time.monotonic()
    for answer in run(part, small):
        if isinstance(answer, str):
            notes.append(answer)
        else:
            rows.append(answer)
            save(part.name, rows, [*notes, "unfinished"])
    report(part.name, rows, [*notes, f"{time.monotonic() - start:.0f} s"])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts one after the other."""
    parser = make_parser("accelerator", __doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="small sizes, as without accelerator")
    parser.add_argument("--slack", type=float, default=1.0, help="times the limits: a busy machine")
    parser.add_argument("--expect", action="store_true", help="print expectations only")
    parser.add_argument("--tflops", type=float, default=989.0, help="by default an H100's, dense")
    parser.add_argument("--share", type=float, default=0.6, help="of --tflops, from 0 to 1")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="of memory, TB/s")
    options = parser.parse_args(arguments)
    RESULTS.mkdir(exist_ok=True)
    with one_line_errors():
        write_to(options.json or RESULTS / "accelerator.json")
    if options.expect:
        from benchmarks.accelerator.expectations import expect

        expect(options.tflops, options.share, options.bandwidth)
        return
    small = options.small
    for name in ["devices", *(name for name in options.parts if name != "devices")]:
        rows = measure(PARTS[name], small, options.slack)
        if name == "devices":
            # Where even the devices are unknown, full sizes would only use up the time.
            backends = {row.get("backend", "cpu") for row in rows} or {"cpu"}
            small = small or backends == {"cpu"}


if __name__ == "__main__":
    # So that the part at hand ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
