"""PromptKD's student: a frozen body with learnt prompts, and a projector into the space of the teacher's texts.

It classifies with class vectors that the teacher's text encoder made once: no text model is needed to use it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.promptkd.config import PromptKDConfig
from audiokd.nn.batch_norm import SyncBatchNorm1d
from audiokd.nn.deep_prompts import DeepPrompts
from audiokd.nn.tables import KeepsTables
from audiokd.teachers.student_body import OnBody, StudentBody, build_body
from audiokd.teachers.text_bank import TextBank


class PromptKDModel(KeepsTables, OnBody, PreTrainedModel):
    """Logits of classes from pictures or sound. The body is frozen until `train_body` says otherwise, and in eval mode until then.

    Args:
        config: of it.
        body: with weights; built at random as the config has it by default.

    Raises:
        AudiokdError: no classes, a body of no known kind, or prompts for more layers than take some.
    """

    config_class = PromptKDConfig
    base_model_prefix = "promptkd"
    main_input_name = "pixel_values"
    feature_layers = ("logits", "embedding")
    #: layers whose dimensions are `labels`
    logit_layers = ("logits",)

    def __init__(self, config: PromptKDConfig, body: StudentBody | None = None):
        super().__init__(config)
        if not config.labels:
            raise AudiokdError("a PromptKD student needs classes", where="promptkd config")
        with self.tables():
            self.body = build_body(config.body) if body is None else body
        self.prompts = None
        if config.prompts:
            if config.prompt_depth > self.body.prompt_layers:
                layers = self.body.prompt_layers
                what = f"prompts for {config.prompt_depth} layers, the student has {layers or 'none that takes some'}"
                fix = f"--model.prompt_depth {layers}" if layers else "--model.prompts 0, the projector alone"
                raise AudiokdError(what, fix=fix)
            self.prompts = DeepPrompts(config.prompt_depth, config.prompts, self.body.prompt_dim)
        self.projector = projector(self.body.dim, config.projector_hidden, config.teacher_dim)
        self.register_buffer("class_vectors", torch.zeros(len(config.labels), config.teacher_dim))
        self.post_init()
        #: some are never trained, such as positions that are sinusoids, or a pair model's scale
        self._trainable = {name for name, p in self.body.named_parameters() if p.requires_grad}
        self.train_body(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the body is loaded, prompts and projector have begun by themselves."""

    def train_body(self, trained: bool) -> None:
        """Let the body learn, or freeze it."""
        self.body_learns = trained
        for name, p in self.body.named_parameters():
            p.requires_grad_(trained and name in self._trainable)
        self.train(self.training)

    def train(self, mode: bool = True) -> PromptKDModel:
        """As of torch; a frozen body stays in eval mode: its batch norms and dropouts are part of what is frozen."""
        super().train(mode)
        if not self.body_learns:
            self.body.eval()
        return self

    @property
    def labels(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return self.config.labels

    def embed(self, view: dict[str, Tensor]) -> Tensor:
        """Directions [B, `teacher_dim`] of a batch (`StudentBody.forward`) in the space of the class vectors."""
        tokens = None if self.prompts is None else self.prompts.tokens
        return F.normalize(self.projector(self.body(view, tokens)), dim=-1)

    def forward(
        self, pixel_values: Tensor | None = None, wav: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Logits [B, C] of pictures [B, 3, H, W], or of waveforms [B, T] with `lengths` [B] samples: the student's scale times
        cosines with the class vectors."""
        x = wav if pixel_values is None else pixel_values
        assert x is not None
        return self.logits_of(self.embed(self.body.view_of(x, lengths)))

    def logits_of(self, embedded: Tensor) -> Tensor:
        """Logits [B, C] of directions [B, `teacher_dim`], in float32 whatever the autocast."""
        with torch.autocast(embedded.device.type, enabled=False):
            return self.config.scale * embedded.float() @ self.class_vectors.float().T

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers` as one frame an item: [B, 1, D], and [B] ones, of pictures, which have no `lengths`, or of
        waveforms [B, T]."""
        found = self.embed(self.body.view_of(x, lengths))
        found = self.logits_of(found) if layer == "logits" else found
        return found[:, None], torch.ones(len(found), dtype=torch.long, device=found.device)

    def learning_parts(self) -> dict[str, nn.Module]:
        """What is trained: prompts, where there are some, the projector, and the body where it learns."""
        parts: dict[str, nn.Module] = {} if self.prompts is None else {"prompts": self.prompts}
        return parts | {"projector": self.projector} | ({"body": self.body} if self.body_learns else {})


def projector(in_dim: int, hidden: tuple[int, ...], out_dim: int) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them (officially convolutions of one pixel, one hidden layer)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_dim, width), SyncBatchNorm1d(width), nn.ReLU()]
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def student_of(body: StudentBody, bank: TextBank, scale: float, **changes: Any) -> PromptKDModel:
    """A student on `body` for the classes of `bank`.

    Args:
        body: with its weights (`audiokd.teachers.student_body`).
        bank: of the teacher's text encoder.
        scale: what cosines are multiplied by; the pair model's, where the body is its.
        changes: of `PromptKDConfig`: prompts, prompt_depth, projector_hidden.

    Raises:
        AudiokdError: prompts for more layers than take some.
    """
    of_bank = {"labels": list(bank.names), "teacher_dim": bank.vectors.shape[1], "bank_sha256": bank.model_sha256}
    model = PromptKDModel(PromptKDConfig(body=body.shape, scale=scale, **of_bank, **changes), body)
    model.class_vectors.copy_(bank.vectors)
    return model.eval()
