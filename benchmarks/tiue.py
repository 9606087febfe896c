"""How long is the encoder of a diffusion UNet, and what does one pass of it for many decoder steps save?

    python benchmarks/tiue.py                 # Stable Diffusion 1.5's UNet at random weights, latents of 16 x 16
    python benchmarks/tiue.py --side 64       # its own size

Each part is timed as the process's own CPU time on one thread, so that neighbours do not count; the table has the median of the
rounds and their range.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from audiokd.vision.shared_encoder_unet import SharedEncoderUNet

#: of the published config.json; what is not here is UNet2DConditionModel's default
STABLE_DIFFUSION_15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=16, help="of the latents")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**STABLE_DIFFUSION_15)
    unet = unet.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for p in unet.parameters():
        p.data.uniform_(-0.02, 0.02)
    halves = SharedEncoderUNet(unet)
    x, text = torch.randn(1, 4, args.side, args.side), torch.randn(1, 77, 768)
    of_decoder = sum(
        p.numel() for part in (unet.up_blocks, unet.conv_norm_out, unet.conv_out) for p in part.parameters()
    )
    total = sum(p.numel() for p in unet.parameters())
    print(
        f"{total / 1e6:.0f} M parameters, {of_decoder / total:.0%} of them the decoder's; latents {args.side} x {args.side}"
    )
    print("| T | encode, ms | decode at T, ms | total, ms | T full passes, ms | saved |")
    print("| --- | --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        encoded = halves.encode(x, 999, encoder_hidden_states=text)
        full = timed(lambda: unet(x, 999, encoder_hidden_states=text), args.rounds)
        encode = timed(lambda: halves.encode(x, 999, encoder_hidden_states=text), args.rounds)
        for steps in args.steps:
            t = torch.linspace(999, 1, steps).round().long()
            decode = timed(lambda t=t: halves.decode(encoded, t), args.rounds)
            shown = [middle(v) for v in (encode, decode, [a + b for a, b in zip(encode, decode)])]
            passes = [steps * v for v in full]
            saved = 1 - (statistics.median(encode) + statistics.median(decode)) / statistics.median(passes)
            print(f"| {steps} | {' | '.join(shown)} | {middle(passes)} | {saved:.0%} |", flush=True)


def timed(run: Callable[[], Any], rounds: int) -> list[float]:
    """CPU milliseconds of each round, after one that is not counted."""
    run()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        found.append(1000 * (time.process_time() - started))
    return found


def middle(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


if __name__ == "__main__":
    main()
