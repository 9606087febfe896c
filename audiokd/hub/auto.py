"""What each method is made of, by name, and its face to transformers' Auto classes.

The table holds names only, so that `import audiokd` stays free of torch. `register_lazily()` makes
`AutoConfig` and `AutoModel` know our models the moment transformers' auto modules are imported, before or after audiokd.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from audiokd.errors import AudiokdError

#: method -> where its parts are. settings and module where `audiokd fit` trains it; config and model where the model is ours, not
#: transformers' own; run where the inputs are no sound, export where the model folder is written its own way
METHODS: dict[str, dict[str, str]] = {
    "atst": {
        "settings": "audiokd.methods.atst.settings:ATSTSettings",
        "module": "audiokd.methods.atst.module:ATSTModule",
        "config": "audiokd.methods.atst.config:ATSTConfig",
        "model": "audiokd.methods.atst.model:ATSTModel",
    },
    "building_sda": {
        "settings": "audiokd.methods.building_sda.settings:BuildingSettings",
        "module": "audiokd.methods.building_sda.module:BuildingModule",
        "config": "audiokd.methods.building_sda.config:BuildingConfig",
        "model": "audiokd.methods.building_sda.model:BuildingModel",
        "run": "audiokd.methods.building_sda.run:BuildingRun",
        "export": "audiokd.methods.building_sda.run:write_model",
    },
    "center_point": {
        "config": "audiokd.methods.point_detr3d.config:CenterPointConfig",
        "model": "audiokd.methods.point_detr3d.center_point:CenterPointModel",
    },
    "classifier": {
        "settings": "audiokd.methods.classifier.settings:ClassifierSettings",
        "module": "audiokd.methods.classifier.module:ClassifierModule",
        "config": "audiokd.methods.classifier.config:ClassifierConfig",
        "model": "audiokd.methods.classifier.model:ClassifierModel",
        "run": "audiokd.methods.classifier.run:ClassifierRun",
        "export": "audiokd.methods.classifier.run:write_model",
    },
    "dbfad": {
        "settings": "audiokd.methods.dbfad.settings:DBFADSettings",
        "module": "audiokd.methods.dbfad.module:DBFADModule",
        "config": "audiokd.methods.dbfad.config:DBFADConfig",
        "model": "audiokd.methods.dbfad.model:DBFADModel",
        "run": "audiokd.methods.dbfad.run:DBFADRun",
        "export": "audiokd.methods.dbfad.run:write_model",
    },
    "detector": {
        "settings": "audiokd.methods.detector.settings:DetectorSettings",
        "module": "audiokd.methods.detector.module:DetectorModule",
        "config": "audiokd.methods.detector.config:DetectorConfig",
        "model": "audiokd.methods.detector.model:DetectorModel",
        "run": "audiokd.methods.detector.run:DetectorRun",
        "export": "audiokd.methods.detector.run:write_model",
    },
    "kmeans": {
        "config": "audiokd.methods.kmeans.config:KMeansConfig",
        "model": "audiokd.methods.kmeans.model:KMeansModel",
    },
    "lit": {
        "settings": "audiokd.methods.lit.settings:LitSettings",
        "module": "audiokd.methods.lit.module:LitModule",
        "config": "audiokd.methods.lit.config:LitConfig",
        "model": "audiokd.methods.lit.model:LitModel",
        "run": "audiokd.methods.lit.run:LitRun",
        "export": "audiokd.methods.lit.run:write_model",
    },
    "lm_spt": {
        "settings": "audiokd.methods.lm_spt.settings:LMSPTSettings",
        "module": "audiokd.methods.lm_spt.module:LMSPTModule",
        "config": "audiokd.methods.lm_spt.config:LMSPTConfig",
        "model": "audiokd.methods.lm_spt.model:LMSPTModel",
    },
    "mert": {
        "settings": "audiokd.methods.mert.settings:MERTSettings",
        "module": "audiokd.methods.mert.module:MERTModule",
        "config": "audiokd.methods.mert.config:MERTConfig",
        "model": "audiokd.methods.mert.model:MERTModel",
        "run": "audiokd.methods.mert.run:MERTRun",
        "export": "audiokd.methods.mert.run:write_model",
    },
    "point_detr3d": {
        "settings": "audiokd.methods.point_detr3d.settings:PointDetr3dSettings",
        "module": "audiokd.methods.point_detr3d.module:BoxesModule",
        "config": "audiokd.methods.point_detr3d.config:PointDetr3dConfig",
        "model": "audiokd.methods.point_detr3d.model:PointDetr3dModel",
        "run": "audiokd.methods.point_detr3d.run:PointDetr3dRun",
        "export": "audiokd.methods.point_detr3d.run:write_model",
    },
    "point_sed": {
        "settings": "audiokd.methods.point_sed.settings:PointSedSettings",
        "module": "audiokd.methods.point_sed.module:PointSedModule",
        "config": "audiokd.methods.point_sed.config:PointSedConfig",
        "model": "audiokd.methods.point_sed.model:PointSedModel",
        "run": "audiokd.methods.point_sed.run:PointSedRun",
        "export": "audiokd.methods.point_sed.run:write_model",
    },
    "promptkd": {
        "settings": "audiokd.methods.promptkd.settings:PromptKDSettings",
        "module": "audiokd.methods.promptkd.module:PromptKDModule",
        "config": "audiokd.methods.promptkd.config:PromptKDConfig",
        "model": "audiokd.methods.promptkd.model:PromptKDModel",
        "run": "audiokd.methods.promptkd.run:PromptKDRun",
        "export": "audiokd.methods.promptkd.run:write_model",
    },
    "promptsrc": {
        "settings": "audiokd.methods.promptsrc.settings:PromptSRCSettings",
        "module": "audiokd.methods.promptsrc.module:PromptSRCModule",
        "run": "audiokd.methods.promptsrc.run:PromptSRCRun",
        "export": "audiokd.methods.promptsrc.run:write_model",
    },
    "rvq_vae": {
        "settings": "audiokd.methods.rvq_vae.settings:RVQVAESettings",
        "module": "audiokd.methods.rvq_vae.module:RVQVAEModule",
        "config": "audiokd.methods.rvq_vae.config:RVQVAEConfig",
        "model": "audiokd.methods.rvq_vae.model:RVQVAEModel",
    },
    "s3a": {
        "settings": "audiokd.methods.s3a.settings:S3ASettings",
        "module": "audiokd.methods.s3a.module:S3AModule",
        "config": "audiokd.methods.s3a.config:S3AConfig",
        "model": "audiokd.methods.s3a.model:S3AModel",
        "run": "audiokd.methods.s3a.run:S3ARun",
        "export": "audiokd.methods.s3a.run:write_model",
    },
    "salt": {
        "settings": "audiokd.methods.salt.settings:SALTSettings",
        "module": "audiokd.methods.salt.module:SALTModule",
        "config": "audiokd.methods.salt.config:SALTConfig",
        "model": "audiokd.methods.salt.model:SALTModel",
        "run": "audiokd.methods.salt.run:SALTRun",
        "export": "audiokd.methods.salt.run:write_model",
    },
    "speech_lm": {
        "settings": "audiokd.methods.speech_lm.settings:SpeechLMSettings",
        "module": "audiokd.methods.speech_lm.module:SpeechLMModule",
        "run": "audiokd.methods.speech_lm.run:SpeechLMRun",
        "export": "audiokd.methods.speech_lm.export:write_model",
    },
    "talking_models": {
        "settings": "audiokd.methods.talking_models.settings:TalkSettings",
        "module": "audiokd.methods.talking_models.module:TalkModule",
        "config": "audiokd.methods.talking_models.config:TalkConfig",
        "model": "audiokd.methods.talking_models.model:TalkModel",
        "run": "audiokd.methods.talking_models.run:TalkRun",
        "export": "audiokd.methods.talking_models.run:write_model",
    },
    "tiue": {
        "settings": "audiokd.methods.tiue.settings:TiUESettings",
        "module": "audiokd.methods.tiue.module:DiffusionModule",
        "run": "audiokd.methods.tiue.run:TiUERun",
        "export": "audiokd.methods.tiue.run:write_model",
    },
    "vl2v": {
        "settings": "audiokd.methods.vl2v_adip.settings:VL2VSettings",
        "module": "audiokd.methods.vl2v_adip.module:VL2VModule",
        "config": "audiokd.methods.vl2v_adip.config:VL2VConfig",
        "model": "audiokd.methods.vl2v_adip.model:VL2VModel",
        "run": "audiokd.methods.vl2v_adip.run:VL2VRun",
        "export": "audiokd.methods.vl2v_adip.run:write_model",
    },
}

#: the encoder without weights, where a folder or hub id stands for others
LOG_MEL = "log_mel"
#: the encoder of published FIDs; inception:FILE for weights that lie elsewhere
INCEPTION = "inception"
CONFIGS = "transformers.models.auto.configuration_auto"
MODELS = "transformers.models.auto.modeling_auto"


def part(method: str, name: str) -> Any:
    """One part of a method, imported now."""
    if method not in METHODS:
        raise AudiokdError(f"unknown method {method!r}", fix=f"methods: {', '.join(sorted(METHODS))}")
    module, attribute = METHODS[method][name].split(":")
    return getattr(importlib.import_module(module), attribute)


def _register(auto: ModuleType) -> None:
    for name in (n for n, parts in METHODS.items() if "config" in parts):
        if auto.__name__ == CONFIGS:
            auto.AutoConfig.register(name, part(name, "config"), exist_ok=True)
        else:
            auto.AutoModel.register(part(name, "config"), part(name, "model"), exist_ok=True)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds the two auto modules as usual and registers our models once they have run."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (CONFIGS, MODELS):
            return None
        sys.meta_path.remove(self)  # so that the finders behind us answer
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _register(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def register_lazily() -> None:
    """Register now where transformers' auto modules are loaded already, else when they are."""
    if not any(isinstance(f, _AfterImport) for f in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
    for name in (CONFIGS, MODELS):
        if name in sys.modules:
            _register(sys.modules[name])


def load_model(name: str | os.PathLike[str], device: str = "cpu") -> Any:
    """A model that audiokd exported, or an audio encoder of transformers, by folder or hub id, in eval mode.

    Encoders of transformers (`audiokd.teachers.auto.FAMILIES`) get the face of ours (`audiokd.teachers.encoder`), codecs of
    transformers (`audiokd.teachers.codecs.CODECS`) that of our tokenizers (`audiokd.teachers.frozen_codec`), pair models
    (`audiokd.teachers.pair.PAIRS`, LiT) that of an encoder with one embedding an item (`audiokd.teachers.pair_encoder`). The name
    log_mel is an encoder without weights, the floor of every probe (`audiokd.hub.log_mel`); inception, or inception:FILE, the
    network of published FIDs (`audiokd.hub.inception`); timm/NAME, or a folder as timm's hub has it, a backbone
    (`audiokd.hub.timm_encoder`).

    Raises:
        AudiokdError: no such folder, no config.json, no weights, or a model of another kind; the kinds that are known are named; or
            no such device.
    """
    register_lazily()
    name = os.fspath(name)
    if name == LOG_MEL:
        from audiokd.hub.log_mel import LogMelEncoder

        return _on(LogMelEncoder().eval(), device)
    if name.partition(":")[0] == INCEPTION:
        from audiokd.hub.inception import InceptionEncoder

        return _on(InceptionEncoder(name.partition(":")[2]).eval(), device)
    if name.startswith("timm/") or _is_timms(Path(name)):
        from audiokd.hub.timm_encoder import TimmEncoder

        return _on(TimmEncoder(name).eval().requires_grad_(False), device)
    if os.path.isdir(name):
        from audiokd.teachers.prompted_pair import is_prompted

        if is_prompted(name):
            from audiokd.teachers.zero_shot import load_zero_shot

            return load_zero_shot(name, device)
        _check_folder(Path(name))
    elif not os.path.isfile(name) and (name.count("/") != 1 or name.startswith((".", "/"))):
        raise AudiokdError("no such folder", where=name, fix="give a folder that 'audiokd export' wrote, or a hub id")
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    from audiokd.teachers.auto import ENCODERS, FAMILIES, load_teacher
    from audiokd.teachers.base import load_pretrained
    from audiokd.teachers.codecs import CODECS, codec_family, load_codec
    from audiokd.teachers.pair import OURS, PAIRS, load_pair

    family = _family(name)
    if codec := codec_family(name, family):
        return _on(load_codec(name, codec), device)
    if family in FAMILIES:
        from audiokd.teachers.encoder import TransformersEncoder

        return _on(TransformersEncoder(load_teacher(name, layer="normed")).eval(), device)
    if family in (*PAIRS, *OURS):
        from audiokd.teachers.pair_encoder import PairEncoder

        return _on(PairEncoder(load_pair(name)), device)
    if family and "config" not in METHODS.get(family, {}):
        fix = f"{ENCODERS}; or a codec of the families {', '.join(CODECS)}; or a pair model: {', '.join(PAIRS)}"
        raise AudiokdError(f"a {family} model is none that audiokd knows", where=name, fix=fix)
    model = load_pretrained(AutoModel, name, "the model", ENCODERS)
    return _on(model.eval().requires_grad_(False), device)


def _is_timms(path: Path) -> bool:
    """Whether a folder is one of timm's hub: its config.json names an architecture and no family of transformers."""
    try:
        config = json.loads((path / "config.json").read_text())
    except (OSError, ValueError):  # what is wrong with it is said where it is looked for as ours
        return False
    return isinstance(config, dict) and "architecture" in config and "model_type" not in config


def _on(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as e:  # AssertionError: a torch that was built without CUDA
        what = f"device {device!r} cannot be used here: {str(e).splitlines()[0]}"
        raise AudiokdError(what, fix="cpu, cuda, cuda:1, ...; `audiokd doctor` says what this machine has") from e


def _family(name: str) -> str:
    """transformers' model_type, empty where nothing says."""
    if os.path.isdir(name):
        return json.loads((Path(name) / "config.json").read_text()).get("model_type", "")
    if os.path.isfile(name):
        return ""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError):  # what is wrong with it is said when the model is loaded
        return ""


def load_for_inference(name: str | os.PathLike[str], device: str = "cpu") -> Any:
    """A model as `load_model` gives it, with weight norm folded where it has any."""
    model = load_model(name, device)
    return model.fold() if hasattr(model, "fold") else model


def load_tokenizer(name: str | os.PathLike[str], device: str = "cpu") -> Any:
    """A tokenizer by folder or hub id, ready for inference: one that audiokd exported, or an EnCodec, Mimi, DAC or X-Codec.

    Returns:
        A model with `encode(wav, lengths) -> Codes`, `decode(codes, semantic_only=False) -> (wav, lengths)`, and
        `sample_rate`, `frame_rate`, `frame_size`, `cardinality`, `num_codebooks`, `set_num_codebooks(n)`.

    Raises:
        AudiokdError: it cannot be loaded (see `load_model`), or is no tokenizer.
    """
    model = load_for_inference(name, device)
    if not (hasattr(model, "encode") and hasattr(model, "cardinality")):
        raise AudiokdError(f"a {type(getattr(model, 'net', model)).__name__} is not a tokenizer", where=os.fspath(name))
    return model


def _check_folder(path: Path) -> None:
    if not (path / "config.json").exists():
        raise AudiokdError("no config.json", where=str(path), fix="give a folder that 'audiokd export' wrote")
    try:
        json.loads((path / "config.json").read_text())
    except json.JSONDecodeError as e:
        raise AudiokdError(f"not JSON: {e}", where=str(path / "config.json")) from e
    if not any(path.glob("*.safetensors")):
        raise AudiokdError(
            "a model folder without weights", where=str(path), fix="it needs model.safetensors; export the run again"
        )
