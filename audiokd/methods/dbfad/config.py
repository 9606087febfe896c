"""An anomaly detector as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class DBFADConfig(PreTrainedConfig):
    """A frozen teacher, and a student that has learnt to say the same of normal pictures.

    Args:
        kind: dbfad, rd4ad or stfpm.
        backbone: timm's name of the teacher.
        teacher_sha256: of its weights, which are in the folder, too.
        stem: whether the teacher has the map t0.
        signed: of each of its maps, whether it has negative values.
        widths: of the student's stages; () are the maps'.
        depths: blocks of the student's stages.
        block: basic or bottleneck.
        residual: DBFAD's residual paths.
        attention: DBFAD's gates.
        preprocess: how pictures are seen (`audiokd.vision.transforms.Preprocess`): whole, `size` pixels a side.
        combine, weigh, sigma, align_corners: of the map (`audiokd.vision.anomaly_map`).
        thresholds: by what (score, pixel), the `quantile` of held-out normal pictures and of their pixels, and the number of
            pictures.
        domains: that were trained on.
    """

    model_type = "dbfad"

    def __init__(
        self,
        kind: str = "dbfad",
        backbone: str = "resnet34",
        teacher_sha256: str = "",
        stem: bool = True,
        signed: tuple[bool, ...] = (False, False, False, False),
        widths: tuple[int, ...] = (),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        block: str = "basic",
        residual: bool = True,
        attention: bool = True,
        preprocess: dict[str, Any] | None = None,
        combine: str = "sum",
        weigh: str = "area",
        sigma: float = 4.0,
        align_corners: bool = False,
        thresholds: dict[str, float] | None = None,
        domains: tuple[str, ...] = (),
        **kwargs: Any,
    ):
        self.kind, self.backbone, self.teacher_sha256, self.stem = kind, backbone, teacher_sha256, stem
        self.signed, self.widths, self.depths = list(signed), list(widths), list(depths)
        self.block, self.residual, self.attention = block, residual, attention
        self.preprocess = preprocess or {"size": [256, 256], "crop": 1.0, "crop_mode": "squash"}
        self.combine, self.weigh, self.sigma, self.align_corners = combine, weigh, sigma, align_corners
        self.thresholds, self.domains = thresholds or {}, list(domains)
        super().__init__(**kwargs)
