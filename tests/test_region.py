import pytest

from workbook.region import BEGIN, END, RegionError, read_region, replace_region

FILE = f"above\n    {BEGIN}\n    one(\n        two)\n    {END}\nbelow\n"


def test_the_region_is_read_without_the_files_indentation():
    region = read_region(FILE)
    assert region.code == "one(\n    two)"
    assert (region.first_line, region.indentation) == (3, 4)


def test_replacing_keeps_everything_around_the_region():
    changed = replace_region(FILE, "new(\n  line)\n")
    assert changed == f"above\n    {BEGIN}\n    new(\n      line)\n    {END}\nbelow\n"


def test_what_is_put_in_is_read_back():
    for code in ("", "# a comment", "a\n\nb", "if x:\n    y()"):
        assert read_region(replace_region(FILE, code)).code == code


def test_a_comment_may_begin_in_any_column():
    region = read_region(FILE.replace("    one(", "# a note\n    one("))
    assert (region.code, region.indentation) == ("# a note\none(\n    two)", 4)
    assert read_region(f"{BEGIN}\n    # one\n      # two\n{END}").code == "# one\n  # two"


@pytest.mark.parametrize("code", ["one()", "        one()", "\tone()"])
def test_columns_count_from_where_the_code_begins(code):
    region = read_region(FILE.replace("    one(\n        two)", code))
    assert (region.code, region.indentation) == ("one()", len(code) - len("one()"))


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_only_a_line_break_ends_a_line(character):
    """Mojo, Python and editors go on in the same line after these, which come with what is pasted."""
    text = f"# above{character}still above\n{FILE}"
    assert read_region(text).first_line == 4
    assert replace_region(text, f"1  # a{character}b") == text.replace("one(\n        two)", f"1  # a{character}b")


@pytest.mark.parametrize(
    "text",
    [
        FILE.replace(BEGIN, "# gone"),
        FILE.replace(END, "# gone"),
        FILE + FILE,
        FILE.replace(BEGIN, "x").replace(END, BEGIN).replace("x", END),
        "",
    ],
)
def test_damaged_markers_are_named(text):
    with pytest.raises(RegionError, match="your code"):
        read_region(text)
