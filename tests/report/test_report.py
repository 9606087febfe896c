"""The page: escaped, self-contained, the same bytes each time; what is in it can be decoded again."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import xml.dom.minidom
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.settings import LMSPTSettings
from audiokd.report.page import Report, Sample, read_metrics
from audiokd.report.plots import log_mel, short, spectrogram_uri, usage_chart
from audiokd.report.sound import clip, flac_uri
from audiokd.stages.report import _lead

NASTY = '</title><script>alert("x")</script> & "quotes"'
VOID = {"meta", "img", "wbr"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects them."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]


@pytest.fixture
def metrics_csv(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    lines = ["step,split,name,value"]
    lines += [f"{s},train,loss,{100 / (s + 1)}" for s in range(500)]
    lines += [f"{s},val,loss,{120 / (s + 1)}" for s in range(0, 500, 100)]
    lines += ["499,train,loss,nan", '3,train,"<b>name",0.5']
    path.write_text("\n".join(lines) + "\n")
    return path


def a_report(two_cities: Path, metrics_csv: Path) -> Report:
    x, rate = soundfile.read(two_cities, dtype="float32", frames=8 * 48_000)
    report = Report(NASTY, lead=NASTY)
    report.add_table(NASTY, ["system", NASTY], [[NASTY, "0.9 [0.8, 1.0]"], ["b", NASTY], ["c", None]], NASTY)
    report.add_curves(NASTY, metrics_csv)
    report.add_histogram(NASTY, [np.arange(1000), [5, 0, 0, 5], [0, 0]], NASTY)
    versions = {"original": (x, rate), "rebuilt": (0.5 * x, rate), NASTY: (x[::3], 16_000)}
    report.add_samples(NASTY, [Sample(NASTY, versions, NASTY), Sample("b", {"original": (x[:100], rate)})], NASTY)
    return report


def test_page_is_whole_and_escaped(two_cities, metrics_csv, tmp_path):
    a_report(two_cities, metrics_csv).write(tmp_path / "out" / "report.html")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert "<script>alert" not in text
    assert "<b>name" not in text
    assert len(page.all("script")) == 1
    assert len(page.all("audio")) == len(page.all("img")) == 4
    assert len(page.all("section")) == 4
    assert {a["href"] for a in page.all("a")} == {f"#s{i}" for i in range(4)}
    assert [a for a in page.all("meta") if a.get("name") == "viewport"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_page_asks_no_network(two_cities, metrics_csv, tmp_path):
    a_report(two_cities, metrics_csv).write(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert all(a["src"].startswith("data:") for _, a in page.tags if a.get("src"))
    assert not re.search(r"https?://|url\(|@import", text)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_same_input_same_bytes(two_cities, metrics_csv, tmp_path):
    for name in ("a", "b"):
        a_report(two_cities, metrics_csv).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_players_hold_the_audio(two_cities, metrics_csv, tmp_path):
    a_report(two_cities, metrics_csv).write(tmp_path / "r.html")
    players = Page((tmp_path / "r.html").read_text()).all("audio")
    heard = [soundfile.read(io.BytesIO(base64.b64decode(p["src"].split(",")[1])), dtype="float32") for p in players]
    assert [(len(x), rate) for x, rate in heard] == [
        (144_000, 24_000),
        (144_000, 24_000),
        (96_000, 16_000),
        (50, 24_000),
    ]
    assert np.abs(heard[1][0] - 0.5 * heard[0][0]).max() < 1e-4
    source, _ = soundfile.read(two_cities, dtype="float32", frames=6 * 48_000)
    assert np.corrcoef(source[::2], heard[0][0])[0, 1] > 0.99


def test_clip_cuts_resamples_and_survives_nan():
    x, rate = clip(np.sin(2 * np.pi * 440 * np.arange(44_100 * 7) / 44_100), 44_100)
    assert (x.size, rate, x.dtype) == (6 * 24_000, 24_000, np.float32)
    assert np.abs(np.fft.rfft(x)).argmax() / 6 == pytest.approx(440)
    broken, _ = clip(np.array([0.1, np.nan, np.inf, -np.inf]), 8000)
    assert broken.tolist() == [np.float32(0.1), 0, 0, 0]
    loud = soundfile.read(io.BytesIO(base64.b64decode(flac_uri(np.full(800, 3.0), 8000).split(",")[1])))[0]
    assert loud.max() == pytest.approx(1, abs=1e-4)


def test_spectrogram_shows_a_tone_where_it_is():
    x = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    mel = log_mel(x, 16_000, 8000)
    image = Image.open(io.BytesIO(base64.b64decode(spectrogram_uri(mel, mel.max()).split(",")[1])))
    assert image.size == (101, 96)
    bright = np.asarray(image.convert("L"))[:, 50].argmax()
    import librosa

    centres = librosa.mel_frequencies(98, fmax=8000)[1:-1]
    assert centres[95 - bright] == pytest.approx(1000, rel=0.05)  # the lowest band is the lowest row
    assert (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(spectrogram_uri(mel - 200, 0.0).split(",")[1])))).max() == 0
    )


def test_charts_are_well_formed_and_finite(metrics_csv, tmp_path):
    report = Report("t")
    (tmp_path / "m.csv").write_text("step,split,name,value\n1,val,one,5\n1,train,none,nan\n0,x,flat,2\n9,x,flat,2\n")
    report.add_curves("edge cases", tmp_path / "m.csv")
    report.add_curves("curves", metrics_csv)
    report.add_histogram("codebooks", [[0], [3], [0, 0], np.r_[np.zeros(4000), 1e6]])
    report.write(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(charts) == 9
    for chart in charts:
        xml.dom.minidom.parseString(chart)
        assert "nan" not in chart.replace("no finite", "")
        assert "inf" not in chart.replace("no finite", "")
    assert "no finite value" in charts[1]
    assert "1 not finite and left out" in text


def test_many_points_are_binned_with_their_extremes(metrics_csv, tmp_path):
    report = Report("t")
    report.add_curves("c", metrics_csv, ["loss"])
    report.write(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    train, val = re.findall(r'<polyline class="line (c\d)" points="([^"]*)"', text)
    assert (train[0], len(train[1].split())) == ("c1", 160)
    assert (val[0], len(val[1].split())) == ("c2", 5)
    assert 'class="band c1"' in text
    assert ">10<" in text  # the value axis is logarithmic: decades are its ticks


def test_codebook_facts():
    report = Report("t")
    report.add_histogram("c", [[10, 10, 0, 0], np.ones(1024, int)])
    html = report._sections[0][1]
    assert "2 of 4 used (50.0%), perplexity 2.0" in html
    assert "1,024 of 1,024 used (100.0%), perplexity 1,024.0" in html
    assert "never used" in usage_chart([0, 0], "")


def test_metrics_are_read_with_their_faults(tmp_path, metrics_csv):
    curves = read_metrics(metrics_csv)
    assert list(curves["loss"]) == ["train", "val"]
    assert curves["loss"]["val"][0].tolist() == [0, 100, 200, 300, 400]
    with pytest.raises(AudiokdError, match=r"called 'los'(.|\n)*it has loss"):
        Report("t").add_curves("c", metrics_csv, ["los"])
    with pytest.raises(AudiokdError, match="no such file"):
        read_metrics(tmp_path / "nothing.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("step,name,value\n")
    with pytest.raises(AudiokdError, match=r"bad.csv:1: has no column split"):
        read_metrics(bad)
    bad.write_text("step,split,name,value\n1,train,loss,0.1\n2,train,loss,oops\n")
    with pytest.raises(AudiokdError, match=r"bad.csv:3"):
        read_metrics(bad)


def test_table_cells():
    report = Report("t")
    rows = [["x", 0.123456, "[1, 2]"], ["y", "1.5 [1.2, 1.8]", 7], ["z", None, "some words"], ["w", 12250.0, None]]
    report.add_table("s", ["a", "b", "c"], rows)
    html = report._sections[0][1]
    assert "<td>0.1235</td>" in html
    assert '<td>1.5<span class="interval">[1.2, 1.8]</span></td>' in html
    assert "<td>–</td>" in html
    assert "<td>12,250</td>" in html
    assert all(f'<td class="words">{t}</td>' in html for t in ("[1, 2]", "7", "some words", "–"))
    report.add_table("k", ["", ""], [["model.depth_scale", "a/b"]])
    html = report._sections[1][1]
    assert "thead" not in html
    assert "model.<wbr>depth_<wbr>scale" in html
    with pytest.raises(AudiokdError, match=r"row 0 of table 's' has 1 cells for 2 headers"):
        report.add_table("s", ["a", "b"], [["x"]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12_000, "12k"), (1.5e6, "1.5M"), (0.1 + 0.2, "0.3"), (3e-5, "3e-05"), (-2500, "-2.5k")],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_a_run_names_the_teacher_that_it_had() -> None:
    config = dataclasses.asdict(LMSPTSettings())
    assert "distillation resynthesis, teacher whisper-large-v3 (full window)" in _lead(config)
    config["distill"]["kind"] = "none"
    assert "distillation none, teacher" in _lead(config)  # of the auxiliary decoder
    config["loss"]["distill"] = 0.0
    assert _lead(config).endswith("distillation none, no teacher.")
    del config["distill"]  # a run that is older than the choice
    config["loss"]["distill"] = 500.0
    assert "distillation resynthesis, teacher" in _lead(config)
