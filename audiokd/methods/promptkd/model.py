"""PromptKD's student: a frozen image tower with learnt prompts, and a projector into the space of the teacher's texts.

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
from audiokd.nn.deep_prompts import DeepPrompts, prompted_images
from audiokd.teachers.pair import ContrastivePair
from audiokd.teachers.text_bank import TextBank

TOWERS = ("clip_vision_model", "siglip_vision_model")


class PromptKDModel(PreTrainedModel):
    """Logits of classes from pictures.

    Raises:
        AudiokdError: no classes, or no tower that is known.
    """

    config_class = PromptKDConfig
    base_model_prefix = "promptkd"
    main_input_name = "pixel_values"

    def __init__(self, config: PromptKDConfig):
        super().__init__(config)
        family = config.tower.get("model_type")
        if not config.names or family not in TOWERS:
            what = f"a PromptKD student needs classes and a tower ({' or '.join(TOWERS)}), not {family}"
            raise AudiokdError(what, where="promptkd config")
        from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

        width = config.tower["hidden_size"]
        if family == "clip_vision_model":
            self.vision_model: Any = CLIPVisionModel(CLIPVisionConfig.from_dict(config.tower))
            self.visual_projection = nn.Linear(width, config.embed_dim, bias=False)
        else:
            self.vision_model = SiglipVisionModel(SiglipVisionConfig.from_dict(config.tower))
        self.prompts = DeepPrompts(config.prompt_depth, config.prompts, width) if config.prompts else None
        self.projector = projector(config.embed_dim, config.projector_hidden, config.teacher_dim)
        self.register_buffer("class_vectors", torch.zeros(len(config.names), config.teacher_dim))
        self.post_init()
        self.vision_model.requires_grad_(False)
        if family == "clip_vision_model":
            self.visual_projection.requires_grad_(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the tower is loaded, prompts and projector have begun by themselves."""

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Directions [B, `teacher_dim`] of pictures [B, 3, H, W] in the space of the class vectors."""
        tokens = None if self.prompts is None else self.prompts.tokens
        return F.normalize(self.projector(prompted_images(self, pixel_values, tokens)), dim=-1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [B, C] of pictures [B, 3, H, W]: the student's scale times cosines with the class vectors."""
        return self.config.scale * self.embed(pixel_values) @ self.class_vectors.T

    def learning_parts(self) -> dict[str, nn.Module]:
        """What is trained: prompts, where there are some, and the projector."""
        return ({} if self.prompts is None else {"prompts": self.prompts}) | {"projector": self.projector}


def projector(in_dim: int, hidden: tuple[int, ...], out_dim: int) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them (officially convolutions of one pixel, one hidden layer)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_dim, width), SyncBatchNorm1d(width), nn.ReLU()]
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def student_of(pair: ContrastivePair, bank: TextBank, **changes: Any) -> PromptKDModel:
    """A student on the image tower of `pair`, for the classes of `bank`.

    Args:
        pair: of images; its weights are copied.
        bank: of the teacher's text encoder.
        changes: of `PromptKDConfig`: prompts, prompt_depth, projector_hidden.

    Raises:
        AudiokdError: a pair model of sound or of a backbone without patches, a head of several layers, or prompts for more layers
            than the tower has.
    """
    if pair.kind != "image":
        raise AudiokdError("prompts stand among the patches of an image tower", where=pair.name, fix="a CLIP or SigLIP")
    net: Any = pair.net
    tower = net.config.vision_config
    linear = isinstance(net.visual_projection, nn.Linear) if hasattr(net, "visual_projection") else True
    if tower is None or not linear:
        what = "a student needs an image tower of patches with a linear head"
        raise AudiokdError(what, where=pair.name, fix="a CLIP, a SigLIP, or a LiT of a ViT with model.media_hidden 0")
    config = PromptKDConfig(
        tower=tower.to_dict(),
        embed_dim=pair.dim,
        names=list(bank.names),
        teacher_dim=bank.vectors.shape[1],
        scale=float(pair.scale),
        bank_sha256=bank.model_sha256,
        **changes,
    )
    if config.prompts and config.prompt_depth > tower.num_hidden_layers:
        what = f"prompts for {config.prompt_depth} layers, the tower has {tower.num_hidden_layers}"
        raise AudiokdError(what, where=pair.name, fix=f"--model.prompt_depth {tower.num_hidden_layers}")
    model = PromptKDModel(config)
    model.vision_model.load_state_dict(net.vision_model.state_dict())
    if hasattr(net, "visual_projection"):
        model.visual_projection.load_state_dict(net.visual_projection.state_dict())
    model.class_vectors.copy_(bank.vectors)
    return model.eval()
