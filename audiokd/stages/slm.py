"""Stage 8 of a speech language model: bits, and error rates of what it says and reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import leads_out
from audiokd.progress import progress
from audiokd.stages.scoring import check_options, teacher_scores, write_score

if TYPE_CHECKING:
    from audiokd.eval.table import Summary
    from audiokd.methods.speech_lm.generate import Sampling
    from audiokd.methods.speech_lm.model import SpeechLM
    from audiokd.methods.speech_lm.pairs import PairSet
    from audiokd.tokens.store import TokenStore


def slm(
    model_dir: str,
    store: str,
    out: str,
    tokenizer: str = "",
    asr: str = "",
    teacher: str = "",
    language: str = "",
    text_dirs: tuple[str, ...] = (),
    wav_dir: str = "",
    system: str = "",
    limit: int = 0,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int = 0,
    max_duration_s: float = 30.0,
    max_text_tokens: int = 600,
    device: str = "cpu",
    batch_size: int = 16,
) -> dict[str, Any]:
    """Score a speech language model on held-out utterances of a token store.

    Writes `out` (JSON: 95% bootstrap intervals over utterances, and a row an utterance) and a markdown table beside it:
    bits per second of audio and bits per character of text, teacher-forced, with the right source, another utterance's
    and none; and word and character error rates of free generation, with another utterance's result as floor and the
    true tokens' sound as topline. What stands already with the same settings is not made again.

    Args:
        model_dir: folder that `audiokd export` wrote from a run of speech_lm.
        store: token store of the test set.
        out: JSON file to write.
        tokenizer: model that made the store, to turn generated tokens into sound; without it no sound is made.
        asr: Whisper that reads the sound: a transformers folder or hub id.
        teacher: model that taught the tokenizer: error rates by that same model are headed "teacher-scored".
        language: of the speech, for a multilingual ASR and for the normalisation of texts, e.g. "en".
        text_dirs: Kaldi data dirs whose text takes the place of the store's.
        wav_dir: folder for the sound; by default `out` without its suffix.
        system: name in the table; the name of the model folder's parent if left empty.
        limit: utterances that are generated; 0 is all. Bits are always of all.
        temperature: of sampling; 0 takes the likeliest token.
        top_k: sample from so many of the likeliest tokens; 0 is all.
        seed: of sampling.
        max_duration_s: generated speech is cut there.
        max_text_tokens: generated text is cut there.
        device: torch device.
        batch_size: utterances at once; it changes nothing.

    Returns:
        what `out` holds without the rows of utterances.

    Raises:
        AudiokdError: model, store and tokenizer do not belong together, or one cannot be loaded.
    """
    check_options(out, asr, teacher)
    if asr and not tokenizer:
        raise ConfigError("--asr reads sound, and sound needs --tokenizer", fix="give both, or neither")

    from audiokd.eval.asr import AsrScorer, normalise_text
    from audiokd.eval.speech_lm import bit_rates, error_rates, teacher_forced
    from audiokd.eval.table import markdown, speech_lm_tables
    from audiokd.files import sha256_file
    from audiokd.launch.local import keep_freed_memory
    from audiokd.methods.speech_lm.generate import Sampling
    from audiokd.methods.speech_lm.model import load
    from audiokd.methods.speech_lm.pairs import read_pairs

    keep_freed_memory()
    lm = load(model_dir, device)
    pairs = read_pairs(store, lm.speech["text"], text_dirs)
    _check(lm.speech, pairs.store.meta, f"{model_dir}, {store}")
    settings = {
        "store": store, "tokenizer": tokenizer, "asr": asr, "language": language, "limit": limit,
        "teacher_scored": teacher_scores(asr, teacher),
        "temperature": temperature, "top_k": top_k, "seed": seed, "max_duration_s": max_duration_s,
        "max_text_tokens": max_text_tokens, "model_sha256": sha256_file(Path(model_dir) / "model.safetensors"),
        "inputs": pairs.describe(),
    }  # fmt: skip
    if done := _done(Path(out), settings):
        print(f"{out}: stands already")
        return done
    vocoder = _tokenizer(tokenizer, lm.speech, device) if tokenizer else None
    reader = AsrScorer(asr, device=device, language=language) if asr else None

    rows = teacher_forced(lm, pairs, batch_size)
    made = rows[: limit or None]
    most = max(1, int(max_duration_s * lm.speech["frame_rate"]))
    _generate(made, lm, pairs, most, max_text_tokens, Sampling(temperature, top_k, seed), batch_size)
    if vocoder is not None:
        _sound(made, lm.speech, pairs.store, vocoder, Path(wav_dir or Path(out).with_suffix("")), reader)

    def plain(name: str) -> list[str]:
        texts = [r[name] for r in made]
        return [reader.normalise(t) if reader else normalise_text(t, language in ("en", "english")) for t in texts]

    summary: dict[str, Summary] = {f"{k}_bits": v for k, v in bit_rates(rows).items()}
    for name in ("stt", "tts", "real") if reader else ("stt",):
        rates = error_rates(plain("text"), plain(f"{name}_text"))
        summary |= {f"{name}_{k}": v for k, v in rates.items() if name != "real" or "floor" not in k}
    result = {
        "system": system or Path(model_dir).resolve().parent.name,
        "settings": settings,
        "speech": lm.speech,
        "parameters": sum(p.numel() for p in lm.parameters()),
        "num_utterances": len(rows),
        "num_generated": len(made),
        "without_text": pairs.without_text,
        "seconds": round(sum(r["seconds"] for r in rows), 3),
        "characters": sum(r["characters"] for r in rows),
        "cut": {k: sum(not r[f"{k}_ended"] for r in made) for k in ("tts", "stt")},
        "summary": {k: v.as_dict() for k, v in summary.items()},
    }
    result["note"] = note_of(result)
    tables = [markdown(*t) for t in speech_lm_tables(result)]
    write_score(out, {**result, "utterances": rows}, "\n".join([*tables, f"{result['note']}\n"]))
    print(f"{out}: {len(rows)} utterances scored, {len(made)} generated")
    return result


def _check(speech: dict[str, Any], meta: dict[str, Any], where: str) -> None:
    """The tokens that the model knows are those of the store."""
    theirs, mine = meta.get("model_sha256", ""), speech["model_sha256"]
    if theirs != mine:
        raise AudiokdError(
            f"the language model knows the tokens of model {mine[:12]}, the store was made by {theirs[:12]}",
            where=where,
            fix="tokenize the test set with the tokenizer of the training set",
        )


def _tokenizer(folder: str, speech: dict[str, Any], device: str) -> Any:
    """The tokenizer whose tokens the model speaks."""
    from audiokd.hub.auto import load_tokenizer
    from audiokd.stages.corpus import model_hashes

    model = load_tokenizer(folder, device)
    mine, theirs = model_hashes(model)["model_sha256"], speech["model_sha256"]
    if mine != theirs:
        what = f"the language model speaks tokens of model {theirs[:12]}, this tokenizer is {mine[:12]}"
        raise AudiokdError(what, where=folder, fix="give the model folder that made the stores")
    return model


def _generate(
    rows: list[dict[str, Any]], lm: SpeechLM, pairs: PairSet, frames: int, tokens: int, how: Sampling, size: int
) -> None:
    """Put what the model reads in the codes and what it speaks of the text into `rows`, of the first utterances."""
    from audiokd.methods.speech_lm.generate import speech_to_text, text_to_speech

    with progress("generate", len(rows), "utterances") as bar:
        for at in range(0, len(rows), size):
            part = pairs.pairs[at : min(at + size, len(rows))]
            ids, texts = [p.id for p in part], [p.text for p in part]
            read = speech_to_text(lm, [pairs.store[i].array for i in ids], ids, tokens, how)
            spoken = text_to_speech(lm, texts, ids, frames, how)
            for row, text, r, s in zip(rows[at:], texts, read, spoken):
                row |= {"text": text, "stt_text": r.text, "stt_ended": r.ended}
                row |= {"tts_codes": s.codes.tolist(), "tts_ended": s.ended}
            bar.advance(len(part))


def _sound(
    rows: list[dict[str, Any]], speech: dict[str, Any], store: TokenStore, model: Any, folder: Path, reader: Any
) -> None:
    """Generated and true tokens as `<folder>/tts/<id>.wav` and `<folder>/real/<id>.wav`, and what the ASR reads in them."""
    import torch

    from audiokd.data.audio import load_at, write_wav
    from audiokd.data.utterance import Utterance

    semantic = speech["codebooks"] == "semantic"
    rate = model.config.aux_sample_rate if semantic else model.sample_rate
    streams = len(speech["cardinality"])
    with progress("sound", len(rows), "utterances") as bar:
        for row in rows:
            utt_id = row["id"]
            if leads_out(utt_id):
                raise AudiokdError(f"id {utt_id!r} would leave the folder", where=str(folder))
            for kind, codes in (("tts", row["tts_codes"]), ("real", store[utt_id].array[:streams])):
                wav, _ = model.decode(torch.as_tensor(codes, device=model.device)[None], semantic_only=semantic)
                path = folder / kind / f"{utt_id}.wav"
                write_wav(path, wav[0].cpu().numpy(), rate)
                if reader is not None:
                    row[f"{kind}_text"] = reader.transcribe([load_at(Utterance(utt_id, str(path)), 16_000)])[0]
            bar.advance()


def _done(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result of an earlier run with these settings."""
    try:
        there = json.loads(out.read_text())
    except (FileNotFoundError, ValueError):
        return None
    there.pop("utterances", None)
    return there if there.get("settings") == settings else None


def note_of(result: dict[str, Any]) -> str:
    """What stands under the tables of a result."""
    cut = result["cut"]
    return (
        f"{result['system']}: {result['num_utterances']} utterances, {result['seconds']:.0f} s, {result['characters']} "
        f"characters; {result['num_generated']} generated, cut for length {cut['tts']} spoken and {cut['stt']} written. "
        "Mean [95% bootstrap interval over utterances]."
    )
