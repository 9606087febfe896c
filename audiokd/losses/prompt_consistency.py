r"""What keeps learnt prompts near the model they are learnt for (PromptSRC, arXiv 2307.06948; weights as in its code).

.. math:: \mathrm{CE}(s, y) + \lambda_1 \overline{|g - \tilde g|} + \lambda_2 \overline{|f - \tilde f|} + \lambda_3 \mathrm{KL}

f and g are the directions of images and texts with prompts, with a tilde those of the frozen model; the bars are means over all
elements. KL is of the logits with prompts from the frozen model's, over all elements (`audiokd.losses.logit_kl`, "numel").
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from audiokd.losses.logit_kl import logit_kl


def prompt_consistency(
    logits: Tensor, labels: Tensor, images: Tensor, texts: Tensor, frozen_images: Tensor, frozen_texts: Tensor,
    frozen_logits: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """The four terms by name, unweighted, float32: `ce`, `text` (25 officially), `image` (10), `logits` (1).

    Args:
        logits: with prompts [B, C].
        labels: [B] classes.
        images: with prompts [B, D] of length 1.
        texts: with prompts [C, D] of length 1.
        frozen_images, frozen_texts, frozen_logits: the frozen model's.
    """
    return {
        "ce": F.cross_entropy(logits.float(), labels),
        "text": F.l1_loss(texts.float(), frozen_texts.detach().float()),
        "image": F.l1_loss(images.float(), frozen_images.detach().float()),
        "logits": logit_kl(logits, frozen_logits, reduction="numel"),
    }
