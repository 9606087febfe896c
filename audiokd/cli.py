"""The command line: a table of commands, each a function of audiokd.stages; its signature is its options."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

#: command -> (module:function, positional arguments, one line)
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "validate": ("validate:validate", ("data_dir",), "check a corpus: structure and audio; write its quarantine list"),
    "shard": ("shard:shard", ("data_dir", "shard_dir"), "pack a corpus into lhotse Shar shards with checksums"),
    "fit": ("fit:fit", ("method",), "train a method"),
    "export": ("export:export", ("exp_dir", "model_dir"), "a run's model as a transformers folder"),
    "kmeans": ("kmeans:kmeans", ("input", "model_dir"), "cluster frames of music: a tokenizer without a network"),
    "tokenize": ("tokenize:tokenize", ("model_dir", "input", "store"), "a corpus to tokens"),
    "extract": ("extract:extract", ("model_dir", "input", "store"), "a corpus to features"),
    "detect3d": (
        "detect3d:detect3d",
        ("model", "input", "out"),
        "boxes in frames of drives, by a detector or a teacher",
    ),
    "intervals": (
        "intervals:intervals",
        ("model", "data", "intervals_dir"),
        "events with times from a point on each, by a teacher",
    ),
    "generate": ("generate:generate", ("model", "input", "out"), "pictures or sounds of prompts, by a diffusion model"),
    "decode": ("decode:decode", ("model_dir", "store", "wav_dir"), "tokens back to sound"),
    "anchor": ("anchor:anchor", ("kind", "input", "wav_dir"), "references of a corpus: original, Griffin-Lim"),
    "score": ("score:score", (), "compare rebuilt audio with the original"),
    "semantics": ("semantics:semantics", ("store", "data"), "what the tokens know of phones: PNMI, purity, ABX"),
    "probe": ("probe:probe", (), "what a linear probe of extracted features knows: classes, tags, frames"),
    "classify": ("classify:classify", ("stores",), "score a fine-tuned classifier's logits: accuracy, mAP"),
    "ratings": ("ratings:ratings", ("model_dir", "data"), "score a recommender's ratings: RMSE, MAE"),
    "name": ("name:name", ("store",), "score names of a whole vocabulary: accuracy, clustering, IoU, similarity"),
    "segments": ("segments:segments", ("store",), "how well pixels of buildings are found: IoU and F1, by height"),
    "detect": ("detect:detect", ("store",), "how well sound events and their times are found, from frame logits"),
    "anomalies": ("anomalies:anomalies", ("store",), "how well defects are found, and where, from anomaly maps"),
    "boxes": ("boxes:boxes", ("found",), "how well boxes of drives are found: mAP, NDS, by distance and points"),
    "fidelity": (
        "fidelity:fidelity",
        ("generated", "real"),
        "how near generated pictures or sounds are to real ones: FID, ...",
    ),
    "trajectory": (
        "trajectory:trajectory",
        ("model", "input", "out"),
        "how a diffusion model's features change step by step",
    ),
    "slm": ("slm:slm", ("model_dir", "store"), "score a speech language model: bits, and error rates both ways"),
    "report": ("report:report", ("exp_dir",), "the page of a run: curves, samples, codebooks, scores"),
    "store ls": ("store:ls", ("store",), "what is in a token store"),
    "store verify": ("store:verify", ("store",), "check every byte of a store"),
    "store stats": ("store:stats", ("store",), "codebook use, repetition, speakers, outliers"),
    "store export": ("store:export", ("store", "out"), "a store for Kaldi, lhotse, webdataset, hf, ..."),
    "store import": ("store:import_", ("source", "store"), "codes that lhotse or Kaldi users wrote as a store"),
    "store merge": ("store:merge", ("a", "b", "out"), "two stores of one model into one"),
    "store diff": ("store:diff", ("a", "b"), "where two stores differ"),
    "convert": ("convert:convert", ("what", "src", "dst"), "model folders of other programs to ours, and back"),
    "doctor": ("doctor:doctor", (), "is this machine ready, and what for"),
}


def main(argv: list[str] | None = None) -> None:
    """Run one command; exit 0 when it worked, 1 when it failed, 2 when it was asked wrongly, 130 on Ctrl-C."""
    try:
        try:
            _command(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except ConfigError as e:
        sys.exit(_fail(str(e), 2))
    except AudiokdError as e:
        sys.exit(_fail(str(e), 1))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; what is written is whole, the same command goes on from there", 130))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself flushes at its end
        sys.exit(1)


def _command(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if argv[0] == "--version":
        from audiokd import __version__

        print(__version__)
        sys.exit(0)
    name = " ".join(argv[:2]) if " ".join(argv[:2]) in COMMANDS else argv[0]
    if name not in COMMANDS:
        if any(c.startswith(f"{name} ") for c in COMMANDS):
            name = " ".join(argv[:2])
        sys.exit(_fail(f"unknown command {name!r}{_near(name, list(COMMANDS))}\n\n{_usage()}", 2))
    rest = argv[len(name.split()) :]
    _run_fit(rest) if name == "fit" else _run(name, rest)


def _run(name: str, rest: list[str]) -> None:
    function, positional = _function(name)
    parser = _parser(name, function)
    import inspect

    parameters = inspect.signature(function).parameters
    names = list(parameters)
    switches = {f"--{n}" for n, p in parameters.items() if isinstance(p.default, bool)}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=set(names) - set(positional))
    parser.add_function_arguments(function, as_group=False, as_positional=False, skip=set(positional))
    parser.spell_keywords()
    function(**parser.parse_args(_spell_switches(rest, switches)).as_dict())


def _spell_switches(rest: list[str], switches: set[str]) -> list[str]:
    """A bare `--text` means `--text true`; a value may follow it all the same."""
    spelt = []
    for i, word in enumerate(rest):
        bare = word in switches and rest[i + 1 : i + 2] not in (["true"], ["false"], ["True"], ["False"])
        spelt += [word, "true"] if bare else [word]
    return spelt


def _run_fit(rest: list[str]) -> None:
    """`fit METHOD`: the options are the method's settings, checked one by one."""
    from audiokd.hub.auto import METHODS, part

    function, _ = _function("fit")
    trained = sorted(name for name, parts in METHODS.items() if "module" in parts)
    methods = ", ".join(trained)
    if not rest or rest[0].startswith("-"):
        if rest and rest[0] in ("-h", "--help"):
            print(f"usage: audiokd fit METHOD --train INPUT --dev INPUT --exp_dir DIR [options]\nmethods: {methods}")
            sys.exit(0)
        raise ConfigError("fit needs a method first", fix=f"methods: {methods}")
    if rest[0] not in trained:
        raise ConfigError(f"unknown method {rest[0]!r}{_near(rest[0], trained)}", fix=f"methods: {methods}")
    settings = part(rest[0], "settings")
    parser = _parser(f"fit {rest[0]}", function)
    parser.add_argument(
        "--config", action="append", default=[], help="YAML file, or a packaged one such as lm_spt/small"
    )
    parser.add_function_arguments(function, as_group=False, skip={"method", "settings"})
    parser.add_class_arguments(settings, as_group=False)
    args = parser.parse_args(_with_configs(rest[1:], parser)).as_dict()
    io = {k: args.pop(k) for k in ("train", "dev", "exp_dir", "allow_pipes")}
    args.pop("config")
    from audiokd.stages.fit import build_settings

    function(rest[0], build_settings(settings, args), **io)


def _with_configs(rest: list[str], parser: Any) -> list[str]:
    """Put what --config files say before the options, so that options win over files and later files over earlier."""
    from audiokd.stages.fit import read_config

    files, options, i = [], [], 0
    while i < len(rest):
        if rest[i] == "--config" and i + 1 < len(rest):
            files.append(rest[i + 1])
            i += 2
        elif rest[i].startswith("--config="):
            files.append(rest[i].split("=", 1)[1])
            i += 1
        else:
            options.append(rest[i])
            i += 1
    first: list[str] = []
    for file in files:
        for key, value in read_config(file).items():
            if key not in parser.known_keys:
                raise ConfigError(f"unknown key {key!r}{_near(key, parser.known_keys)}", where=file)
            first.append(f"--{key}={value}")
    return first + options


def _function(name: str) -> tuple[Any, tuple[str, ...]]:
    where, positional, _ = COMMANDS[name]
    module, function = where.split(":")
    return getattr(importlib.import_module(f"audiokd.stages.{module}"), function), positional


def _parser(name: str, function: Any) -> Any:
    import jsonargparse

    class Parser(jsonargparse.ArgumentParser):
        @property
        def known_keys(self) -> list[str]:
            return [a.dest.rstrip("_") for a in self._actions if a.dest not in ("help", "config")]

        def spell_keywords(self) -> None:
            """`--from` for a parameter `from_`: Python takes the word for itself."""
            for action in self._actions:
                for option in [o for o in action.option_strings if o.endswith("_")]:
                    self._option_string_actions[option[:-1]] = self._option_string_actions.pop(option)
                action.option_strings = [o.rstrip("_") for o in action.option_strings]

        def error(self, message: str, ex: Exception | None = None) -> Any:  # one plain line, and the near names
            import re

            keys = [f"--{k}" for k in self.known_keys]
            wrong = re.findall(r"--[\w.]+", message) if "nrecognized" in message else []
            hints = "".join(_near(w, keys) for w in wrong)
            sys.exit(_fail(f"audiokd {name}: {message.strip()}{hints}\n  see: audiokd {name} --help", 2))

    about = (function.__doc__ or "").split("\n\n")[0]
    return Parser(prog=f"audiokd {name}", description=about, allow_abbrev=False)  # a typo is no abbreviation


def _near(name: str, names: list[str]) -> str:
    import difflib

    tail = {n.rsplit(".", 1)[-1]: n for n in names}
    found = difflib.get_close_matches(name, names, 3, 0.6) or [
        tail[t] for t in difflib.get_close_matches(name.rsplit(".", 1)[-1].lstrip("-"), list(tail), 3, 0.6)
    ]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _usage() -> str:
    rows = [f"  {' '.join((name, *(p.upper() for p in pos))):42} {line}" for name, (_, pos, line) in COMMANDS.items()]
    return "usage: audiokd COMMAND ...   (audiokd COMMAND --help for its options)\n\n" + "\n".join(rows)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
