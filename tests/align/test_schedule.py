from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ucbench.align import settings
from ucbench.align.schedule import rate

STEPS = st.integers(1, 500)
WARMUP = st.integers(0, 50)


@given(STEPS, WARMUP)
def test_the_rate_rises_to_its_peak_and_falls_to_near_nothing(steps: int, warmup: int) -> None:
    chosen = settings.load("sft", "tiny", warmup_steps=warmup)
    rates = [rate(step, steps, chosen) for step in range(steps)]
    assert all(0 < value <= 1 for value in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if steps > warmup:
        assert max(rates) == 1
        assert sum(rates[warmup:]) <= (steps - warmup) / 2 + 1


@given(STEPS, WARMUP)
def test_a_constant_rate_stays_at_its_peak(steps: int, warmup: int) -> None:
    chosen = settings.load("sft", "tiny", warmup_steps=warmup, schedule="constant")
    assert all(rate(step, steps, chosen) == 1 for step in range(warmup, steps))


def test_the_first_step_of_the_warm_up_already_learns() -> None:
    chosen = settings.load("sft", "tiny", warmup_steps=4)
    assert [rate(step, 100, chosen) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
