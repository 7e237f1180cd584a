"""Reads Mojo source text without compiling it: tokens, statements, calls, declarations, names, constants.

It reads as much of the language as can be read off the text with certainty, and answers None for the rest. No text
makes it raise.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from workbook.region import BEGIN

Names = Mapping[str, "Definition"]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = words(
    """and as assert async await break class comptime continue def del elif else except finally for from global if
    import in is lambda not or pass raise raises ref return struct trait try var where while with yield
    mut out imm deinit capturing thin"""
)

# What every Mojo program has without an import: the names of `std.prelude`, and those of the language itself.
BUILTINS = words(
    """Dict InlineArray Array KeyElement List Optional ImmSpan MutSpan Span Codepoint ImmStringSlice MutStringSlice
    StaticString String StringSlice StringSpan ascii atof atol chr ord Writable Writer repr Hashable hash FileHandle
    open FileDescriptor input print AnyType Deinitable Some SomeTypeList ImplicitlyDestructible ImplicitlyDeletable
    Bool Boolable all any breakpoint Slice slice Comparable Equatable AnyCoroutine Coroutine RaisingCoroutine
    debug_assert DType Error FloatLiteral Floatable FloatableRaising bin hex oct Identifiable Indexer Intable
    IntableRaising index IntLiteral Sized SizedRaising len Absable Powable Roundable abs divmod max min pow round
    NoneType range rebind rebind_var trait_downcast ReversibleRange reversed SIMDSize SIMDLength SIMD BFloat16 Byte
    Float8_e4m3fn Float8_e4m3fnuz Float8_e5m2 Float8_e5m2fnuz Float8_e8m0fnu Float16 Float32 Float64 Int Int8 Int16
    Int32 Int64 Int128 Int256 Scalar UInt8 UInt16 UInt32 UInt64 UInt128 UInt256 UInt partition sort StringLiteral swap
    Tuple AnyOrigin ImmutAnyOrigin ImmOrigin ImmutOrigin MutAnyOrigin MutOrigin Never Origin OriginSet ImmStaticOrigin
    StaticConstantOrigin ExternalOrigin ImmutExternalOrigin MutExternalOrigin UntrackedOrigin ImmUntrackedOrigin
    ImmutUntrackedOrigin MutUntrackedOrigin UnsafeAnyOrigin MutUnsafeAnyOrigin ImmUnsafeAnyOrigin
    ImmutUnsafeAnyOrigin Copyable Defaultable ImplicitlyCopyable Movable materialize RegisterPassable
    TrivialRegisterPassable TypeList ParameterList VariadicList VariadicPack doc_hidden Iterable IterableOwned Iterator
    StopIteration enumerate iter map next zip alloc AddressSpace ImmOpaquePointer ImmutOpaquePointer MutOpaquePointer
    OpaquePointer OptionalPointer OptionalUnsafePointer ImmPointer MutPointer Pointer ImmUnsafePointer
    ImmutUnsafePointer MutUnsafePointer UnsafePointer reflect type_of origin_of conforms_to size_of align_of
    True False None Self self std"""
)

MAX_DEPTH = 4  # how many comptime names are followed, one through the other

CLOSER = {"(": ")", "[": "]", "{": "}"}
CONVENTIONS = words("mut var ref out deinit imm read owned inout borrowed")


# Tokens


class Token(NamedTuple):
    """`kind`: name, number, string, unterminated (a string), operator, open, close, comment or newline."""

    kind: str
    text: str
    start: int
    line: int
    column: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def _string(prefix: str, piece: str = "") -> str:
    """The pattern of a string: triple or single quotes of both kinds, with `piece` as one more thing it may hold."""
    kinds = (('"', r"[^\\\n]", '(?!"")'), ("'", r"[^\\\n]", "(?!'')"), ('"""', r"[^\\]", ""), ("'''", r"[^\\]", ""))
    return "|".join(
        rf"{prefix}{quote}{is_not_triple}(?:{piece}\\[\s\S]|(?!{quote}){inner})*+{quote}"
        for quote, inner, is_not_triple in kinds
    )


# In a template string t"…{value}…" the braces may hold quotes of their own.
_STRING = _string("[tT]", r"\{[^{}\n]*\}|") + "|" + _string("[rRbBuUfF]{0,2}")
_TOKEN = re.compile(
    rf"""
    (?P<skip>[^\S\n]+|\\\n)
  | (?P<newline>\n)
  | (?P<comment>\#[^\n]*)
  | (?P<string>{_STRING})
  | (?P<unterminated>[tTrRbBuUfF]{{0,2}}(?:\"{{3}}[\s\S]*|'{{3}}[\s\S]*|["'][^\n]*))
  | (?P<number>0[xXbBoO]\w+|(?:\d[\d_]*(?:\.\d[\d_]*|\.(?![.\w]))?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
  | (?P<name>[^\W\d]\w*|`[^`\n]+`)
  | (?P<open>[(\[{{])
  | (?P<close>[)\]}}])
  | (?P<operator>\.\.\.|(?:\*\*|//|<<|>>)=?|->|:=|[=!<>+\-*/%&|^@]=|[\s\S])
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[Token]:
    tokens = []
    line, line_start = 1, 0
    for match in _TOKEN.finditer(text):
        kind, lexeme, start = str(match.lastgroup), match.group(), match.start()
        if kind != "skip":
            tokens.append(Token(kind, lexeme, start, line, start - line_start + 1))
        if "\n" in lexeme:
            line += lexeme.count("\n")
            line_start = start + lexeme.rindex("\n") + 1
    return tokens


def closing(tokens: Sequence[Token], opening: int) -> int | None:
    """The index of the bracket that closes the one at index `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].kind == "open") - (tokens[index].kind == "close")
        if depth == 0:
            return index
    return None


def with_depth(tokens: Iterable[Token]) -> Iterator[tuple[Token, int]]:
    """Every token with the number of brackets that are open around it; brackets count as outside themselves."""
    depth = 0
    for token in tokens:
        depth -= token.kind == "close"
        yield token, depth
        depth += token.kind == "open"


def split(tokens: Sequence[Token], separator: str) -> list[tuple[Token, ...]]:
    """The parts between separators that stand in no bracket; a trailing separator adds no empty part."""
    parts: list[list[Token]] = [[]]
    for token, depth in with_depth(tokens):
        if depth == 0 and token.text == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    if not parts[-1]:
        parts.pop()
    return [tuple(part) for part in parts]


def text_of(tokens: Iterable[Token]) -> str:
    """The tokens as one text that does not depend on how they were spaced."""
    return " ".join(token.text for token in tokens)


def written(tokens: Sequence[Token]) -> str:
    """The tokens as they were written, to be quoted: in one line, with a space wherever there was any."""
    gaps = ["", *(" " if after.start > before.end else "" for before, after in pairwise(tokens))]
    return "".join(gap + token.text for gap, token in zip(gaps, tokens, strict=True))


# Statements


@dataclass(frozen=True)
class Statement:
    """A logical line, without comments and without the line breaks inside its brackets."""

    indent: int
    tokens: tuple[Token, ...]
    in_def: bool  # it stands in the body of a def

    @property
    def keyword(self) -> str:
        """Its first word; `comptime if` and `comptime for` count as what follows `comptime`."""
        words = [token.text for token in self.tokens[:2]]
        return words[-1] if words[0] == "comptime" and words[-1] in ("if", "for", "assert") else words[0]


def statements(tokens: Iterable[Token]) -> list[Statement]:
    lines: list[list[Token]] = [[]]
    indents = [0]
    for token, depth in with_depth(tokens):
        if depth <= 0 and (token.kind == "newline" or token.text == ";"):
            lines.append([])
            indents.append(indents[-1] if token.text == ";" else -1)
        elif token.kind not in ("comment", "newline"):
            lines[-1].append(token)
            if len(lines[-1]) == 1 and (indents[-1] < 0 or len(lines) == 1):
                indents[-1] = token.column - 1

    found = []
    defs: list[int] = []  # the indents of the defs that are open here
    for indent, line in zip(indents, lines, strict=True):
        if line:
            defs = [outer for outer in defs if outer < indent]
            found.append(Statement(indent, tuple(line), in_def=bool(defs)))
            if line[0].text == "def":
                defs.append(indent)
    return found


# Calls


@dataclass(frozen=True)
class Argument:
    keyword: Token | None
    value: tuple[Token, ...]

    @property
    def first(self) -> Token:
        return self.keyword or self.value[0]

    @property
    def name(self) -> str | None:
        """The value, where it is a bare name."""
        return self.value[0].text if len(self.value) == 1 and self.value[0].kind == "name" else None

    @property
    def unpacks(self) -> bool:
        """It stands for a number of arguments that cannot be seen: `*rest`, `**rest`."""
        return self.value[0].text in ("*", "**")


@dataclass(frozen=True)
class Call:
    """`receiver.name[parameters](arguments)`; None where the brackets or the parentheses are not there."""

    name: Token
    receiver: Token | None
    parameters: tuple[Argument, ...] | None
    arguments: tuple[Argument, ...] | None

    @property
    def positional(self) -> list[Argument]:
        return [argument for argument in self.arguments or () if argument.keyword is None]

    @property
    def keywords(self) -> dict[str, Argument]:
        return {argument.keyword.text: argument for argument in self.arguments or () if argument.keyword}


def read_arguments(tokens: Sequence[Token]) -> tuple[Argument, ...]:
    arguments = []
    for part in split(tokens, ","):
        if len(part) > 2 and part[0].kind == "name" and part[1].text == "=":
            arguments.append(Argument(part[0], part[2:]))
        elif part:
            arguments.append(Argument(None, part))
    return tuple(arguments)


def read_group(tokens: Sequence[Token], index: int, opener: str) -> tuple[tuple[Argument, ...] | None, int]:
    """What stands in the brackets that open at `index`, and the index behind them."""
    if index < len(tokens) and tokens[index].text == opener:
        end = closing(tokens, index)
        if end is not None:
            return read_arguments(tokens[index + 1 : end]), end + 1
    return None, index


def find_calls(tokens: Iterable[Token], name: str) -> list[Call]:
    code = [token for token in tokens if token.kind not in ("comment", "newline")]
    calls = []
    for index, token in enumerate(code):
        before = code[index - 1].text if index else ""
        if token.text == name and before not in ("def", "from", "import", "as"):
            parameters, after = read_group(code, index + 1, "[")
            arguments, _ = read_group(code, after, "(")
            receiver = code[index - 2] if before == "." and index > 1 else None
            calls.append(Call(token, receiver, parameters, arguments))
    return calls


# Functions


@dataclass(frozen=True)
class Declaration:
    """A compile-time parameter or an argument of a function."""

    name: str
    type: tuple[Token, ...]
    type_text: str
    has_default: bool
    passing: str  # in the words of `mojo doc`: inferred, pos, pos_or_kw, kw
    is_variadic: bool = False


@dataclass(frozen=True)
class Function:
    name: str
    parameters: tuple[Declaration, ...]
    arguments: tuple[Declaration, ...]
    body: tuple[Token, ...]


def read_function(text: str, name: str) -> Function | None:
    """The function `name` that the source `text` defines, or None: also where it is overloaded."""
    tokens = [token for token in tokenize(text) if token.kind != "comment"]
    found = [
        index
        for index in range(1, len(tokens))
        if tokens[index].text == name and tokens[index - 1].text == "def" and tokens[index - 1].column == 1
    ]
    if len(found) != 1:
        return None

    index = found[0] + 1
    groups: dict[str, tuple[Token, ...]] = {"[": (), "(": ()}
    for opener in groups:
        if index < len(tokens) and tokens[index].text == opener:
            end = closing(tokens, index)
            if end is None:
                return None
            groups[opener] = tuple(token for token in tokens[index + 1 : end] if token.kind != "newline")
            index = end + 1
    return Function(
        name, _declarations(text, groups["["]), _declarations(text, groups["("]), tuple(_body(tokens, index))
    )


def _body(tokens: Sequence[Token], index: int) -> Iterator[Token]:
    """The tokens up to the next statement at the start of a line."""
    for before, token in zip(tokens[index:], tokens[index + 1 :], strict=False):
        if before.kind == "newline" and token.column == 1 and token.kind not in ("newline", "close"):
            return
        if token.kind != "newline":
            yield token


def _declarations(text: str, tokens: Sequence[Token]) -> tuple[Declaration, ...]:
    found: list[Declaration] = []
    passing = "pos_or_kw"
    for part in split(tokens, ","):
        match text_of(part):
            case "//":
                found = [replace(declaration, passing="inferred") for declaration in found]
            case "/":
                found = [
                    replace(declaration, passing="pos") if declaration.passing == "pos_or_kw" else declaration
                    for declaration in found
                ]
            case "*":
                passing = "kw"
            case _:
                declaration = _declaration(text, part, passing)
                if declaration:
                    found.append(declaration)
                    passing = "kw" if declaration.is_variadic else passing
    return tuple(found)


def _declaration(text: str, part: Sequence[Token], passing: str) -> Declaration | None:
    head, _, type_and_default = _partition(part, ":")
    is_variadic = any(token.text in ("*", "**") for token in head)
    names = [token for token, depth in with_depth(head) if depth == 0 and token.kind == "name"]
    if not names:
        return None
    type_, equals, _ = _partition(type_and_default, "=")
    _, head_equals, _ = _partition(head, "=")
    type_text = " ".join(text[type_[0].start : type_[-1].end].split()) if type_ else ""
    name = names[0] if len(names) == 1 or names[0].text not in CONVENTIONS else names[1]
    return Declaration(name.text, type_, type_text, bool(equals or head_equals), passing, is_variadic)


def _partition(tokens: Sequence[Token], separator: str) -> tuple[tuple[Token, ...], Token | None, tuple[Token, ...]]:
    for index, (token, depth) in enumerate(with_depth(tokens)):
        if depth == 0 and token.text == separator:
            return tuple(tokens[:index]), token, tuple(tokens[index + 1 :])
    return tuple(tokens), None, ()


# Names


@dataclass(frozen=True)
class Definition:
    """What a name stands for.

    `kind`: import, comptime, var, assignment, def, struct, parameter or argument.
    `value`: the expression of a comptime, var or assignment, the type of a parameter or argument, the name that was
    imported.
    """

    kind: str
    value: tuple[Token, ...] = ()
    module: str = ""


def definitions(statement: Statement) -> dict[str, Definition]:
    """The names that a statement brings into the block it stands in."""
    tokens = statement.tokens
    match statement.keyword:
        case "from" | "import":
            return _imports(tokens)
        case "def" | "struct" | "trait" | "fn":
            return {tokens[1].text: Definition(statement.keyword)} if len(tokens) > 1 else {}
        case "comptime" | "var" | "ref" | "let" | "alias":
            return _assigned(tokens[1:], statement.keyword)
        case _:
            return _assigned(tokens, "assignment") if _partition(tokens, "=")[1] else {}


def inner_definitions(statement: Statement) -> dict[str, Definition]:
    """The names that a statement brings into the block below it, or into itself: parameters, loop variables."""
    tokens = statement.tokens
    if statement.keyword in ("from", "import"):
        return {}
    introducing = ("as", "var", "ref", "comptime", "except")
    found = {}
    if statement.keyword in ("def", "struct", "fn"):
        for index, (token, depth) in enumerate(with_depth(tokens)):
            if token.kind == "open" and depth == 0:
                kind = {"[": "parameter", "(": "argument"}.get(token.text, "var")
                for declaration in _declarations("", tokens[index + 1 : closing(tokens, index)]):
                    found[declaration.name] = Definition(kind, declaration.type)
    for index, token in enumerate(tokens):
        if token.text == "for":
            loop, _, _ = _partition(tokens[index + 1 :], "in")
            found |= {name.text: Definition("var") for name in loop if name.kind == "name"}
        elif token.text in introducing and (index or token.text == "except") and index + 1 < len(tokens):
            found[tokens[index + 1].text] = Definition("var")
    return found


def _imports(tokens: Sequence[Token]) -> dict[str, Definition]:
    source, _, imported = _partition(tokens, "import")
    module = "".join(token.text for token in source[1:])
    found = {}
    for part in split([token for token in imported if token.kind not in ("open", "close")], ","):
        if part:
            # `import a.b` makes `a` known, `… as c` makes `c` known.
            local = part[-1] if len(part) > 2 and part[-2].text == "as" else part[0]
            found[local.text] = Definition("import", part[:1], module)
    return found


def _assigned(tokens: Sequence[Token], kind: str) -> dict[str, Definition]:
    targets, _, value = _partition(tokens, "=")
    name, _, _ = _partition(targets, ":")
    if len(name) == 1 and name[0].text not in KEYWORDS:
        return {name[0].text: Definition(kind, value)}
    # Several targets, or one with parameters of its own: the names are known, their values are not.
    return {token.text: Definition("var") for token in targets if token.kind == "name"}


def names_in_scope(op_text: str) -> dict[str, Definition]:
    """What may be used at the learner's region of an op; in a text without a region, what its module defines."""
    tokens = tokenize(op_text)
    region = next((token for token in tokens if token.kind == "comment" and token.text.rstrip() == BEGIN), None)
    blocks: list[tuple[int, dict[str, Definition]]] = [(0, {})]

    def leave(indent: int) -> None:
        while blocks[-1][0] > indent:
            blocks.pop()

    module_level = blocks[0][1]
    for statement in statements(tokens):
        if region and statement.tokens[0].start > region.start:
            if statement.indent == 0:
                module_level |= definitions(statement)
            continue
        leave(statement.indent)
        if blocks[-1][0] < statement.indent:
            blocks.append((statement.indent, {}))
        blocks[-1][1].update(definitions(statement))
        blocks.append((statement.indent + 1, inner_definitions(statement)))
    leave(region.column - 1 if region else 0)
    return {name: definition for _, block in blocks for name, definition in block.items()}


# Values


def expand(tokens: Sequence[Token], names: Names, depth: int = MAX_DEPTH) -> str | None:
    """The expression as a text in which every comptime name is replaced by what it stands for.

    None where it holds a name whose value may change, such as a `var`.
    """
    words = []
    after = ""
    for token in tokens:
        definition = names.get(token.text) if token.kind == "name" and after != "." else None
        after = token.text
        if definition is None or definition.kind in ("import", "parameter", "argument", "def", "struct"):
            words.append(token.text)
        elif definition.kind == "comptime" and definition.value and depth:
            value = expand(definition.value, names, depth - 1)
            if value is None:
                return None
            words.append(value)
        else:
            return None
    return " ".join(words)


Value = int | float | tuple["Value | None", ...]

_BINARY: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CALLS: dict[str, Callable[..., Value]] = {
    "Int": int,
    "min": min,
    "max": max,
    "ceildiv": lambda numerator, denominator: -(-numerator // denominator),
    "Dim": lambda *sizes: sizes,
}
_STANDARD_LIBRARY = ("std", "max", "math")


def constant(tokens: Sequence[Token], names: Names, modules: Mapping[str, str]) -> Value | None:
    """The number that an expression stands for, or a tuple of numbers; None where it cannot be read off.

    Mojo's arithmetic on whole numbers is Python's, so that Python's parser can read it.
    """
    if any(token.kind in ("string", "unterminated", "comment") for token in tokens):
        return None
    try:
        return _evaluate(ast.parse(text_of(tokens).strip(), mode="eval").body, names, modules, MAX_DEPTH)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr, names: Names, modules: Mapping[str, str], depth: int) -> Value | None:
    def value(inner: ast.expr) -> Value | None:
        return _evaluate(inner, names, modules, depth)

    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Tuple(elts=elements):
            return tuple(value(element) for element in elements)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = value(operand)
            return -positive if isinstance(positive, int | float) else None
        case ast.BinOp(op=symbol, left=left, right=right) if type(symbol) in _BINARY:
            first, second = value(left), value(right)
            both_whole = isinstance(first, int) and isinstance(second, int)
            return _BINARY[type(symbol)](first, second) if both_whole else None  # type: ignore[arg-type]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _CALLS:
            if name in names and not names[name].module.startswith(_STANDARD_LIBRARY):
                return None
            values = [value(argument) for argument in arguments]
            known = name == "Dim" or all(isinstance(number, int) for number in values)
            return _CALLS[name](*values) if known else None
        case ast.Name(id=name) if name in names and depth:
            return _value_of(names[name], modules, depth - 1, names)
    return None


def _value_of(definition: Definition, modules: Mapping[str, str], depth: int, names: Names) -> Value | None:
    if definition.kind == "import" and definition.module in modules:
        there = names_in_scope(modules[definition.module])
        imported = there.get(definition.value[0].text)
        return _value_of(imported, modules, depth, there) if imported else None
    if definition.kind == "comptime" and not any(token.kind == "string" for token in definition.value):
        return _evaluate(ast.parse(text_of(definition.value), mode="eval").body, names, modules, depth)
    return None
