"""SWAD by hand: where the valley begins and ends, what is averaged, and that a state goes on as if never put away."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from audiokd.errors import AudiokdError
from audiokd.training.settings import SwadSettings
from audiokd.training.swad import Mean, Swad, averaged, valley_of


class Counter(nn.Module):
    """Its weight is how many steps were made; one that is not trained, and two buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("tracked", torch.tensor(0))


def run(losses: list[float], n_converge: int = 3, n_tolerance: int = 2, put_away: bool = False, every: int = 2) -> Swad:
    """Steps 1, 2, ...; a validation after every second."""
    model = Counter()
    swad = Swad(SwadSettings(n_converge, n_tolerance, 0.3), model)
    step = 0
    for loss in losses:
        for _ in range(every):
            step += 1
            with torch.no_grad():
                model.w += 1
                model.mean += 10
                model.tracked += 1
            swad.add()
            if put_away:
                state = copy.deepcopy(swad.state_dict())
                swad = Swad(swad.settings, model)
                swad.load_state_dict(state)
        swad.judge(loss, step)
        swad.judge(0.0, step)  # validated again by a resumed run: counts once
    return swad


def steps_of(swad: Swad) -> list[float]:
    found = valley_of(swad.state_dict())
    return [found.steps, *(float(v.mean()) for v in found.weights.values())]


@pytest.mark.parametrize("put_away", [False, True])
def test_the_valley(put_away: bool) -> None:
    # begins at the third validation (step 6), whose 1.0 no loss of the next two is below; the threshold is 1.3 * 3.3 / 3 = 1.43
    falling = [3.0, 2.0, 1.0, 1.2, 1.1]
    swad = run(falling, put_away=put_away)
    assert swad.threshold == pytest.approx(1.43)
    assert steps_of(swad) == [4, pytest.approx(8.5), pytest.approx(85)]  # steps 7 to 10
    swad = run([*falling, 1.4, 1.5, 1.2], put_away=put_away)  # one above it is passed over: 7 to 16
    assert not swad.ended
    assert steps_of(swad)[:2] == [10, pytest.approx(11.5)]
    swad = run([*falling, 1.4, 1.5, 1.6, 0.1, 0.1], put_away=put_away)  # two: it ended with 1.4 at step 12
    assert swad.ended
    assert steps_of(swad)[:2] == [6, pytest.approx(9.5)]
    swad = run([*falling, 1.5], put_away=put_away)  # the run is over before it ends: to the last step
    assert steps_of(swad)[:2] == [6, pytest.approx(9.5)]
    assert run([3.0, 2.0, 1.0], put_away=put_away).threshold is None


def test_tolerance_counts_what_came_before_it_was_known() -> None:
    """Validations between the lowest loss and the moment that shows it to be the lowest."""
    swad = run([1.0, 9.0, 9.0, 9.0], n_converge=3, n_tolerance=9)
    assert swad.threshold == pytest.approx(1.3 * 19 / 3)
    assert swad.bad == 3
    swad = run([1.0, 1.0, 1.0, 1.0, 9.0], n_converge=1, n_tolerance=1)
    assert swad.ended
    assert steps_of(swad)[:2] == [6, pytest.approx(5.5)]  # steps 3 to 8


def test_only_what_changes_is_averaged() -> None:
    swad = run([1.0, 1.0], n_converge=1)
    assert valley_of(swad.state_dict()).weights.keys() == {"w", "mean"}


def test_stretches_of_unlike_length() -> None:
    mean = Mean()
    mean.add({"w": torch.tensor([1.0])}, 3)
    mean.add({"w": torch.tensor([5.0])}, 1)
    mean.add({}, 0)
    assert (mean.steps, float(mean.weights["w"])) == (4, 2.0)


def test_a_checkpoint_with_the_average() -> None:
    swad = run([1.0, 1.0], n_converge=1)
    given = {"iteration": 4, "state_dict": {"model.w": torch.zeros(2), "model.frozen": torch.ones(1)}}
    found = averaged({**given, "swad": swad.state_dict()}, "x", "model.")
    torch.testing.assert_close(found["state_dict"]["model.w"], torch.full((2,), 3.5))
    assert float(found["state_dict"]["model.frozen"]) == 1
    with pytest.raises(AudiokdError, match="x: this run averages no weights"):
        averaged(given, "x", "model.")
    with pytest.raises(AudiokdError, match="SWAD has averaged nothing"):
        averaged({**given, "swad": run([3.0, 2.0, 1.0]).state_dict()}, "x", "model.")
    with pytest.raises(AudiokdError, match="one validation at least"):
        Swad(SwadSettings(n_tolerance=0), Counter())
