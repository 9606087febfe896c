"""Stage 8, detect: how well a detector finds sound events and their times, from its frame logits.

    audiokd extract exp/sed/export data/dev features/dev --layer events
    audiokd extract exp/sed/export data/test features/test --layer events
    audiokd detect features/test --data "[data/test]" --dev features/dev --dev_data "[data/dev]" --out detections.json

How it is scored is in `audiokd.eval.sound_events`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.errors import AudiokdError, ConfigError

if TYPE_CHECKING:
    from audiokd.data.events import Event
    from audiokd.eval.event_clips import EventClip
    from audiokd.tokens.store import TokenStore

log = logging.getLogger(__name__)


@dataclass
class _Read:
    """A store beside its truth: clips to score, clips that have no truth, and how many true utterances it lacks."""

    clips: list[EventClip]
    untold: list[EventClip]
    missing: int


def detect(
    store: str,
    data: list[str],
    out: str,
    dev: str = "",
    dev_data: list[str] | None = None,
    threshold: float = 0.5,
    median_s: float | dict[str, float] = 0.28,
    alpha_st: float = 1.0,
    psds2: bool = True,
    events: str = "",
    system: str = "",
) -> dict[str, Any]:
    """Score the sound events that a detector's frame logits give, and write those events.

    Writes `out` (JSON) and its tables as markdown beside it (`out` with the suffix .md).

    Args:
        store: feature store of frame logits, as `audiokd extract --layer events` writes it.
        data: data dirs of these utterances, or files, with events.tsv; a row there without an event says that nothing happens.
        out: JSON file to write.
        dev: such a store of other utterances, on which each label's threshold is chosen by its best event F1.
        dev_data: data dirs or files of those.
        threshold: probability above which an event is detected, for F1 and `events`; with dev, of labels that have no event there.
        median_s: width in seconds of the median filter over the probabilities, for all labels, or by label; 0 is none.
        alpha_st: weight of the spread over classes in PSDS; 1 for DESED, 0 for AudioSet-strong.
        psds2: score PSDS2 too; false for hundreds of labels, whose cross triggers have no room in memory.
        events: events.tsv to write, with what is detected in every utterance of the store.
        system: name in the table; that of `out` if left empty.

    Returns:
        what `out` holds.

    Raises:
        AudiokdError: the store holds no logits of frames, or NaN; an event is of a label that the model does not know; no
            utterance has a truth; or dev is of another model, or shares utterances with the store.
    """
    from audiokd.data.events import write_events
    from audiokd.eval.event_clips import detected
    from audiokd.eval.sound_events import best_thresholds, score_events
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the tables are written beside it", where=out, fix="--out <name>.json")
    if bool(dev) != bool(dev_data):
        raise ConfigError("thresholds are chosen on a store and its truth", fix="--dev and --dev_data, or neither")
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold {threshold:g} is no probability that can be passed", fix="0 <= --threshold < 1")
    logits = open_store(store)
    labels = _labels(logits)
    medians = _medians(median_s, labels)
    thresholds = dict.fromkeys(labels, threshold)
    if dev and dev_data:
        chosen_on = open_store(dev)
        _check_dev(chosen_on, logits)
        thresholds = best_thresholds(_read(chosen_on, dev_data, labels, medians).clips, labels, threshold)
    read = _read(logits, data, labels, medians)
    scores = score_events(read.clips, labels, thresholds, alpha_st, psds2)
    if scores.without_events:
        names = ", ".join(scores.without_events[:10])
        log.warning("%s: labels without a true event are not scored: %s", store, names)
    settings = {"store": store, "data": data, "dev": dev, "dev_data": dev_data or [], "threshold": threshold}
    result = {
        "system": system or Path(out).stem,
        "settings": {**settings, "median_s": median_s, "alpha_st": alpha_st, "psds2": psds2},
        "labels": labels,
        "labels_without_events": scores.without_events,
        "utterances": len(read.clips),
        "utterances_without_truth": len(read.untold),
        "truth_without_scores": read.missing,
        "thresholds": thresholds,
        "model_sha256": logits.meta.get("model_sha256", ""),
        "layer": logits.meta.get("layer", ""),
        "frame_rate": logits.meta["frame_rate"],
        "summary": {name: s.as_dict() for name, s in scores.summary.items()},
        "classes": scores.classes,
    }
    write_json(out, result)
    if events:
        write_events(events, {c.id: detected(c, labels, thresholds) for c in [*read.clips, *read.untold]})
    text = _markdown(result)
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result


def _labels(store: TokenStore) -> list[str]:
    """Names of the store's columns."""
    fix = "make one with 'audiokd extract --layer events' of a detector"
    if store.kind != "features":
        raise AudiokdError(f"a store of {store.kind}", where=str(store.path), fix=fix)
    labels = store.meta.get("labels")
    if not labels:
        what = f"its features ({store.meta.get('layer', 'of no layer')}) have no labels: these are no logits"
        raise AudiokdError(what, where=str(store.path), fix=fix)
    return list(labels)


def _medians(median_s: float | dict[str, float], labels: list[str]) -> list[float]:
    """Seconds of the median filter of each column."""
    by_label = median_s if isinstance(median_s, dict) else dict.fromkeys(labels, median_s)
    if by_label.keys() != set(labels):
        odd = ", ".join(sorted(by_label.keys() ^ set(labels))[:5])
        raise ConfigError(f"median_s by label must name the model's labels; not so: {odd}", fix="or one number for all")
    if any(not 0 <= s < 60 for s in by_label.values()):
        raise ConfigError(f"median_s {median_s} is no width", fix="seconds, from 0 to 60")
    return [float(by_label[label]) for label in labels]


def _check_dev(dev: TokenStore, test: TokenStore) -> None:
    """Thresholds come from the same model and never from what is scored."""
    if _labels(dev) != _labels(test) or any(
        dev.meta.get(k) != test.meta.get(k) for k in ("model_sha256", "layer", "frame_rate")
    ):
        raise AudiokdError(f"not of the model that made {test.path}", where=str(dev.path), fix="extract both with one")
    if both := set(dev) & set(test):
        what = f"{len(both)} utterances are in dev and among those to score, such as {min(both)}"
        raise AudiokdError(what, where=str(dev.path), fix="thresholds are not chosen on what is scored: split anew")


def _read(store: TokenStore, data: list[str], labels: list[str], medians: list[float]) -> _Read:
    """Probabilities after the median filter, of utterances with and without a truth."""
    from scipy.special import expit

    from audiokd.eval.event_clips import event_clip

    truth = _truth(data, labels)
    rate = float(store.meta["frame_rate"])
    read = _Read([], [], 0)
    late = 0
    for item in store.items():
        if item.array.shape[1] != len(labels):
            what = f"{item.array.shape[1]} columns for {len(labels)} labels"
            raise AudiokdError(what, where=str(store.path), fix="extract it anew")
        duration_s = item.num_samples / item.sample_rate
        scores = expit(item.array.astype("float64"))  # in float32 all logits above 17 would be equal
        clip = event_clip(item.id, scores, rate, duration_s, truth.get(item.id, ()), medians)
        late += any(e.start_s >= duration_s for e in clip.events)
        (read.clips if item.id in truth else read.untold).append(clip)
    if not read.clips:
        what = f"none of its {len(read.untold)} utterances is in the truth"
        raise AudiokdError(what, where=str(store.path), fix="see --data: an utterance without events needs a row too")
    read.missing = len(truth) - len(read.clips)
    for n, what in (
        (len(read.untold), "utterances are not in the truth and are left out"),
        (read.missing, "utterances of the truth are not in the store and are left out"),
        (late, "utterances have an event that begins after their end, which counts as missed"),
    ):
        if n:
            log.warning("%s: %d %s", store.path, n, what)
    return read


def _truth(data: list[str], labels: list[str]) -> dict[str, list[Event]]:
    """True events by utterance."""
    from audiokd.data.events import read_events

    truth: dict[str, list[Event]] = {}
    for path in data:
        more = read_events(path)
        if both := truth.keys() & more.keys():
            raise AudiokdError(f"{min(both)} is in an events.tsv before this one", where=path, fix="see --data")
        if strange := sorted({e.label for of in more.values() for e in of} - set(labels)):
            what = f"events of labels that the model does not know: {', '.join(strange[:5])}"
            raise AudiokdError(
                what, where=path, fix=f"it knows {', '.join(labels[:10])}; rename those, or leave them out"
            )
        truth |= more
    return truth


def _markdown(result: dict[str, Any]) -> str:
    from audiokd.eval.detection_table import class_table, detection_table
    from audiokd.eval.table import markdown

    s = result["settings"]
    events = sum(c["events"] for c in result["classes"].values())
    chosen = "chosen for each label on dev" if s["dev"] else f"{s['threshold']:g}"
    width = "by label" if isinstance(s["median_s"], dict) else f"{s['median_s']:g} s"
    note = (
        f"{events} events of {len(result['classes'])} labels in {result['utterances']} utterances. 95% bootstrap interval over "
        f"utterances. PSDS of DCASE task 4, alpha_st {s['alpha_st']:g}; F1 is the mean over labels, threshold {chosen}, collars "
        f"0.2 s (offset: or 20% of the length), intersection 50%; median filter {width}."
    )
    if result["labels_without_events"]:
        note += f" Labels without a true event are left out: {', '.join(result['labels_without_events'])}."
    return f"{markdown(*detection_table([result]))}\n{note}\n\n{markdown(*class_table(result))}"
