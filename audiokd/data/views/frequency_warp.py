"""ATST-Frame's frequency warp: a random resize crop of the mel axis alone (arXiv 2306.04186; audiossl, atstframe/transform.py).

The canvas is no higher than the spectrogram, so a drawn height above 1 leaves a clip as it is: more than half of them.
"""

from __future__ import annotations

from audiokd.data.views.resize_crop import RandomResizeCrop

FREQUENCY_WARP = RandomResizeCrop(canvas=(1.0, 1.0), freq_scale=(0.6, 1.5), time_scale=(1.0, 1.0))
