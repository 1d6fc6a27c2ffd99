"""Words to numbers."""

from seefar.vlm.text import SPECIAL, Words


def test_case_and_punctuation_do_not_matter_and_unknown_words_are_named():
    words = Words(["is", "there", "a", "cat"])
    assert words.encode("Is there, a CAT?") == [len(SPECIAL) + i for i in range(4)]
    assert words.encode("is lecture a") == [6, words.index["<unknown>"], 8]
    assert words.unknown("Is there a lecture today?") == ["lecture", "today"]
    assert len(words) == len(SPECIAL) + 4 and words.index["<pad>"] == 0
