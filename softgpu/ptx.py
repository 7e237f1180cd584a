"""PTX text to data: what was written, line by line, without deciding what any instruction means.

Follows the PTX ISA, sections 4 (syntax), 5 (state spaces, types, variables) and 11 (directives).
"""

from __future__ import annotations

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
    """A constant: an int or a float. A float written as 0f… or 0d… has `bits`, and a `type` of f32 or f64."""

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
    """[base + offset]; without a base, `offset` is the absolute address."""

    base: Register | Symbol | None
    offset: int


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
    """What a .loc directive says: a line of the source that was compiled to PTX."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `index` counts from 0 in its kernel; `line` is the 1-based PTX line.

    `modifiers` are the words after the opcode, types included, without their dots: `add.sat.s32` has the
    opcode "add" and the modifiers ("sat", "s32").
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
    """A variable in memory: `count` elements of `type`, or 0 if its size is given by the launch."""

    name: str
    space: str
    type: str
    count: int
    alignment: int
    line: int
    initial: tuple[Operand, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.count * TYPE_BITS[self.type] // 8


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter. `count` is above 1, or `is_array` true, for a value passed as an array of bytes."""

    name: str
    type: str
    count: int
    alignment: int
    is_array: bool

    @property
    def nbytes(self) -> int:
        return self.count * TYPE_BITS[self.type] // 8


@dataclass(slots=True)
class Kernel:
    """A .entry. `labels` gives for each label the index of the instruction after it."""

    name: str
    line: int
    parameters: tuple[Parameter, ...]
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    max_threads: int | None = None
    required_block: tuple[int, int, int] | None = None


@dataclass(slots=True)
class PTXModule:
    """A module: its kernels, and the variables at module scope. `functions` are the names of its .func."""

    version: str = ""
    target: str = ""
    address_size: int = 64
    kernels: dict[str, Kernel] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)


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
_IGNORED = {".file", ".pragma", ".alias"}
_SOURCE_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"\n]*)"', re.MULTILINE)
_MAX_ELEMENTS = 1 << 32


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
        scope = _Scope(0, None)
        while self.token.kind != "end":
            self._module_directive(scope)
        if not self.result.version:
            raise PTXSyntaxError("expected a .version directive: this is not a PTX module", 1)
        return self.result

    def _module_directive(self, scope: _Scope) -> None:
        directive = self.token.text
        if directive == ".version":
            self.advance()
            self.result.version = self.advance().text
        elif directive == ".target":
            self.advance()
            self.result.target = self.word("a target")
            while self.accept(","):
                self.word("a target option")
        elif directive == ".address_size":
            self.advance()
            self.result.address_size = self._integer()
            if self.result.address_size != 64:
                raise UnsupportedPTX(".address_size 32", self.token.line, "only 64-bit addresses")
        elif directive in _IGNORED:
            self.skip_directive()
        elif directive == ".section":
            self._section()
        elif directive in _LINKAGE | _SPACES | {".entry", ".func"}:
            self._definition(scope)
        elif not self.accept(";"):
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
            self._function()
        elif self.token.text in _SPACES:
            for variable in self._variables(scope, ".extern" in linkage):
                self.result.variables[variable.name] = variable
        else:
            raise self.error(f"expected .entry, .func or a state space, found '{self.token.text}'")

    def _function(self) -> None:
        """Device functions are skipped over; a kernel that calls one is refused when it is decoded."""
        if self.accept("("):
            self._skip_balanced("(", ")")
        self.result.functions.add(self.word("a function name"))
        if self.accept("("):
            self._skip_balanced("(", ")")
        while self.token.kind == "word":
            self.advance()
        if not self.accept(";"):
            self.expect("{")
            self._skip_balanced("{", "}")

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
        if name in self.result.kernels:
            raise PTXSyntaxError(f"kernel '{name}' is defined twice", line)
        scope = _Scope(0, module_scope)
        kernel = Kernel(name, line, tuple(self._parameters(scope)))
        while self.token.text.startswith("."):
            self._performance_directive(kernel)
        self.expect("{")
        _Body(self, kernel, scope).parse()
        self.result.kernels[name] = kernel

    def _parameters(self, scope: _Scope) -> Iterator[Parameter]:
        if not self.accept("("):
            return
        while not self.accept(")"):
            line = self.token.line
            self.expect(".param")
            alignment, kind = self._alignment_and_type(allow_pointer=True)
            name = self.word("a parameter name")
            count, is_array = self._dimensions()
            if name in scope.variables:
                raise PTXSyntaxError(f"parameter '{name}' is declared twice", line)
            scope.variables[name] = name
            yield Parameter(name, kind, count, alignment or TYPE_BITS[kind] // 8, is_array)
            if self.token.text != ")":
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
        elif directive == ".pragma":
            self.advance()
            self.expect(";")
        elif directive not in (".minnctapersm", ".maxnctapersm", ".maxnreg", ".noreturn"):
            raise UnsupportedPTX(directive, self.token.line, "unknown kernel directive")

    # Declarations

    def _alignment_and_type(self, allow_pointer: bool = False) -> tuple[int, str]:
        """Attributes before a name: `.align 4 .b8`, or `.u64 .ptr .global .align 1` for a parameter.

        Returns the alignment of the variable itself (0 where none is given) and its type.
        """
        alignment, kind, is_pointer = 0, "", False
        while self.token.text.startswith("."):
            attribute = self.advance().text
            if attribute == ".align":
                value = self._integer()
                if value <= 0 or value & (value - 1) or value > 1 << 16:
                    raise self.error(f"alignment {value} is not a power of two")
                alignment = alignment if is_pointer else value
            elif attribute == ".ptr" and allow_pointer:
                is_pointer = True
            elif is_pointer and attribute in _SPACES:
                continue
            elif attribute[1:] in TYPE_BITS and attribute != ".pred" and not kind:
                kind = attribute[1:]
            else:
                raise self.error(f"unexpected '{attribute}' in a declaration")
        if not kind:
            raise self.error(f"expected a type, found '{self.token.text}'")
        return alignment, kind

    def _dimensions(self) -> tuple[int, bool]:
        """`[2][3]` is 6 elements; `[]` is 0, a size given elsewhere."""
        count, is_array = 1, False
        while self.accept("["):
            is_array = True
            count *= 0 if self.token.text == "]" else self._integer()
            self.expect("]")
            if not 0 <= count < _MAX_ELEMENTS:
                raise self.error("this array is too large")
        return count, is_array

    def _variables(self, scope: _Scope, is_extern: bool) -> Iterator[Variable]:
        line = self.token.line
        space = self.advance().text[1:]
        if self.token.text in (".v2", ".v4"):
            raise UnsupportedPTX(self.token.text, line, "vector variables")
        alignment, kind = self._alignment_and_type()
        while True:
            name = self.word("a variable name")
            count, is_array = self._dimensions()
            initial = self._initialiser() if self.accept("=") else ()
            if is_array and count == 0 and initial:
                count = len(initial)
            if count == 0 and not is_extern:
                raise self.error(f"array '{name}' needs a size")
            if len(initial) > count:
                raise self.error(f"'{name}' has {len(initial)} initialisers for {count} elements")
            if name in scope.variables:
                raise self.error(f"'{name}' is declared twice")
            if is_extern and space != "shared":
                raise UnsupportedPTX(f".extern .{space} {name}", line, "variables of other modules")
            scope.variables[name] = scope.unique(name)
            size = TYPE_BITS[kind] // 8
            yield Variable(scope.unique(name), space, kind, count, alignment or size, line, initial)
            if not self.accept(","):
                break
        self.expect(";")

    def _initialiser(self) -> tuple[Operand, ...]:
        if not self.accept("{"):
            return (self._initial_value(),)
        values: list[Operand] = []
        depth = 1
        while depth:
            if self.accept("{"):
                depth += 1
            elif self.accept("}"):
                depth -= 1
            elif not (values and self.accept(",")):
                values.append(self._initial_value())
        return tuple(values)

    def _initial_value(self) -> Operand:
        if self.token.kind == "word":
            raise UnsupportedPTX(self.token.text, self.token.line, "an address in an initialiser")
        return self._immediate()

    # Constants

    def _integer(self) -> int:
        value = self._immediate().value
        if not isinstance(value, int):
            raise self.error("expected an integer")
        return value

    def _immediate(self) -> Immediate:
        negative = False
        while self.token.text in ("-", "+"):
            negative ^= self.advance().text == "-"
        if self.token.kind != "number":
            raise self.error(f"expected a number, found '{self.token.text}'")
        constant = _constant(self.advance())
        if not negative:
            return constant
        if constant.bits is not None:
            raise self.error("a hexadecimal float takes no sign")
        return Immediate(-constant.value)


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
        return Immediate(float(text))
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
    """The statements between the braces of a kernel."""

    def __init__(self, parser: _Parser, kernel: Kernel, scope: _Scope):
        self.parser = parser
        self.kernel = kernel
        self.scope = scope
        self.scope_count = 0
        self.location: SourceLocation | None = None
        # Branches may go forward, so labels are resolved when the whole body is known.
        self.scope_of: list[_Scope] = []

    def parse(self) -> None:
        parser = self.parser
        depth = 1
        while depth:
            if parser.token.kind == "end":
                raise parser.error(f"kernel '{self.kernel.name}' has no closing '}}'")
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
                self.kernel.variables[variable.name] = variable
        elif text in _IGNORED:
            parser.skip_directive()
        elif text == ".section":
            parser._section()
        elif text.startswith("."):
            raise UnsupportedPTX(text, parser.token.line, "unknown directive")
        elif parser.accept(";"):
            pass
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
        number, line, column = parser._integer(), parser._integer(), parser._integer()
        while parser.accept(","):
            if parser.accept("inlined_at"):
                _ = parser._integer(), parser._integer(), parser._integer()
            else:
                parser.expect("function_name")
                parser.word("a label")
                if parser.accept("+"):
                    parser._integer()
        # Line 0 marks code that belongs to no source line.
        self.location = SourceLocation(parser.files.get(str(number), ""), line, column) if line else None

    def _label(self) -> None:
        parser = self.parser
        token = parser.advance()
        parser.expect(":")
        if token.text in self.scope.labels:
            raise PTXSyntaxError(f"label '{token.text}' is defined twice", token.line)
        self.scope.labels[token.text] = self.scope.unique(token.text)
        self.kernel.labels[self.scope.unique(token.text)] = len(self.kernel.instructions)

    def _instruction(self) -> None:
        parser = self.parser
        first = parser.token
        guard = self._guard() if parser.accept("@") else None
        opcode, *modifiers = parser.word("an instruction").split(".")
        if not opcode or not all(modifiers):
            raise PTXSyntaxError(f"'{first.text}' is not an instruction", first.line)
        operands = []
        if opcode == "call":
            while parser.token.text != ";" and parser.token.kind != "end":
                parser.advance()
        elif parser.token.text != ";":
            operands.append(self._operand())
            while parser.accept(","):
                operands.append(self._operand())
        end = parser.token.start
        parser.expect(";")
        text = " ".join(parser.text[first.start : end].split())
        self.scope_of.append(self.scope)
        self.kernel.instructions.append(
            Instruction(
                index=len(self.kernel.instructions),
                opcode=opcode,
                modifiers=tuple(modifiers),
                operands=tuple(operands),
                guard=guard,
                line=first.line,
                text=text,
                location=self.location,
            )
        )

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
            if isinstance(operand, Symbol) and parser.token.text in ("+", "-"):
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
        offset = 0 if base is not None and parser.token.text == "]" else parser._integer()
        parser.expect("]")
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
        for index, (instruction, scope) in enumerate(zip(self.kernel.instructions, self.scope_of, strict=True)):
            if instruction.opcode != "bra":
                continue
            target = instruction.operands[0] if len(instruction.operands) == 1 else None
            label = scope.label(target.name) if isinstance(target, Symbol) else None
            if label is None:
                raise PTXSyntaxError(f"`{instruction.text}` names no label of this kernel", instruction.line)
            self.kernel.instructions[index] = replace(instruction, operands=(Symbol(label),))
