"""Answers the mistakes in a call of a PyTorch op that can be read off its text, before anything runs.

It must never refuse a call that would be right: where a rule cannot be sure it says nothing, and the check answers.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property

from workbook.language import _
from workbook.lint.launch import Finding
from workbook.pytorch.calls import (
    A_PATH,
    ARGUMENTS,
    ARRAYS_ARE_NO_TENSORS,
    GIVES_NOTHING_BACK,
    NO_MEMORY,
    NO_PARAMETERS,
    NOTHING_CALLED,
    NOTHING_RETURNED,
    ONE_DICTIONARY,
    OP,
    PYTORCHS_OWN,
    SIZES,
    exchanged_sizes,
    wrong_order,
    wrong_parameters,
)
from workbook.region import replace_region

FUNCTION = "conv1d_pytorch"
ALLOCATIONS = {
    f"{maker}{suffix}" for maker in ("empty", "zeros", "ones", "full", "rand", "randn") for suffix in ("", "_like")
} | {"empty_strided", "new_empty", "new_zeros", "new_ones", "new_full", "clone"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Code:
    """The learner's text, and what it may refer to."""

    def __init__(self, region: str, program: str) -> None:
        self.tree = ast.parse(region)
        self.nodes = list(ast.walk(self.tree))
        self.program = program
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def values(self) -> dict[str, ast.expr]:
        """The names that are assigned once, and what."""
        times = Counter(_bound(self.tree))
        return {
            target.id: node.value
            for node in self.nodes
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and times[target.id] == 1
        }

    def resolve(self, node: ast.expr) -> ast.expr:
        """What a name stands for, and what `torch.compile` is given."""
        for _step in range(20):  # an assignment may refer to itself
            if isinstance(node, ast.Name) and node.id in self.values:
                node = self.values[node.id]
            elif isinstance(node, ast.Call) and _dotted(node.func) == "torch.compile" and len(node.args) == 1:
                node = node.args[0]
            else:
                break
        return node

    def may_change(self, node: ast.expr) -> bool:
        """Whether it is a name that is used elsewhere too, as in `sizes["conv_size"] = …` or `sizes.update(…)`."""
        uses = [other.id for other in self.nodes if isinstance(other, ast.Name) and isinstance(other.ctx, ast.Load)]
        return isinstance(node, ast.Name) and uses.count(node.id) > 1

    def is_op(self, node: ast.expr) -> bool:
        """Whether it is `library.conv1d`."""
        node = self.resolve(node)
        return isinstance(node, ast.Attribute) and node.attr == OP and _dotted(self.resolve(node.value)) == "library"

    def is_op_with_parameters(self, node: ast.expr) -> bool:
        node = self.resolve(node)
        return isinstance(node, ast.Subscript) and self.is_op(node.value)

    @cached_property
    def calls(self) -> list[ast.Call]:
        """The calls of the op, whether they have parameters or not."""
        return [
            node
            for node in self.nodes
            if isinstance(node, ast.Call) and (self.is_op(node.func) or self.is_op_with_parameters(node.func))
        ]

    def role(self, node: ast.expr) -> str:
        """Which argument of the op an expression is; its text where it may be any."""
        found = self.resolve(node)
        if isinstance(found, ast.Name):
            found_in = {tensor: argument for argument, tensor in zip(ARGUMENTS[1:], SIZES.values(), strict=True)}
            return found_in.get(found.id, ast.unparse(node))
        if isinstance(found, ast.Call) and _dotted(found.func).rpartition(".")[2] in ALLOCATIONS - {"clone"}:
            return "output"
        return ast.unparse(node)

    def sized(self, node: ast.expr) -> str | None:
        """The tensor whose number of elements this is, where that is plain to see."""
        node = self.resolve(node)
        if isinstance(node, ast.Call) and _dotted(node.func) == "int" and len(node.args) == 1:
            node = self.resolve(node.args[0])
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            owner: ast.expr = node.value.value
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("size", "numel")
        ):
            owner = node.func.value
        elif isinstance(node, ast.Call) and _dotted(node.func) == "len" and len(node.args) == 1:
            owner = node.args[0]
        else:
            return None
        owner = self.resolve(owner)
        return owner.id if isinstance(owner, ast.Name) and owner.id in SIZES.values() else None


def lint_torch(region: str, program: str, kernel_texts: Mapping[str, str]) -> list[Finding]:
    """The mistakes in the marked region of p20.py, in the order of its lines. `kernel_texts` is not needed."""
    try:
        code = Code(region, program)
    except SyntaxError as error:
        text = _not_python(region, error)
        return [Finding("syntax", text, min(error.lineno or 1, len(region.split("\n"))), error.offset or 1)]
    found = {(finding.line, finding.column): finding for rule in reversed(RULES) for finding in rule(code)}
    return sorted(found.values(), key=lambda finding: (finding.line, finding.column))


def _not_python(region: str, error: SyntaxError) -> str:
    """What is wrong with a line that Python cannot read; in its own words only where they are not vague."""
    lines = region.split("\n")
    line = lines[min(error.lineno or 1, len(lines)) - 1].strip()
    first = line.partition(" ")[0]
    if line.startswith("```"):
        return _("This line is a mark of Markdown around the code, not code: delete it.")
    if line.startswith(">>>"):
        return _("`>>>` is the prompt of a console, not code: delete it.")
    if line.startswith("%"):
        return _("Only the first line of a cell can be a magic command such as `%%fill`: delete this one.")
    if first in ("var", "let", "const", "auto", "comptime", "alias"):
        return _("Python has no `{word}`: write the name alone, `output = …`.").format(word=first)
    if line.endswith((".", "=", ",", "(", "[")) and error.msg == "invalid syntax":
        return _("Something is missing after `{sign}`.").format(sign=line[-1])
    character = line and region and error.msg.startswith("invalid ") and next((c for c in line if not c.isascii()), "")
    if character:
        return _("Python does not read the character `{character}` in code: type its plain form.").format(
            character=character
        )
    if "Maybe you meant '=='" in error.msg and "{" in line:
        return _('In a dictionary a colon stands between a name and its value: `{{"input_size": …}}`.').format()
    return _("Python does not understand this line: {reason}.").format(reason=error.msg.rstrip(".?"))


def _finding(rule: str, node: ast.expr | ast.stmt, message: str) -> Finding:
    return Finding(rule, message, node.lineno, node.col_offset + 1)


def unknown_name(code: Code) -> Iterator[Finding]:
    before = ast.parse(replace_region(code.program, "pass"))
    known = set(dir(builtins)) | set(_bound(code.tree))
    for statement in before.body:
        known |= set(_bound(statement)) if not isinstance(statement, Function) else {statement.name}
        if isinstance(statement, Function) and statement.name == FUNCTION:
            known |= set(_bound(statement))
    names = [node for node in code.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    told: set[str] = set()
    for node in sorted(names, key=lambda name: (name.lineno, name.col_offset)):
        if node.id not in known | told:
            told.add(node.id)
            if node.id in SIZES:
                text = _('The names of parameters are text: write `"{name}"`, in quotes.')
                yield _finding("unknown_name", node, text.format(name=node.id))
                continue
            if node.id == "output":
                text = _("There is no `output` yet: make it before the call, with `torch.empty_like(input_tensor)`.")
                yield _finding("unknown_name", node, text)
                continue
            near = get_close_matches(node.id, known - set(dir(builtins)), n=1)
            if near:
                text = _("The name `{name}` does not exist here; did you mean `{suggestion}`?")
                yield _finding("unknown_name", node, text.format(name=node.id, suggestion=near[0]))
            else:
                text = _(
                    "The name `{name}` does not exist here. What the function is given is `library`, `input_tensor` "
                    "and `kernel_tensor`."
                )
                yield _finding("unknown_name", node, text.format(name=node.id))


def unknown_op(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if isinstance(node, ast.Attribute) and _dotted(node.value) == "library" and node.attr != OP:
            text = _("The library has no op `{name}`: op.mojo registers it as `conv1d`, so it is `library.conv1d`.")
            yield _finding("unknown_op", node, text.format(name=node.attr))


def pytorchs_own(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if isinstance(node, ast.Call) and not _mentions(code.tree, "library"):
            name = _dotted(node.func)
            if name.rpartition(".")[2] in ("conv1d", "Conv1d") and "library" not in name:
                yield _finding("pytorchs_own", node, _(PYTORCHS_OWN))


def nothing_called(code: Code) -> Iterator[Finding]:
    if not _mentions(code.tree, "library") and not any(pytorchs_own(code)) and not any(unknown_name(code)):
        yield _finding("nothing_called", code.tree.body[0], _(NOTHING_CALLED))
    for node in code.nodes:
        if isinstance(node, ast.Expr) and (code.is_op(node.value) or code.is_op_with_parameters(node.value)):
            yield _finding("nothing_called", node, _(NOTHING_CALLED))


def second_library(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if isinstance(node, ast.Call) and _dotted(node.func) == "CustomOpLibrary" and node.args:
            first = code.resolve(node.args[0])
            is_text = isinstance(first, ast.JoinedStr) or (isinstance(first, ast.Constant) and type(first.value) is str)
            if is_text or (isinstance(first, ast.Call) and _dotted(first.func) == "str"):
                yield _finding("second_library", node, _(A_PATH))


def parameters(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if not isinstance(node, ast.Subscript) or not code.is_op(node.value):
            continue
        given = code.resolve(node.slice)
        if isinstance(given, ast.Tuple | ast.List | ast.Set | ast.Constant | ast.Slice):
            yield _finding("parameters", node, _(ONE_DICTIONARY).format())
            continue
        pairs = _pairs(given)
        if pairs is None or code.may_change(node.slice):
            continue
        message = wrong_parameters(list(pairs))
        if message:
            yield _finding("parameters", given, message)
            continue
        sized = {name: code.sized(value) for name, value in pairs.items()}
        if [sized[name] for name in SIZES] == list(reversed(SIZES.values())):
            yield _finding("parameters", given, exchanged_sizes())
            continue
        for name, tensor in SIZES.items():
            value = code.resolve(pairs[name])
            if sized[name] not in (None, tensor):
                text = _("`{name}` is the number of elements of `{tensor}`.").format(name=name, tensor=tensor)
                yield _finding("parameters", pairs[name], text)
            elif isinstance(value, ast.Attribute) and value.attr == "shape":
                text = _("`shape` holds a number for each dimension; `{name}` is the first of them: `{value}[0]`.")
                yield _finding("parameters", pairs[name], text.format(name=name, value=ast.unparse(pairs[name])))


def no_parameters(code: Code) -> Iterator[Finding]:
    for call in code.calls:
        if code.is_op(call.func):
            yield _finding("no_parameters", call, _(NO_PARAMETERS))


def arguments(code: Code) -> Iterator[Finding]:
    for call in code.calls:
        if any(isinstance(argument, ast.Starred) for argument in call.args) or any(not k.arg for k in call.keywords):
            continue
        wrong = next((keyword for keyword in call.keywords if keyword.arg not in ARGUMENTS), None)
        if wrong:
            text = _(
                "The op has no argument `{name}`: it takes (output, input, kernel), and its sizes in square brackets."
            )
            yield _finding("arguments", wrong.value, text.format(name=wrong.arg))
            continue
        given = dict(zip(ARGUMENTS, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
        if len(call.args) > len(ARGUMENTS):
            message = wrong_order([code.role(argument) for argument in call.args])
        else:
            message = wrong_order([code.role(given[name]) for name in ARGUMENTS if name in given])
        if message:
            yield _finding("arguments", call, message)
            continue
        array = next((argument for argument in given.values() if _makes_array(code.resolve(argument))), None)
        if array:
            yield _finding("arguments", array, _(ARRAYS_ARE_NO_TENSORS))


def compile_called_with_tensors(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if isinstance(node, ast.Call) and _dotted(node.func) == "torch.compile" and len(node.args) > 1:
            text = _(
                "`torch.compile` takes a function alone and gives back a faster one. That is then called with the "
                "tensors: `torch.compile(conv1d)(…)`."
            )
            yield _finding("compile_called_with_tensors", node, text)


def value_used(code: Code) -> Iterator[Finding]:
    returned = {node.value for node in code.nodes if isinstance(node, ast.Return) and node.value}
    for call in code.calls:
        parent = code.parents.get(call)
        if call in returned:
            yield _finding("value_used", call, _(GIVES_NOTHING_BACK))
        elif isinstance(parent, ast.Assign) and any(code.resolve(value) is call for value in returned):
            yield _finding("value_used", parent, _(GIVES_NOTHING_BACK))


def nothing_returned(code: Code) -> Iterator[Finding]:
    inner = {inside for node in code.nodes if isinstance(node, Function) for inside in ast.walk(node)}
    if not any(isinstance(node, ast.Return) and node.value and node not in inner for node in code.nodes):
        yield _finding("nothing_returned", code.tree.body[-1], _(NOTHING_RETURNED))


def without_memory(code: Code) -> Iterator[Finding]:
    for node in code.nodes:
        if isinstance(node, ast.keyword) and node.arg == "device":
            value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
            if isinstance(value, ast.Constant) and value.value == "meta":
                yield _finding("without_memory", node.value, _(NO_MEMORY))


RULES = (
    unknown_name,
    pytorchs_own,
    unknown_op,
    second_library,
    compile_called_with_tensors,
    no_parameters,
    parameters,
    arguments,
    without_memory,
    value_used,
    nothing_called,
    nothing_returned,
)
"""Of several findings at one place the first is told."""


def _pairs(node: ast.expr) -> dict[str, ast.expr] | None:
    """The names and values of a dictionary that is written out."""
    if isinstance(node, ast.Call) and _dotted(node.func) == "dict" and not node.args:
        return {k.arg: k.value for k in node.keywords if k.arg} if all(k.arg for k in node.keywords) else None
    if not isinstance(node, ast.Dict):
        return None
    found = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return None
        found[key.value] = value
    return found


def _dotted(node: ast.expr) -> str:
    """`torch.nn.functional.conv1d` as text; its last parts where it begins with something else than a name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _makes_array(node: ast.expr) -> bool:
    """Whether it calls NumPy, or a tensor's `numpy()`."""
    return isinstance(node, ast.Call) and (
        _dotted(node.func).startswith("np.") or (isinstance(node.func, ast.Attribute) and node.func.attr == "numpy")
    )


def _mentions(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _bound(tree: ast.AST) -> Iterator[str]:
    """The names that are given a meaning anywhere in a tree, as often as they are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            yield node.name
