"""A conversation as the text that a checkpoint was trained on: its `chat_template`, by jinja2.

* The template is code from elsewhere: it runs in jinja2's sandbox, with the filters and functions
  that the templates of `transformers` know, and sees plain values alone, no picture and no object.
* A message is {"role": ..., "content": ...}; its content is a text or a list of parts,
  {"type": "image"} and {"type": "text", "text": ...}.
* `{% generation %}` of a template marks what the model is to learn: `answers` gives the places.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

from mmjax.errors import UserError

FILES = ("chat_template.jinja", "chat_template.json")  # where processors keep it
# Characters that no text holds, about what stands between {% generation %} and {% endgeneration %}.
BEGIN = "\ufdd0"
END = "\ufdd1"
Message = Mapping[str, Any]


class ChatTemplateError(UserError, ValueError):
    """A template that cannot be read, or a conversation that it refuses."""


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """How a conversation is written."""

    source: str  # in jinja2's language
    tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)  # "bos_token" -> "<s>"
    where: str = "the chat template"  # for messages

    def __call__(
        self, messages: Sequence[Message], *, answer: bool = False, **variables: Any
    ) -> str:
        """The text of a conversation.

        Args:
          answer: the text ends where the model's answer begins.
          variables: more that the template reads.

        Raises:
          ChatTemplateError: the template is broken, or refuses the conversation; it says why.
        """
        return re.sub(f"[{BEGIN}{END}]", "", self._rendered(messages, answer, variables))

    def answers(
        self, messages: Sequence[Message], **variables: Any
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and the places in it that the model is to learn.

        Raises:
          ChatTemplateError: also where the template does not mark them.
        """
        if not re.search(r"{%-?\s*generation\s*-?%}", self.source):
            raise ChatTemplateError(
                f"{self.where} does not say what the model is to learn: put {{% generation %}} and "
                "{% endgeneration %} about the answers in it"
            )
        marked = self._rendered(messages, False, variables)
        places = []
        text = ""
        for piece in re.split(f"([{BEGIN}{END}])", marked):
            if piece == BEGIN:
                start = len(text)
            elif piece == END:
                places.append((start, len(text)))
            else:
                text += piece
        return text, places

    def _rendered(self, messages: Sequence[Message], answer: bool, variables: Mapping) -> str:
        template = _compiled(self.source, self.where)
        seen = dict(
            {**self.tokens, **plain(variables)},
            messages=plain(messages),
            add_generation_prompt=answer,
            tools=None,
            documents=None,
        )
        try:
            return template.render(seen)
        # What code from elsewhere does with values that it did not expect is its own mistake.
        except (jinja2.TemplateError, TypeError, ValueError, LookupError) as error:
            raise ChatTemplateError(f"{self.where} refuses this conversation: {error}") from error


def plain(value: Any) -> Any:
    """The same of JSON's types alone; anything else becomes a word for it."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for kind in (str, int, float):  # of a class of its own, which has methods of its own
        if isinstance(value, kind):
            return kind(value)
    return f"<{type(value).__name__}>"


def found(
    folder: Path, settings: Mapping[str, Any], files: Mapping[str, bytes]
) -> ChatTemplate | None:
    """Of a checkpoint's folder; None where it has none.

    Args:
      settings: of its tokenizer.
      files: name -> content, of those that were read.

    Raises:
      ChatTemplateError: several templates of which none is the usual one.
    """
    source: Any = settings.get("chat_template")
    where = str(folder / "tokenizer_config.json")
    for name in FILES:
        if name in files:
            text = files[name].decode("utf-8")
            source = json.loads(text)["chat_template"] if name.endswith(".json") else text
            where = str(folder / name)
            break
    if isinstance(source, list):  # of the form [{"name": "default", "template": ...}, ...]
        source = {one["name"]: one["template"] for one in source}
    if isinstance(source, Mapping):
        if "default" not in source:
            raise ChatTemplateError(f"{where} has the templates {', '.join(source)}, no 'default'")
        source = source["default"]
    if not source:
        return None
    special = {key: settings[key] for key in settings if key.endswith("_token") and settings[key]}
    named = {key: one["content"] if isinstance(one, Mapping) else one
             for key, one in special.items()}  # fmt: skip
    tokens = {key: one for key, one in named.items() if isinstance(one, str)}
    return ChatTemplate(source, tokens, where)


class _Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_marked")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{BEGIN}{caller()}{END}"


@functools.lru_cache(maxsize=16)
def _compiled(source: str, where: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ChatTemplateError(f"{where}, line {error.lineno}: {error.message}") from error


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without the escapes for HTML of jinja2's own."""
    kwargs = dict(ensure_ascii=ensure_ascii, indent=indent, separators=separators)
    return json.dumps(value, sort_keys=sort_keys, **kwargs)
