"""store -> export -> import gives the same codes back; archives and cuts that others wrote come in, or say why not."""

from __future__ import annotations

import os
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
from token_stores import META, tree, write_store

from audiokd.cli import main
from audiokd.errors import AudiokdError
from audiokd.stages import store as stage
from audiokd.tokens.compare import diff_stores
from audiokd.tokens.export import export_store
from audiokd.tokens.import_store import import_store
from audiokd.tokens.store import StoreItem, open_store, verify_store

GIVEN = {"cardinality": [256, 256], "sample_rate": 16000, "frame_rate": 100.0}


@pytest.fixture
def path(tmp_path: Path, speech_items: list[StoreItem]) -> Path:
    """The recording's utterances and some with awkward ids: escaped for Kaldi, as they are in lhotse; one has no frame."""
    more = [
        StoreItem(i, speech_items[1].array[:, :5], 800, 16000, None, "Dr. No") for i in ("my%20file", "a%2520b", "ü/1")
    ]
    more.append(StoreItem("short", speech_items[0].array[:, :0], 7, 16000))
    return write_store(tmp_path / "store", more + speech_items)


@pytest.mark.parametrize(("to", "source"), [("kaldi", "kaldi"), ("kaldi_ark", "kaldi"), ("lhotse", "lhotse")])
def test_codes_come_back(tmp_path: Path, path: Path, to: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    export_store(path, tmp_path / "x", to)
    main(f"store import {tmp_path}/x {tmp_path}/back --from {source} --cardinality 256 --sample_rate 16000".split())
    back = open_store(tmp_path / "back")
    found = diff_stores(path, tmp_path / "back")
    assert found["same"]
    assert found["equal"] == 14
    stage.diff(str(path), str(tmp_path / "back"))  # `store diff` says the same: it does not fail
    assert "14 equal, 0 differ" in capsys.readouterr().out
    for u in open_store(path).items():
        b = back[u.id]
        assert (b.num_samples, b.sample_rate, b.text, b.speaker) == (u.num_samples, 16000, u.text, u.speaker)
    assert verify_store(tmp_path / "back") == []
    assert back.meta["imported_from"] == source
    assert len(back.meta["source_sha256"]) == 64
    assert "model_sha256" not in back.meta
    assert back.meta["cardinality"] == [256, 256]


@pytest.mark.parametrize(("to", "source"), [("kaldi", "kaldi"), ("kaldi_ark", "kaldi"), ("lhotse", "lhotse")])
def test_features_come_back(tmp_path: Path, feature_path: Path, to: str, source: str) -> None:
    export_store(feature_path, tmp_path / "x", to)
    import_store(tmp_path / "x", tmp_path / "back", source, "features", sample_rate=16000)
    found = diff_stores(feature_path, tmp_path / "back")
    assert found["same"]
    assert (found["equal"], found["max_abs_diff"]) == (10, 0.0)
    assert open_store(tmp_path / "back").meta["feature_dim"] == 2


def test_kaldi_without_tables_reads_an_scp_of_another_place(tmp_path: Path, path: Path, monkeypatch) -> None:
    """Absolute entries, as Kaldi's own tools write them; lengths by --frame_rate."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    with kaldi_native_io.Int32VectorWriter(f"ark,scp:{folder}/raw.ark,{tmp_path}/units.scp") as w:
        w.write("a", [1, 2, 3])
        w.write("b", [4])
    got = import_store(tmp_path / "units.scp", tmp_path / "s", "kaldi", **(GIVEN | {"cardinality": 5}))
    assert got == {"utterances": 2, "errors": 0, "frames": 4}
    store = open_store(tmp_path / "s")
    assert store["a"].codes.tolist() == [[1, 2, 3]]
    assert (store["a"].num_samples, store.meta["num_codebooks"]) == (480, 1)


def test_kaldi_matrices_of_codes(tmp_path: Path) -> None:
    """[T', Q] of whole numbers; a number that is no code fails alone."""
    codes = np.array([[0, 1], [2, 255], [7, 7]])
    with kaldi_native_io.FloatMatrixWriter(f"ark:{tmp_path}/codes.ark") as w:
        w.write("good", codes.astype(np.float32))
        w.write("half", codes.astype(np.float32) + 0.5)
        w.write("large", codes.astype(np.float32) + 1)
    got = import_store(tmp_path / "codes.ark", tmp_path / "s", "kaldi", **GIVEN)
    assert got == {"utterances": 1, "errors": 2, "frames": 3}
    store = open_store(tmp_path / "s")
    assert store["good"].codes.tolist() == codes.T.tolist()
    errors = {e["id"]: e["error"] for e in store.errors()}
    assert "integers expected" in errors["half"]
    assert "code 256 in codebook 1" in errors["large"]


def test_utt2dur_gives_lengths(tmp_path: Path) -> None:
    (tmp_path / "tokens.0.txt").write_text("a 1 2 3\nb 4\nc 1\n")
    (tmp_path / "utt2dur").write_text("a 0.0375\nb 1e-2\nc soon\n")
    import_store(tmp_path, tmp_path / "s", "kaldi", cardinality=8, sample_rate=16000)
    store = open_store(tmp_path / "s")
    assert [store[i].num_samples for i in "ab"] == [600, 160]
    assert "no number" in store.errors()[0]["error"]


def test_a_gap_in_a_kaldi_folder_is_told(tmp_path: Path, path: Path) -> None:
    """An archive that lost entries at its end is as valid as before; utt2num_frames knows better."""
    out = export_store(path, tmp_path / "x", "kaldi")
    for q in range(2):
        lines = (out / f"tokens.{q}.txt").read_text().splitlines()
        lines[0] += " 1"
        (out / f"tokens.{q}.txt").write_text("\n".join(lines[:-1]) + "\n")
    got = import_store(out, tmp_path / "s", "kaldi", **GIVEN)
    assert (got["utterances"], got["errors"]) == (12, 2)
    errors = [e["error"] for e in open_store(tmp_path / "s").errors()]
    assert "utt2num_frames says" in errors[0]
    assert "not in the archive" in errors[1]


@pytest.mark.parametrize("suffix", ["ark", "scp", "txt"])
def test_a_damaged_kaldi_archive(tmp_path: Path, path: Path, suffix: str) -> None:
    out = export_store(path, tmp_path / "x", "kaldi" if suffix == "txt" else "kaldi_ark")
    if suffix == "txt":
        file = out / "tokens.0.txt"
        file.write_bytes(file.read_bytes()[:-200] + b" x\n")
    else:
        file = out / "tokens.0.ark"
        os.truncate(file, file.stat().st_size - 600)
    if suffix == "scp":  # random access: the entries before it are whole
        got = import_store(out / "tokens.0.scp", tmp_path / "s", "kaldi", **GIVEN | {"cardinality": 256})
        assert got["errors"] > 0
        assert got["utterances"] + got["errors"] == 14
        return
    with pytest.raises(AudiokdError, match=r"the archive is damaged after \d+ utterances"):
        import_store(out, tmp_path / "s", "kaldi", **GIVEN)
    assert not (tmp_path / "s" / "complete.json").exists()


def test_scp_entries_run_no_command(tmp_path: Path) -> None:
    for entry in (f"touch {tmp_path}/ran |", f"| touch {tmp_path}/ran", "a.ark:5[0:3]"):
        (tmp_path / "x.scp").write_text(f"a {entry}\n")
        with pytest.raises(AudiokdError, match="which is not read"):
            import_store(tmp_path / "x.scp", tmp_path / "s", "kaldi", **GIVEN)
    (tmp_path / "x.scp").write_text("a gone.ark:5\n")
    import_store(tmp_path / "x.scp", tmp_path / "s", "kaldi", **GIVEN)
    assert "no such archive" in open_store(tmp_path / "s").errors()[0]["error"]
    assert not (tmp_path / "ran").exists()


def test_codebooks_that_disagree(tmp_path: Path) -> None:
    (tmp_path / "tokens.0.txt").write_text("a 1 2\nb 1\n")
    (tmp_path / "tokens.1.txt").write_text("a 1\nb 1\n")
    import_store(tmp_path, tmp_path / "s", "kaldi", **GIVEN)
    assert "codebooks of different lengths: [2, 1]" in open_store(tmp_path / "s").errors()[0]["error"]
    (tmp_path / "tokens.1.txt").write_text("a 1 2\n")
    with pytest.raises(AudiokdError, match="different utterances: b and nothing"):
        import_store(tmp_path, tmp_path / "t", "kaldi", **GIVEN)


def test_lhotse_cuts_that_others_wrote(tmp_path: Path) -> None:
    """cuts.jsonl.gz with arrays beside it: [Q, T'] in time, [T', Q] without, one codebook, and codes kept as features."""
    from lhotse import CutSet, MonoCut, NumpyFilesWriter, Recording

    x = np.arange(12).reshape(2, 6)
    rec = Recording("r", [], 16000, 9600, 0.6)
    cuts = [MonoCut(i, 0, 0.6, 0, recording=rec) for i in ("timed", "plain", "flat", "part")]
    with NumpyFilesWriter(tmp_path / "arrays") as w:
        cuts[0].codes = w.store_array("timed", x, frame_shift=0.1, temporal_dim=1, start=0)
        cuts[1].codes = w.store_array("plain", x.T)
        cuts[2].codes = w.store_array("flat", x[:1].T[:, 0], frame_shift=0.1, temporal_dim=0, start=0)
        cuts[3].codes = w.store_array("part", x.T, frame_shift=0.1, temporal_dim=0, start=0)
    cuts[3].start, cuts[3].duration = 0.2, 0.3
    for name, some in (("both", [cuts[0], cuts[1], cuts[3]]), ("flat", [cuts[2]])):
        CutSet.from_cuts(some).to_file(tmp_path / f"{name}.jsonl.gz")
    import_store(tmp_path / "both.jsonl.gz", tmp_path / "s", "lhotse", cardinality=[12, 12])
    store = open_store(tmp_path / "s")
    assert store["timed"].codes.tolist() == store["plain"].codes.tolist() == x.tolist()
    assert store["part"].codes.tolist() == x[:, 2:5].tolist()
    assert (store["part"].num_samples, store.meta["sample_rate"]) == (4800, 16000)
    import_store(tmp_path / "flat.jsonl.gz", tmp_path / "t", "lhotse", cardinality=12)
    assert open_store(tmp_path / "t")["flat"].codes.tolist() == x[:1].tolist()
    with pytest.raises(AudiokdError, match="no field 'units'"):
        import_store(tmp_path / "flat.jsonl.gz", tmp_path / "u", "lhotse", cardinality=12, field="units")


def test_a_lhotse_array_that_is_gone_fails_alone(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut, NumpyFilesWriter, Recording

    cuts = [MonoCut(i, 0, 0.6, 0, recording=Recording("r", [], 16000, 9600, 0.6)) for i in "ab"]
    with NumpyFilesWriter(tmp_path / "arrays") as w:
        for cut in cuts:
            cut.codes = w.store_array(cut.id, np.arange(6), frame_shift=0.1, temporal_dim=0, start=0)
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    next(p for p in (tmp_path / "arrays").rglob("a.npy")).unlink()
    with pytest.raises(AudiokdError, match="1 of 2 utterances failed, more than --max_error_rate"):
        stage.import_(str(tmp_path / "cuts.jsonl.gz"), str(tmp_path / "s"), "lhotse", cardinality=6)
    store = open_store(tmp_path / "s")
    assert list(store) == ["b"]
    assert [e["id"] for e in store.errors()] == ["a"]
    data = (tmp_path / "cuts.jsonl.gz").read_bytes()
    (tmp_path / "cuts.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudiokdError, match="lhotse cannot read"):
        import_store(tmp_path / "cuts.jsonl.gz", tmp_path / "t", "lhotse", cardinality=6)


def test_an_import_that_was_stopped_goes_on(tmp_path: Path, path: Path) -> None:
    export_store(path, tmp_path / "x", "kaldi")
    import_store(tmp_path / "x", tmp_path / "whole", "kaldi", shard_size=4, **GIVEN)
    import_store(tmp_path / "x", tmp_path / "s", "kaldi", shard_size=4, **GIVEN)
    (tmp_path / "s" / "complete.json").unlink()
    (tmp_path / "s" / "00002" / "shard.json").unlink()
    kept = (tmp_path / "s" / "00001" / "shard.json").stat().st_mtime_ns
    import_store(tmp_path / "x", tmp_path / "s", "kaldi", shard_size=4, **GIVEN)
    assert tree(tmp_path / "s") == tree(tmp_path / "whole")
    assert (tmp_path / "s" / "00001" / "shard.json").stat().st_mtime_ns == kept
    file = tmp_path / "x" / "tokens.0.txt"
    file.write_bytes(file.read_bytes()[:-2] + b"0\n")  # another last code
    with pytest.raises(AudiokdError, match="source_sha256"):
        import_store(tmp_path / "x", tmp_path / "s", "kaldi", shard_size=4, **GIVEN)


def test_what_must_be_told(tmp_path: Path, path: Path) -> None:
    export_store(path, tmp_path / "x", "kaldi")
    for given, message in (
        ({}, "how many codes"),
        ({"cardinality": 256}, "do not say the sample rate"),
        (GIVEN | {"cardinality": [256]}, r"\[1, T'\] expected"),
        (GIVEN | {"field": "codes"}, "kaldi has no fields"),
    ):
        if message.startswith(r"\["):
            got = import_store(tmp_path / "x", tmp_path / "s", "kaldi", **given)
            assert got["utterances"] <= 1  # only the one without a frame fits
            continue
        with pytest.raises(AudiokdError, match=message):
            import_store(tmp_path / "x", tmp_path / "t", "kaldi", **given)
    for name in ("utt2num_samples", "utt2num_frames"):
        (tmp_path / "x" / name).unlink()
    with pytest.raises(AudiokdError, match="how long the recordings are"):
        import_store(tmp_path / "x", tmp_path / "t", "kaldi", cardinality=256, sample_rate=16000)
    for wrong, message in ((tmp_path / "none", "no such file"), (tmp_path, "no Kaldi archive here")):
        with pytest.raises(AudiokdError, match=message):
            import_store(wrong, tmp_path / "t", "kaldi", **GIVEN)
    with pytest.raises(AudiokdError, match="no cuts here"):
        import_store(tmp_path / "x", tmp_path / "t", "lhotse", cardinality=256)
    with pytest.raises(AudiokdError, match="not known"):
        import_store(tmp_path / "x", tmp_path / "t", "hdf5", cardinality=256)
    assert not (tmp_path / "t").exists()


def test_twice_the_same_id(tmp_path: Path) -> None:
    (tmp_path / "tokens.0.txt").write_text("a%20b 1\na%20b 2\n")
    with pytest.raises(AudiokdError, match="'a%20b' comes twice"):
        import_store(tmp_path, tmp_path / "s", "kaldi", shard_size=1, **GIVEN | {"cardinality": 8})


def test_a_source_of_nothing(tmp_path: Path) -> None:
    empty = write_store(tmp_path / "empty", [], meta=META)
    export_store(empty, tmp_path / "x", "kaldi_ark")
    got = import_store(tmp_path / "x", tmp_path / "s", "kaldi", **GIVEN)
    assert got == {"utterances": 0, "errors": 0, "frames": 0}
    assert verify_store(tmp_path / "s") == []
