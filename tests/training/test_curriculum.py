import pytest

from seefar.training.curriculum import Curriculum


def test_lessons_follow_each_other_and_the_last_one_stays():
    lessons = Curriculum([(1, "a"), (3, "b"), (2, "c")])
    assert lessons.steps == 6
    assert "".join(lessons(step) for step in range(9)) == "abbbccccc"


@pytest.mark.parametrize("lessons", [[], [(2, "a"), (0, "b")]])
def test_a_curriculum_without_steps_is_refused(lessons):
    with pytest.raises(ValueError, match="at least one step each"):
        Curriculum(lessons)
