import random

import pytest

from weir.insights.sketch import ERROR, MOST_MS, Sketch


def sketch_of(*times_ms: float) -> Sketch:
    sketch = Sketch()
    for time_ms in times_ms:
        sketch.add(time_ms)
    return sketch


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_a_quantile_is_as_near_as_promised(share: float) -> None:
    dice = random.Random(7)
    times = sorted(dice.lognormvariate(6, 2) + 1 for _ in range(5000))
    exact = times[max(0, -(-int(share * 1_000_000) * len(times) // 1_000_000) - 1)]
    found = sketch_of(*times).quantile_ms(share)
    assert found == pytest.approx(exact, rel=ERROR + 1e-9)


def test_of_nothing_there_is_no_quantile() -> None:
    assert Sketch().quantile_ms(0.5) is None


def test_two_halves_together_are_the_whole_in_any_order() -> None:
    dice = random.Random(8)
    times = [dice.uniform(1, 10_000) for _ in range(1000)]
    left, right = sketch_of(*times[::2]), sketch_of(*times[1::2])
    left.merge(right)
    dice.shuffle(times)
    assert left.flat() == sketch_of(*times).flat()
    assert left.count == 1000


def test_it_stays_small_whatever_comes() -> None:
    dice = random.Random(9)
    sketch = sketch_of(*(10 ** dice.uniform(-9, 30) for _ in range(20_000)), 0.0, -5.0)
    assert len(sketch.counts) <= 153
    assert (sketch.quantile_ms(1.0) or 0) == pytest.approx(MOST_MS, rel=ERROR)
    assert sketch.quantile_ms(0.0) == pytest.approx(1.0, rel=ERROR + 1e-9)


def test_it_is_read_as_it_was_written() -> None:
    sketch = sketch_of(3, 5, 5, 700)
    assert Sketch(sketch.flat()).counts == sketch.counts
