"""The last turns, and what a terminal shows of what is heard."""

import io

import pytest

from mmjax.streaming.conversation import Conversation
from mmjax.streaming.events import Confirmed, Tentative, Utterance
from mmjax.streaming.recognition import Word
from mmjax.streaming.screen import Screen


def said(text, at=0.0):
    words = tuple(Word(one, at + i, at + i + 0.5) for i, one in enumerate(text.split()))
    return Utterance(words, at, at + len(words))


def test_the_last_ten_turns_are_kept():
    asked = []

    def reply(turns):
        asked.append([turn.text for turn in turns])
        return f" yes, {turns[-1].text} "

    conversation = Conversation(reply)
    for number in range(30):
        turn = conversation.hear(said(f"thing {number}", 10.0 * number))
        assert turn.text == f"yes, thing {number}" and turn.role == "assistant"
        assert (turn.start, turn.end) == (10.0 * number + 2, 10.0 * number + 2)
    assert len(conversation.turns) == 10
    assert [turn.text for turn in conversation.turns][-2:] == ["thing 29", "yes, thing 29"]
    assert max(map(len, asked)) == 10 and asked[1] == ["thing 0", "yes, thing 0", "thing 1"]


def test_nobody_has_to_answer():
    silent = Conversation()
    assert silent.hear(said("hello")) is None and len(silent.turns) == 1
    mute = Conversation(lambda turns: "  ", turns=3)
    assert [mute.hear(said("a")) for _ in range(5)] == [None] * 5
    assert [turn.role for turn in mute.turns] == ["user"] * 3
    with pytest.raises(ValueError, match="1 turn or more, not 0"):
        Conversation(turns=0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(text):
    """What stands on a terminal's lines after all was written, grey in brackets."""
    lines = []
    for line in text.split("\n"):
        line = line.split("\r\x1b[K")[-1]
        lines.append(line.replace("\x1b[90m", "[").replace("\x1b[0m", "]"))
    return lines


def test_grey_words_stand_behind_the_confirmed_ones():
    stream = Terminal()
    screen = Screen(stream, width=30)
    words = said("well the cat sat on the mat and slept \x1b[2J").words
    screen.show(Tentative(words[:2]))
    assert shown(stream.getvalue()) == ["[well the]"]
    screen.show(Confirmed(words[:3]))
    screen.show(Tentative(words[3:9]))
    assert shown(stream.getvalue()) == ["well the cat [sat on the mat a]"]
    screen.show(Confirmed(words[3:]))
    screen.show(Utterance(words, 0.0, 1.0))
    assert shown(stream.getvalue()) == ["well the cat sat on the mat", "and slept \\x1b[2J", ""]


def test_a_pipe_gets_confirmed_words_alone():
    stream = io.StringIO()
    screen = Screen(stream)
    words = said("one two three").words
    for event in (Tentative(words), Confirmed(words[:1]), Confirmed(words[1:]),
                  Utterance(words, 0.0, 1.0), Confirmed(words[:1])):  # fmt: skip
        screen.show(event)
    screen.line("> yes")
    assert stream.getvalue() == "one two three\none\n> yes\n"
