"""What `audiokd fit mert` is given, and what `audiokd export` writes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiokd.data.inputs import open_input
from audiokd.errors import ConfigError
from audiokd.methods.mert.settings import MERTSettings

#: the heads beside an exported encoder, which HubertModel has no place for
HEADS = "heads.safetensors"


class MERTRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: INPUTs.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        ConfigError, AudiokdError: numbers that nothing can be done with; see `MERTModule`; or stored codes are of other audio than
            the INPUTs'.
    """

    def __init__(self, settings: MERTSettings, train: str, dev: str, allow_pipes: bool = False):
        if problems := [*_problems(settings)]:
            raise ConfigError("; ".join(problems), fix="change the keys named")
        self.settings = settings
        paths = {"train": train, "dev": dev}
        self.sets = {k: open_input(p, allow_pipes=allow_pipes).utterances() for k, p in paths.items()}

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs: how many utterances, a hash of their ids, and of the weights of the teacher."""
        from audiokd.nn.weights import weights_sha256
        from audiokd.teachers.codes import load_code_teacher
        from audiokd.training.stored_codes import StoredCodeTeacher

        found: dict[str, Any] = {
            k: {"utterances": len(u), "ids_sha256": hashlib.sha256("\n".join(x.id for x in u).encode()).hexdigest()}
            for k, u in self.sets.items()
        }
        if path := self.settings.teacher.stored_codes:
            found["teacher_sha256"] = StoredCodeTeacher(path).model_sha256
        elif name := self.settings.teacher.codes:
            found["teacher_sha256"] = weights_sha256(load_code_teacher(name).net)
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` gives, and its data: crops that begin where frames do."""
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.mert.memory import step_memory
        from audiokd.methods.mert.module import MERTModule
        from audiokd.teachers.codes import load_code_teacher
        from audiokd.training.datamodule import CropDataModule
        from audiokd.training.stored_codes import StoredCodeTeacher

        s = self.settings
        if rank_zero_only.rank == 0:
            print(step_memory(s))
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        module = MERTModule(s)
        if isinstance(module.teacher, StoredCodeTeacher):
            both = [u for of in self.sets.values() for u in of]
            module.teacher.check(both)
            if name := s.teacher.codes:
                module.teacher.check_teacher(load_code_teacher(name), name, both)
        data = CropDataModule(
            self.sets["train"],
            self.sets["dev"],
            s.model.sample_rate,
            s.data,
            s.run,
            folder,
            hop_s=1 / module.student.frame_rate,
        )
        return module, data


def _problems(s: MERTSettings) -> Iterator[str]:
    """What of the settings would fail in the step, in words that do not say why."""
    from audiokd.methods.mert.config import MIN_SAMPLES

    rate, t, m = s.model.sample_rate, s.teacher, s.mixture
    for key, seconds in (("crop_s", s.data.crop_s), ("val_crop_s", s.data.val_crop_s)):
        if round(seconds * rate) < MIN_SAMPLES:
            yield f"data.{key} {seconds:g} is shorter than a frame, {MIN_SAMPLES / rate:.3f} s"
    if s.mask.length < 1:
        yield f"mask.length {s.mask.length} is no span"
    if m.probability and not (m.most >= 1 and 0 < m.shortest <= m.longest):
        yield f"mixture.most {m.most}, mixture.shortest {m.shortest:g}, mixture.longest {m.longest:g} leave nothing to mix"
    if t.cqt and not (t.cqt_fmin > 0 and t.cqt_bins > 0 and t.cqt_bins_per_octave > 0):
        yield "teacher.cqt_fmin, teacher.cqt_bins and teacher.cqt_bins_per_octave have to be above 0"
    elif t.cqt and (top := t.cqt_fmin * 2 ** ((t.cqt_bins - 1) / t.cqt_bins_per_octave)) > rate / 2:
        yield f"teacher.cqt_bins {t.cqt_bins} go up to {top:.0f} Hz, half the sample rate is {rate / 2:g}"


def write_model(exp_dir: Path, settings: MERTSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the encoder of the run in `exp_dir` as a model folder, which transformers' HubertModel loads too.

    Args:
        exp_dir: folder of the run.
        settings: of the run.
        state: checkpoint; None is the untrained encoder that `run.seed` gives.
        out: folder to write.
        name: of the checkpoint.
    """
    import lightning as L

    from audiokd.methods.mert.config import MERTConfig
    from audiokd.methods.mert.convert import write_folder
    from audiokd.methods.mert.model import MERTModel
    from audiokd.methods.mert.module import MERTModule
    from audiokd.nn.weights import load_weights

    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    model, heads = MERTModel(MERTConfig(**asdict(settings.model))), {}
    iteration = 0
    if state is not None:
        prefix, weights = MERTModule.exported, state["state_dict"]
        iteration = state["iteration"]
        found = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
        load_weights(model, found, f"{exp_dir}, {name} checkpoint")
        heads = {k: v for k, v in weights.items() if k.startswith(("code_heads.", "cqt_head."))}
    params = write_folder(model, heads, out, f"{name}, step {iteration}")
    print(f"{out}: mert, {name} checkpoint, step {iteration}, {params / 1e6:.2f} M parameters")
