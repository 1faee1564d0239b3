"""The rules by the settings of answering."""

from weir.answering.rules import Rules


def test_pauses_after_marks_that_do_not_count_double_up_to_a_bound() -> None:
    rules = Rules(lease_s=1, attempts_max=1, frame_max_bytes=1, void_pause_s=0.5)
    assert [rules.pause_s(void) for void in (1, 2, 3, 4, 60)] == [0.5, 1.0, 2.0, 3.0, 3.0]
