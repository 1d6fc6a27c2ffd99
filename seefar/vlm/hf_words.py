"""Numbers as English words, for prompts that were trained with them."""

from __future__ import annotations

SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
SMALL += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_words(number: int) -> str:
    """A whole number below a million in British words, as the num2words package writes it.

    >>> number_words(768), number_words(1024)
    ('seven hundred and sixty-eight', 'one thousand and twenty-four')
    """
    if not 0 <= number < 1_000_000:
        raise ValueError(f"number_words: wanted 0 to 999999, got {number}")
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, size)
    joint = " and " if rest < 100 else ", "
    return f"{number_words(count)} {name}" + (joint + number_words(rest) if rest else "")
