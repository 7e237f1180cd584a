"""The reader of Mojo source: tokens, statements, calls, declarations, names in scope and constants."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from mojo.run import subprocess_run_mojo

from workbook.lint.mojo_source import (
    Function,
    constant,
    expand,
    find_calls,
    names_in_scope,
    read_function,
    statements,
    text_of,
    tokenize,
)

ROOT = Path(__file__).parent.parent
OP = (ROOT / "problems/p17/op.mojo").read_text()
CONV1D = (ROOT / "kernels/conv1d.mojo").read_text()

# Every way that a parameter or an argument can be passed.
PASSING = """
def f[a: Int, //, b: Int, /, c: Int = 3, *d: Int, e: Int = 4](
    x: Int, /, y: List[Int], *z: Int, w: Tuple[Int, Int] = (1, 2), var **q: Int  # the rest
) raises -> Int:
    return 1


def g[T: Copyable, *, k: StaticString = "a,b"](mut x: T, var y: Int, ref z: Int, *, u: def(x: Int) thin -> Int):
    pass
"""


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a.b_1 `odd name`", "name operator name name"),
        ("15 0x1F 1_000 2.5 .5 1e-3 2.", "number number number number number number number"),
        ('\'a\' "b\\"" r\'\\d\' \'\'\'c\n\'\'\' """d"e""" ""', "string string string string string string"),
        ('t"{x["key"]} (" f', "string name"),
        ('\'a\n"""b\n', "unterminated newline unterminated"),
        ("x # 'y (\nz", "name comment newline name"),
        (
            "a //= b ** c -> d := e ... ==",
            "name operator name operator name operator name operator name operator operator",
        ),
        ("f[x](y){z}", "name open name close open name close open name close"),
        ("a + \\\n  b", "name operator name"),
        ("“a”", "operator name operator"),
    ],
)
def test_kinds_of_tokens(text: str, kinds: str) -> None:
    assert " ".join(token.kind for token in tokenize(text)) == kinds


def test_positions_of_tokens() -> None:
    tokens = tokenize('x = """a\nb""" + y\n  z')
    assert [(token.text, token.line, token.column) for token in tokens if token.kind == "name"] == [
        ("x", 1, 1),
        ("y", 2, 8),
        ("z", 3, 3),
    ]


def test_tokens_cover_the_text() -> None:
    for text in (OP, CONV1D):
        covered = "".join(token.text for token in tokenize(text))
        assert re.sub(r"[^\S\n]+", "", text) == re.sub(r"[^\S\n]+", "", covered)


def test_statements_end_outside_brackets() -> None:
    found = statements(tokenize("def f(\n  x: Int\n):\n    y = (1,\n 2); z\n# no\n\nw[\n0]"))
    assert [(statement.indent, text_of(statement.tokens), statement.in_def) for statement in found] == [
        (0, "def f ( x : Int ) :", False),
        (4, "y = ( 1 , 2 )", True),
        (4, "z", True),
        (0, "w [ 0 ]", False),
    ]


def test_calls() -> None:
    (call,) = find_calls(tokenize("ctx.go[k[a, b],](x, (y, z), size=2 * n,  # last\n)"), "go")
    assert call.receiver and call.receiver.text == "ctx"
    assert call.parameters and [text_of(argument.value) for argument in call.parameters] == ["k [ a , b ]"]
    assert [text_of(argument.value) for argument in call.positional] == ["x", "( y , z )"]
    assert {keyword: text_of(argument.value) for keyword, argument in call.keywords.items()} == {"size": "2 * n"}


def test_calls_without_brackets_or_parentheses() -> None:
    bare, empty, not_called = find_calls(tokenize("go; go(); go[k]; def go(): pass"), "go")
    assert (bare.parameters, bare.arguments) == (None, None)
    assert (empty.parameters, empty.arguments) == (None, ())
    assert not_called.parameters and not_called.arguments is None


def documented(path: Path) -> dict[str, dict[str, list[tuple[str, str]]]]:
    done = subprocess_run_mojo(["doc", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return {
        function["name"]: {
            group: [(entry["name"].lstrip("*"), entry["passingKind"]) for entry in function["overloads"][0][group]]
            for group in ("parameters", "args")
        }
        | {"types": [(entry["name"], entry["type"]) for entry in function["overloads"][0]["args"]]}
        for function in json.loads(done.stdout)["decl"]["functions"]
    }


def read(function: Function) -> dict[str, list[tuple[str, str]]]:
    return {
        "parameters": [(declaration.name, declaration.passing) for declaration in function.parameters],
        "args": [(declaration.name, declaration.passing) for declaration in function.arguments],
        "types": [
            (("*" * declaration.is_variadic) + declaration.name, declaration.type_text)
            for declaration in function.arguments
        ],
    }


def test_read_function_agrees_with_mojo_doc(tmp_path: Path) -> None:
    documentation = documented(ROOT / "kernels/conv1d.mojo")
    function = read_function(CONV1D, "conv1d_kernel")
    assert function and read(function) == documentation["conv1d_kernel"]

    (tmp_path / "passing.mojo").write_text(PASSING)
    documentation = documented(tmp_path / "passing.mojo")
    for name in ("f", "g"):
        function = read_function(PASSING, name)
        assert function
        types = [(entry.replace("**", "*"), type_) for entry, type_ in documentation[name].pop("types")]
        found = read(function)
        assert found.pop("types") == types
        assert found == documentation[name]


def test_defaults_and_body_of_a_function() -> None:
    function = read_function(PASSING, "f")
    assert function
    declarations = function.parameters + function.arguments
    assert {declaration.name for declaration in declarations if declaration.has_default} == {"c", "e", "w"}
    assert {declaration.name for declaration in declarations if declaration.is_variadic} == {"d", "z", "q"}
    assert text_of(function.body).endswith("return 1")


@pytest.mark.parametrize("text", ["", "def", "def f(", "def other(): pass", "def f(): pass\ndef f(x: Int): pass"])
def test_what_cannot_be_read_is_none(text: str) -> None:
    assert read_function(text, "f") is None


def test_names_in_scope_of_an_op() -> None:
    names = names_in_scope(OP)
    kinds = {name: definition.kind for name, definition in names.items()}
    assert kinds["conv1d_kernel"] == kinds["TPB"] == kinds["ceildiv"] == "import"
    assert kinds["input_size"] == kinds["dtype"] == kinds["target"] == "parameter"
    assert kinds["ctx"] == kinds["output"] == "argument"
    assert kinds["OutLayout"] == "comptime"
    assert kinds["output_tensor"] == "var"
    assert names["TPB"].module == "kernels.conv1d"
    assert not {"total", "i", "j"} & names.keys()  # of the other branch


def test_names_of_other_blocks_are_not_in_scope() -> None:
    names = names_in_scope(
        "import a.b as c\nfrom d import (e, f as g)\n"
        "def before(x: Int):\n    var y = 1\n"
        "def here(z: Int):\n    for i in range(2):\n        var inner = i\n    var u, v = (1, 2)\n"
        "    # >>> your code\n    # <<< your code\n    var later = 1\n"
        "def after(): pass\n"
    )
    assert names.keys() == {"c", "e", "g", "before", "here", "z", "u", "v", "after"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("TPB", 15),
        ("2 * TPB", 30),
        ("(TPB, 1)", (15, 1)),
        ("(TPB)", 15),
        ("BLOCKS_PER_GRID + 1", 3),
        ("-TPB", -15),
        ("0x10 // 3 % 4", 1),
        ("ceildiv(16, TPB)", 2),
        ("min(TPB, 4)", 4),
        ("Dim(TPB, 2)", (15, 2)),
        ("2.5", 2.5),
        ("(TPB, input_size)", (15, None)),
        ("input_size", None),
        ("TPB / 2", None),
        ("TPB // 0", None),
        ("TPB if True else 2", None),
        ("'2'", None),
        ("TPB +", None),
        ("len(x)", None),
        ("True", None),
        ("", None),
    ],
)
def test_constants(expression: str, value: object) -> None:
    assert constant(tokenize(expression), names_in_scope(OP), {"kernels.conv1d": CONV1D}) == value


def test_constants_of_another_module_are_followed_there() -> None:
    modules = {"m": "comptime A = 4\ncomptime B = 2 * A\n", "n": "from m import B as C\n"}
    names = names_in_scope("from n import C as D\ncomptime A = 100\n")
    assert constant(tokenize("D + 1"), names, modules) == 9


def test_constants_that_name_themselves() -> None:
    assert constant(tokenize("A"), names_in_scope("comptime A = B\ncomptime B = A\n"), {}) is None


def test_expand_follows_comptime_names_and_refuses_vars() -> None:
    names = names_in_scope(OP)
    assert expand(tokenize("OutLayout"), names) == expand(tokenize("InLayout"), names)
    assert expand(tokenize("OutLayout"), names) != expand(tokenize("ConvLayout"), names)
    assert expand(tokenize("output_tensor"), names) is None
