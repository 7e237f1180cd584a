"""Keeping translations: what is to be translated, and what of it is missing or out of date.

Notes for translators
---------------------
A language is two folders: `workbook/locale/ko/`, its catalogue with the texts of the interface, and `notebooks/ko/`,
its notebooks. No code knows of it. This makes both, or brings them up to date with the English:

    python -m workbook.translations update ko

and this says what is left to do; a test fails as long as it says anything:

    workbook doctor --translations

**The catalogue** `workbook.po` has every text with its translation below it; any editor will do.
- `{names}` in braces and `%(names)s` stand for values, and must all be in the translation, as they are, in any order.
- What stands between `backquotes` is code: it stays as it is.
- Texts with two forms (`msgid_plural`) have as many in the translation as the language has: one in Korean.
- After a change of the English the old translation stays, marked `#, fuzzy`, with a comment that has the old text.
  It is not used until you have revised it and removed the mark and the comment.
- The short words of the pictures (`own`, `halo`, `zero`, `other`, `never`, `outside`, and the names of rows, from
  `loads` to `threads`) have little room: two or three letters in a slot, and about ten beside a row. Look at a picture.
- The text `matplotlib` asks for the Python package whose font has the letters of the language. Where matplotlib's own
  font has them, as for all European languages, the answer is `matplotlib`. It must be among our dependencies.
- A verdict is read by somebody who is stuck. Say what is wrong and where in one sentence, in the words that people who
  program GPUs use; keep `grid_dim`, p17 and other names.
- `WORKBOOK_LANG=ko workbook check p17` speaks the language. A process reads the catalogue once: restart it after
  changes, in a notebook with Kernel > Restart.

**A notebook** has the same code cells as the English one, letter by letter, and its own text cells. `update` copies
what is new in English; write the translation over it, in JupyterLab or elsewhere. Links to files lead one folder
further up (`../../problems/…`). Each text cell keeps in its metadata the hash of the English text that it was made from
(`translated_from`). Where that text has changed since, the cell is stale; `git log -p notebooks/X.ipynb` shows how.
When the translation says again what the English says, this notes it:

    python -m workbook.translations accept ko p17_conv1d_op.ipynb p17-02
"""

import argparse
import hashlib
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Any

import nbformat
from babel import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.pofile import PoFileError, read_po, write_po

from workbook import language, rooms

KEYWORDS: Any = {"_": None, "N_": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}
PUZZLE_TEXTS = ("title", "to_fill_in", "hints", "explanation")
HASH = "translated_from"


def problems() -> list[str]:
    """What is missing, stale or obsolete in any language, a line for each."""
    codes = {code for code in language.languages() if code != language.ENGLISH}
    codes |= {folder.name for folder in rooms.NOTEBOOKS.glob("[!.]*/")}
    return [line for code in sorted(codes) for line in (*catalogue_problems(code), *notebook_problems(code))]


def update(code: str) -> None:
    """Bring the catalogue and the notebooks of a language up to date with the English, or begin them."""
    update_catalogue(code)
    (rooms.NOTEBOOKS / code).mkdir(exist_ok=True)
    for path in rooms.NOTEBOOKS.glob("*.ipynb"):
        update_notebook(path, rooms.NOTEBOOKS / code / path.name)


# The catalogue


def template() -> Catalog:
    """Every text there is to translate."""
    texts = Catalog()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        with path.open("rb") as file:
            for line, text, _, context in extract("python", file, KEYWORDS):
                texts.add(text, locations=[(str(path.relative_to(package.parent)), line)], context=context)
    for puzzle in tomllib.loads(rooms.PUZZLES_FILE.read_text()).values():
        for name in PUZZLE_TEXTS:
            found = puzzle.get(name, ())
            for text in [found] if isinstance(found, str) else found:
                texts.add(text, locations=[("puzzles.toml", 0)])
    return texts


def update_catalogue(code: str) -> None:
    """Add new texts, drop those that are gone, and mark those that have changed."""
    path = language.catalogue_file(code)
    if path.exists():
        catalogue = _read(path)
    else:
        name = Locale.parse(code).english_name
        header = f"# The workbook in {name}. workbook/translations.py has notes for translators."
        nobody = {"msgid_bugs_address": " ", "last_translator": " ", "language_team": " "}
        catalogue = Catalog(code, project="workbook", version="1", header_comment=header, fuzzy=False, **nobody)
        path.parent.mkdir(parents=True, exist_ok=True)
    catalogue.update(template(), no_fuzzy_matching=True, update_creation_date=False)
    former = {_forms(message.id)[0]: message for message in catalogue.obsolete.values()}
    for message in catalogue:
        if not any(_forms(message.string)):
            _begin_from(former, message)
    with path.open("wb") as file:
        write_po(file, catalogue, width=120, include_lineno=False, ignore_obsolete=True)


def _begin_from(former: dict[str, Message], message: Message) -> None:
    """Give a text that is new the translation of the one that it has most likely taken the place of."""
    for text in get_close_matches(_forms(message.id)[0], former, n=1):
        old = former[text]
        if any(_forms(old.string)) and isinstance(old.id, str) == isinstance(message.id, str):
            message.string = old.string
            message.flags.add("fuzzy")
            message.user_comments = [f"The English was: {' '.join(text.split())}"]


def catalogue_problems(code: str) -> Iterator[str]:
    path = language.catalogue_file(code)
    name = f"locale/{code}"
    if not path.exists():
        yield f"{name}: there is no catalogue."
        return
    try:
        catalogue = _read(path)
    except PoFileError as error:
        yield f"{name}: {error}"
        return
    texts = template()
    for message in texts:
        translation = catalogue.get(message.id, message.context)
        if message.id and (translation is None or not all(_forms(translation.string))):
            yield f"{name}: missing: {_shown(message)}"
        elif message.id and translation is not None:
            yield from (f"{name}: {problem}: {_shown(message)}" for problem in _faults(message, translation))
    for message in catalogue:
        if message.id and texts.get(message.id, message.context) is None:
            yield f"{name}: obsolete: {_shown(message)}"


def _faults(message: Message, translation: Message) -> Iterator[str]:
    """What a translation must have in common with its text."""
    if translation.fuzzy:
        yield "fuzzy"
    originals = _forms(message.id)
    for text in _forms(translation.string):
        for what, find in (("another placeholder", _placeholders), ("other code in backquotes", _code)):
            # One form may lack what another has: "one block" for "{count} blocks".
            needed = set.intersection(*map(find, originals))
            known = set.union(*map(find, originals))
            if not needed <= find(text) <= known:
                yield what


def _placeholders(text: str) -> set[str]:
    try:
        fields = {f"{{{name}!{how}:{spec}}}" for _, name, spec, how in Formatter().parse(text) if name is not None}
    except ValueError:  # a brace of its own
        fields = {"{"}
    return fields | set(re.findall(r"%(?:\(\w+\))?[rsd]", text))


def _code(text: str) -> set[str]:
    return set(re.findall("`[^`]*`", text))


def _forms(text: Any) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, list | tuple) else (text or "",)


def _shown(message: Message) -> str:
    text = " ".join(_forms(message.id)[0].split())
    return text if len(text) <= 100 else f"{text[:100]}…"


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


# Notebooks


def update_notebook(english_path: Path, path: Path) -> None:
    """Give a translated notebook the cells of the English one: code as it is, and texts as they are translated, or
    else in English."""
    english = nbformat.read(english_path, as_version=4)
    translated = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells} if path.exists() else {}
    for number, cell in enumerate(english.cells):
        if cell.cell_type == "code":
            continue
        before = translated.get(cell.id)
        if before is not None and before.cell_type == cell.cell_type and not is_english(before):
            english.cells[number] = before
        else:
            cell.metadata[HASH] = content_hash(cell.source)
    nbformat.write(english, path)


def accept(code: str, name: str, ids: list[str]) -> None:
    """Note that cells of a translated notebook say what the English ones say now."""
    english = {cell.id: cell for cell in nbformat.read(rooms.NOTEBOOKS / name, as_version=4).cells}
    path = rooms.NOTEBOOKS / code / name
    notebook = nbformat.read(path, as_version=4)
    texts = {cell.id for cell in notebook.cells if cell.cell_type != "code" and cell.id in english}
    unknown = set(ids) - texts
    if unknown:
        raise SystemExit(f"{code}/{name} has no text cell {', '.join(sorted(unknown))}.")
    for cell in notebook.cells:
        if cell.id in ids:
            cell.metadata[HASH] = content_hash(english[cell.id].source)
    nbformat.write(notebook, path)


def notebook_problems(code: str) -> Iterator[str]:
    english = {path.name: path for path in sorted(rooms.NOTEBOOKS.glob("*.ipynb"))}
    translated = {path.name: path for path in sorted((rooms.NOTEBOOKS / code).glob("*.ipynb"))}
    for name in sorted(english.keys() - translated.keys()):
        yield f"notebooks/{code}: {name} is missing."
    for name in sorted(translated.keys() - english.keys()):
        yield f"notebooks/{code}: {name} is obsolete: there is no English one."
    for name in sorted(english.keys() & translated.keys()):
        for problem in _cell_problems(english[name], translated[name]):
            yield f"notebooks/{code}/{name}: {problem}"


def _cell_problems(english_path: Path, path: Path) -> Iterator[str]:
    english = {cell.id: cell for cell in nbformat.read(english_path, as_version=4).cells}
    translated = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    yield from (f"cell {id} is missing." for id in english if id not in translated)
    yield from (
        f"cell {id} is obsolete: the English notebook has none of this name." for id in translated.keys() - english
    )
    in_both = [id for id in english if id in translated]
    if in_both != [id for id in translated if id in english]:
        yield "the cells are in another order."
    for id in in_both:
        original, cell = english[id], translated[id]
        if cell.cell_type != original.cell_type:
            yield f"cell {id} is of another type."
        elif cell.cell_type == "code":
            if cell.source != original.source:
                yield f"code cell {id} differs from the English one."
        elif is_english(cell):
            yield f"cell {id} is not translated."
        elif cell.metadata.get(HASH) != content_hash(original.source):
            yield f"cell {id} is stale: the English text has changed since it was translated."


def is_english(cell: Any) -> bool:
    """Whether a text cell holds what it was made from."""
    return cell.metadata.get(HASH) == content_hash(cell.source)


def content_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# The command line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m workbook.translations", description="Keep the translations.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    updating = commands.add_parser("update", help="bring a language up to date with the English, or begin it")
    updating.add_argument("code", help="for example ko")
    accepting = commands.add_parser("accept", help="note that translated cells say what the English ones say now")
    accepting.add_argument("code", help="for example ko")
    accepting.add_argument("notebook", help="for example p17_conv1d_op.ipynb")
    accepting.add_argument("cells", nargs="+", help="the ids of text cells")
    options = parser.parse_args()
    if options.command == "update":
        update(options.code)
    else:
        accept(options.code, options.notebook, options.cells)


if __name__ == "__main__":
    main()
