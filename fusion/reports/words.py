"""Text in two languages at once, escaped: whoever reads the page chooses the language there."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

# What XML 1.0 does not allow even as a reference; such text comes from outside.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Words:
    """The same words in English and Chinese.

    Attributes:
        en: English.
        zh: Simplified Chinese.
    """

    en: str
    zh: str

    @property
    def both(self) -> str:
        """Both languages, for places that can't be switched (titles of drawings)."""
        return self.en if self.en == self.zh else f"{self.en} / {self.zh}"


def same(text: str) -> Words:
    """Return words that are the same in both languages: names and numbers."""
    return Words(text, text)


def escape(text: str) -> str:
    """Return ``text`` for XML content and quoted attributes."""
    return html.escape(_NOT_XML.sub("\ufffd", text), quote=True)


def spans(words: Words, element: str = "span") -> str:
    """Return both languages as elements of which the page shows one."""
    if words.en == words.zh:
        return escape(words.en)
    return (
        f'<{element} lang="en">{escape(words.en)}</{element}>'
        f'<{element} lang="zh">{escape(words.zh)}</{element}>'
    )
