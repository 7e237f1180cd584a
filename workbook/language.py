"""The language that the workbook speaks.

A notebook in `notebooks/ko/` speaks Korean, since its kernel runs in that folder. Elsewhere the environment variable
WORKBOOK_LANG says which language it is; without it, English, in which the texts stand in the code.

A text goes through `_` or `ngettext` when it is shown, and through `N_` where it is only named, as a constant is.
A language is a folder, `locale/ko/LC_MESSAGES/workbook.po`: a text file, which is read as it stands.
workbook/translations.py says how one is made and kept.
"""

import io
import os
import textwrap
import unicodedata
from collections.abc import Iterable
from functools import cache, reduce
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from workbook import rooms

ENGLISH = "en"
VARIABLE = "WORKBOOK_LANG"


class UnknownLanguage(ValueError):
    """WORKBOOK_LANG names no language that there is; the message lists those there are."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence alone."""
        return [str(self)]


def gettext(text: str) -> str:
    """The text in the language of this process."""
    return _translations(language()).gettext(text) if text else ""


_ = gettext


def ngettext(singular: str, plural: str, number: int) -> str:
    """One of two texts, or of as many as the language has for numbers of things."""
    return _translations(language()).ngettext(singular, plural, number)


def pgettext(context: str, text: str) -> str:
    """The text in the language of this process, where English has one text for two things."""
    return _translations(language()).pgettext(context, text)


def N_(text: str) -> str:
    """The text itself. It marks a constant that is to be translated when it is shown."""
    return text


def listed(items: Iterable[str]) -> str:
    """The first and the second and the third."""
    both = _("{items} and {item}")
    return reduce(lambda before, item: both.format(items=before, item=item) if before else item, items, "")


@cache
def language() -> str:
    """The code of the language of this process, decided once. Raises UnknownLanguage."""
    here = Path.cwd()
    for code in languages():
        if here.is_relative_to((rooms.NOTEBOOKS / code).resolve()):
            return code
    code = os.environ.get(VARIABLE) or ENGLISH
    if code not in languages():
        raise UnknownLanguage(
            f"The workbook does not speak {code!r}, which {VARIABLE} asks for. It speaks: {', '.join(languages())}."
        )
    return code


def languages() -> tuple[str, ...]:
    """The codes of the languages there are: English, and those that have a catalogue."""
    return (ENGLISH, *sorted(file.parts[-3] for file in catalogues().glob("*/LC_MESSAGES/workbook.po")))


def catalogues() -> Path:
    return Path(__file__).parent / "locale"


def catalogue_file(code: str) -> Path:
    return catalogues() / code / "LC_MESSAGES" / "workbook.po"


def notebook_file(name: str) -> Path:
    """A notebook in the language of this process, or in English where that language does not have it."""
    translated = rooms.NOTEBOOKS / language() / name
    return translated if translated.exists() else rooms.NOTEBOOKS / name


def environment() -> dict[str, str]:
    """The environment of a process that is to speak the language of this one."""
    return os.environ | {VARIABLE: language()}


def width(text: str) -> int:
    """How many columns a text takes where all letters have one width: the letters of Chinese, Japanese and Korean
    take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrap(text: str, columns: int) -> list[str]:
    """The lines of a text that is broken to a width."""
    with_fillers = "".join(letter + "\0" * (width(letter) - 1) for letter in text)  # textwrap counts letters
    return [line.replace("\0", "") for line in textwrap.wrap(with_fillers, columns)]


@cache
def _translations(code: str) -> NullTranslations:
    if code == ENGLISH:
        return NullTranslations()
    from babel.messages.mofile import write_mo  # who speaks English does not wait for it
    from babel.messages.pofile import read_po

    compiled = io.BytesIO()
    with catalogue_file(code).open("rb") as file:
        catalogue = read_po(file)
    for message in catalogue:
        if not all(message.string or ()):
            message.string = ""  # else write_mo takes the English singular for a plural that is not translated
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
