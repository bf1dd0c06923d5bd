"""Who said what and when: the last turns of a conversation, and the replies in it.

    conversation = Conversation(reply)
    turn = conversation.hear(utterance)  # what was answered, or None

* A reply is any callable: the turns so far, what was heard last at their end -> text. A language
  model of the house: run/listening.py.
* Only the last turns are kept, so a conversation may go on for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from mmjax.streaming.events import Utterance

TURNS = 10


class Turn(NamedTuple):
    """What somebody said."""

    role: Literal["user", "assistant"]
    text: str
    start: float  # seconds of the stream; of a reply: the end of what it answers
    end: float


Reply = Callable[[Sequence[Turn]], str]


class Conversation:
    """The state of a conversation.

    Args:
      reply: None: nobody answers.
      turns: that are kept, replies among them.
    """

    def __init__(self, reply: Reply | None = None, turns: int = TURNS) -> None:
        if turns < 1:
            raise ValueError(f"a conversation keeps 1 turn or more, not {turns}")
        self.turns: deque[Turn] = deque(maxlen=turns)
        self._reply = reply

    def hear(self, utterance: Utterance) -> Turn | None:
        """Takes up what was said, and answers it; an empty answer is none."""
        self.turns.append(Turn("user", utterance.text, utterance.start, utterance.end))
        if self._reply is None:
            return None
        text = self._reply(tuple(self.turns)).strip()
        if not text:
            return None
        turn = Turn("assistant", text, utterance.end, utterance.end)
        self.turns.append(turn)
        return turn
