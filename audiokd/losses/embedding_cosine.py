r"""A student drawn to a pair model's embedding of its input and to the text of its class (VL2V-ADiP, arXiv 2310.08255).

.. math:: \mathcal{L} = -\frac{1}{B} \sum_b \big(\lambda \cos(z_b, i_b) + (1 - \lambda) \cos(z_b, t_{y_b})\big)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def embedding_cosine(student: Tensor, images: Tensor, texts: Tensor, share: float = 0.5) -> Tensor:
    """The mean over rows, scalar in [-1, 1], float32. The gradient reaches the student alone.

    Args:
        student: projected embeddings [B, D].
        images: the teacher's of the same inputs [B, D].
        texts: the teacher's of their classes [B, D].
        share: lambda.
    """
    z = student.float()
    to_images = F.cosine_similarity(z, images.detach().float(), dim=-1)
    to_texts = F.cosine_similarity(z, texts.detach().float(), dim=-1)
    return -(share * to_images + (1 - share) * to_texts).mean()
