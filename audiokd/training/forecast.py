"""How long a run will take, said after some steps."""

from __future__ import annotations

import time

TIMED = 20  # steps that the forecast is made from


class Forecast:
    """Of one run; the first step is not counted: it pays for starting up."""

    def __init__(self) -> None:
        self._began: tuple[int, float] | None = None

    def after(self, step: int, last: int) -> None:
        """Called after each `step` of `last`; says it once, on stdout."""
        if self._began is None:
            self._began = (step, time.monotonic())
        elif step - self._began[0] == TIMED:
            each, left = (time.monotonic() - self._began[1]) / TIMED, last - step
            print(f"{1000 * each:.0f} ms a step; {each * left / 60:.1f} min for the {left} that are left")
