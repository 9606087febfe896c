"""`audiokd fit`: what it is told, what it refuses, and that a short run learns."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from method_settings import settings_of

from audiokd.cli import main
from audiokd.hub.auto import METHODS, part
from audiokd.stages.fit import RUNTIME_KEYS, flatten, read_config, read_settings, source

CONF = Path(main.__globals__["__file__"]).parent / "conf" / "lm_spt"
CONFIGS = sorted(p.stem for p in CONF.glob("*.yaml"))


@pytest.fixture(scope="module")
def sets(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """--train and --dev of one recording's segments."""
    root = tmp_path_factory.mktemp("sets")
    for name, numbers in (("train", range(9)), ("dev", range(9, 11))):
        (root / name).mkdir()
        (root / name / "wav.scp").write_text(f"two_cities {two_cities}\n")
        rows = [f"two_cities-{i:02d} two_cities {4 * i} {4 * i + 4}\n" for i in numbers]
        (root / name / "segments").write_text("".join(rows))
    return ["--train", str(root / "train"), "--dev", str(root / "dev")]


@pytest.fixture(scope="module")
def known(sets: list[str], whisper_dir: Path) -> list[str]:
    """A `fit` command but for --exp_dir."""
    options = f"fit lm_spt --config lm_spt/debug --teacher.name {whisper_dir} --run.accelerator cpu"
    return [*options.split(), *sets]


@pytest.fixture(scope="module")
def run(known: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty steps of the debug model."""
    exp = tmp_path_factory.mktemp("fit") / "exp"
    main([*known, "--exp_dir", str(exp), "--run.max_steps", "40", "--run.val_every", "20", "--run.ckpt_every", "20"])
    return exp


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What the command line says when it is asked wrongly (exit code 2)."""
    with pytest.raises(SystemExit) as e:
        main(list(argv))
    assert e.value.code == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert not out
    return err


def defaults() -> dict[str, Any]:
    return flatten(dataclasses.asdict(part("lm_spt", "settings")()))


def test_config_yaml_says_all(run: Path, sets: list[str]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    flat = flatten(config)
    assert config["method"] == "lm_spt"
    assert flat["model.encoder_dim"] == 4  # lm_spt/debug
    assert flat["run.max_steps"] == 40  # the command line
    assert flat["loss.mel"] == 15.0  # a default
    assert {k for k in flat if not k.startswith(("method", "inputs", "audiokd"))} == defaults().keys()
    assert config["inputs"]["train"]["utterances"] == 9
    assert config["inputs"]["dev"]["utterances"] == 2
    assert config["audiokd"] == source()
    assert sets[1] not in (run / "config.yaml").read_text()  # where the corpus lies is no part of a run
    method, settings = read_settings(str(run))
    assert method == "lm_spt"
    assert flatten(dataclasses.asdict(settings)).items() <= flat.items()
    assert isinstance(settings.model.encoder_rates, tuple)


def test_another_setting_in_the_same_folder(run: Path, known: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "config.yaml").read_bytes()
    said = refused(capsys, *known, "--exp_dir", str(run), "--run.max_steps", "41", "--loss.mel", "10")
    assert "run.max_steps: 40 there, 41 now" in said
    assert "loss.mel: 15.0 there, 10.0 now" in said
    assert "run.val_every: 20 there, 10 now" in said  # what the first run got on its command line
    assert str(run / "config.yaml") in said
    assert "--exp_dir" in said
    assert (run / "config.yaml").read_bytes() == before


def test_a_run_that_never_began_makes_way(known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*known, "--exp_dir", str(tmp_path), "--run.max_steps", "1", "--run.val_every", "1"]
    with pytest.raises(SystemExit):
        main([*options, "--teacher.name", "./no_such_whisper"])
    assert "no such folder" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["teacher"]["name"] == "./no_such_whisper"
    main(options)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["teacher"]["name"] != "./no_such_whisper"
    capsys.readouterr()
    assert "loss.mel: 15.0 there, 10.0 now" in refused(capsys, *options, "--loss.mel", "10")


def test_a_setting_that_the_run_is_older_than(run: Path, known: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It had what is the default now; another value of it is a difference."""
    path, before = run / "config.yaml", (run / "config.yaml").read_bytes()
    config = yaml.safe_load(before)
    del config["model"]["shared_encoder"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    try:
        same = ["--exp_dir", str(run), "--run.max_steps", "40", "--run.val_every", "20"]
        main([*known, *same])
        assert "40 steps are done already" in capsys.readouterr().out
        said = refused(capsys, *known, *same, "--model.shared_encoder", "true")
        assert "model.shared_encoder: False there, True now" in said
    finally:
        path.write_bytes(before)


def test_another_corpus_in_the_same_folder(
    run: Path, known: list[str], sets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--run.max_steps", "40", "--run.val_every", "20"]
    said = refused(capsys, *known, "--exp_dir", str(run), *settings, "--train", sets[3])
    assert "inputs.train.utterances: 9 there, 2 now" in said


def test_settings_that_change_nothing_may_change(
    run: Path, known: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--run.max_steps", "40", "--run.val_every", "20", "--run.ckpt_every", "7", "--data.num_workers", "2"]
    main([*known, "--exp_dir", str(run), *settings])
    assert "40 steps are done already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("--optim.learning_rat", None),
        ("--optim.warmup_step", "--optim.warmup_steps"),
        ("--model.encoder_dims", "--model.encoder_dim"),
        ("--max_step", "--run.max_steps"),
        ("--exp_dri", "--exp_dir"),
    ],
)
def test_a_typo_in_an_option(
    known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], typo: str, meant: str | None
) -> None:
    said = refused(capsys, *known, "--exp_dir", str(tmp_path / "exp"), typo, "3")
    assert typo in said
    assert "audiokd fit lm_spt --help" in said
    if meant:
        assert f"did you mean {meant}" in said or f" or {meant}" in said
    assert not (tmp_path / "exp").exists()


def test_a_typo_in_a_config(known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("optim:\n  warmup_step: 5\n")
    said = refused(capsys, *known, "--exp_dir", str(tmp_path / "exp"), "--config", str(tmp_path / "mine.yaml"))
    assert "unknown key 'optim.warmup_step'; did you mean optim.warmup_steps" in said
    assert str(tmp_path / "mine.yaml") in said
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("text", ["run: [1, 2", "- a\n- b\n", "just words\n"])
def test_a_config_that_is_no_config(
    known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    said = refused(capsys, *known, "--exp_dir", str(tmp_path / "exp"), f"--config={tmp_path / 'mine.yaml'}")
    assert str(tmp_path / "mine.yaml") in said
    assert "not YAML" in said or "holds keys and values" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--run.max_steps", "many"), ("--teacher.window", "half"), ("--model.encoder_rates", "[4,x]")],
)
def test_a_value_of_another_type(
    known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    said = refused(capsys, *known, "--exp_dir", str(tmp_path / "exp"), option, value)
    assert option.lstrip("-") in said


def test_an_unknown_packaged_config(sets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "fit", "lm_spt", "--config", "lm_spt/tiny", *sets, "--exp_dir", str(tmp_path / "exp"))
    assert "lm_spt/tiny: no such config file" in said
    assert all(f"lm_spt/{name}.yaml" in said for name in CONFIGS)


def test_an_unknown_method(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "fit", "lm_spd")
    assert "unknown method 'lm_spd'; did you mean lm_spt?" in said
    trained = ", ".join(sorted(name for name, parts in METHODS.items() if "settings" in parts))
    assert f"methods: {trained}" in said
    assert f"methods: {trained}" in refused(capsys, "fit")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_packaged_config_is_read(name: str) -> None:
    flat = read_config(f"lm_spt/{name}")
    assert flat
    assert flat.keys() <= defaults().keys()
    settings = settings_of("lm_spt", "base", name)
    got = flatten(dataclasses.asdict(settings))
    assert all(got[k] == v for k, v in flat.items())
    model = part("lm_spt", "config")(**dataclasses.asdict(settings.model))  # strides fit each other, widths halve
    frame = 1
    for rate in model.encoder_rates:
        frame *= rate
    rates = {"base_25hz": 25, "base_6hz": 6.25, "paper_25hz": 25, "paper_6hz": 6.25}
    assert model.sample_rate / frame == rates.get(name, 12.5)


def test_every_packaged_config_goes_through_the_command_line(
    sets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in CONFIGS:  # read and typed; then stopped, for a folder that holds another run
        exp = tmp_path / name
        exp.mkdir()
        (exp / "metrics.csv").write_text("")  # it has begun
        (exp / "config.yaml").write_text("method: another\n")
        files = ["--config", "lm_spt/base"] if name.startswith("base_") else []
        said = refused(capsys, "fit", "lm_spt", *files, "--config", f"lm_spt/{name}", *sets, "--exp_dir", str(exp))
        assert "method: another there, lm_spt now" in said
        for key, value in read_config(f"lm_spt/{name}").items():
            if key in RUNTIME_KEYS:  # never held against a run
                continue
            typed = type(defaults()[key])(value) if not isinstance(value, list) else value
            assert f"\n  {key}: None there, {typed} now" in said


def test_base_is_the_defaults() -> None:
    base = read_config("lm_spt/base")
    assert base.pop("run.max_steps") == 400_000  # how long is a recipe's own
    known = defaults()
    assert len(base) > 35
    assert {k: known[k] for k in base} == base
    unsaid = {k for k in known.keys() - base.keys() if k.startswith(("model.", "loss."))}
    assert unsaid == {
        *("model.residual_kernel_size", "model.dilations", "model.pad_to_frame"),
        *(f"model.{k}" for k in ("bottleneck_layers", "bottleneck_dim", "bottleneck_heads", "attention_window")),
        *(f"model.{k}" for k in ("decoder_type", "decoder_layers", "aux_type", "aux_layers", "causal")),
        *(f"model.{k}" for k in ("semantic_quantizer", "fsq_levels", "quantizer_bypass")),
    }


@pytest.mark.slow
def test_forty_steps_learn(run: Path) -> None:
    with open(run / "metrics.csv") as f:
        rows = {(int(r["step"]), r["split"], r["name"]): float(r["value"]) for r in csv.DictReader(f)}
    val = {name: [rows[s, "val", name] for s in (0, 20, 40)] for name in ("mel", "distill", "loss")}
    for name in val:
        assert val[name][2] < val[name][1] < val[name][0], name
    assert val["mel"][2] < 0.7 * val["mel"][0]
    assert val["distill"][2] < 0.97 * val["distill"][0]
    for stream in ["semantic0", *(f"acoustic{i}" for i in range(7))]:
        assert rows[40, "val", f"codebook/{stream}/perplexity"] > 1.5
        assert rows[40, "val", f"codebook/{stream}/usage"] >= 3 / 256
    assert {s for s, split, _ in rows if split == "train"} == set(range(1, 41))
