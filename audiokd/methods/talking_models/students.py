"""What a student is built on besides the bodies of `audiokd.teachers`: a small CNN, and a recommender."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import HOP_LENGTH, MIN_SAMPLES, SAMPLE_RATE, ATSTLogMel
from audiokd.nn.lengths import length_mask
from audiokd.teachers.picture_body import PictureBody
from audiokd.teachers.student_body import StudentBody, build_body
from audiokd.vision.transforms import Preprocess


class ConvBlock(nn.Module):
    """Convolution of 3 x 3, batch norm, ReLU, and the largest of each 2 x 2; what lies past a clip's own frames stays zero."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor, frames: Tensor | None) -> Tensor:
        """[B, dim, H // 2, W // 2] of [B, dim_in, H, W]; `frames` [B] are those of the last axis that count after it."""
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return x if frames is None else x * length_mask(frames, x.shape[-1])[:, None, None]


class CNNBody(StudentBody):
    """Blocks of `widths` on pictures, or on ATST's log-mel of sound; the mean over all positions that count.

    A clip's answer does not depend on what it is padded with.
    """

    def __init__(self, shape: dict[str, Any]):
        super().__init__(shape)
        widths = shape["widths"]
        if not widths or min(widths) < 1:
            raise AudiokdError(f"a CNN of the widths {list(widths)}", where="model.widths", fix="such as [16,32,64]")
        self.kind, self.dim = shape["kind"], widths[-1]
        ins = [3 if self.kind == "image" else 1, *widths]
        self.blocks = nn.ModuleList(ConvBlock(a, b) for a, b in zip(ins, widths))
        if self.kind == "image":
            self.preprocess = Preprocess(**shape["preprocess"])
            return
        self.frontend = ATSTLogMel()
        self.sample_rate, self.frame_size = SAMPLE_RATE, HOP_LENGTH * 2 ** len(widths)
        self.min_samples = max(MIN_SAMPLES, (2 ** len(widths) - 1) * HOP_LENGTH)

    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`; a clip that is too short is padded to what the blocks need."""
        frames = None
        if self.kind == "image":
            x = view["pixel_values"]
        else:
            fewest = self.min_samples
            wav = F.pad(view["wav"], (0, max(0, fewest - view["wav"].shape[-1])))
            mel, frames = self.frontend(wav, view["lengths"].clamp(min=fewest))
            x = mel[:, None]
        for block in self.blocks:
            frames = None if frames is None else frames // 2
            x = block(x, frames)
        if frames is None:
            return x.mean((2, 3))
        return x.sum((2, 3)) / (x.shape[2] * frames[:, None])


class Recommender(nn.Module):
    """Embeddings of a user and a movie, their product beside them, through hidden layers (`widths`).

    Number 0 is every user or movie that training did not know.
    """

    kind = "ratings"
    preprocess = None
    encoder = None
    sample_rate, min_samples, frame_size, max_duration_s = 0, 1, 1, None

    def __init__(self, shape: dict[str, Any]):
        super().__init__()
        self.shape, dim, widths = shape, shape["embed_dim"], shape["widths"]
        if not widths or min(widths) < 1 or dim < 1:
            what = f"a recommender of {dim} numbers and the layers {list(widths)}"
            raise AudiokdError(what, where="model.embed_dim, model.widths", fix="such as 16 and [32,32]")
        self.users = nn.Embedding(len(shape["users"]) + 1, dim)
        self.movies = nn.Embedding(len(shape["movies"]) + 1, dim)
        for table in (self.users, self.movies):
            nn.init.normal_(table.weight, std=0.1)
        ins = [3 * dim, *widths]
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(ins, widths))
        self.dim = widths[-1]
        self.numbers = [{name: k + 1 for k, name in enumerate(shape[of])} for of in ("users", "movies")]

    def view_of_names(self, users: list[str], movies: list[str]) -> dict[str, Tensor]:
        """`users` and `movies` [B], their numbers."""
        of_users, of_movies = self.numbers
        return {
            "users": torch.tensor([of_users.get(u, 0) for u in users]),
            "movies": torch.tensor([of_movies.get(m, 0) for m in movies]),
        }

    def forward(self, view: dict[str, Tensor]) -> Tensor:
        """[B, dim]."""
        u, m = self.users(view["users"]), self.movies(view["movies"])
        x = torch.cat([u, m, u * m], -1)
        for block in self.blocks:
            x = block(x)
        return x


#: small models of ours, whose layers have names that are known
OWN: dict[str, Any] = {"cnn": CNNBody, "ratings": Recommender}


def build_student(shape: dict[str, Any]) -> Any:
    """A body with random weights; its shape says which (`body`: cnn, ratings, picture, timm, sound)."""
    kind = {**OWN, "picture": PictureBody}.get(shape.get("body", ""))
    return build_body(shape) if kind is None else kind(shape)


def cnn_shape(kind: str, widths: tuple[int, ...], size: int) -> dict[str, Any]:
    """Of a small CNN for pictures of `size` pixels (32 by default) or for sound."""
    shape: dict[str, Any] = {"body": "cnn", "kind": kind, "widths": list(widths)}
    if kind == "image":
        half = (0.5, 0.5, 0.5)
        shape["preprocess"] = asdict(Preprocess((size or 32, size or 32), half, half, crop=1.0))
    return shape
