"""The translations are complete and up to date, and whoever lets one fall behind is told."""

import ast
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from babel.messages.pofile import read_po, write_po

from workbook import language, rooms, translations
from workbook.check import check_at_once

NAME = "p17_conv1d_op.ipynb"


@pytest.mark.parametrize("code", [code for code in language.languages() if code != "en"])
def test_everything_is_translated(code):
    assert [*translations.catalogue_problems(code), *translations.notebook_problems(code)] == []


@pytest.mark.parametrize("path", sorted(Path(translations.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_every_text_that_the_code_shows_is_to_be_translated(path):
    """One in the braces of an f-string is not found, and would stay English in all languages."""
    texts = translations.template()
    shown = [
        call.args[0].value
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("_", "N_", "ngettext")
        and isinstance(call.args[0], ast.Constant)
    ]
    assert [text for text in shown if text not in texts] == []


# A language that is made here: German, of which only the folders are needed


@pytest.fixture
def english(tmp_path, monkeypatch):
    """A workbook with one notebook, which is not translated."""
    for path in rooms.NOTEBOOKS.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != NAME:
            path.unlink()
    monkeypatch.setattr(language, "catalogues", lambda: tmp_path / "locale")


@pytest.fixture
def german(english):
    """The path of its catalogue, in which every text is translated, and its notebook too."""
    translations.update("de")
    for entry in edited(language.catalogue_file("de")):
        entry.string = said(entry.id) if isinstance(entry.id, str) else tuple(map(said, entry.id))
    for cell in edited_notebook("de"):
        if cell.cell_type == "markdown":
            cell.source = f"Deutsch: {cell.source}"
    return language.catalogue_file("de")


def said(text):
    return text if text == "matplotlib" else f"Deutsch: {text}"


def edited(path):
    """The entries of a catalogue; what is changed in them is written when all have been seen."""
    with path.open("rb") as file:
        catalogue = read_po(file)
    yield from (entry for entry in catalogue if entry.id)
    with path.open("wb") as file:
        write_po(file, catalogue)


def edited_notebook(folder=""):
    path = rooms.NOTEBOOKS / folder / NAME
    notebook = nbformat.read(path, as_version=4)
    yield from notebook.cells
    nbformat.write(notebook, path)


def change_entry(path, beginning, **values):
    found = 0
    for entry in edited(path):
        first = entry.id if isinstance(entry.id, str) else entry.id[0]
        if first.startswith(beginning):
            vars(entry).update(values)
            found += 1
    assert found == 1


def test_a_new_language_begins_with_everything_left_to_do(english):
    assert list(translations.catalogue_problems("de")) == ["locale/de: there is no catalogue."]
    assert list(translations.notebook_problems("de")) == [f"notebooks/de: {NAME} is missing."]
    translations.update("de")
    texts = sum(bool(entry.id) for entry in translations.template())
    assert len(list(translations.catalogue_problems("de"))) == texts > 200
    cells = nbformat.read(rooms.NOTEBOOKS / NAME, as_version=4).cells
    untranslated = [line for line in translations.notebook_problems("de") if line.endswith("is not translated.")]
    assert len(untranslated) == sum(cell.cell_type == "markdown" for cell in cells)


def test_a_new_language_needs_no_code(german, speak, puzzle):
    assert translations.problems() == []
    text = puzzle.problem_file.read_text()
    speak("de")
    assert str(check_at_once(puzzle, text)).startswith("○ Deutsch: p17 not attempted: Deutsch: The marked region of ")
    assert language.ngettext("{count} own load", "{count} own loads", 2) == "Deutsch: {count} own loads"
    assert language.notebook_file(NAME) == rooms.NOTEBOOKS / "de" / NAME


def test_an_update_of_what_is_up_to_date_changes_nothing(german):
    translations.update("de")
    files = [german, rooms.NOTEBOOKS / "de" / NAME]
    before = [file.read_text() for file in files]
    translations.update("de")
    assert [file.read_text() for file in files] == before
    assert translations.problems() == []


@pytest.mark.parametrize(
    "beginning, values, problem",
    [
        ("{puzzle} passed", {"string": ""}, "missing: {puzzle} passed"),
        ("{count} own load", {"string": ("{count} eigener", "")}, "missing: {count} own load"),
        ("{puzzle} passed", {"flags": {"fuzzy"}}, "fuzzy: {puzzle} passed"),
        ("{puzzle} passed", {"string": "{Rätsel} gelöst"}, "another placeholder: {puzzle} passed"),
        ("{puzzle} passed", {"string": "gelöst"}, "another placeholder: {puzzle} passed"),
        ("{puzzle} passed", {"string": "{puzzle gelöst"}, "another placeholder: {puzzle} passed"),
        (
            "precompiled in",
            {"string": "in {seconds:.2f} s vorbereitet"},
            "another placeholder: precompiled in {seconds:.1f} s",
        ),
        ("unrecognized", {"string": "unbekannt"}, "another placeholder: unrecognized arguments: %s"),
        ("{count} own load", {"string": ("einer", "viele")}, "another placeholder: {count} own load"),
        ("Something is missing", {"string": "Hinter {sign} fehlt etwas."}, "other code in backquotes: Something"),
        ("{puzzle} passed", {"id": "{puzzle} was passed"}, "obsolete: {puzzle} was passed"),
    ],
)
def test_what_is_wrong_in_a_catalogue_is_listed(german, beginning, values, problem):
    change_entry(german, beginning, **values)
    assert f"locale/de: {problem}" in "\n".join(translations.problems())


def test_a_placeholder_may_be_missing_where_one_form_of_the_english_has_none(german):
    change_entry(german, "The case matches", string=("Der Fall stimmt.", "Alle {count} Fälle stimmen."))
    assert translations.problems() == []


def test_a_catalogue_that_cannot_be_read_is_said(german):
    german.write_text(german.read_text() + "\nnoch ein Satz\n")
    assert re.match(r"locale/de: .+ on \d+", translations.problems()[0])


def test_a_text_that_has_changed_keeps_its_translation_but_is_not_used(german, speak):
    change_entry(german, "{puzzle} passed", id="{puzzle} was passed", string="{puzzle} gelöst")
    translations.update("de")
    assert translations.problems() == ["locale/de: fuzzy: {puzzle} passed"]
    assert "# The English was: {puzzle} was passed" in german.read_text()
    assert 'msgstr "{puzzle} gelöst"' in german.read_text()
    speak("de")
    assert language.gettext("{puzzle} passed") == "{puzzle} passed"


def test_what_is_not_translated_is_said_in_english(german, speak):
    change_entry(german, "{puzzle} passed", string="")
    change_entry(german, "{count} own load", string=("", ""))
    speak("de")
    assert language.gettext("{puzzle} passed") == "{puzzle} passed"
    assert language.ngettext("{count} own load", "{count} own loads", 2) == "{count} own loads"


# Notebooks


def test_a_cell_is_stale_when_its_english_text_changes_until_that_is_accepted(german):
    for cell in edited_notebook():
        if cell.id == "p17-02":
            cell.source += "\n\nOne sentence more."
    stale = f"notebooks/de/{NAME}: cell p17-02 is stale: the English text has changed since it was translated."
    assert translations.problems() == [stale]
    translations.update("de")
    assert translations.problems() == [stale]
    translations.accept("de", NAME, ["p17-02"])
    assert translations.problems() == []


def test_an_unknown_cell_cannot_be_accepted(german):
    with pytest.raises(SystemExit, match="p17-99"):
        translations.accept("de", NAME, ["p17-02", "p17-99"])


def test_a_code_cell_must_be_the_english_one(german):
    for cell in edited_notebook("de"):
        if cell.source == "p.check()":
            cell.source, id = "p.check(seed=1)", cell.id
    assert translations.problems() == [f"notebooks/de/{NAME}: code cell {id} differs from the English one."]
    translations.update("de")
    assert translations.problems() == []


def test_missing_obsolete_and_exchanged_cells_are_listed_and_updated(german):
    path = rooms.NOTEBOOKS / "de" / NAME
    notebook = nbformat.read(path, as_version=4)
    first, second, *others, last = notebook.cells
    notebook.cells = [second, first, *others, nbformat.v4.new_markdown_cell("Neu", id="new")]
    nbformat.write(notebook, path)
    assert translations.problems() == [
        f"notebooks/de/{NAME}: cell {last.id} is missing.",
        f"notebooks/de/{NAME}: cell new is obsolete: the English notebook has none of this name.",
        f"notebooks/de/{NAME}: the cells are in another order.",
    ]
    translations.update("de")
    assert translations.problems() == [f"notebooks/de/{NAME}: cell {last.id} is not translated."]


def test_missing_and_obsolete_notebooks_are_listed(german):
    (rooms.NOTEBOOKS / "de" / NAME).rename(rooms.NOTEBOOKS / "de" / "alt.ipynb")
    assert translations.problems() == [
        f"notebooks/de: {NAME} is missing.",
        "notebooks/de: alt.ipynb is obsolete: there is no English one.",
    ]


def test_the_doctor_says_it_and_its_status_too(german, monkeypatch, capsys):
    from workbook.commands.main import main

    monkeypatch.setattr("sys.argv", ["workbook", "doctor", "--translations"])
    assert main() == 0
    assert capsys.readouterr().out == "All translations are complete and up to date.\n"
    change_entry(german, "{puzzle} passed", string="")
    assert main() == 1
    assert capsys.readouterr().out == "locale/de: missing: {puzzle} passed\n"
