"""What a terminal gets to see of captions, names and labels."""

import pytest

from mmjax.report.table import aligned
from mmjax.terminal import printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a cat", "a cat"),
        ("\u732b \U0001f468\u200d\U0001f469 caf\xe9", "\u732b \U0001f468\u200d\U0001f469 caf\xe9"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("two\nlines\r\tand \x00 \x7f \x9b", "two\\nlines\\r\\tand \\x00 \\x7f \\x9b"),
        ("\u202eevil\u2066 \u2028", "\\u202eevil\\u2066 \\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_shown_as_escapes(text, shown):
    assert printable(text) == shown


def test_lines_may_stay():
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_table_is_as_wide_as_what_is_shown():
    text = aligned(("found", "score"), [("a\x1b[2Jb", "1"), ("cd", "2")])
    assert text.splitlines()[2:] == ["a\\x1b[2Jb  1", "cd         2"]
