"""The metrics by name: what `audiokd score --metrics` takes, in the order of the table's columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from audiokd.errors import ConfigError
from audiokd.eval.common import need


@dataclass(frozen=True)
class Metric:
    """One number an utterance.

    Attributes:
        name: its key in files and on the command line.
        label: heading in a table.
        higher_is_better: direction.
        unit: of the value, with its range.
        sample_rate: that both signals are brought to, Hz; 0 is the rate that waveforms are compared at.
        module, function: where it is computed; called as function(ref, hyp, sample_rate, **options).
        options: further arguments.
        single: judges one signal alone; called as function(signal, sample_rate, device).
        of_original: that signal is the original, not the rebuilt: what the best system could reach.
        package: optional package that it needs.
        digits: shown in a table.
    """

    name: str
    label: str
    higher_is_better: bool
    unit: str
    module: str
    function: str
    sample_rate: int = 0
    options: tuple[tuple[str, Any], ...] = ()
    single: bool = False
    of_original: bool = False
    package: str = ""
    digits: int = 3

    def load(self, device: str) -> Callable[[Any, Any, int], float | None]:
        """The metric as f(ref, hyp, sample_rate); imports what it needs, so that it is missed before the first file."""
        if self.package:
            need(self.package)
        f = getattr(importlib.import_module(f"audiokd.eval.{self.module}"), self.function)
        if self.single:
            if self.of_original:
                return lambda ref, hyp, sample_rate: f(ref, sample_rate, device)
            return lambda ref, hyp, sample_rate: f(hyp, sample_rate, device)
        return lambda ref, hyp, sample_rate: f(ref, hyp, sample_rate, **dict(self.options))

    @property
    def arrow(self) -> str:
        """Which way is better, for a heading."""
        return "↑" if self.higher_is_better else "↓"


_MOS: dict[str, Any] = {
    "module": "mos",
    "function": "mos",
    "sample_rate": 16_000,
    "single": True,
    "package": "distillmos",
    "digits": 2,
}
_STOI: dict[str, Any] = {"module": "stoi", "function": "stoi", "sample_rate": 16_000, "package": "pystoi"}
_DNSMOS: dict[str, Any] = {"module": "dnsmos", "sample_rate": 16_000, "single": True, "package": "speechmos.dnsmos"}
METRICS = {
    m.name: m
    for m in (
        Metric("mel", "mel", False, "decades of magnitude, from 0", "mel_distance", "mel_distance"),
        Metric("stft", "STFT", False, "no unit, from 0", "stft_distance", "stft_distance"),
        Metric("si_sdr", "SI-SDR", True, "dB, -100 to 100", "si_sdr", "si_sdr", digits=2),
        Metric("stoi", "STOI", True, "about 0 to 1", **_STOI),
        Metric("estoi", "ESTOI", True, "about 0 to 1", options=(("extended", True),), **_STOI),
        Metric("pesq", "PESQ", True, "MOS-LQO, 1.02 to 4.64", "pesq", "pesq", 16_000, package="pesq", digits=2),
        Metric("mos", "MOS", True, "1 to 5", **_MOS),
        Metric("mos_original", "MOS of the original", True, "1 to 5", of_original=True, **_MOS),
        Metric("dnsmos_ovrl", "DNSMOS overall", True, "1 to 5", function="dnsmos_ovrl", digits=2, **_DNSMOS),
        Metric("dnsmos_sig", "DNSMOS speech", True, "1 to 5", function="dnsmos_sig", digits=2, **_DNSMOS),
        Metric("dnsmos_bak", "DNSMOS background", True, "1 to 5", function="dnsmos_bak", digits=2, **_DNSMOS),
        Metric("speaker_similarity", "speaker", True, "cosine, 0 to 1", "speaker", "speaker_similarity", 16_000),
    )
}
DEFAULT = ("mel", "stft", "si_sdr", "stoi", "pesq", "mos")


def chosen(names: list[str] | None) -> list[Metric]:
    """The metrics called `names`, in table order; None gives the default ones.

    Raises:
        ConfigError: a name is not known.
    """
    names = list(DEFAULT if names is None else names)
    unknown = sorted(set(names) - METRICS.keys())
    if unknown:
        raise ConfigError(f"no metric is called {', '.join(unknown)}", fix=f"the metrics are {', '.join(METRICS)}")
    return [m for m in METRICS.values() if m.name in names]
