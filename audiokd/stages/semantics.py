"""Stage 8: what the tokens know of the phones that were said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiokd.errors import AudiokdError
from audiokd.stages.scoring import check_options, write_score

if TYPE_CHECKING:
    import numpy as np

    from audiokd.data.utterance import Utterance
    from audiokd.tokens.store import TokenStore

STREAM = ["stream", "codes used", "PNMI ↑", "by chance", "PNMI over chance ↑", "phone purity ↑", "code purity ↑"]
log = logging.getLogger(__name__)


def semantics(
    store: str,
    data: str,
    out: str,
    model: str = "",
    layer: str = "semantic",
    streams: list[int] | None = None,
    system: str = "",
    max_items: int = 10,
    max_speakers: int = 5,
    context: Literal["triphone", "any"] = "triphone",
    seed: int = 0,
    device: str = "cpu",
    allow_pipes: bool = False,
) -> dict[str, Any]:
    """Measure phone information (PNMI, purities), ABX and token length of the tokens in a store.

    Writes `out` (JSON) and its tables as markdown beside it (`out` with the suffix .md).

    Args:
        store: token store.
        data: data dir of the same utterances, with phones.ctm; text gives tokens a character, utt2spk the speakers
            (without it all is one speaker).
        out: JSON file to write.
        model: the tokenizer that made the store: ABX is then by the angle between its features, from the audio of `data`.
            Without it ABX is by equal or unequal codes of `streams`.
        layer: of the model's features: the quantised semantic stream by default.
        streams: that count as the token, numbered from 0; several are one tuple. The semantic stream, 0, by default.
        system: name in the table; that of `out` if left empty.
        max_items: ABX: tokens of one triphone by one speaker that are drawn.
        max_speakers: ABX across speakers: other speakers that are drawn for each.
        context: ABX: "triphone", phones between the same neighbours; "any", whatever stands beside them, as where the
            labels of phones.ctm are whole words.
        seed: of the draws, shuffles and bootstraps.
        device: torch device of the model.
        allow_pipes: let shell commands in wav.scp run.

    Returns:
        what `out` holds.

    Raises:
        AudiokdError: no phones.ctm or no utterance in both, or the store was made by another model (both hashes are named).
    """
    from audiokd.data.ctm import read_ctm
    from audiokd.data.inputs import open_input
    from audiokd.eval.abx import abx
    from audiokd.eval.bitrate import bitrate, check_streams, store_cost
    from audiokd.eval.phone_information import phone_information
    from audiokd.eval.table import markdown, semantics_table
    from audiokd.eval.token_length import token_length
    from audiokd.tokens.store import open_store

    check_options(out)
    tokens, cost = open_store(store), store_cost(store)
    rate, cardinality = float(cost["frame_rate"]), cost["cardinality"]
    chosen = streams or [0]
    check_streams(chosen, len(cardinality), store)
    phones = read_ctm(data)
    utterances = {u.id: u for u in open_input(data, allow_pipes=allow_pipes).utterances()}
    codes = {u.id: u.array for u in tokens.items() if u.id in utterances and u.id in phones}
    if not codes:
        what = f"none of its {len(tokens)} utterances is in {data} with phones"
        raise AudiokdError(what, where=store, fix="give the data dir that was tokenized")
    if len(codes) < len(tokens):
        log.warning("%d of %d utterances have phones; the others are not measured", len(codes), len(tokens))
    token = {i: c[chosen] for i, c in codes.items()}
    known = any(utterances[i].speaker for i in codes)
    speakers = {i: (utterances[i].speaker or i) if known else "" for i in codes}
    if model:
        heard, heard_rate = _features(model, layer, tokens, [utterances[i] for i in codes], device)
    else:
        heard, heard_rate = _as_one(token), rate
    drawn: dict[str, Any] = {
        "max_items": max_items, "max_speakers": max_speakers, "context": context, "seed": seed
    }  # fmt: skip
    result: dict[str, Any] = {
        "system": system or Path(out).stem,
        "settings": {"store": store, "data": data, "model": model, "layer": layer if model else "", "streams": chosen},
        "phone_information": phone_information(phones, token, rate, seed),
        "by_stream": [
            phone_information(phones, {i: c[q] for i, c in codes.items()}, rate, seed) for q in range(len(cardinality))
        ],
        "abx": {"within": abx(phones, heard, heard_rate, speakers, "within", **drawn)},
        "token_length": token_length(
            [c.shape[1] for c in codes.values()], [len(utterances[i].text or "") for i in codes], seed
        ),
        "bits_per_second": bitrate(rate, [cardinality[q] for q in chosen]),
        "store": cost,
    }
    if len(set(speakers.values())) > 1:
        result["abx"]["across"] = abx(phones, heard, heard_rate, speakers, "across", **drawn)
    result["note"] = _note(result)
    by_stream = [[str(q), *_stream(r)] for q, r in enumerate(result["by_stream"])]
    text = markdown(*semantics_table([result])) + f"\n{result['note']}\n\n" + markdown(STREAM, by_stream)
    write_score(out, result, text)
    print(text, end="")
    return result


def _features(
    model_dir: str, layer: str, tokens: TokenStore, utterances: list[Utterance], device: str
) -> tuple[dict[str, np.ndarray], float]:
    """Features `[T', D]` of each utterance, and their rate."""
    import torch

    from audiokd.data.audio import load_at
    from audiokd.hub.auto import load_tokenizer
    from audiokd.progress import progress
    from audiokd.stages.corpus import check_same_model

    model = load_tokenizer(model_dir, device)
    check_same_model(model, model_dir, tokens)
    features = {}
    with progress("features", len(utterances), "utterances") as bar, torch.inference_mode():
        for utt in utterances:
            wav = torch.from_numpy(load_at(utt, model.sample_rate))[None].to(device)
            features[utt.id] = model.extract(wav, None, layer)[0][0].cpu().numpy()
            bar.advance()
    return features, float(model.frame_rate)


def _as_one(codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Codes `[Q, T']` as one number a frame `[T']`."""
    import numpy as np

    _, number = np.unique(np.concatenate([c.T for c in codes.values()]), axis=0, return_inverse=True)
    ends = np.cumsum([c.shape[1] for c in codes.values()])
    return dict(zip(codes, np.split(number.reshape(-1), ends[:-1])))


def _stream(r: dict[str, Any]) -> list[str]:
    from audiokd.eval.table import Summary

    return [
        str(r["codes"]),
        Summary(**r["pnmi"]).text(),
        f"{r['pnmi_floor']:.3f}",
        f"{r['pnmi_over_chance']:.3f}",
        *(Summary(**r[k]).text() for k in ("phone_purity", "code_purity")),
    ]


def _note(result: dict[str, Any]) -> str:
    """What was measured on what, under the table."""
    phones, within = result["phone_information"], result["abx"]["within"]
    streams = ", ".join(map(str, result["settings"]["streams"]))
    by = f"the angle between {result['settings']['layer']} features" if within["distance"] == "angle" else "equal codes"
    across = result["abx"].get("across")
    voices = f", {across['triples']} across {across['speakers']} speakers" if across else "; one speaker: none across"
    items = "a triphone" if within["context"] == "triphone" else "a label, whatever its neighbours"
    return (
        f"Stream {streams}, {phones['points']} points of a 10 ms grid over {phones['frames']} frames, {phones['phones']} "
        f"phones; 'by chance': PNMI of shuffled frames. ABX by {by}, {within['triples']} triples of {within['pairs']} phone "
        f"pairs{voices}, at most {within['max_items']} tokens of {items}. 95% bootstrap interval over utterances."
    )
