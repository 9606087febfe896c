"""`audiokd semantics`: real speech through a small model, with made-up phone times that its loudness decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from audiokd.cli import main
from audiokd.data.audio import load_at
from audiokd.data.ctm import Phone, read_ctm, write_ctm
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.bitrate import store_cost
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.report.page import Report
from audiokd.stages.decode import decode
from audiokd.stages.fit import read_config
from audiokd.stages.semantics import semantics
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store

SEGMENTS = 8
WORDS = "it was the best of times"


@pytest.fixture(scope="module")
def root(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random models, eight segments of 2.4 s as two speakers' utterances, their tokens by the first model."""
    root = tmp_path_factory.mktemp("semantics")
    shape = {k[6:]: v for k, v in read_config("lm_spt/debug").items() if k.startswith("model.")}
    for seed, name in enumerate(("model", "other")):
        torch.manual_seed(seed)
        LMSPTModel(LMSPTConfig(**shape)).save_pretrained(root / name)
    ids = [f"spk{n % 2}-{n}" for n in range(SEGMENTS)]
    data = root / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    ids.sort()
    (data / "segments").write_text("".join(f"{u} two_cities {3 * n} {3 * n + 2.4}\n" for n, u in enumerate(ids)))
    (data / "text").write_text("".join(f"{u} {WORDS[: 8 + 2 * n].strip()}\n" for n, u in enumerate(ids)))
    (data / "utt2spk").write_text("".join(f"{u} {u[:4]}\n" for u in ids))
    phones = {}
    for utt in open_input(data).utterances()[:-1]:  # the last one has none
        loud = np.log(np.abs(load_at(utt, 16000)[: 16000 * 24 // 10]).reshape(20, -1).mean(1))
        label = np.digitize(loud, np.quantile(loud, [0.33, 0.67]))
        phones[utt.id] = [Phone(0.12 * i, 0.12 * (i + 1), "aou"[k]) for i, k in enumerate(label)]
    write_ctm(data / "phones.ctm", phones)
    tokenize(str(root / "model"), str(data), str(root / "tokens"), threads=1)
    return root


def test_measures_of_a_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "exp" / "semantics" / "test" / "trained.json"
    args = [str(root / "tokens"), str(root / "data"), "--out", str(out), "--model", str(root / "model")]
    main(["semantics", *args])
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())
    store = open_store(root / "tokens")
    phones = found["phone_information"]
    assert (phones["utterances"], phones["phones"], phones["points"]) == (SEGMENTS - 1, 3, (SEGMENTS - 1) * 240)
    assert len(found["by_stream"]) == len(store.meta["cardinality"])
    assert found["by_stream"][0] == phones
    for mode in ("within", "across"):
        assert found["abx"][mode]["distance"] == "angle"
        assert found["abx"][mode]["triples"] > 20
        assert found["abx"][mode]["speakers"] == 2
        assert 0.05 < found["abx"][mode]["error"]["mean"] < 0.6
    assert found["bits_per_second"] == pytest.approx(store.meta["frame_rate"] * np.log2(store.meta["cardinality"][0]))
    assert found["store"] == store_cost(str(root / "tokens"))
    scored = [u for u in open_input(root / "data").utterances() if u.id in read_ctm(root / "data")]
    frames = sum(store[u.id].codes.shape[1] for u in scored)
    expected = frames / sum(len(u.text or "") for u in scored)
    assert found["token_length"]["tokens_per_character"]["mean"] == pytest.approx(expected)
    assert out.with_suffix(".md").read_text() == printed
    assert printed.startswith("| system | n | frames/s | bit/s | PNMI ↑ |")
    assert "| trained | 7 | " in printed
    before = out.read_bytes()
    main(["semantics", *args])
    assert out.read_bytes() == before


def test_without_a_model_abx_compares_codes(root: Path) -> None:
    out = str(root / "codes.json")
    one = semantics(str(root / "tokens"), str(root / "data"), out)
    two = semantics(str(root / "tokens"), str(root / "data"), out, streams=[0, 1], system="pair")
    assert one["abx"]["within"]["distance"] == "equal"
    assert (one["system"], two["system"]) == ("codes", "pair")
    assert two["phone_information"]["codes"] >= one["phone_information"]["codes"]
    assert two["bits_per_second"] > one["bits_per_second"]
    assert two["by_stream"] == one["by_stream"]


def test_one_speaker_has_no_abx_across(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("wav.scp", "segments", "phones.ctm"):
        (data / name).write_bytes((root / "data" / name).read_bytes())
    (data / "utt2spk").write_text("".join(f"{u.id} me\n" for u in open_input(root / "data").utterances()))
    found = semantics(str(root / "tokens"), str(data), str(tmp_path / "x.json"))
    assert "across" not in found["abx"]
    assert "one speaker: none across" in found["note"]
    assert found["token_length"]["tokens_per_character"]["mean"] is None  # no text
    assert "| - |" in (tmp_path / "x.md").read_text()
    (data / "utt2spk").unlink()  # who speaks is not known: nobody is made up
    assert semantics(str(root / "tokens"), str(data), str(tmp_path / "y.json"))["abx"] == found["abx"]


def test_what_does_not_fit_is_named(root: Path, tmp_path: Path) -> None:
    store, data, out = str(root / "tokens"), str(root / "data"), str(tmp_path / "x.json")
    mine = open_store(store).meta["model_sha256"][:12]
    with pytest.raises(AudiokdError, match=f"made by model {mine}, this one is "):
        semantics(store, data, out, model=str(root / "other"))
    with pytest.raises(AudiokdError, match=f"made by model {mine}, this one is "):
        decode(str(root / "other"), store, str(tmp_path / "wav"))
    with pytest.raises(AudiokdError, match="no features 'semantik'"):
        semantics(store, data, out, model=str(root / "model"), layer="semantik")
    with pytest.raises(ConfigError, match=r"streams 0, 9 are not all there(.|\n)*numbered from 0"):
        semantics(store, data, out, streams=[0, 9])
    with pytest.raises(ConfigError, match="out is the JSON file"):
        semantics(store, data, str(tmp_path / "x.md"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "wav.scp").write_text((root / "data" / "wav.scp").read_text())
    with pytest.raises(AudiokdError, match=r"phones\.ctm: no such file"):
        semantics(store, str(other), out)
    write_ctm(other / "phones.ctm", {"two_cities": [Phone(0, 1, "a")]})
    with pytest.raises(AudiokdError, match=f"none of its {SEGMENTS} utterances is in {other} with phones"):
        semantics(store, str(other), out)
    assert not Path(out).exists()


def test_the_table_of_a_page(root: Path, tmp_path: Path) -> None:
    from audiokd.eval.table import semantics_table

    found = semantics(str(root / "tokens"), str(root / "data"), str(tmp_path / "x.json"))
    page = Report("tokens")
    page.add_table("Phones", *semantics_table([found, {**found, "system": "again"}]), found["note"])
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "PNMI over chance ↑" in text
    assert ">again</th>" in text
