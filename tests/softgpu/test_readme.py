"""The example in softgpu's README runs, and prints what it says."""

import re
from pathlib import Path

import softgpu


def test_example(capsys):
    text = (Path(softgpu.__file__).parent / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(example, {})
    promised = example.strip().rpartition("# ")[2]
    assert capsys.readouterr().out.strip() == promised
