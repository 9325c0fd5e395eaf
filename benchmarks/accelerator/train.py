"""Training, end to end."""

from collections.abc import Iterator
from typing import Any

from benchmarks.accelerator.drawing import check_game
from benchmarks.accelerator.process import reason
from benchmarks.runs import train_ours
from benchmarks.train import shares, step_times
from kart_jax.validation import UserError

GPU = ("--preset", "gpu", "--track", "lighthouse", "--eval-steps", "0")
FULL = ("--minutes", "1")
SMALL = (
    *("--height", "32", "--width", "40", "--channels", "8", "--blocks", "1", "1"),
    *("--num-envs", "2", "--spares", "0", "--rollout-length", "16", "--dtype", "float32"),
    *("--total-steps", "128"),
)


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each part of a policy step, the longest first; `total` is all of them.

    Where the real game does not run, the fake one shows what acting and learning take.
    """
    for game in ("supertuxkart", "fake"):
        arguments = [*GPU, *(SMALL if small else FULL), "--simulator", game]
        try:
            if game != "fake":
                check_game()
            times = step_times(train_ours(arguments))
        except (UserError, RuntimeError) as error:
            yield {"game": game, "failed": reason(error)}
            continue
        for row in shares("kart_jax", [times]):
            part, total = row["part"], row["part"] == "total"
            rate = {"steps_per_s": 1e3 / times["total"]} if total else {}
            yield {"game": game, "part": part, "ms": row["ms/step"], "share": row["share"], **rate}
        return
