"""Mojo source as HTML: each token in a span whose class says what it is."""

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.mojo import MojoLexer
from pygments.token import Keyword, Name

NEW_KEYWORDS = {"comptime", "mut", "raises", "where", "thin", "read", "out", "deinit"}
"""Words of Mojo 1.2 that Pygments' lexer takes for names."""


class CurrentMojoLexer(MojoLexer):
    """Pygments' lexer for Mojo, with the keywords that are newer than it."""

    def get_tokens_unprocessed(self, text, stack=("root",)):  # type: ignore[no-untyped-def]
        for position, kind, value in super().get_tokens_unprocessed(text, stack):
            yield position, Keyword if kind in Name and value in NEW_KEYWORDS else kind, value


def highlighted(text: str) -> str:
    """The source as HTML, line for line."""
    formatter: HtmlFormatter = HtmlFormatter(nowrap=True)
    return highlight(text, CurrentMojoLexer(), formatter)
