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
