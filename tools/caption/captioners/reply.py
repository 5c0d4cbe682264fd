"""A model's reply as a caption: its thinking, wrapping and labels taken off. What is left is for the lint."""

import re

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)
_CODE_FENCE = re.compile(r"^```[\w-]*\s*\n?(.*?)\n?```$", re.DOTALL)
_LABEL = re.compile(r"^\**(?:caption|answer|final caption|output)\**\s*:\**\s*", re.IGNORECASE)
_QUOTES = {'"': '"', "“": "”", "'": "'", "`": "`"}


def caption_of(reply: str) -> str:
    """Return the caption in a reply: without a thinking block, a code fence, a label or quotes round all of it."""
    text = _THINKING.sub("", reply).strip()
    text = re.sub(r"^.*</think>", "", text, flags=re.DOTALL).strip()  # templates that open the block in the prompt
    fenced = _CODE_FENCE.match(text)
    if fenced:
        text = fenced[1].strip()
    text = _LABEL.sub("", text).strip()
    closing = _QUOTES.get(text[:1])
    if closing and len(text) > 1 and text.endswith(closing) and closing not in text[1:-1]:
        text = text[1:-1].strip()
    return text
