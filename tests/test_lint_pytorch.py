"""The lint of calls from PyTorch: lines that are no Python, and names that do not exist. The other mistakes stand in
solutions/p20/wrong/. PyTorch is not needed for it."""

import pytest

from workbook.lint.pytorch import lint_torch
from workbook.puzzles import find_puzzle
from workbook.region import read_region

PROGRAM = find_puzzle("p20").solution_file.read_text()
CALL = "library.conv1d[{'input_size': len(input_tensor), 'conv_size': len(kernel_tensor)}]"
TENSORS = "(output, input_tensor, kernel_tensor)"
MADE = "output = torch.empty_like(input_tensor)\n"

WRONG = {
    f"var {MADE}{CALL}{TENSORS}\nreturn output": (1, "Python has no `var`"),
    "library.": (1, "missing after `.`"),
    "output =": (1, "missing after `=`"),
    f"```python\n{MADE}return output\n```": (1, "Markdown"),
    f"%%fill p20\n{MADE}return output": (1, "first line of a cell"),
    f">>> {MADE}return output": (1, "prompt of a console"),
    f"{MADE}library.conv1d[{{“input_size”: 15}}]{TENSORS}\nreturn output": (2, "the character `“`"),
    f"{MADE}library.conv1d[{{input_size=15}}]{TENSORS}\nreturn output": (2, "a colon stands between"),
    f"{MADE}library.conv1d[{{input_size: 15, 'conv_size': 4}}]{TENSORS}\nreturn output": (
        2,
        '`"input_size"`, in quotes',
    ),
    f"{MADE}{CALL.replace('library', 'lib')}{TENSORS}\nreturn output": (2, "did you mean `library`"),
    f"{CALL}{TENSORS}\nreturn output": (1, "There is no `output` yet"),
    "return ops.custom(name='conv1d', values=[input_tensor, kernel_tensor])[0]": (1, "`ops` does not exist here"),
}


@pytest.mark.parametrize("code", WRONG)
def test_the_first_thing_that_is_told(code):
    line, words = WRONG[code]
    first, *others = lint_torch(code, PROGRAM, {})
    assert first.line == line
    assert words in first.message
    assert "`output` yet" not in " ".join(other.message for other in others), "each name is told once"


def test_a_right_call_passes():
    assert lint_torch(read_region(PROGRAM).code, PROGRAM, {}) == []
    assert lint_torch(f"{MADE}{CALL}{TENSORS}\nreturn output  # “quoted”", PROGRAM, {}) == []


@pytest.mark.parametrize("rest", ["sizes['conv_size'] = 4", "sizes.update(conv_size=4)", "add_conv_size_to(sizes)"])
def test_a_dictionary_that_is_filled_later_passes(rest):
    filled = f"{MADE}sizes = {{'input_size': 15}}\n{rest}\nlibrary.conv1d[sizes]{TENSORS}\nreturn output"
    told = [finding.rule for finding in lint_torch(filled, PROGRAM, {})]
    assert told == (["unknown_name"] if "add" in rest else [])
    assert "parameters" in [one.rule for one in lint_torch(filled.replace(rest, "pass"), PROGRAM, {})]


def test_a_comment_in_the_first_column_is_no_mistake():
    program = PROGRAM.replace("# >>> your code\n", "# >>> your code\n# a note\n")
    assert lint_torch(read_region(program).code, program, {}) == []
