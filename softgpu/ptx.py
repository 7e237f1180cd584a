"""PTX text to data: what was written, line by line, without deciding what any instruction means.

Follows the PTX ISA, sections 4 (syntax), 5 (state spaces, types, variables) and 11 (directives).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from softgpu.errors import PTXSyntaxError, UnsupportedPTX

TYPE_BITS = {
    "pred": 1,
    **{f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)},
    **{"f16": 16, "bf16": 16, "f32": 32, "tf32": 32, "f64": 64, "f16x2": 32, "bf16x2": 32, "b128": 128},
}
"""Width of each fundamental type in bits."""


@dataclass(frozen=True, slots=True)
class Register:
    """A virtual register. `name` is unique in its kernel; `negated` is the `!` before a predicate."""

    name: str
    type: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class SpecialRegister:
    """A read-only register such as %tid.x."""

    name: str


@dataclass(frozen=True, slots=True)
class Immediate:
    """A constant: an int or a float. A float has `bits`, and a `type`: f32 if it is written as 0f…, otherwise f64."""

    value: int | float
    bits: int | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Symbol:
    """The name of a variable, parameter, label or function, plus a byte offset."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """[base + offset]; without a base, `offset` is the absolute address. A place in a tensor has `coordinates` too."""

    base: Register | Symbol | None
    offset: int
    coordinates: Operand | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """{a, b, …}"""

    elements: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """p|q: two destinations."""

    first: Operand
    second: Operand


@dataclass(frozen=True, slots=True)
class Sink:
    """_: a destination whose value is dropped."""


Operand = Register | SpecialRegister | Immediate | Symbol | Address | Vector | Pair | Sink


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """What a .loc directive says: a line of the source that was compiled to PTX. `inlined_at` is the call that the
    compiler replaced by this code, where it says so."""

    file: str
    line: int
    column: int
    inlined_at: SourceLocation | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `index` counts from 0 in its kernel; `line` is the 1-based PTX line.

    `modifiers` are the words after the opcode, types included, without their dots: `add.sat.s32` has the
    opcode "add" and the modifiers ("sat", "s32"). The operands of a call are a Vector of what is returned, the
    function, and a Vector of arguments.
    """

    index: int
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Register | None
    line: int
    text: str
    location: SourceLocation | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The modifiers that name types."""
        return tuple(modifier for modifier in self.modifiers if modifier in TYPE_BITS)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in memory: `count` elements of `type`, or 0 if its size is given by the launch.

    `initial` has pairs of an element's position and its value, an Immediate or the address of a Symbol; elements
    that it leaves out are zero. An `is_extern` variable is only declared here: another module defines it.
    """

    name: str
    space: str
    type: str
    count: int
    alignment: int
    line: int
    initial: tuple[tuple[int, Immediate | Symbol], ...] = ()
    is_extern: bool = False

    @property
    def nbytes(self) -> int:
        return self.count * TYPE_BITS[self.type] // 8


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a kernel, or one of a device function or what it returns.

    `count` is above 1, or `is_array` true, for a value passed as an array of bytes. Functions may also pass values in
    registers; then `register` is the one.
    """

    name: str
    type: str
    count: int
    alignment: int
    is_array: bool
    register: Register | None = None

    @property
    def nbytes(self) -> int:
        return self.count * TYPE_BITS[self.type] // 8


@dataclass(slots=True)
class Code:
    """What has a body. `labels` gives for each label the index of the instruction after it, and `branch_targets`
    for each .branchtargets directive the labels it lists."""

    name: str
    line: int
    parameters: tuple[Parameter, ...]
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    branch_targets: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Kernel(Code):
    """A .entry."""

    max_threads: int | None = None
    required_block: tuple[int, int, int] | None = None


@dataclass(slots=True)
class Function(Code):
    """A .func. It `is_declared` only if it has no body."""

    returns: tuple[Parameter, ...] = ()
    is_declared: bool = True


@dataclass(slots=True)
class PTXModule:
    """A module: its kernels, its device functions, and the variables at module scope."""

    version: str = ""
    target: str = ""
    address_size: int = 64
    kernels: dict[str, Kernel] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)

    def function(self, name: str) -> Function | None:
        return self.functions.get(self.aliases.get(name, name))

    @property
    def architecture(self) -> int:
        """The number in the target's name: 90 for sm_90a."""
        digits = re.search(r"\d+", self.target)
        return int(digits.group()) if digits else 0

    @property
    def isa(self) -> tuple[int, int]:
        return isa_version(self.version)


def isa_version(text: str) -> tuple[int, int]:
    """A version of PTX to compare with others: 8.10 is later than 8.2."""
    major, minor = text.split(".")
    return int(major), int(minor)


def parse(text: str) -> PTXModule:
    """Parse PTX text. Raises PTXSyntaxError, or UnsupportedPTX for a construct softgpu does not know."""
    return _Parser(text).module()


_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<string>"[^"\n]*")
  | (?P<number>0[fF][0-9a-fA-F]{8}\b | 0[dD][0-9a-fA-F]{16}\b | 0[xX][0-9a-fA-F]+U?\b | 0[bB][01]+U?\b
             | \d+\.\d*(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ | \d+U?\b)
  | (?P<word>[.%$_a-zA-Z][\w$.]*(?:::[\w$.]+)*)
  | (?P<sign>[-{}()\[\],;:@!|+=<>~*/&^?])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

_SPECIAL_REGISTER = re.compile(
    r"%(?:(?:n?tid|n?ctaid|cluster_n?ctaid|n?clusterid)\.[xyzw]|laneid|n?warpid|n?smid|gridid|is_explicit_cluster"
    r"|cluster_n?ctarank|lanemask_(?:eq|le|lt|ge|gt)|clock(?:_hi|64)?|globaltimer(?:_lo|_hi)?|envreg\d+|pm\d+(?:_64)?"
    r"|(?:total|aggr|dynamic)_smem_size|reserved_smem_\w+|current_graph_exec)"
)

_LINKAGE = {".visible", ".extern", ".weak", ".common"}
_SPACES = {".global", ".const", ".shared", ".local", ".param"}
_IGNORED = {".file", ".pragma"}
_HINTS = {".minnctapersm", ".maxnctapersm", ".maxnreg", ".noreturn", ".reqnctapercluster", ".explicitcluster"}
_HINTS |= {".maxclusterrank", ".blocksareclusters"}
_SOURCE_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"\n]*)"', re.MULTILINE)
_TARGETS = (
    *((121, "8.8"), (120, "8.7"), (110, "9.0"), (103, "8.8"), (100, "8.6"), (89, "7.8"), (87, "7.4"), (86, "7.1")),
    *((80, "7.0"), (75, "6.3"), (72, "6.1"), (70, "6.0"), (60, "5.0"), (50, "4.0"), (10, "1.0")),
)
"""Targets, the latest first, and the version of PTX that brought them (PTX ISA 13, "Release Notes")."""
_MAX_ELEMENTS = 1 << 32
_MAX_PARAMETER_BYTES = 32764
"""PTX ISA 5.1.6.1"""


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: int
    start: int
    end: int


class _Scope:
    """The names declared between a pair of braces. Inner declarations hide outer ones (PTX ISA 5.4)."""

    def __init__(self, number: int, parent: _Scope | None):
        self.number = number
        self.parent = parent
        self.registers: dict[str, str] = {}
        self.ranges: dict[str, tuple[int, str]] = {}
        self.variables: dict[str, str] = {}
        self.labels: dict[str, str] = {}

    def unique(self, name: str) -> str:
        return name if self.number == 0 else f"{name}@{self.number}"

    def chain(self) -> Iterator[_Scope]:
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def register(self, name: str) -> Register | None:
        for scope in self.chain():
            kind = scope.registers.get(name) or scope._in_range(name)
            if kind:
                return Register(scope.unique(name), kind)
        return None

    def _in_range(self, name: str) -> str | None:
        """`.reg .b32 %r<4>` declares %r0 to %r3; the prefix may itself end in digits."""
        digits = len(name)
        while digits and name[digits - 1].isdigit():
            digits -= 1
            count, kind = self.ranges.get(name[:digits], (0, ""))
            number = name[digits:]
            if len(number) < 12 and int(number) < count and str(int(number)) == number:
                return kind
        return None

    def variable(self, name: str) -> str | None:
        return next((scope.variables[name] for scope in self.chain() if name in scope.variables), None)

    def label(self, name: str) -> str | None:
        return next((scope.labels[name] for scope in self.chain() if name in scope.labels), None)


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens = list(self._tokenise(text))
        self.position = 0
        self.result = PTXModule()
        self.files = dict(_SOURCE_FILE.findall(text))

    # Tokens

    def _tokenise(self, text: str) -> Iterator[_Token]:
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise PTXSyntaxError(f"unexpected character {text[position]!r}", line)
            kind, lexeme = match.lastgroup, match.group()
            if kind != "space":
                yield _Token(str(kind), lexeme, line, position, match.end())
            line += lexeme.count("\n")
            position = match.end()
        yield _Token("end", "end of text", line, position, position)

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def advance(self) -> _Token:
        token = self.tokens[self.position]
        if token.kind != "end":
            self.position += 1
        return token

    def error(self, message: str) -> PTXSyntaxError:
        return PTXSyntaxError(message, self.token.line)

    def accept(self, text: str) -> bool:
        if self.token.text == text and self.token.kind in ("word", "sign"):
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected '{text}', found '{self.token.text}'")

    def word(self, what: str) -> str:
        if self.token.kind != "word":
            raise self.error(f"expected {what}, found '{self.token.text}'")
        return self.advance().text

    def skip_directive(self) -> None:
        """Pass over a directive that carries nothing an executor needs."""
        directive = self.advance().text
        if directive == ".file":
            # .file directives were read beforehand, because they may follow the code that refers to them.
            self._integer()
            self.advance()
            while self.accept(","):
                self._integer()
            return
        while not self.accept(";"):
            if self.token.kind == "end":
                raise self.error(f"this {directive} has no ';'")
            self.advance()

    # Module scope

    def module(self) -> PTXModule:
        self._header()
        scope = _Scope(0, None)
        while self.token.kind != "end":
            self._module_directive(scope)
        return self.result

    def _header(self) -> None:
        """.version and .target, with which every module begins (PTX ISA 11.1)."""
        if not self.accept(".version"):
            raise PTXSyntaxError("expected a .version directive: this is not a PTX module", 1)
        if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", self.token.text):
            raise self.error(f"expected a version of PTX, as 8.0, found '{self.token.text}'")
        self.result.version = self.advance().text
        self.expect(".target")
        line = self.token.line
        self.result.target = self.word("a target")
        first = next((version for since, version in _TARGETS if since <= self.result.architecture), None)
        if first is None:
            raise PTXSyntaxError(f"expected a target, as sm_80, found '{self.result.target}'", line)
        if self.result.isa < isa_version(first):
            message = f"the target {self.result.target} needs .version {first} or later; this is {self.result.version}"
            raise PTXSyntaxError(message, line)
        while self.accept(","):
            self.word("a target option")

    def _module_directive(self, scope: _Scope) -> None:
        directive = self.token.text
        if directive == ".address_size":
            self.advance()
            self.result.address_size = self._integer()
            if self.result.address_size != 64:
                raise UnsupportedPTX(".address_size 32", self.token.line, "only 64-bit addresses")
        elif directive in _IGNORED:
            self.skip_directive()
        elif directive == ".section":
            self._section()
        elif directive == ".alias":
            self.advance()
            alias = self.word("an alias")
            self.expect(",")
            self.result.aliases[alias] = self.word("a function name")
            self.expect(";")
        elif directive in _LINKAGE | _SPACES | {".entry", ".func"}:
            self._definition(scope)
        else:
            raise self.error(f"expected a directive, found '{directive}'")

    def _section(self) -> None:
        self.advance()
        self.word("a section name")
        self.expect("{")
        while not self.accept("}"):
            if self.token.kind == "end":
                raise self.error("this .section has no closing '}'")
            self.advance()

    def _definition(self, scope: _Scope) -> None:
        linkage = set()
        while self.token.text in _LINKAGE:
            linkage.add(self.advance().text)
        if self.accept(".entry"):
            self._entry(scope)
        elif self.accept(".func"):
            self._function(scope)
        elif self.token.text in _SPACES - {".param"}:
            for variable in self._variables(scope, ".extern" in linkage):
                self.result.variables[variable.name] = variable
        else:
            raise self.error(f"expected .entry, .func or the space of a variable, found '{self.token.text}'")

    def _function(self, module_scope: _Scope) -> None:
        scope = _Scope(0, module_scope)
        self._attribute()
        returns = tuple(self._parameters(scope, of_function=True))
        line = self.token.line
        name = self.word("a function name")
        function = Function(name, line, tuple(self._parameters(scope, of_function=True)), returns=returns)
        while self.token.text.startswith("."):
            self._function_directive()
        known = self.result.functions.get(name)
        if name in self.result.kernels:
            raise PTXSyntaxError(f"function '{name}' has the name of a kernel", line)
        if not self.accept(";"):
            if known is not None and not known.is_declared:
                raise PTXSyntaxError(f"function '{name}' is defined twice", line)
            self.expect("{")
            function.is_declared = False
            _Body(self, function, scope).parse()
        if known is None or known.is_declared:
            self.result.functions[name] = function

    def _function_directive(self) -> None:
        """None of them changes what a function does."""
        directive = self.advance().text
        if directive == ".abi_preserve":
            self._integer()
        elif directive == ".pragma":
            self.advance()
            self.expect(";")
        elif directive not in (".noreturn", ".noinline", ".abi_preserve_control"):
            raise UnsupportedPTX(directive, self.token.line, "unknown function directive")

    def _attribute(self) -> None:
        """.attribute(.managed) and .attribute(.unified(…)) say where memory lies, which is all one here."""
        if self.accept(".attribute"):
            self.expect("(")
            self._skip_balanced("(", ")")

    def _skip_balanced(self, opening: str, closing: str) -> None:
        depth = 1
        while depth:
            token = self.advance()
            if token.kind == "end":
                raise self.error(f"missing '{closing}'")
            if token.kind == "sign":
                depth += (token.text == opening) - (token.text == closing)

    def _entry(self, module_scope: _Scope) -> None:
        line = self.token.line
        name = self.word("a kernel name")
        if name in self.result.kernels or name in self.result.functions:
            raise PTXSyntaxError(f"kernel '{name}' is defined twice", line)
        scope = _Scope(0, module_scope)
        kernel = Kernel(name, line, tuple(self._parameters(scope)))
        if sum(one.nbytes for one in kernel.parameters) > _MAX_PARAMETER_BYTES:
            raise PTXSyntaxError(f"kernel '{name}' has more than {_MAX_PARAMETER_BYTES} bytes of parameters", line)
        while self.token.text.startswith("."):
            self._performance_directive(kernel)
        self.expect("{")
        _Body(self, kernel, scope).parse()
        self.result.kernels[name] = kernel

    def _parameters(self, scope: _Scope, of_function: bool = False) -> Iterator[Parameter]:
        if not self.accept("(") or self.accept(")"):
            return
        while True:
            line = self.token.line
            in_register = of_function and self.accept(".reg")
            if not in_register:
                self.expect(".param")
            alignment, kind = self._alignment_and_type(allow_pointer=True, allow_predicate=in_register)
            name = self.word("a parameter name")
            count, is_array = self._array()
            register = None
            if name != "_" and (name in scope.variables or name in scope.registers):
                raise PTXSyntaxError(f"parameter '{name}' is declared twice", line)
            if in_register:
                scope.registers[name] = kind
                register = Register(name, kind)
            else:
                scope.variables[name] = name
            yield Parameter(name, kind, count, alignment or TYPE_BITS[kind] // 8, is_array, register)
            if self.accept(")"):
                return
            self.expect(",")

    def _performance_directive(self, kernel: Kernel) -> None:
        directive = self.advance().text
        numbers: list[int] = []
        while self.token.kind == "number":
            numbers.append(self._integer())
            if not self.accept(","):
                break
        if directive in (".maxntid", ".reqntid"):
            if not 1 <= len(numbers) <= 3:
                raise self.error(f"{directive} takes one to three numbers")
            x, y, z = (*numbers, 1, 1)[:3]
            kernel.max_threads = x * y * z
            if directive == ".reqntid":
                kernel.required_block = (x, y, z)
        elif directive == ".reqnctapercluster" and any(number != 1 for number in numbers):
            raise UnsupportedPTX(directive, self.token.line, "clusters of more than one block")
        elif directive == ".pragma":
            self.advance()
            self.expect(";")
        elif directive not in _HINTS:
            raise UnsupportedPTX(directive, self.token.line, "unknown kernel directive")

    # Declarations

    def _alignment_and_type(self, allow_pointer: bool = False, allow_predicate: bool = False) -> tuple[int, str]:
        """Attributes before a name: `.align 4 .b8`, or `.u64 .ptr .global .align 1` for a parameter.

        Returns the alignment of the variable itself (0 where none is given) and its type.
        """
        alignment, kind, is_pointer = 0, "", False
        while self.token.text.startswith("."):
            attribute = self.advance().text
            if attribute == ".align":
                value = self._alignment()
                alignment = alignment if is_pointer else value
            elif attribute == ".ptr" and allow_pointer:
                is_pointer = True
            elif is_pointer and attribute in _SPACES:
                continue
            elif attribute[1:] in TYPE_BITS and (attribute != ".pred" or allow_predicate) and not kind:
                kind = attribute[1:]
            else:
                raise self.error(f"unexpected '{attribute}' in a declaration")
        if not kind:
            raise self.error(f"expected a type, found '{self.token.text}'")
        return alignment, kind

    def _alignment(self) -> int:
        value = self._integer()
        if value <= 0 or value & (value - 1) or value > 1 << 16:
            raise self.error(f"alignment {value} is not a power of two")
        return value

    def _dimensions(self) -> tuple[int, ...]:
        """`[2][3]` is (2, 3), and `[]` is (0,): a size given elsewhere."""
        dimensions: list[int] = []
        while self.accept("["):
            dimensions.append(0 if self.token.text == "]" and not dimensions else self._integer())
            self.expect("]")
            smallest = 0 if len(dimensions) == 1 else 1
            if dimensions[-1] < smallest or math.prod(max(one, 1) for one in dimensions) >= _MAX_ELEMENTS:
                raise self.error("this is no size of an array")
        return tuple(dimensions)

    def _array(self) -> tuple[int, bool]:
        """The number of elements, and whether they are an array."""
        dimensions = self._dimensions()
        return math.prod(dimensions), bool(dimensions)

    def _variables(self, scope: _Scope, is_extern: bool) -> Iterator[Variable]:
        line = self.token.line
        space = self.advance().text[1:]
        self._attribute()
        alignment, width, kind = self._variable_type()
        size = TYPE_BITS[kind] // 8
        while True:
            name = self.word("a variable name")
            dimensions = self._dimensions()
            initial = self._initialiser(name, (*dimensions, width) if width else dimensions) if self.accept("=") else ()
            if initial and space not in ("global", "const"):
                raise self.error(f"'{name}' is in .{space} memory, which cannot be initialised")
            count = math.prod(dimensions) * (width or 1)
            if dimensions and dimensions[0] == 0 and initial:
                row = math.prod(dimensions[1:]) * (width or 1)
                count = -(-(initial[-1][0] + 1) // row) * row
            if count == 0 and not is_extern:
                raise self.error(f"array '{name}' needs a size")
            declared = self.result.variables.get(name)
            is_completed = scope.parent is None and declared is not None and (declared.is_extern or is_extern)
            if name in scope.variables and not is_completed:
                raise self.error(f"'{name}' is declared twice")
            unique = scope.unique(name)
            if scope.parent is not None and unique in self.result.variables:
                unique += "@0"  # it hides a variable of the module, which functions called from here may use
            scope.variables[name] = unique
            variable = Variable(unique, space, kind, count, alignment or size * (width or 1), line, initial, is_extern)
            if declared is None or scope.parent is not None or declared.is_extern:
                yield variable
            if not self.accept(","):
                break
        self.expect(";")

    def _variable_type(self) -> tuple[int, int, str]:
        """Alignment, length of a vector (0 for a scalar) and type: `.align 16 .v4 .f32`."""
        width = 0
        alignment = 0
        while self.token.text in (".v2", ".v4", ".align"):
            if self.token.text != ".align":
                width = int(self.advance().text[2:])
            elif self.tokens[min(self.position + 2, len(self.tokens) - 1)].text in (".v2", ".v4"):
                self.advance()
                alignment = self._alignment()
            else:
                break
        own, kind = self._alignment_and_type()
        return own or alignment, width, kind

    def _initialiser(self, name: str, dimensions: tuple[int, ...]) -> tuple[tuple[int, Immediate | Symbol], ...]:
        if not dimensions:
            return ((0, self._initial_value()),)
        values: list[tuple[int, Immediate | Symbol]] = []
        self.expect("{")
        self._initial_elements(name, dimensions, 0, values)
        return tuple(values)

    def _initial_elements(
        self, name: str, dimensions: tuple[int, ...], start: int, values: list[tuple[int, Immediate | Symbol]]
    ) -> None:
        """The elements up to the closing brace, of which the first is at `start`. As in C, braces may be left out."""
        row = math.prod(dimensions[1:])
        position = start
        while not self.accept("}"):
            if position > start:
                self.expect(",")
            if dimensions[0] and position >= start + dimensions[0] * row:
                raise self.error(f"'{name}' has more initialisers than elements")
            if self.accept("{"):
                if len(dimensions) == 1 or (position - start) % row:
                    raise self.error(f"'{name}' has a brace in its initialiser where no array begins")
                self._initial_elements(name, dimensions[1:], position, values)
                position += row
            else:
                values.append((position, self._initial_value()))
                position += 1

    def _initial_value(self) -> Immediate | Symbol:
        """A number, or the address of a variable: `x`, `x+4`, `generic(x)+4`."""
        if self.token.kind != "word":
            value = self._immediate()
            if self.token.text == "(":
                raise UnsupportedPTX("mask()", self.token.line, "parts of an address in an initialiser")
            return value
        name = self.advance().text
        if name == "generic" and self.accept("("):
            name = self.word("a variable name")
            self.expect(")")
        return Symbol(name, self._integer() if self.accept("+") else 0)

    # Constants

    def _integer(self) -> int:
        value = self._immediate().value
        if not isinstance(value, int):
            raise self.error("expected an integer")
        return value

    def _immediate(self) -> Immediate:
        negative = has_sign = False
        while self.token.text in ("-", "+"):
            has_sign = True
            negative ^= self.advance().text == "-"
        if self.token.kind != "number":
            raise self.error(f"expected a number, found '{self.token.text}'")
        constant = _constant(self.advance())
        if has_sign and constant.type == "f32":
            raise self.error("a float of 32 bits takes no sign")
        if not negative:
            return constant
        return replace(constant, value=-constant.value, bits=constant.bits and constant.bits ^ 1 << 63)


def _constant(token: _Token) -> Immediate:
    text = token.text
    prefix = text[:2].lower()
    if prefix == "0f":
        bits = int(text[2:], 16)
        return Immediate(struct.unpack("<f", struct.pack("<I", bits))[0], bits, "f32")
    if prefix == "0d":
        bits = int(text[2:], 16)
        return Immediate(struct.unpack("<d", struct.pack("<Q", bits))[0], bits, "f64")
    if "." in text or (prefix != "0x" and "e" in text.lower()):
        value = float(text)
        return Immediate(value, struct.unpack("<Q", struct.pack("<d", value))[0], "f64")
    digits = text.rstrip("U")
    if len(digits) > 70:
        raise PTXSyntaxError("this integer is too long", token.line)
    try:
        is_octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
        value = int(digits, 8 if is_octal else 0)
    except ValueError:
        raise PTXSyntaxError(f"'{text}' is not a number", token.line) from None
    if value >= 1 << 64:
        raise PTXSyntaxError(f"{text} does not fit 64 bits", token.line)
    return Immediate(value)


class _Body:
    """The statements between the braces of a kernel or function."""

    def __init__(self, parser: _Parser, code: Code, scope: _Scope):
        self.parser = parser
        self.code = code
        self.scope = scope
        self.scope_count = 0
        self.location: SourceLocation | None = None
        self.locations: dict[tuple[int, int, int], SourceLocation] = {}
        # Branches may go forward, so labels are resolved when the whole body is known.
        self.scope_of: list[_Scope] = []
        self.targets: dict[str, tuple[_Scope, int, list[str]]] = {}

    def parse(self) -> None:
        parser = self.parser
        depth = 1
        while depth:
            if parser.token.kind == "end":
                raise parser.error(f"'{self.code.name}' has no closing '}}'")
            if parser.accept("{"):
                depth += 1
                self.scope_count += 1
                self.scope = _Scope(self.scope_count, self.scope)
            elif parser.accept("}"):
                depth -= 1
                if depth:
                    assert self.scope.parent is not None
                    self.scope = self.scope.parent
            else:
                self._statement()
        self._resolve_labels()

    def _statement(self) -> None:
        parser = self.parser
        text = parser.token.text
        if text == ".reg":
            self._registers()
        elif text == ".loc":
            self._location()
        elif text in _SPACES:
            for variable in parser._variables(self.scope, False):
                self.code.variables[variable.name] = variable
        elif text in _IGNORED:
            parser.skip_directive()
        elif text == ".section":
            parser._section()
        elif text.startswith("."):
            raise UnsupportedPTX(text, parser.token.line, "unknown directive")
        elif parser.token.kind == "word" and parser.tokens[parser.position + 1].text == ":":
            self._label()
        else:
            self._instruction()

    def _registers(self) -> None:
        parser = self.parser
        parser.advance()
        kind = parser.word("a type")[1:]
        if kind not in TYPE_BITS:
            raise parser.error(f"'.{kind}' is not a register type")
        while True:
            name = parser.word("a register name")
            # %p<8> declares %p0 to %p7, beside which there may be a %p.
            if name in (self.scope.ranges if parser.token.text == "<" else self.scope.registers):
                raise parser.error(f"register '{name}' is declared twice")
            if parser.accept("<"):
                self.scope.ranges[name] = (parser._integer(), kind)
                parser.expect(">")
            else:
                self.scope.registers[name] = kind
            if not parser.accept(","):
                break
        parser.expect(";")

    def _location(self) -> None:
        parser = self.parser
        parser.advance()
        place = parser._integer(), parser._integer(), parser._integer()
        inlined_at = None
        while parser.accept(","):
            if parser.accept("inlined_at"):
                caller = parser._integer(), parser._integer(), parser._integer()
                inlined_at = self.locations.get(caller) or self._source_location(caller, None)
            else:
                parser.expect("function_name")
                parser.word("a label")
                if parser.accept("+"):
                    parser._integer()
        self.location = self._source_location(place, inlined_at)

    def _source_location(self, place: tuple[int, int, int], inlined_at: SourceLocation | None) -> SourceLocation | None:
        """None for line 0, which marks code that belongs to no source line."""
        number, line, column = place
        if line == 0:
            return None
        self.locations[place] = SourceLocation(self.parser.files.get(str(number), ""), line, column, inlined_at)
        return self.locations[place]

    def _label(self) -> None:
        parser = self.parser
        token = parser.advance()
        parser.expect(":")
        if token.text in self.scope.labels:
            raise PTXSyntaxError(f"label '{token.text}' is defined twice", token.line)
        label = self.scope.labels[token.text] = self.scope.unique(token.text)
        if parser.token.text in (".callprototype", ".calltargets"):
            parser.skip_directive()  # only indirect calls need them
        elif parser.accept(".branchtargets"):
            self.targets[label] = (self.scope, token.line, self._names())
        else:
            self.code.labels[label] = len(self.code.instructions)

    def _names(self) -> list[str]:
        parser = self.parser
        names = [parser.word("a label")]
        while parser.accept(","):
            names.append(parser.word("a label"))
        parser.expect(";")
        return names

    def _instruction(self) -> None:
        parser = self.parser
        first = parser.token
        guard = self._guard() if parser.accept("@") else None
        opcode, *modifiers = parser.word("an instruction").split(".")
        if not opcode or not all(modifiers):
            raise PTXSyntaxError(f"'{first.text}' is not an instruction", first.line)
        operands: list[Operand] = []
        if opcode == "call":
            operands = self._call()
        elif parser.token.text != ";":
            operands.append(self._operand())
            while parser.accept(","):
                operands.append(self._operand())
        end = parser.token.start
        parser.expect(";")
        text = " ".join(parser.text[first.start : end].split())
        self.scope_of.append(self.scope)
        self.code.instructions.append(
            Instruction(
                index=len(self.code.instructions),
                opcode=opcode,
                modifiers=tuple(modifiers),
                operands=tuple(operands),
                guard=guard,
                line=first.line,
                text=text,
                location=self.location,
            )
        )

    def _call(self) -> list[Operand]:
        """`call (ret), f, (a, b);`, where both lists may be missing; after them an indirect call names a prototype."""
        parser = self.parser
        returns = self._arguments()
        if returns is not None:
            parser.expect(",")
        operands: list[Operand] = [returns or Vector(()), self._scalar_operand()]
        arguments = None
        if parser.accept(","):
            arguments = self._arguments()
            if arguments is None or parser.accept(","):
                parser.word("a prototype")
        return [*operands, arguments or Vector(())]

    def _arguments(self) -> Vector | None:
        parser = self.parser
        if not parser.accept("("):
            return None
        elements: list[Operand] = []
        while not parser.accept(")"):
            if elements:
                parser.expect(",")
            elements.append(self._scalar_operand())
        return Vector(tuple(elements))

    def _guard(self) -> Register:
        parser = self.parser
        negated = parser.accept("!")
        name = parser.word("a predicate register")
        register = self.scope.register(name)
        if register is None or register.type != "pred":
            raise parser.error(f"'{name}' is not a declared predicate register")
        return Register(register.name, "pred", negated)

    def _operand(self) -> Operand:
        operand = self._single_operand()
        if self.parser.accept("|"):
            return Pair(operand, self._single_operand())
        return operand

    def _single_operand(self) -> Operand:
        parser = self.parser
        if parser.accept("["):
            return self._address()
        if parser.accept("{"):
            elements = [self._scalar_operand()]
            while parser.accept(","):
                elements.append(self._scalar_operand())
            parser.expect("}")
            return Vector(tuple(elements))
        return self._scalar_operand()

    def _scalar_operand(self) -> Operand:
        parser = self.parser
        if parser.accept("!"):
            operand = self._named(parser.word("a predicate register"))
            if not isinstance(operand, Register) or operand.type != "pred":
                raise parser.error("'!' needs a predicate register")
            return Register(operand.name, "pred", True)
        if parser.token.kind == "word":
            operand = self._named(parser.advance().text)
            if isinstance(operand, Symbol) and parser.accept("+"):
                return Symbol(operand.name, parser._integer())
            return operand
        return parser._immediate()

    def _address(self) -> Address:
        parser = self.parser
        base: Register | Symbol | None = None
        if parser.token.kind == "word":
            named = self._named(parser.advance().text)
            if not isinstance(named, Register | Symbol):
                raise parser.error("an address needs a register or a variable")
            base = named
        if base is not None and parser.accept(","):
            coordinates = self._operand()
            parser.expect("]")
            return Address(base, 0, coordinates)
        # What follows a base begins with a plus sign: [base+-8].
        offset = parser._integer() if base is None or parser.accept("+") else 0
        parser.expect("]")
        parser.accept(".unified")
        return Address(base, offset)

    def _named(self, name: str) -> Operand:
        if name == "_":
            return Sink()
        register = self.scope.register(name)
        if register is not None:
            return register
        if name == "WARP_SZ":
            return Immediate(32)
        if _SPECIAL_REGISTER.fullmatch(name):
            return SpecialRegister(name[1:])
        if name.startswith("%"):
            raise self.parser.error(f"register '{name}' is not declared")
        return Symbol(self.scope.variable(name) or name)

    def _resolve_labels(self) -> None:
        for label, (scope, line, names) in self.targets.items():
            resolved = tuple(scope.label(name) for name in names)
            for name, found in zip(names, resolved, strict=True):
                if found not in self.code.labels:
                    raise PTXSyntaxError(f"'{name}' in .branchtargets is no label of '{self.code.name}'", line)
            self.code.branch_targets[label] = tuple(map(str, resolved))
        for index, (instruction, scope) in enumerate(zip(self.code.instructions, self.scope_of, strict=True)):
            if instruction.opcode not in ("bra", "brx") or not instruction.operands:
                continue
            *others, target = instruction.operands
            place = scope.label(target.name) if isinstance(target, Symbol) and not target.offset else None
            if place not in (self.code.labels if instruction.opcode == "bra" else self.code.branch_targets):
                raise PTXSyntaxError(f"`{instruction.text}` names no label of '{self.code.name}'", instruction.line)
            self.code.instructions[index] = replace(instruction, operands=(*others, Symbol(str(place))))
