"""Text as it is said."""

import pytest

from mmjax.transforms.spoken import number, spoken


@pytest.mark.parametrize(("text", "wanted"), [
    ("Please press 1, or 23.", "please press one or twenty three"),
    ("Don\N{RIGHT SINGLE QUOTATION MARK}t 'call' H.323!", "don't call h three two three"),
    ("dial 500 -- * and #", "dial five hundred star and pound"),
    ("Ma\u00f1ana  7:30", "ma\u00f1ana seven thirty"),
    ("...", ""),
])  # fmt: skip
def test_words(text, wanted):
    assert spoken(text) == wanted


def test_numerals_that_are_left_out():
    assert spoken("Pulse 1, por favor", english=False) == "pulse por favor"


@pytest.mark.parametrize(("numeral", "wanted"), [
    ("0", "zero"), ("19", "nineteen"), ("40", "forty"), ("42", "forty two"),
    ("2000", "two thousand"), ("1234", "one two three four"), ("007", "zero zero seven"),
])  # fmt: skip
def test_numbers(numeral, wanted):
    assert number(numeral) == wanted
