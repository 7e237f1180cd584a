"""The list of what softgpu supports is the table that instructions are decoded by."""

from pathlib import Path

import softgpu
from softgpu.instructions.__main__ import notation, supported
from softgpu.instructions.table import Form


def test_the_list_is_up_to_date():
    file = Path(softgpu.__file__).parent / "SUPPORTED.md"
    is_same = file.read_text() == supported()
    assert is_same, "run `python -m softgpu.instructions > softgpu/SUPPORTED.md`"


def test_forms_are_written_as_in_the_manual():
    slots = (
        ("sat", ("sat",), True),
        ("cache", ("ca", "cg"), True),
        ("sync", ("sync",), False),
        ("t", ("u8", "s8"), False),
    )
    form = Form("op sat? cache=ca|cg? sync t=u8|s8", slots, lambda decoder, m: None)
    assert notation("op", form) == "`op{.sat}{.ca,.cg}.sync.{u8,s8}`"
    later = Form("op", (), lambda decoder, m: None, since=90)
    assert notation("op", later) == "`op` (sm_90)"


def test_instructions_stand_with_their_kind():
    integers = supported().partition("## Integer arithmetic")[2].partition("\n## ")[0]
    assert "`add.sat.s32`" in integers and "`popc.{b32,b64}`" in integers and "f32" not in integers
