"""From a value an utterance to a line in a table: mean, 95% bootstrap interval, number of utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from audiokd.eval.registry import METRICS

RESAMPLES = 2000
RATES = {
    "wer": "WER %",
    "cer": "CER %",
    "wer_vs_asr": "WER % against the ASR",
    "cer_vs_asr": "CER % against the ASR",
}
NOTHING = {"mean": None, "low": None, "high": None, "n": 0}
BLOCK = 4_000_000  # resampled values held at once


@dataclass(frozen=True)
class Summary:
    """A metric over a test set.

    Attributes:
        mean: the mean, or the ratio of sums for an error rate; None where no utterance has a value.
        low, high: 95% percentile bootstrap interval over utterances; None under two utterances.
        n: utterances with a value.
        none: utterances for which the metric is not defined (no speech, too short), left out of the mean.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    none: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """As score files keep it: `Summary(**summary.as_dict()) == summary`."""
        return asdict(self)

    def text(self, digits: int = 3) -> str:
        """`0.912 [0.905, 0.918]`, without the interval where there is none, `-` where there is no value."""
        if self.mean is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def over_folds(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the summaries of a cross-validation's folds (as `Summary.as_dict`): the mean, and from the lowest to the highest."""
    means = [s["mean"] for s in scores]
    n = sum(s["n"] for s in scores)
    return Summary(sum(means) / len(means), min(means), max(means), n).as_dict()


def summarise(values: Sequence[float | None]) -> Summary:
    """Mean over utterances, each counting once.

    Args:
        values: one an utterance; None where the metric is not defined.
    """
    kept = [v for v in values if v is not None]
    return _summary(np.asarray(kept, dtype=np.float64), np.ones(len(kept)), none=len(values) - len(kept))


def summarise_rate(errors: Sequence[float], lengths: Sequence[float]) -> Summary:
    """An error rate of the corpus: the sum of errors over the sum of lengths; the interval resamples utterances.

    Args:
        errors: edit operations (or bits), one number an utterance.
        lengths: words, characters or seconds of its reference.
    """
    return _summary(np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64), none=0)


def _summary(top: np.ndarray, bottom: np.ndarray, none: int) -> Summary:
    n = top.size
    if n == 0 or bottom.sum() == 0:
        return Summary(None, None, None, n, none)
    mean = float(top.sum() / bottom.sum())
    if n < 2:
        return Summary(mean, None, None, n, none)
    rng = np.random.default_rng(0)  # the same numbers give the same interval
    means = []
    left = RESAMPLES
    while left:
        rows = min(left, max(1, BLOCK // n))
        pick = rng.integers(0, n, (rows, n))
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(top[pick].sum(1) / bottom[pick].sum(1))
        left -= rows
    rates = np.concatenate(means)
    low, high = np.percentile(rates[np.isfinite(rates)], [2.5, 97.5])  # a draw of empty references only has no rate
    return Summary(mean, float(low), float(high), n, none)


def summarise_drawn(value: float, drawn: Sequence[float] | np.ndarray, n: int) -> Summary:
    """A value with the spread of what a bootstrap over `n` utterances drew, set around it.

    For measures that a repeated utterance alone shifts, such as mutual information: the percentiles of the drawn values are
    moved by the difference of their mean and the value.
    """
    kept = np.asarray(drawn, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if n < 2 or not kept.size:
        return Summary(value, None, None, n)
    low, high = np.percentile(kept, [2.5, 97.5]) - kept.mean() + value
    return Summary(value, float(low), float(high), n)


def score_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a system, of what `audiokd score` wrote: for markdown or a report page.

    Columns that no system has are left out, and a value that one system lacks is a dash. Error rates stand under the ASR that
    read the audio, in a column of their own for each ASR; "teacher-scored" where the model was trained by that same ASR.

    Args:
        results: contents of score.json files. Only those made with equal settings can be compared.
    """
    names = {name for r in results for name in r["summary"]}
    metrics = [m for m in METRICS.values() if m.name in names]
    rates = sorted(
        {(n, _scorer(r)) for r in results for n in RATES if n in r["summary"]},
        key=lambda c: (c[1], [*RATES].index(c[0])),
    )
    has_store = any("store" in r for r in results)
    headers = [
        "system",
        "n",
        *(f"{m.label} {m.arrow}" for m in metrics),
        *(f"{RATES[n]}{f' ({asr})' if asr else ''} ↓" for n, asr in rates),
    ]
    has_voices = any("speakers" in r for r in results)
    headers += ["own voice nearest %", "voice EER %", "EER among rebuilt %"] if has_voices else []
    headers += ["frames/s", "bit/s", "tokens/s"] if has_store else []
    has_parameters = any("parameters" in r for r in results)
    headers += ["parameters"] if has_parameters else []
    rows = []
    for r in results:
        row = [r["system"], str(r["num_scored"])]
        row += [_shown(r, m.name).text(m.digits) for m in metrics]
        row += [_shown(r, n, 100).text(2) if _scorer(r) == asr else "-" for n, asr in rates]
        if has_voices:
            columns = (("rebuilt", "accuracy"), ("rebuilt", "eer"), ("among_rebuilt", "eer"))
            row += [_times(r["speakers"][k][v], 100).text(1) if "speakers" in r else "-" for k, v in columns]
        if has_store:
            costs = ("frame_rate", "bits_per_second", "tokens_per_second")
            row += [f"{r['store'][k]:g}" if "store" in r else "-" for k in costs]
        if has_parameters:
            row.append(f"{r['parameters'] / 1e6:.2f} M" if "parameters" in r else "-")
        rows.append(row)
    return headers, rows


def semantics_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a system, of what `audiokd semantics` wrote. Only those of equal settings can be compared."""
    headers = ["system", "n", "frames/s", "bit/s", "PNMI ↑", "by chance", "PNMI over chance ↑", "phone purity ↑"]
    headers += ["code purity ↑", "ABX within % ↓", "ABX across % ↓", "tokens/character", "correlation with text"]
    rows = []
    for r in results:
        phones, length, rate = r["phone_information"], r["token_length"], r["store"]["frame_rate"]
        row = [r["system"], str(phones["utterances"]), f"{rate:g}", f"{r['bits_per_second']:g}"]
        row += [Summary(**phones["pnmi"]).text(), f"{phones['pnmi_floor']:.3f}", f"{phones['pnmi_over_chance']:.3f}"]
        row += [Summary(**phones[k]).text() for k in ("phone_purity", "code_purity")]
        row += [_times(r["abx"][k]["error"], 100).text(2) if k in r["abx"] else "-" for k in ("within", "across")]
        rows.append([*row, *(Summary(**length[k]).text(2) for k in ("tokens_per_character", "correlation"))])
    return headers, rows


def speech_lm_tables(result: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Headers and rows of both tables of what `audiokd slm` wrote: bits teacher-forced, error rates of free generation."""

    def cell(name: str, times: float = 1, digits: int = 2) -> str:
        return _shown(result, name, times).text(digits)

    ways = (("text -> speech, bit/s of audio", "tts"), ("speech -> text, bit/character", "stt"))
    bits = [[name, *(cell(f"{k}{c}_bits", digits=3) for c in ("", "_shuffled", "_gain", "_alone"))] for name, k in ways]
    by = f"read by {_scorer(result) or 'nobody'}"
    read = ((f"text -> speech, {by}", "tts"), (f"true tokens, {by}", "real"), ("speech -> text", "stt"))
    free = [[name, *(cell(f"{k}_{r}", 100) for r in ("wer", "cer", "wer_floor", "cer_floor"))] for name, k in read]
    return [
        (["teacher-forced", "own source ↓", "another's source", "the difference ↑", "no source"], bits),
        (["free generation", "WER % ↓", "CER % ↓", "another's WER %", "another's CER %"], free),
    ]


def _scorer(result: Mapping[str, Any]) -> str:
    """The ASR that read the audio, by the name of its folder."""
    settings = result.get("settings", {})
    return PurePath(settings.get("asr", "")).name + (", teacher-scored" if settings.get("teacher_scored") else "")


def _shown(result: Mapping[str, Any], name: str, times: float = 1) -> Summary:
    return _times(result["summary"].get(name, NOTHING), times)


def _times(summary: Mapping[str, Any], times: float) -> Summary:
    s = Summary(**summary)
    mean, low, high = (None if v is None else v * times for v in (s.mean, s.low, s.high))
    return Summary(mean, low, high, s.n, s.none)


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; `|` and line ends in cells are escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
