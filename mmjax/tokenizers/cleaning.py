"""Text of the web made plain before a tokenizer sees it, as `open_clip` and the first CLIP do.

* Mended by `ftfy`: broken encodings ("cafÃ©"), curly quotes, ligatures, full-width letters,
  control characters. Then HTML entities (twice: "&amp;lt;"), white space, lower case.
* It matters for captions from the web: "it’s" is other ids without it. A model that was trained
  with it is read with it; those of the hub's CLIPTokenizer were run without.
"""

import html


def clean(text: str) -> str:
    """Mended, unescaped, with single spaces, in lower case."""
    import ftfy  # a twentieth of a second that other tokenizers need not wait

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
