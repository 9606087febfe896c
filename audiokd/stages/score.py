"""Stage 8b, score: rebuilt audio against its originals, as a table row with intervals and a row an utterance.

    audiokd score --ref data/test --hyp exp/codec/decoded --out exp/codec/score.json --text true --asr exp/whisper

How an utterance is scored is in `audiokd.eval.rows`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.rows import MISSING, Task, part_file, rebuilt_file, score_rows
from audiokd.progress import progress
from audiokd.stages.scoring import check_options, teacher_scores, write_score

if TYPE_CHECKING:
    import numpy as np

    from audiokd.eval.registry import Metric

log = logging.getLogger(__name__)

LENGTH_TOLERANCE_S = 0.25  # a codec pads up to a frame; more is a sign of another recording


def score(
    ref: str,
    hyp: str,
    out: str,
    text: bool = False,
    asr: str = "",
    teacher: str = "",
    speakers: bool = False,
    system: str = "",
    store: str = "",
    streams: list[int] | None = None,
    frame_rate: float = 0.0,
    cardinality: list[int] | None = None,
    model: str = "",
    parameters: int = 0,
    device: str = "cpu",
    metrics: list[str] | None = None,
    sample_rate: int = 0,
    language: str = "",
    allow_pipes: bool = False,
    nj: int = 1,
    limit: int = 0,
) -> dict[str, Any]:
    """Score a folder of rebuilt audio against its originals.

    Writes `out` (JSON: a summary with 95% bootstrap intervals over utterances, and a row an utterance) and the summary
    as a markdown table beside it (`out` with the suffix .md). A file that is missing or cannot be scored becomes a row
    with `error` and is counted. A run that was killed goes on where it was.

    Args:
        ref: the originals: a data folder, a manifest, shards or a folder of audio.
        hyp: folder of rebuilt audio, `<utterance id>.wav` as `audiokd decode` writes it.
        out: JSON file to write.
        text: also word and character error rates; needs --asr. wer_clipped and cer_clipped, in `out` alone, count no
            utterance's errors beyond its length. Against the corpus' transcripts where it has any (wer,
            cer), else against what the ASR reads in the original (wer_vs_asr, cer_vs_asr).
        asr: Whisper that reads the audio: a transformers folder or hub id.
        teacher: model that taught the one which is scored: error rates by that same model are headed "teacher-scored".
        speakers: also how well the voice is kept, against the voices of the other speakers of `ref` (its utt2spk): see
            `audiokd.eval.speaker_leakage`.
        system: name in the table; the name of the hyp folder if left empty.
        store: token store that the audio was rebuilt from, for its frame rate, bit rate, tokens a second and codebook use.
        streams: of the store that the audio was rebuilt from, numbered from 0: [0] for the semantic one. All by default.
        frame_rate: of a codec whose codes are in no store, Hz; with `cardinality` it gives the same columns.
        cardinality: the size of each of its codebooks, such as [1024,1024].
        model: folder of the model that rebuilt the audio, for its number of parameters.
        parameters: that number, of a model that is no folder of ours.
        device: torch device of the networks (mos, asr).
        metrics: any of mel, stft, si_sdr, stoi, estoi, pesq, mos, mos_original, dnsmos_ovrl, dnsmos_sig, dnsmos_bak,
            speaker_similarity. Without it: mel, stft, si_sdr, stoi, pesq, mos.
        sample_rate: Hz at which waveforms are compared; 0 is the lower of the original's and the rebuilt file's. Give
            one to compare systems whose files differ in it.
        language: of the speech, for a multilingual ASR, e.g. "en"; empty lets it find out.
        allow_pipes: let shell commands in the wav.scp of `ref` run.
        nj: processes for the metrics (the ASR runs in this one).
        limit: score the first so many utterances only; 0 is all.

    Returns:
        what `out` holds without the rows of utterances.

    Raises:
        AudiokdError: no file could be scored, an input is missing, or a package is.
    """
    from audiokd.data.inputs import open_input
    from audiokd.eval.bitrate import count_parameters
    from audiokd.eval.common import need
    from audiokd.eval.registry import chosen

    check_options(out, asr, teacher)
    if text != bool(asr):
        raise ConfigError("--text true and --asr go together", fix="give both for error rates, or neither")
    if model and parameters:
        raise ConfigError("--model counts the parameters itself", fix="leave --parameters out")
    if not Path(hyp).is_dir():
        raise AudiokdError("no such folder", where=hyp, fix="give the folder that `audiokd decode` wrote")
    wanted = chosen(metrics)
    utterances = open_input(ref, allow_pipes=allow_pipes).utterances()[: limit or None]
    if not utterances:
        raise AudiokdError("holds no utterance", where=ref)
    cost = _cost(store, streams, frame_rate, cardinality or [])
    if model:
        parameters = count_parameters(model)
    against = "" if not text else ("text" if any(u.text for u in utterances) else "asr")
    settings = {
        "asr": asr,
        "hyp": hyp,
        "language": language,
        "metrics": [m.name for m in wanted],
        "ref": ref,
        "sample_rate": sample_rate,
        "error_rate_against": against,
    }
    for m in wanted:
        m.load(device)  # what is not installed is missed now, not at the first file
    reader = None
    if text:
        from audiokd.eval.asr import AsrScorer

        need("jiwer")
        reader = AsrScorer(asr, device=device, language=language)
    names = tuple(m.name for m in wanted)
    tasks = [Task(u, rebuilt_file(Path(hyp), u.id), names, device, sample_rate, nj > 1) for u in utterances]
    rows = score_rows(tasks, Path(out), settings, reader, nj)
    done = [r for r in rows if "error" not in r]
    if not done:
        part_file(Path(out)).unlink(missing_ok=True)
        raise AudiokdError(
            f"none of {len(rows)} utterances could be scored, the first because: {rows[0]['error']}",
            where=hyp,
            fix=f"files are looked for as <utterance id>.wav, the first at {rebuilt_file(Path(hyp), rows[0]['id'])}",
        )
    result = {
        "system": system or Path(hyp).resolve().name,
        "settings": {
            **settings,
            "teacher": teacher,
            "teacher_scored": teacher_scores(asr, teacher),
        },
        "num_utterances": len(rows),
        "num_scored": len(done),
        "num_missing": sum(r.get("error", "").endswith(MISSING) for r in rows),
        "num_errors": len(rows) - len(done),
        "errors": [{"id": r["id"], "error": r["error"]} for r in rows if "error" in r],
        "num_length_mismatch": sum(abs(r["duration_s"] - r["hyp_duration_s"]) > LENGTH_TOLERANCE_S for r in done),
        "sample_rates": sorted({r["sample_rate"] for r in done}),
        "hours": round(sum(r["duration_s"] for r in done) / 3600, 6),
        "metrics": {m.name: {"unit": m.unit, "higher_is_better": m.higher_is_better} for m in wanted},
        "summary": _summary(done, wanted, against),
    }
    if cost:
        result["store"] = cost
    if parameters:
        result["parameters"] = parameters
    if speakers:
        by_id = {r["id"] for r in done}
        result["speakers"] = _speakers([t for t in tasks if t.utt.id in by_id], device)
    _warn(result)
    write_score(out, {**result, "utterances": rows}, _markdown(result))
    part_file(Path(out)).unlink(missing_ok=True)
    return result


def _cost(store: str, streams: list[int] | None, frame_rate: float, cardinality: list[int]) -> dict[str, Any] | None:
    from audiokd.eval.bitrate import stated_cost, store_cost

    if store and (frame_rate or cardinality):
        raise ConfigError("--store tells the bit rate itself", fix="leave --frame_rate and --cardinality out")
    if streams and not store:
        raise ConfigError("--streams are those of --store", fix="give the store, or --frame_rate and --cardinality")
    if store:
        return store_cost(store, streams)
    return stated_cost(frame_rate, cardinality) if frame_rate or cardinality else None


def _speakers(tasks: list[Task], device: str) -> dict[str, Any]:
    """Speaker leakage over the utterances that were scored and whose speaker is known."""
    from audiokd.data.audio import load_at
    from audiokd.data.utterance import Utterance
    from audiokd.eval.speaker import SAMPLE_RATE, speaker_embedding
    from audiokd.eval.speaker_leakage import speaker_leakage

    known = [t for t in tasks if t.utt.speaker]
    voices: list[dict[str, np.ndarray]] = [{}, {}]
    with progress("voices", len(known), "utt") as bar:
        for task in known:
            for voice, utt in zip(voices, (task.utt, Utterance(task.utt.id, str(task.path)))):
                embedding = speaker_embedding(load_at(utt, SAMPLE_RATE), SAMPLE_RATE, device)
                if embedding is not None:
                    voice[task.utt.id] = embedding
            bar.advance()
    return speaker_leakage(voices[0], voices[1], {t.utt.id: t.utt.speaker or "" for t in known})


def _summary(rows: list[dict[str, Any]], metrics: list[Metric], against: str) -> dict[str, Any]:
    from audiokd.eval.table import summarise, summarise_rate

    summary = {m.name: summarise([r[m.name] for r in rows]).as_dict() for m in metrics}
    if against:
        suffix = "_vs_asr" if against == "asr" else ""
        counted = [r for r in rows if "words" in r]
        for name, top, bottom in (("wer", "word_errors", "words"), ("cer", "character_errors", "characters")):
            s = summarise_rate([r[top] for r in counted], [r[bottom] for r in counted]).as_dict()
            summary[name + suffix] = {**s, "none": len(rows) - len(counted)}
            # an ASR that runs on over sound it cannot read makes many times as many errors as there are words
            clipped = summarise_rate([min(r[top], r[bottom]) for r in counted], [r[bottom] for r in counted]).as_dict()
            summary[f"{name}_clipped{suffix}"] = {**clipped, "none": len(rows) - len(counted)}
    return summary


def _warn(result: dict[str, Any]) -> None:
    if result["num_errors"]:
        first = result["errors"][0]
        log.warning(
            "%d of %d utterances could not be scored and are not in the means, the first is %s: %s",
            result["num_errors"], result["num_utterances"], first["id"], first["error"],
        )  # fmt: skip
    if result["num_length_mismatch"]:
        log.warning(
            "%d rebuilt files differ from their originals by more than %s s in length",
            result["num_length_mismatch"], LENGTH_TOLERANCE_S,
        )  # fmt: skip
    if len(result["sample_rates"]) > 1:
        log.warning("waveforms were compared at several rates %s: give --sample_rate", result["sample_rates"])


def _markdown(result: dict[str, Any]) -> str:
    from audiokd.eval.table import markdown, score_table

    note = f"Mean [95% bootstrap interval over utterances]. {result['hours'] * 3600:.0f} s of speech"
    if result["num_errors"]:
        note += f", {result['num_errors']} utterances could not be scored"
    if "speakers" in result:
        voices = result["speakers"]
        shares = [f"{100 * voices['original'][k]['mean']:.1f}" for k in ("accuracy", "eer")]
        note += f". Voices: {voices['speakers']} speakers; the originals: own voice nearest {shares[0]} %, EER {shares[1]} %"
    rates = ", ".join(str(r) for r in result["sample_rates"])
    return markdown(*score_table([result])) + f"\n{note}; waveforms compared at {rates} Hz.\n"
