"""The list of what softgpu supports is the table that instructions are decoded by."""

from pathlib import Path

import softgpu
from softgpu.instructions.__main__ import supported


def test_the_list_is_up_to_date():
    file = Path(softgpu.__file__).parent / "SUPPORTED.md"
    assert file.read_text() == supported(), "run `python -m softgpu.instructions > softgpu/SUPPORTED.md`"


def test_forms_are_written_as_in_the_manual():
    text = supported()
    assert "| lop3 | `lop3.b32` |" in text
    assert "`add.sat.s32`" in text
    assert "`bra{.uni}`" in text
    assert "`shf.{l,r}.{wrap,clamp}.b32`" in text
