"""Stage 8: the page of a run, and its table in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: rows of the score table, in this order where they are there
SYSTEMS = ("untrained", "rebuilt", "semantic")
CURVES = (
    "mel",
    "distill",
    "total",
    "loss",
    "accuracy",
    "codebook0",
    "codebook7",
    "cqt",
    "features",
    "commit",
    "codebook",
    "score",
    "adversarial",
    "feature_matching",
    "discriminator",
    "commit_semantic",
    "codebook_semantic",
    "commit_acoustic",
    "codebook_acoustic",
    "grad_norm/generator",
    "grad_norm/discriminator",
    "lr",
    "codebook/semantic0/perplexity",
    "codebook/semantic0/dead",
    "codebook/acoustic0/perplexity",
    "codebook/acoustic0/dead",
    "strong",
    "weak",
    "taught",
    "consistency",
    "feature",
    "tts_nats",
    "stt_nats",
    "tts_bits_per_second",
    "stt_bits_per_character",
    "grad_norm",
    "std_student",
    "std_teacher",
    "rank",
    "mask_share",
    "ema",
    "weight_decay",
)


def report(
    exp_dir: str, set: str = "test", ref: str = "", samples: int = 3, results: str = "", languages: str = ""
) -> str:
    """Write EXP_DIR/report.html and print the score table.

    Reads what the recipe's stages left in EXP_DIR: config.yaml, metrics.csv; of a tokenizer tokens/SET,
    scores/SET/<system>.json, semantics/SET/<system>.json and wav/SET/<system>/; of a speech language model scores/SET.json
    and scores/SET/; of an encoder probes-<checkpoint>/<task>.json; of a classifier classified/<task>.json; of a detector
    detected/<set>.json; of an anomaly detector anomalies/<set>.json and anomalies/<set>/sheet.png; of a detector of boxes in drives
    boxes/<set>.json and boxes/<set>/sheet.png; of a diffusion model generated/<set>, fidelity/<set>.json and trajectory.csv.

    Args:
        exp_dir: folder of the run.
        set: name of the scored set.
        ref: INPUT with the set's originals, for the spectrograms and players; without it they are left out.
        samples: utterances to show, and as many of those whose tokens stand out.
        results: JSON-lines file to add the scores to, a row a system; a row of the same configuration is not added twice.
        languages: utt2lang of the set, for the use of its tokens by language: `utterance-id language` or `speaker language` a
            line.

    Returns:
        The path of the page.

    Raises:
        AudiokdError: there is no run in `exp_dir`.
    """
    import yaml

    from audiokd.errors import AudiokdError
    from audiokd.eval.table import score_table, semantics_table
    from audiokd.report.boxes3d import add_boxes
    from audiokd.report.generated import add_generated
    from audiokd.report.page import Report, read_metrics
    from audiokd.report.tokens import add_tokens
    from audiokd.stages.fit import flatten
    from audiokd.stages.store import read_languages
    from audiokd.tokens.store import open_store

    exp = Path(exp_dir)
    if not (exp / "config.yaml").exists():
        raise AudiokdError("no run here", where=exp_dir, fix="give the --exp_dir of 'audiokd fit'")
    config = yaml.safe_load((exp / "config.yaml").read_text())
    lm = config["method"] == "speech_lm"
    leads = {
        "speech_lm": _lm_lead,
        "atst": _encoder_lead,
        "mert": _mert_lead,
        "rvq_vae": _codec_lead,
        "classifier": _classifier_lead,
        "detector": _detector_lead,
        "dbfad": _anomaly_lead,
        "point_detr3d": _boxes_lead,
        "tiue": _diffusion_lead,
        "salt": _salt_lead,
    }
    page = Report(f"{config['method']}: {exp.name}", leads.get(config["method"], _lead)(config))

    if lm and (exp / "scores" / f"{set}.json").exists():
        _add_lm(page, exp, set, samples)
    scores = {p.stem: json.loads(p.read_text()) for p in sorted((exp / "scores" / set).glob("*.json"))}
    systems = [s for s in SYSTEMS if s in scores] + sorted(scores.keys() - {*SYSTEMS})
    if systems:
        headers, rows = score_table([scores[s] for s in systems])
        caption = f"Set {set}; mean over utterances with a 95% bootstrap interval. Arrows point to better."
        page.add_table("Scores", headers, rows, caption)
        print(_text_table(headers, rows))
        if results:
            _add_results(Path(results), config, set, {s: scores[s] for s in systems})
    semantics = [json.loads(p.read_text()) for p in sorted((exp / "semantics" / set).glob("*.json"), reverse=True)]
    if semantics:
        headers, rows = semantics_table(semantics)
        page.add_table("What the tokens know of phones", headers, rows, semantics[0]["note"])
        print(_text_table(headers, rows))
    _add_probes(page, exp)
    _add_classified(page, exp)
    _add_detections(page, exp)
    _add_anomalies(page, exp)
    for table in (add_boxes(page, exp), add_generated(page, exp)):
        if table:
            print(_text_table(*table))
    if (exp / "metrics.csv").exists():
        known = read_metrics(exp / "metrics.csv")
        page.add_curves("Training", exp / "metrics.csv", [n for n in CURVES if n in known])
    store = exp / "tokens" / set
    odd: dict[str, str] = {}
    if store.is_dir():
        spoken = read_languages(languages) if languages else None
        stats = add_tokens(page, open_store(store), set, spoken)
        for o in stats.get("outliers", []):
            odd.setdefault(o["id"], f"{o['reason'].replace('_', ' ')}: {o['why']}")
    if ref:
        shown = _samples(exp, set, ref, systems, samples)
        if shown:
            page.add_samples("Listen", shown, "Original, and what the tokens give back.")
        if heard := _samples(exp, set, ref, systems, samples, dict(list(odd.items())[:samples])):
            page.add_samples("Listen to the outliers", heard, "The first of the utterances to listen to, and why.")
    page.add_table("Configuration", ["key", "value"], [[k, str(v)] for k, v in flatten(config).items()])
    out = exp / "report.html"
    page.write(out)
    print(f"report: {out}")
    return str(out)


def _add_lm(page: Any, exp: Path, set: str, samples: int) -> None:
    """Both tables of `audiokd slm`, and what the model said."""
    from audiokd.data.audio import load
    from audiokd.data.utterance import Utterance
    from audiokd.eval.table import speech_lm_tables
    from audiokd.report.page import Sample

    result = json.loads((exp / "scores" / f"{set}.json").read_text())
    for headers, rows in speech_lm_tables(result):
        page.add_table(headers[0].capitalize(), headers, rows, result["note"])
        print(_text_table(headers, rows) + "\n")
    names = {"true tokens": "real", "generated from the text": "tts"}
    shown = []
    for row in result["utterances"][:samples]:
        paths = {name: exp / "scores" / set / kind / f"{row['id']}.wav" for name, kind in names.items()}
        versions = {name: load(Utterance(row["id"], str(path))) for name, path in paths.items() if path.exists()}
        if versions:
            shown.append(Sample(row["id"], versions, f"{row['text']} / written from its tokens: {row['stt_text']}"))
    if shown:
        page.add_samples("Listen", shown, "What the true tokens sound like, and those that the model made of the text.")


def _add_probes(page: Any, exp: Path) -> None:
    """A table for each exported checkpoint whose features were probed."""
    from audiokd.eval.probe_table import probe_table

    for folder in sorted(exp.glob("probes-*")):
        headers, rows = probe_table([json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))])
        name = folder.name.removeprefix("probes-")
        caption = "Probes of frozen features, chosen on dev; test with a 95% bootstrap interval over utterances"
        caption += ", cross-validated ones with the range of their folds."
        page.add_table(f"Probes, {name} checkpoint", headers, rows, caption)
        print(_text_table(headers, rows))


def _add_classified(page: Any, exp: Path) -> None:
    """What a classifier scores, and the labels it knows best and least."""
    from audiokd.eval.probe_table import classifier_table

    found = [json.loads(p.read_text()) for p in sorted((exp / "classified").glob("*.json"))]
    if not found:
        return
    headers, rows = classifier_table(found)
    page.add_table("Labels", headers, rows, "On the test set, with a 95% bootstrap interval over utterances.")
    print(_text_table(headers, rows))
    for r in found:
        scored = sorted((v, n) for n, v in r["labels"].items() if v is not None)
        shown = scored if len(scored) <= 20 else [*scored[:10], *scored[-10:]]
        what = "recall" if r["task"] == "class" else "average precision"
        title = (
            f"{r['system']}: each label" if shown == scored else f"{r['system']}: the ten worst and the ten best labels"
        )
        page.add_table(title, ["label", what], [[n, f"{v:.3f}"] for v, n in shown])


def _classifier_lead(config: dict[str, Any]) -> str:
    m, run, teachers = config["model"], config["run"], config["teachers"]
    taught = len(teachers["models"]) + len(teachers["logits"])
    by = f", taught by {taught} model{'s' * (taught > 1)}" if taught else ""
    return f"{m['task']} on {m['encoder']}{by}; {run['max_steps']} steps, seed {run['seed']}."


def _add_detections(page: Any, exp: Path) -> None:
    """How well a detector finds sound events and their times."""
    from audiokd.eval.detection_table import detection_table

    found = [json.loads(p.read_text()) for p in sorted((exp / "detected").glob("*.json"))]
    if found:
        headers, rows = detection_table(found)
        caption = (
            "Over labels, with a 95% bootstrap interval over utterances; alpha_st weighs PSDS's spread over labels."
        )
        page.add_table("Sound events", headers, rows, caption)
        print(_text_table(headers, rows))


def _add_anomalies(page: Any, exp: Path) -> None:
    """How well an anomaly detector finds defects, and its contact sheets."""
    from PIL import Image

    from audiokd.eval.table import Summary
    from audiokd.report.heat_maps import png_uri
    from audiokd.stages.anomalies import COLUMNS

    paths = sorted((exp / "anomalies").glob("*.json"))
    found = {p: json.loads(p.read_text()) for p in paths}
    names = [k for k in COLUMNS if any(k in r["scores"] for r in found.values())]
    if not found:
        return
    headers = ["set", "normal", "defects", *(COLUMNS[k] for k in names)]
    rows = []
    for path, r in found.items():
        cells = [Summary(**r["scores"][k]).text() if k in r["scores"] else "-" for k in names]
        rows.append([path.stem, str(r["normal"]), str(r["defects"]), *cells])
    caption = "With a 95% bootstrap interval over pictures; the oracle's threshold is of the test set."
    page.add_table("Defects", headers, rows, caption)
    print(_text_table(headers, rows))
    for path in paths:
        sheet = path.with_suffix("") / "sheet.png"
        if sheet.exists():
            with Image.open(sheet) as image:
                uri = png_uri(image)
            caption = "Picture, anomaly map over it and mask: the least and the most of pictures with defects, then of normal ones."
            page.add_picture(f"{path.stem}: anomaly maps", uri, f"contact sheet of {path.stem}", caption)


def _diffusion_lead(config: dict[str, Any]) -> str:
    d, run, read = config["distill"], config["run"], config["inputs"]["train"]["items"]
    of = f"{run['max_steps']} steps, seed {run['seed']}."
    if config["step"] == "pretrain":
        return f"A diffusion model of {read} items; {of}"
    steps = d["steps"] or (1 if d["kind"] == "swiftbrush" else 4)
    return f"{d['kind']}: a student of {steps} steps of {Path(d['teacher']).parent.name or d['teacher']}, from {read} items; {of}"


def _boxes_lead(config: dict[str, Any]) -> str:
    run, read = config["run"], config["inputs"]["train"]
    return f"{config['step']}: boxes of {read['used']} of {read['frames']} frames; {run['max_steps']} steps, seed {run['seed']}."


def _anomaly_lead(config: dict[str, Any]) -> str:
    m, run, data = config["model"], config["run"], config["inputs"]
    pictures = f"{data['train']['items']} normal pictures of {', '.join(data['domains'])}"
    return f"{m['kind']} with {m['backbone']} at {m['size']} pixels on {pictures}; {run['max_steps']} steps, seed {run['seed']}."


def _detector_lead(config: dict[str, Any]) -> str:
    run, data = config["run"], config["inputs"]
    clips = [f"{data[f'train_{k}']['utterances']} {k}" for k in ("strong", "weak", "unlabelled")]
    return f"{config['model']['encoder']} on {', '.join(clips)} clips; {run['max_steps']} steps, seed {run['seed']}."


def _encoder_lead(config: dict[str, Any]) -> str:
    m, run = config["model"], config["run"]
    return f"{m['kind']}, {m['depth']} blocks of {m['dim']}; {run['max_steps']} steps, seed {run['seed']}."


def _salt_lead(config: dict[str, Any]) -> str:
    s = config["step"]
    step = f"student of {config['teacher']['model']}" if s == "student" else "average" if s == "ema" else s
    return f"{step}: {_encoder_lead(config)}"


def _lm_lead(config: dict[str, Any]) -> str:
    m, run = config["model"], config["run"]
    shape = m["name"] or f"{m['layers']} layers of {m['hidden']}, from scratch"
    return f"{shape}; {config['codebooks']} codebooks, {run['max_steps']} steps, seed {run['seed']}."


def _add_results(path: Path, config: dict[str, Any], set: str, scores: dict[str, dict[str, Any]]) -> None:
    """Append one row a system, with what it takes to make it again."""
    import hashlib

    from audiokd.files import jsonl, write_bytes
    from audiokd.stages.fit import source

    trained = config.get("audiokd", {}).get("commit")
    config = {k: v for k, v in config.items() if k != "audiokd"}
    sha = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    old = path.read_bytes() if path.exists() else b""
    known = {(r["config_sha256"], r["set"], r["system"]) for r in map(json.loads, old.splitlines())}
    rows = [
        {
            "config_sha256": sha,
            "seed": config["run"]["seed"],
            "steps": config["run"]["max_steps"],
            "commit": trained,
            "scored_commit": source()["commit"],
            "set": set,
            "system": name,
            "utterances": result["num_scored"],
            "scores": {k: v["mean"] for k, v in result["summary"].items()},
        }
        for name, result in scores.items()
        if (sha, set, name) not in known
    ]
    if rows:
        write_bytes(path, old + jsonl(rows))


def _mert_lead(config: dict[str, Any]) -> str:
    m, run, t = config["model"], config["run"], config["teacher"]
    codes = t["stored_codes"] or t["codes"]
    taught = [f"codes of {codes}"] if codes else []
    taught += [f"a CQT of {t['cqt_bins']} bins"] if t["cqt"] else []
    shape = f"{m['depth']} layers of {m['dim']}"
    return f"{shape}; {run['max_steps']} steps, seed {run['seed']}; taught by {' and '.join(taught)}."


def _codec_lead(config: dict[str, Any]) -> str:
    m, run = config["model"], config["run"]
    rate = m["sample_rate"]
    for stride in m["rates"]:
        rate /= stride
    return f"{m['n_codebooks']} codebooks at {rate:g} Hz; {run['max_steps']} steps, seed {run['seed']}."


def _lead(config: dict[str, Any]) -> str:
    m, run = config["model"], config["run"]
    rate = m["sample_rate"]
    for stride in m["encoder_rates"]:
        rate /= stride
    kind = config.get("distill", {}).get("kind", "resynthesis")
    taught = "no teacher"
    if kind in ("pooled", "time_axis") or config["loss"]["distill"]:
        taught = f"teacher {Path(config['teacher']['name']).name} ({config['teacher']['window']} window)"
    steps = f"{run['max_steps']} steps, seed {run['seed']}"
    return f"{m['n_codebooks']} codebooks at {rate:g} Hz, {steps}, distillation {kind}, {taught}."


def _text_table(headers: list[str], rows: list[list[str]]) -> str:
    cells = [headers, *rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(headers))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in cells)


def _samples(exp: Path, set: str, ref: str, systems: list[str], n: int, why: dict[str, str] | None = None) -> list[Any]:
    """The first `n` utterances that a system rebuilt; or those of `why`, rebuilt or not, with what is said of them there."""
    from audiokd.data.audio import load
    from audiokd.data.inputs import open_input
    from audiokd.data.utterance import Utterance
    from audiokd.errors import AudioError
    from audiokd.report.page import Sample

    names = {"rebuilt": "rebuilt", "semantic": "semantic only"}
    shown: list[Any] = []
    if why is not None:
        n = len(why)
    for utt in open_input(ref).utterances() if n else ():
        if why is not None and utt.id not in why:
            continue
        versions = {}
        try:
            versions["original"] = load(utt)
            for system, name in names.items():
                path = exp / "wav" / set / system / f"{utt.id}.wav"
                if system in systems and path.exists():
                    versions[name] = load(Utterance(utt.id, str(path)))
        except AudioError:  # it stands in errors.jsonl and in the scores already
            continue
        if len(versions) > (why is None):
            text = " / ".join(filter(None, (utt.text, (why or {}).get(utt.id))))
            shown.append(Sample(utt.id, versions, text))
        if len(shown) == n:
            break
    return shown
