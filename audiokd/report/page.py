"""The page of a run: one HTML file with its curves, codebooks, samples and scores. It opens without a network.

    >>> import tempfile
    >>> report = Report("A codec", lead="trained on 100 h")
    >>> report.add_table("Scores", ["system", "PESQ ↑"], [["ours", "2.31 [2.20, 2.42]"]], "test-clean")
    >>> report.write(tempfile.mkdtemp() + "/report.html")

Text is escaped, the page's own script is the only one that a browser will run (Content-Security-Policy), and the same
input gives the same bytes.
"""

from __future__ import annotations

import base64
import csv
import difflib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import write_text
from audiokd.report.plots import FRAME_S, line_chart, log_mel, short, spectrogram_uri, usage_chart
from audiokd.report.sound import clip, flac_uri

COLOURS = 6
SPLITS = {"train": 1, "val": 2, "valid": 2, "validation": 2, "dev": 2, "test": 3}  # split -> colour, in this order
NUMBER = re.compile(
    r"(|[-–]|nan|[-+]?inf|[-+]?[\d.,]+(e[-+]?\d+)?( ?[^\s\[]{1,6})?( \[[^\[\]]*\])?)", re.I
)  # with its unit
VALUE_WITH_INTERVAL = re.compile(r"(.*\S)\s+(\[[^\[\]]*\])")
USAGE = (
    "Share of all codes by entry, most used first. The dashed line is even use; what is blank at the right is unused."
)
CURVES = "By training step. Where a line has many points they are averaged, and the band runs from lowest to highest."

# Starting one clip pauses the others; a click in a spectrogram plays from there; a line shows where it is.
SCRIPT = """
const clips = [...document.querySelectorAll('.versions figure')].map(f => ({
  audio: f.querySelector('audio'), box: f.querySelector('.spectrogram'), line: f.querySelector('.spectrogram i')}));
for (const c of clips) {
  const show = () => {
    c.line.style.opacity = c.audio.currentTime > 0 ? 0.9 : 0;
    c.line.style.left = 100 * c.audio.currentTime / c.box.dataset.seconds + '%';
    if (!c.audio.paused) requestAnimationFrame(show);
  };
  for (const e of ['seeked', 'pause', 'ended']) c.audio.addEventListener(e, show);
  c.audio.addEventListener('play', () => {
    for (const other of clips) if (other !== c) other.audio.pause();
    show();
  });
  c.box.addEventListener('click', e => {
    const r = c.box.getBoundingClientRect();
    c.audio.currentTime = (e.clientX - r.left) / r.width * c.box.dataset.seconds;
    c.audio.play();
  });
}
"""


@dataclass
class Sample:
    """One utterance in several versions.

    Attributes:
        utt_id: its id.
        versions: name -> (samples `[T]`, sample rate in Hz), shown in this order: original, rebuilt, semantic only.
            The first 6 s are put in the page, at 24 kHz at most.
        text: what is said, if known.
    """

    utt_id: str
    versions: Mapping[str, tuple[Any, int]]
    text: str = ""


@dataclass
class Report:
    """A page put together from sections, in the order in which they are added.

    Attributes:
        title: of the page.
        lead: a sentence under it: what was trained on what.
    """

    title: str
    lead: str = ""
    _sections: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def add_table(self, title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        """A table. Columns of numbers stand right, of words left; the interval of `0.91 [0.90, 0.92]` is small; None is –.

        Args:
            title: of the section.
            headers: column names; the first column names the rows.
            rows: cells: text, numbers (shown with 4 digits) or None.
            caption: under the table: what was measured on what.

        Raises:
            AudiokdError: a row has more or fewer cells than there are headers.
        """
        for i, row in enumerate(rows):
            if len(row) != len(headers):
                raise AudiokdError(f"row {i} of table {title!r} has {len(row)} cells for {len(headers)} headers")
        cells = [[_text(c) for c in row] for row in rows]
        words = [any(not NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(headers))]
        head = "".join(f'<th scope="col"{_words(w)}>{escape(h)}</th>' for h, w in zip(headers, words))
        body = "".join(
            f'<tr><th scope="row">{_breakable(row[0])}</th>{"".join(map(_cell, row[1:], words[1:]))}</tr>\n'
            for row in cells
        )
        thead = f"<thead><tr>{head}</tr></thead>\n" if any(headers) else ""
        table = f"<table>\n{thead}<tbody>\n{body}</tbody>\n</table>"
        self._add(title, f'<div class="scroll" tabindex="0">{table}</div>\n{_caption(caption)}')

    def add_curves(
        self, title: str, csv_path: str | os.PathLike[str], names: Sequence[str] | None = None, caption: str = CURVES
    ) -> None:
        """Training curves, a chart for each name and a line for each split.

        Args:
            title: of the section.
            csv_path: long-format CSV with the columns step, split, name, value.
            names: which to show, in this order; None shows all as they come in the file.
            caption: under the charts.

        Raises:
            AudiokdError: the file or a name is not there, or a line cannot be read (with its number).
        """
        curves = read_metrics(csv_path)
        if names is None:
            names = list(curves)
        for name in names:
            if name not in curves:
                near = difflib.get_close_matches(name, curves, n=3, cutoff=0.4) or sorted(curves)[:8]
                raise AudiokdError(
                    f"has no values called {name!r}", where=str(csv_path), fix=f"it has {', '.join(near)}"
                )
        charts = "".join(_curve(name, curves[name]) for name in names)
        self._add(title, f'<div class="grid-of-charts">\n{charts}</div>\n{_caption(caption)}')

    def add_histogram(self, title: str, counts: Sequence[Sequence[int] | np.ndarray], caption: str = "") -> None:
        """How evenly each codebook is used: its entries from the most to the least used, on a logarithmic scale.

        Args:
            title: of the section.
            counts: uses of each entry, `[Q][N]`; codebooks may differ in size.
            caption: under the charts.
        """
        charts = "".join(_codebook(q, np.asarray(c, dtype=np.int64)) for q, c in enumerate(counts))
        self._add(title, f'<div class="grid-of-charts">\n{charts}</div>\n{_caption(" ".join((USAGE, caption)))}')

    def add_samples(self, title: str, samples: Sequence[Sample], caption: str = "") -> None:
        """Utterances to hear and to see, their versions side by side with one colour scale for each utterance.

        Args:
            title: of the section.
            samples: a few: each second of each version takes about 40 kB of the page.
            caption: under them.
        """
        self._add(title, "".join(map(_sample, samples)) + _caption(caption))

    def add_picture(self, title: str, uri: str, alt: str, caption: str = "") -> None:
        """A picture.

        Args:
            title: of the section.
            uri: its data: address, such as `audiokd.report.heat_maps.png_uri` gives.
            alt: what it shows, in words.
            caption: under it.
        """
        image = f'<img class="picture" alt="{escape(alt)}" src="{escape(uri)}">'
        self._add(title, f"<figure>{image}</figure>\n{_caption(caption)}")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, atomically."""
        folder = Path(__file__).parent
        ids = [f"s{i}" for i in range(len(self._sections))]
        entries = "".join(f'<li><a href="#{i}">{escape(t)}</a></li>' for i, (t, _) in zip(ids, self._sections))
        page = Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
            title=escape(self.title),
            css=(folder / "page.css").read_text(encoding="utf-8"),
            script=SCRIPT,
            script_hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
            lead=f'<p class="lead">{escape(self.lead)}</p>\n' if self.lead else "",
            contents=f'<nav aria-label="Contents"><ol>{entries}</ol></nav>\n' if len(ids) > 1 else "",
            body="".join(
                f'<section id="{i}">\n<h2>{escape(t)}</h2>\n{html}</section>\n'
                for i, (t, html) in zip(ids, self._sections)
            ),
        )
        write_text(path, page)

    def _add(self, title: str, html: str) -> None:
        self._sections.append((title, html))


def read_metrics(path: str | os.PathLike[str]) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """A long-format CSV (step, split, name, value) as name -> split -> (steps, values), train before validation.

    Raises:
        AudiokdError: no such file, no such columns, or a line that cannot be read.
    """
    path = Path(path)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as f:
            reader = csv.DictReader(f)
            missing = [c for c in ("step", "split", "name", "value") if c not in (reader.fieldnames or [])]
            if missing:
                raise AudiokdError(
                    f"has no column {', '.join(missing)}",
                    where=f"{path}:1",
                    fix="its head must be step,split,name,value",
                )
            for row in reader:
                try:
                    point = float(row["step"]), float(row["value"])
                except (TypeError, ValueError) as e:
                    raise AudiokdError(f"cannot be read: {e}", where=f"{path}:{reader.line_num}") from e
                found.setdefault(row["name"], {}).setdefault(row["split"], []).append(point)
    except FileNotFoundError as e:
        raise AudiokdError("no such file", where=str(path), fix="the fit stage writes it as metrics.csv") from e

    def place(split: str) -> tuple[int, str]:
        return (SPLITS.get(split, len(SPLITS)), split)

    return {
        name: {s: tuple(np.array(splits[s], dtype=np.float64).T) for s in sorted(splits, key=place)}  # type: ignore[misc]
        for name, splits in found.items()
    }


def _curve(name: str, splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    legend, lines, bad = [], {}, 0
    for split, (steps, values) in splits.items():
        colour = _colour(split, list(splits))
        ok = values[np.isfinite(values)]
        bad += values.size - ok.size
        lines[split] = (colour, steps, values)
        last = f" {ok[-1]:.4g}" if ok.size else ""
        legend.append(f'<li class="c{colour}">{escape(split)}{last}</li>')
    warn = f'<span class="warn">{bad} not finite and left out</span>' if bad else ""
    return (
        f"<figure>\n<h3>{escape(name)}</h3>\n{line_chart(list(lines.values()), f'{name} by step')}\n"
        f'<figcaption><ul class="legend">{"".join(legend)}</ul>{warn}</figcaption>\n</figure>\n'
    )


def _colour(split: str, splits: list[str]) -> int:
    """Training is 1 and validation 2 in all charts, so that a lone validation line does not look like training."""
    if split in SPLITS:
        return SPLITS[split]
    others = [s for s in splits if s not in SPLITS]
    return 4 + others.index(split) % (COLOURS - 3)


def _codebook(q: int, counts: np.ndarray) -> str:
    total, used = int(counts.sum()), int((counts > 0).sum())
    p = counts[counts > 0] / max(total, 1)
    perplexity = 2 ** float(-(p * np.log2(p)).sum()) if total else 0.0
    facts = f"{used:,} of {counts.size:,} used ({used / max(counts.size, 1):.1%}), perplexity {perplexity:,.1f}"
    return (
        f"<figure>\n<h3>Codebook {q}</h3>\n{usage_chart(counts, f'use of codebook {q}: {facts}')}\n"
        f"<figcaption>{facts}</figcaption>\n</figure>\n"
    )


def _sample(sample: Sample) -> str:
    clips = {name: clip(wav, rate) for name, (wav, rate) in sample.versions.items()}
    if not clips:
        raise AudiokdError("has no version to show", where=sample.utt_id)
    top_hz = min(rate for _, rate in clips.values()) / 2
    mels = {name: log_mel(x, rate, top_hz) for name, (x, rate) in clips.items()}
    top_db = float(next(iter(mels.values())).max())  # the first, the original, sets the colours
    longest = max(m.shape[1] for m in mels.values())
    figures = []
    for name, (x, rate) in clips.items():
        mel = np.pad(mels[name], ((0, 0), (0, longest - mels[name].shape[1])), constant_values=-120.0)
        label = escape(f"{name} of {sample.utt_id}")
        facts = f"{x.size / rate:.1f} s, {short(rate / 1000)} kHz"
        figures.append(
            f"<figure>\n<figcaption><b>{escape(name)}</b><span>{facts}</span></figcaption>\n"
            f'<div class="spectrogram" data-seconds="{longest * FRAME_S:.2f}">'
            f'<img alt="spectrogram of {label}" src="{spectrogram_uri(mel, top_db)}"><i></i>'
            f'<span class="hz">{short(round(top_hz / 1000, 1))} kHz</span></div>\n'
            f'<audio controls preload="metadata" aria-label="{label}" src="{flac_uri(x, rate)}"></audio>\n</figure>\n'
        )
    said = f'<p class="said">{escape(sample.text)}</p>\n' if sample.text else ""
    versions = f'<div class="versions">\n{"".join(figures)}</div>\n'
    return f'<div class="sample">\n<h3>{escape(sample.utt_id)}</h3>\n{said}{versions}</div>\n'


def _caption(text: str) -> str:
    return f'<p class="caption">{escape(text.strip())}</p>\n' if text.strip() else ""


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
    return str(value)


def _cell(text: str, words: bool) -> str:
    interval = VALUE_WITH_INTERVAL.fullmatch(text)
    if interval and not words:
        return f'<td>{escape(interval[1])}<span class="interval">{escape(interval[2])}</span></td>'
    return f'<td class="words">{_breakable(text)}</td>' if words else f"<td>{escape(text)}</td>"


def _breakable(text: str) -> str:
    """Escaped, and with places to break long keys and paths on a narrow screen."""
    return re.sub(r"(?<=\w)[./_](?=\w)", lambda m: m[0] + "<wbr>", escape(text))


def _words(words: bool) -> str:
    return ' class="words"' if words else ""
