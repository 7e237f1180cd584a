"""Answers the mistakes in a launch that can be read off its text, in milliseconds, before anything is compiled.

It must never refuse a launch that would be right: where a rule cannot be sure it says nothing, and the compiler or the
check answers. A rule is one function; it yields findings. What a rule knows of the op and of the kernel it reads from
their texts.
"""

import difflib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from workbook.language import N_, _, ngettext
from workbook.lint.mojo_source import (
    BUILTINS,
    CLOSER,
    KEYWORDS,
    MAX_DEPTH,
    Argument,
    Call,
    Declaration,
    Definition,
    Function,
    Statement,
    Token,
    Value,
    closing,
    constant,
    definitions,
    expand,
    find_calls,
    inner_definitions,
    names_in_scope,
    read_arguments,
    read_function,
    statements,
    text_of,
    tokenize,
    with_depth,
    words,
    written,
)

LAUNCH = "enqueue_function"
LAUNCH_KEYWORDS = words(
    """grid_dim block_dim cluster_dim shared_mem_bytes attributes constant_memory func_attribute location func f
    host_arg host_arg2 host_arg3 host_arg4 host_arg5"""
)
MAX_THREADS_PER_BLOCK = 1024

# Other words for the two sizes of a launch, as other GPU languages have them.
SYNONYMS = {
    "grid_dim": words("grid grid_size griddim blocks num_blocks blocks_per_grid"),
    "block_dim": words("block block_size blockdim threads num_threads threads_per_block"),
}

OLD_STATEMENTS = {"fn": "def", "alias": "comptime", "let": "var"}
OLD_CONVENTIONS = {"owned": "var", "inout": "mut", "borrowed": "imm", "read": "imm"}
OLD_METHODS = frozenset(
    f"{action}_function_{flavour}"
    for action in ("enqueue", "compile")
    for flavour in ("checked", "unchecked", "experimental")
)
METHODS_THAT_LAUNCH_NOTHING = words(
    """synchronize enqueue_memset enqueue_copy enqueue_create_buffer enqueue_create_host_buffer compile_function
    name api id"""
)
# What a launch is called elsewhere; the DeviceContext has no such methods.
OTHER_WORDS_FOR_LAUNCH = words("launch run launch_kernel run_kernel execute call start dispatch submit")
EXISTING_METHODS = METHODS_THAT_LAUNCH_NOTHING | {LAUNCH, "enqueue_cpu_function"}
NEED_A_VALUE = words(". = + - / // % **")

# What Mojo does not read, and the characters that are meant: those of Korean and Chinese keyboards have NFKC.
LOOK_ALIKES = {
    **dict.fromkeys("“”„‟″", '"'),
    **dict.fromkeys("‘’‚‛′", "'"),
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("、，", ","),
    "×": "*",
    "·": "*",
    "÷": "//",
    "⁄": "/",
    "【": "[",
    "】": "]",
    "「": "[",
    "」": "]",
}

# What stands at the beginning of a line that was copied with more than its code.
STRAY_BEGINNINGS = {
    "//": N_("A comment begins with `#` in Mojo, not with `//`."),
    "/*": N_("A comment begins with `#` in Mojo; there is no `/* … */`."),
    "```": N_("This line is a mark of Markdown around the code, not code: delete it."),
    ">>>": N_("`>>>` is the prompt of a console, not code: delete it."),
    "%": N_("Only the first line of a cell can be a magic command such as `%%fill`: delete this one."),
    "!": N_("Here stands Mojo, not a command of a notebook or a shell: delete this line."),
}
NUMBERS = words("Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64")
ONLY_ON_A_GPU = words("thread_idx block_idx global_idx block_dim grid_dim lane_id warp_id barrier")


@dataclass(frozen=True)
class Finding:
    """A mistake: the short name of the rule that found it, what to tell the learner, and where, both from 1."""

    rule: str
    message: str
    line: int
    column: int


@dataclass(frozen=True)
class Kernel:
    """A function of a kernel's module, with the compile-time parameters that it is given, None where it has none."""

    function: Function
    given: tuple[Argument, ...] | None

    @property
    def runs_on_a_gpu(self) -> bool:
        return any(token.text in ONLY_ON_A_GPU for token in self.function.body)


@dataclass(frozen=True)
class Launch:
    call: Call
    kernel: Kernel | None


class Region:
    """The learner's text, and what it may refer to."""

    def __init__(self, text: str, op_text: str, modules: Mapping[str, str]) -> None:
        self.text = text
        self.op_text = op_text
        self.modules = modules
        self.tokens = tokenize(text)
        self.code = [token for token in self.tokens if token.kind not in ("comment", "newline")]
        self.statements = statements(self.tokens)

    @cached_property
    def op_names(self) -> dict[str, Definition]:
        return names_in_scope(self.op_text)

    @cached_property
    def own_names(self) -> dict[str, Definition]:
        """The names that the region itself defines; only a comptime or an import that stands once keeps its value."""
        found: dict[str, Definition] = {}
        for statement in self.statements:
            for name, definition in (definitions(statement) | inner_definitions(statement)).items():
                keeps_value = definition.kind in ("comptime", "import") and name not in found
                found[name] = definition if keeps_value else Definition("var")
        return found

    @cached_property
    def names(self) -> dict[str, Definition]:
        return self.op_names | self.own_names

    @cached_property
    def context(self) -> str | None:
        """The op's DeviceContext, where it has one."""
        return next(
            (
                name
                for name, definition in self.names.items()
                if definition.kind == "argument" and text_of(definition.value) == "DeviceContext"
            ),
            None,
        )

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """The names in the region that stand for a function of a kernel's module."""
        found = {token.text: self.kernel([token]) for token in self.code if token.kind == "name"}
        return {name: kernel for name, kernel in found.items() if kernel}

    @cached_property
    def launches(self) -> list[Launch]:
        """The calls of enqueue_function; on an object that is not known as the DeviceContext it may be another one."""
        contexts = {self.context} - self.own_names.keys()
        return [
            Launch(call, self._launched(call))
            for call in find_calls(self.code, LAUNCH)
            if call.receiver is None or call.receiver.text in contexts
        ]

    @cached_property
    def calls(self) -> list[Call]:
        """The calls in which the syntax must be right: of enqueue_function, and of foreach."""
        return [launch.call for launch in self.launches] + find_calls(self.code, "foreach")

    def kernel_meant(self, token: Token) -> str | None:
        """The op's kernel, where `token` stands for one in a launch and the op has a single one."""
        kernels = [
            name
            for name in self.op_names
            if (kernel := self.kernel([Token("name", name, 0, 0, 0)])) and kernel.runs_on_a_gpu
        ]
        named = [call.parameters[0].first for call in find_calls(self.code, LAUNCH) if call.parameters]
        return kernels[0] if len(kernels) == 1 and token in named else None

    def _launched(self, call: Call) -> Kernel | None:
        for argument in call.parameters or ():
            if argument.keyword is None or argument.keyword.text == "func":
                return self.kernel(argument.value)
        return None

    def kernel(self, expression: Sequence[Token], depth: int = MAX_DEPTH) -> Kernel | None:
        """The kernel that `name` or `name[…]` stands for, also through a comptime name."""
        definition = self.names.get(expression[0].text) if expression and depth else None
        if definition is None:
            return None
        given = None
        if len(expression) > 1:
            if expression[1].text != "[" or closing(expression, 1) != len(expression) - 1:
                return None
            given = read_arguments(expression[2:-1])

        if definition.kind == "comptime":
            inner = self.kernel(definition.value, depth - 1)
            if inner is None or (inner.given is not None and given is not None):
                return None
            return Kernel(inner.function, inner.given if given is None else given)
        function = None
        if definition.kind == "import" and definition.module in self.modules:
            function = read_function(self.modules[definition.module], definition.value[0].text)
        elif definition.kind == "def":
            function = read_function(self.op_text, expression[0].text)
        return Kernel(function, given) if function else None

    def value(self, expression: tuple[Token, ...]) -> Value | None:
        return constant(expression, self.names, self.modules)

    def expand(self, expression: tuple[Token, ...]) -> str | None:
        return expand(expression, self.names)

    def meaning(self, name: str) -> str | None:
        """What the op's name stands for; None where there is none, or the region gives it another meaning."""
        if name not in self.op_names or name in self.own_names:
            return None
        return expand([Token("name", name, 0, 0, 0)], self.op_names)


def is_attempted(region: str) -> bool:
    """False where there are only blank lines, comments, `pass` and docstrings."""
    return any(
        token.kind not in ("comment", "newline", "string") and token.text not in ("pass", "...", ";")
        for token in tokenize(region)
    )


def lint(region: str, op_text: str, kernel_texts: Mapping[str, str]) -> list[Finding]:
    """What is certainly wrong with the learner's region of an op, in the order of the text.

    `kernel_texts`: the name of each kernel module, as the op imports it, and its source.
    """
    if not is_attempted(region):
        return []
    learner = Region(region, op_text, kernel_texts)
    for syntax_rule in SYNTAX_RULES:
        # What follows a slip of syntax cannot be read with certainty.
        for finding in syntax_rule(learner):
            return [finding]

    findings = [finding for rule in REGION_RULES for finding in rule(learner)]
    for launch in learner.launches:
        form = [finding for rule in FORM_RULES for finding in rule(launch, learner)]
        findings += form or [finding for rule in CALL_RULES for finding in rule(launch, learner)]
    if len(learner.launches) == 1 and not any(finding.rule.startswith("kernel-") for finding in findings):
        # Of several launches one may stand in a branch that is never taken: only what is wrong anywhere counts there.
        findings += [finding for rule in KERNEL_RULES for finding in rule(learner.launches[0], learner)]
    if not findings:
        findings += nothing_launched(learner)
    return sorted(findings, key=position)


def position(finding: Finding) -> tuple[int, int]:
    return finding.line, finding.column


def make_finding(rule: str, at: Token, message: str, **values: object) -> Finding:
    """A finding at a token; `values` are what the message's placeholders stand for."""
    return Finding(rule, message.format(**values), at.line, at.column)


def code_list(names: list[str]) -> str:
    """Names, each set as code."""
    return ", ".join(f"`{name}`" for name in names)


# Syntax: the first finding is the only one reported


def stray_beginning(region: Region) -> Iterator[Finding]:
    for statement in region.statements:
        first = statement.tokens[0]
        for beginning, message in STRAY_BEGINNINGS.items():
            if region.text.startswith(beginning, first.start):
                yield make_finding("stray-beginning", first, _(message))


def foreign_character(region: Region) -> Iterator[Finding]:
    """A character that Mojo does not read: code is ASCII, but for strings and comments."""
    end = 0
    for token in [*region.tokens, Token("newline", "", len(region.text), 0, 0)]:
        readable = token.kind in ("comment", "string", "unterminated") or token.text.startswith("`")
        for start, text in ((end, region.text[end : token.start]), (token.start, "" if readable else token.text)):
            for offset, character in enumerate(text):
                if not character.isascii() or (character in "\\?$" and text is token.text):
                    yield _foreign(character, _token_at(region.text, start + offset))
                    return
        end = token.end


def _foreign(character: str, at: Token) -> Finding:
    meant = LOOK_ALIKES.get(character) or unicodedata.normalize("NFKC", character)
    if unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf"):
        name = unicodedata.name(character, "").lower()
        message = _("Here stands an invisible character that Mojo does not read ({name}): delete it, or type a space.")
        return make_finding("foreign-character", at, message, name=name)
    if character == "…":
        message = _("`…` stands for something that is left out: write it out.")
        return make_finding("foreign-character", at, message)
    if meant.isascii() and meant != character:
        message = _("Mojo does not read the character `{character}`: type `{meant}`.")
        return make_finding("foreign-character", at, message, character=character, meant=meant)
    message = _("Mojo does not read the character `{character}`, except in strings and comments.")
    return make_finding("foreign-character", at, message, character=character)


def _token_at(text: str, position: int) -> Token:
    line = text.count("\n", 0, position) + 1
    return Token("operator", text[position], position, line, position - text.rfind("\n", 0, position))


def unclosed_string(region: Region) -> Iterator[Finding]:
    for token in region.code:
        if token.kind == "unterminated":
            message = _("The string that begins here is never closed: end it with the quote that it begins with.")
            yield make_finding("unclosed-string", token, message)


def unbalanced_bracket(region: Region) -> Iterator[Finding]:
    still_open: list[Token] = []
    for token in region.code:
        if token.kind == "open":
            still_open.append(token)
        elif token.kind == "close":
            if not still_open:
                message = _("This `{bracket}` closes nothing: no bracket is open here.")
                yield make_finding("unopened-bracket", token, message, bracket=token.text)
                return
            opener = still_open.pop()
            if CLOSER[opener.text] != token.text:
                above = token.line - opener.line
                if above == 0:
                    message = _(
                        "This `{bracket}` meets the `{opener}` of column {column}: close that with `{closer}` first."
                    )
                else:
                    message = ngettext(
                        "This `{bracket}` meets the `{opener}` of {lines} line above, column {column}: "
                        "close that with `{closer}` first.",
                        "This `{bracket}` meets the `{opener}` of {lines} lines above, column {column}: "
                        "close that with `{closer}` first.",
                        above,
                    )
                values = {"bracket": token.text, "opener": opener.text, "closer": CLOSER[opener.text]}
                place = {"lines": above, "column": opener.column}
                yield make_finding("mismatched-bracket", token, message, **values, **place)
                return
    if still_open:
        opener = still_open[-1]
        inner = _closed_too_late(region.code, opener) if opener.text == "(" else None
        if inner is not None:
            opener, keyword = inner
            message = _("The `{opener}` that opens here is not closed before `{keyword}=`: a `{closer}` is missing.")
            values = {"opener": opener.text, "closer": CLOSER[opener.text], "keyword": keyword}
            yield make_finding("unclosed-bracket", opener, message, **values)
            return
        message = _("The `{opener}` that opens here is never closed: a `{closer}` is missing.")
        yield make_finding("unclosed-bracket", opener, message, opener=opener.text, closer=CLOSER[opener.text])


def _closed_too_late(code: Sequence[Token], opener: Token) -> tuple[Token, str] | None:
    """The bracket that took the place of the one that is open: inside it stands a size of the launch."""
    inside = code[code.index(opener) + 1 :]
    brackets: list[Token] = []
    for token, after in pairwise(inside):
        if token.kind == "open":
            brackets.append(token)
        elif token.kind == "close" and brackets:
            brackets.pop()
        elif brackets and token.text in ("grid_dim", "block_dim") and after.text == "=":
            return brackets[-1], token.text
    return None


def comment_of_another_language(region: Region) -> Iterator[Finding]:
    """`//` after a launch, which has no value that could be divided."""
    message = _(STRAY_BEGINNINGS["//"])
    for statement in region.statements:
        call = next((call for name in (LAUNCH, "foreach") for call in find_calls(statement.tokens, name)), None)
        if call is None or call.name not in statement.tokens[:3]:
            continue
        for token, depth in with_depth(statement.tokens):
            if depth == 0 and token.text == "//":
                yield make_finding("stray-beginning", token, message)
                break


def semicolon_in_brackets(region: Region) -> Iterator[Finding]:
    message = _("Between arguments stands a comma: write `,` where this `;` stands, which ends a statement.")
    for token, depth in with_depth(region.code):
        if depth > 0 and token.text == ";":
            yield make_finding("semicolon", token, message)


def launch_of_cuda(region: Region) -> Iterator[Finding]:
    message = _(
        "`<<<…>>>` is CUDA's way to launch. Here it is `{context}.enqueue_function[…](…)`: the kernel in the square "
        "brackets, and in the parentheses its arguments, `grid_dim=…` and `block_dim=…`."
    )
    for first, second in pairwise(region.code):
        if first.text == "<<" and second.text == "<" and second.start == first.end:
            yield make_finding("cuda-launch", first, message, context=region.context or "ctx")


def other_brackets(region: Region) -> Iterator[Finding]:
    """`<…>` or `{…}` where square brackets belong: right code compares no function, and opens no bracket before `<`."""
    message = _("Compile-time parameters stand in square brackets: write `[…]` instead of `{given}`.")
    for before, token in pairwise(region.code):
        after_a_function = before.text in (LAUNCH, "foreach") or before.text in region.kernels
        if token.text == "<" and (after_a_function or before.kind == "open"):
            yield make_finding("other-brackets", token, message, given="<…>")
        elif token.text == "{" and after_a_function:
            yield make_finding("other-brackets", token, message, given="{…}")


def closed_too_early(region: Region) -> Iterator[Finding]:
    message = _("The parentheses are closed before `{keyword}=…`: the `)` belongs behind it.")
    for statement in region.statements:
        if not find_calls(statement.tokens, LAUNCH):  # `var blocks, grid_dim = …`
            continue
        tokens = list(with_depth(statement.tokens))
        for (comma, depth), (name, _depth), (equals, _deeper) in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if depth == 0 and comma.text == "," and name.text in ("grid_dim", "block_dim") and equals.text == "=":
                yield make_finding("closed-too-early", name, message, keyword=name.text)
                break


def ellipsis_as_argument(region: Region) -> Iterator[Finding]:
    message = _("`...` stands for something that is left out: write it out.")
    for call in region.calls:
        for argument in call.arguments or ():
            if text_of(argument.value) == "...":
                yield make_finding("ellipsis", argument.value[0], message)


def size_is_no_name(region: Region) -> Iterator[Finding]:
    """`grid-dim=2` and the like: no name has such a sign in it."""
    message = _("A keyword is one name: write `{keyword}=…`, not `{given}=…`.")
    for launch in region.launches:
        for argument in launch.call.positional:
            before = [token.text for token in argument.value]
            if "=" not in before[2:]:  # at 1 it is a keyword that has no value
                continue
            given = "".join(before[: before.index("=")])
            for keyword in ("grid_dim", "block_dim"):
                if "".join(filter(str.isalpha, given.lower())) == keyword.replace("_", ""):
                    yield make_finding("keyword-not-a-name", argument.first, message, keyword=keyword, given=given)


def old_statement(region: Region) -> Iterator[Finding]:
    message = _("`{old}` belongs to an older Mojo and has been removed: write `{new}`.")
    for statement in region.statements:
        first, second = statement.tokens[0], statement.tokens[1:2]
        if first.text in OLD_STATEMENTS and second and second[0].kind == "name":
            yield make_finding("old-mojo", first, message, old=first.text, new=OLD_STATEMENTS[first.text])
        if first.text == "def":
            for token, after in pairwise(statement.tokens):
                if token.text in OLD_CONVENTIONS and after.kind == "name" and after.text not in KEYWORDS:
                    yield make_finding("old-mojo", token, message, old=token.text, new=OLD_CONVENTIONS[token.text])
    for statement, following in pairwise(region.statements):
        if text_of(statement.tokens) == "@ parameter" and following.tokens[0].text in ("if", "for"):
            old, new = f"@parameter {following.tokens[0].text}", f"comptime {following.tokens[0].text}"
            yield make_finding("old-mojo", statement.tokens[0], message, old=old, new=new)


def keyword_without_equals(region: Region) -> Iterator[Finding]:
    message = _("A keyword argument is written with one `=`: write `{keyword}=…`, not `{keyword}{sign}…`.")
    for launch in region.launches:
        for argument in launch.call.positional:
            name = argument.value[0]
            sign = "".join(token.text for token in argument.value[1:3] if token.kind == "operator")
            if sign in (":", "==", ":=") and name.text in LAUNCH_KEYWORDS - region.names.keys():
                yield make_finding("keyword-without-equals", name, message, keyword=name.text, sign=sign)
        for keyword, argument in launch.call.keywords.items():
            if argument.value[0].text == ">":
                yield make_finding("keyword-without-equals", argument.first, message, keyword=keyword, sign="=>")


def missing_comma(region: Region) -> Iterator[Finding]:
    message = _("A comma is missing between `{before}` and `{after}`.")
    for call in region.calls:
        for argument in (*(call.parameters or ()), *(call.arguments or ())):
            if any(token.text in ("def", "lambda") for token in argument.value):
                continue
            for before, after in pairwise(argument.value):
                ends_a_value = before.kind in ("name", "number") or before.text in (")", "]")
                if ends_a_value and after.kind in ("name", "number") and not {before.text, after.text} & KEYWORDS:
                    yield make_finding("missing-comma", after, message, before=before.text, after=after.text)


def missing_value(region: Region) -> Iterator[Finding]:
    message = _("Something is missing after `{sign}`.")
    for call in region.calls:
        for argument in (*(call.parameters or ()), *(call.arguments or ())):
            last = argument.value[-1]
            if last.text in NEED_A_VALUE:
                yield make_finding("missing-value", last, message, sign=last.text)
    for statement in region.statements:
        last = statement.tokens[-1]
        if last.text in NEED_A_VALUE:
            yield make_finding("missing-value", last, message, sign=last.text)


# The region as a whole


def unknown_name(region: Region) -> Iterator[Finding]:
    if "*" in region.names:  # `from module import *` brings names that cannot be seen here
        return
    message = _("`{name}` does not exist here; did you mean `{suggestion}`?")
    receivers = [call.receiver for call in find_calls(region.code, LAUNCH)]
    reported = set()
    modules = {(finding.line, finding.column) for finding in module_of_a_kernel(region)}
    for token in _references(region):
        name = token.text
        if (token.line, token.column) in modules or name in region.names or name in BUILTINS or name in reported:
            continue
        # What launches is the context, whatever it is called elsewhere: `device.enqueue_function` for `ctx.…`
        suggestion = region.context if token in receivers else region.kernel_meant(token) or _near(name, region)
        if suggestion:
            reported.add(name)
            yield make_finding("unknown-name", token, message, name=name, suggestion=suggestion)


def module_of_a_kernel(region: Region) -> Iterator[Finding]:
    """`kernels.conv1d.conv1d_kernel`: the op imports the function, and so knows it without its module."""
    message = _("`{name}` is imported already: write it alone, without `{module}`.")
    for before, token in pairwise(region.code):
        if before.text == "." and token.text in region.kernels:
            chain = [before]
            for earlier in reversed(region.code[: region.code.index(before)]):
                if earlier.text == "." or (earlier.kind == "name" and chain[0].text == "."):
                    chain.insert(0, earlier)
                else:
                    break
            if chain[0].kind == "name" and chain[0].text not in region.names:
                module = "".join(part.text for part in chain)
                yield make_finding("module-of-kernel", chain[0], message, name=token.text, module=module)


def _references(region: Region) -> Iterator[Token]:
    """The names that the region uses, without attributes, keywords of arguments, and imports."""
    for statement in region.statements:
        if statement.tokens[0].text in ("from", "import", "@"):
            continue
        before = ""
        for (token, depth), after in zip(with_depth(statement.tokens), (*statement.tokens[1:], None), strict=True):
            is_keyword_argument = depth > 0 and after is not None and after.text in ("=", ":")
            is_plain = token.text not in KEYWORDS and not token.text.startswith(("_", "`"))
            if token.kind == "name" and is_plain and before != "." and not is_keyword_argument:
                yield token
            before = token.text


def _near(name: str, region: Region) -> str | None:
    same_case_first = sorted(region.names, key=lambda candidate: candidate[0].isupper() != name[0].isupper())
    for candidate in same_case_first:
        if _letters(candidate) == _letters(name):  # `outputTensor` for `output_tensor`
            return candidate
    close = difflib.get_close_matches(name, region.names, n=1, cutoff=0.8)
    if close:
        return close[0]
    # `gpu_ctx` for `ctx`
    return region.context if region.context and name.endswith("_" + region.context) else None


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def unknown_method(region: Region) -> Iterator[Finding]:
    for context, dot, method in zip(region.code, region.code[1:], region.code[2:], strict=False):
        if context.text != region.context or context.text in region.own_names or dot.text != ".":
            continue
        if method.text == "get_device_context":
            message = _("`{context}` is the DeviceContext already: use it without `.get_device_context()`.")
            yield make_finding("old-mojo", method, message, context=context.text)
        elif method.text in OLD_METHODS:
            message = _("`{old}` belongs to an older Mojo and has been removed: write `{new}`.")
            yield make_finding("old-mojo", method, message, old=method.text, new=method.text.rsplit("_", 1)[0])
        elif method.text in OTHER_WORDS_FOR_LAUNCH:
            message = _(
                "`{context}` has no method `{method}`; a kernel is launched with `{context}.{suggestion}[…](…)`."
            )
            values = {"context": context.text, "method": method.text, "suggestion": LAUNCH}
            yield make_finding("unknown-method", method, message, **values)
        elif method.text not in EXISTING_METHODS and difflib.get_close_matches(method.text, [LAUNCH], cutoff=0.8):
            message = _("`{context}` has no method `{method}`; did you mean `{suggestion}`?")
            values = {"context": context.text, "method": method.text, "suggestion": LAUNCH}
            yield make_finding("unknown-method", method, message, **values)


def missing_var(region: Region) -> Iterator[Finding]:
    declared = region.op_names.keys() | {
        name
        for statement in region.statements
        for name, definition in (definitions(statement) | inner_definitions(statement)).items()
        if definition.kind != "assignment"
    }
    if "struct" in {statement.keyword for statement in region.statements}:
        return
    message = _("Mojo wants a new name declared: write `var {name} = …`.")
    for statement in region.statements:
        for name, definition in definitions(statement).items():
            if definition.kind == "assignment" and name not in declared and name != "_":
                declared.add(name)
                yield make_finding("missing-var", statement.tokens[0], message, name=name)


def compiled_twice(region: Region) -> Iterator[Finding]:
    message = _("The kernel is named once now; `{method}[kernel, kernel]` was the form of an older Mojo.")
    for call in find_calls(region.code, "compile_function"):
        kernels = [argument for argument in call.parameters or () if argument.keyword is None]
        if len(kernels) > 1 and all(region.kernel(kernel.value) for kernel in kernels[:2]):
            yield make_finding("kernel-twice", kernels[1].first, message, method=call.name.text)


def missing_context(region: Region) -> Iterator[Finding]:
    message = _("`enqueue_function` is a method of the DeviceContext: write `{context}.enqueue_function`.")
    for launch in region.launches:
        if launch.call.receiver is None and region.context and LAUNCH not in region.names:
            yield make_finding("missing-context", launch.call.name, message, context=region.context)


def kernel_called_directly(region: Region) -> Iterator[Finding]:
    message = _(
        "`{name}(…)` calls the kernel as a Python function is called, on the CPU. "
        "A kernel runs on the GPU only through `enqueue_function[{name}…](…)`."
    )
    in_launches = {
        token
        for launch in region.launches
        for argument in (*(launch.call.parameters or ()), *(launch.call.arguments or ()))
        for token in argument.value
    }
    for name, kernel in region.kernels.items():
        if not kernel.runs_on_a_gpu:
            continue
        for statement in region.statements:
            if _is_host_code(statement):
                for call in find_calls(statement.tokens, name):
                    if call.arguments is not None and call.receiver is None and call.name not in in_launches:
                        yield make_finding("kernel-called-directly", call.name, message, name=name)


def _is_host_code(statement: Statement) -> bool:
    """Not part of a nested function: that may itself be what is launched."""
    return not statement.in_def and statement.keyword not in ("def", "@")


def nothing_launched(region: Region) -> Iterator[Finding]:
    """Code that cannot launch anything, since it does nothing with the DeviceContext that could."""
    if region.context is None or not region.statements:
        return
    alone = {statement.tokens[0] for statement in region.statements if len(statement.tokens) == 1}
    for index, token in enumerate(region.code):
        following = [after.text for after in region.code[index + 1 : index + 3]]
        if token in alone and token.text != LAUNCH:
            continue
        if token.text == region.context:
            if following[:1] != ["."] or following[-1] not in METHODS_THAT_LAUNCH_NOTHING:
                return
        elif token.text in (LAUNCH, "DeviceContext") or _may_hold_context(token.text, region):
            return
    message = _("Nothing is launched here: a launch is a call of `{context}.enqueue_function[…](…)`.")
    yield make_finding("no-launch", region.statements[0].tokens[0], message, context=region.context)


def _may_hold_context(name: str, region: Region) -> bool:
    definition = region.names.get(name)
    if definition is None:
        return False
    if definition.kind == "def":
        # A function of the op's own module has a context only if one is passed to it, or it makes one.
        function = read_function(region.op_text, name) if name not in region.own_names else None
        words = [*function.body, *(token for each in function.arguments for token in each.type)] if function else []
        return function is None or "DeviceContext" in {token.text for token in words}
    return region.context in {token.text for token in definition.value}


# The call of enqueue_function


def kernel_is_none(launch: Launch, region: Region) -> Iterator[Finding]:
    """Text, or a struct, where the kernel is to be named."""
    for argument in [*(launch.call.parameters or ()), *(() if launch.call.parameters else launch.call.positional)][:1]:
        first = argument.value[0]
        definition = region.names.get(first.text)
        meant = region.kernel_meant(first) or "kernel"
        if first.kind == "string":
            message = _("The kernel is named without quotes, in square brackets: `enqueue_function[{kernel}[…]](…)`.")
            yield make_finding("kernel-is-text", first, message, kernel=meant)
        elif definition and definition.kind == "struct" and first.text in region.op_text and launch.call.parameters:
            message = _("`{name}` is the struct of the op, not a kernel: name `{kernel}` here.")
            yield make_finding("kernel-is-struct", first, message, name=first.text, kernel=meant)
        elif definition and _is_tensor(definition) and launch.call.parameters:
            message = _("`{name}` is a tensor of the op, not a kernel: name `{kernel}` here.")
            yield make_finding("kernel-is-tensor", first, message, name=first.text, kernel=meant)


def _is_tensor(definition: Definition) -> bool:
    return bool(definition.value) and definition.value[0].text in ("TileTensor", "OutputTensor", "InputTensor")


def kernel_missing(launch: Launch, region: Region) -> Iterator[Finding]:
    if launch.call.parameters or not launch.call.positional:
        return
    first = launch.call.positional[0].value[0]
    definition = region.names.get(first.text)
    if first.text in region.kernels:
        message = _("The kernel goes into square brackets before the parentheses: `enqueue_function[{kernel}…](…)`.")
        yield make_finding("kernel-not-in-brackets", first, message, kernel=first.text)
    elif definition and _is_tensor(definition):
        message = _(
            "This launch does not say which kernel to run: name it in square brackets, `enqueue_function[kernel…](…)`."
        )
        yield make_finding("kernel-not-in-brackets", launch.call.name, message)


def kernel_twice(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("The kernel is named once now; `enqueue_function[kernel, kernel]` was the form of an older Mojo.")
    kernels = [argument for argument in launch.call.parameters or () if argument.keyword is None]
    if launch.kernel and len(kernels) > 1 and region.kernel(kernels[1].value):
        yield make_finding("kernel-twice", kernels[1].first, message)


def kernel_called_in_brackets(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _(
        "`{kernel}` is called inside the square brackets: they only name it. "
        "Its arguments go into the parentheses of `enqueue_function`."
    )
    for argument in launch.call.parameters or ():
        name = argument.value[0]
        if name.text in region.kernels and find_calls(argument.value, name.text)[0].arguments is not None:
            yield make_finding("kernel-called-in-brackets", name, message, kernel=name.text)


def launch_not_called(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("The launch has no parentheses: the kernel's arguments, `grid_dim` and `block_dim` go into them.")
    if launch.call.arguments is None and launch.call.parameters is None:
        message = _(
            "Here stands the name `enqueue_function` alone. After it the kernel goes into square brackets, and its "
            "arguments, `grid_dim` and `block_dim` go into parentheses."
        )
    if launch.call.arguments is None:
        yield make_finding("launch-not-called", launch.call.name, message)


def missing_size(launch: Launch, region: Region) -> Iterator[Finding]:
    messages = {
        "grid_dim": _("`grid_dim` is missing: say by keyword how many blocks the launch has, `grid_dim=…`."),
        "block_dim": _("`block_dim` is missing: say by keyword how many threads each block has, `block_dim=…`."),
    }
    call = launch.call
    if call.arguments is None or any(argument.unpacks for argument in call.arguments):
        return
    # A closure or a compiled function is launched without square brackets, and then the sizes may be positional.
    by_keyword_only = launch.kernel is not None or any(
        argument.value[0].text in region.kernels for argument in call.positional[:1]
    )
    meant = {_meant_keyword(keyword, launch) for keyword in call.keywords if keyword not in LAUNCH_KEYWORDS}
    if by_keyword_only:
        for size, message in messages.items():
            if size not in call.keywords and size not in meant:
                yield make_finding(f"missing-{size.replace('_', '-')}", call.name, message)


def unknown_keyword(launch: Launch, region: Region) -> Iterator[Finding]:
    kernel_arguments = [argument.name for argument in launch.kernel.function.arguments] if launch.kernel else []
    for keyword, argument in launch.call.keywords.items():
        if keyword in LAUNCH_KEYWORDS:
            continue
        suggestion = _meant_keyword(keyword, launch)
        if keyword in kernel_arguments:
            message = _("The kernel's arguments are passed by position: write `{value}` without `{keyword}=`.")
            values = {"keyword": keyword, "value": written(argument.value)}
            yield make_finding("kernel-argument-by-keyword", argument.first, message, **values)
        elif suggestion:
            message = _("`enqueue_function` has no argument `{keyword}`; did you mean `{suggestion}`?")
            yield make_finding("unknown-keyword", argument.first, message, keyword=keyword, suggestion=suggestion)
        else:
            message = _("`enqueue_function` has no argument `{keyword}`; the sizes are `grid_dim` and `block_dim`.")
            yield make_finding("unknown-keyword", argument.first, message, keyword=keyword)


def _meant_keyword(keyword: str, launch: Launch) -> str | None:
    for meant, synonyms in SYNONYMS.items():
        if keyword.lower() in synonyms:
            return meant
    offered = sorted(LAUNCH_KEYWORDS - launch.call.keywords.keys())
    return next(iter(difflib.get_close_matches(keyword, offered, n=1, cutoff=0.7)), None)


def repeated_keyword(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("`{keyword}` is given twice: remove one of the two.")
    seen = set()
    for argument in launch.call.arguments or ():
        if argument.keyword:
            if argument.keyword.text in seen:
                yield make_finding("repeated-keyword", argument.keyword, message, keyword=argument.keyword.text)
            seen.add(argument.keyword.text)


def positional_after_keyword(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("The kernel's arguments come first: move `{value}` before `{keyword}=…`.")
    wanted = _countable_arguments(launch)
    if wanted and len(launch.call.positional) > len(wanted):
        return  # wherever it stands, it is one too many
    for before, argument in pairwise(launch.call.arguments or ()):
        if before.keyword and argument.keyword is None and not argument.unpacks:
            values = {"value": written(argument.value), "keyword": before.keyword.text}
            yield make_finding("positional-after-keyword", argument.first, message, **values)
            return


# The kernel's arguments


def number_of_arguments(launch: Launch, region: Region) -> Iterator[Finding]:
    wanted = _countable_arguments(launch)
    if not wanted or launch.kernel is None:
        return
    passed = launch.call.positional
    sizes_are_missing = not {"grid_dim", "block_dim"} <= launch.call.keywords.keys()
    by_keyword = launch.call.keywords.keys() & {argument.name for argument in wanted}
    if len(passed) == len(wanted) or by_keyword or (len(passed) > len(wanted) and sizes_are_missing):
        return
    values: dict[str, object] = {
        "kernel": launch.kernel.function.name,
        "count": len(wanted),
        "names": code_list([argument.name for argument in wanted]),
        "passed": len(passed),
    }
    owners = [_owner(argument, wanted, region) for argument in passed]
    if len(passed) > len(wanted):
        message = ngettext(
            "`{kernel}` takes {count} argument ({names}); this launch passes {passed}.",
            "`{kernel}` takes {count} arguments ({names}); this launch passes {passed}.",
            len(wanted),
        )
        yield make_finding("too-many-arguments", passed[len(wanted)].first, message, **values)
    elif None in owners or len(set(owners)) < len(owners):
        message = ngettext(
            "`{kernel}` takes {count} argument ({names}); this launch passes only {passed}.",
            "`{kernel}` takes {count} arguments ({names}); this launch passes only {passed}.",
            len(wanted),
        )
        yield make_finding("too-few-arguments", launch.call.name, message, **values)
    else:
        message = ngettext(
            "`{kernel}` takes {count} argument ({names}); this launch passes {passed}: missing is {missing}.",
            "`{kernel}` takes {count} arguments ({names}); this launch passes {passed}: missing is {missing}.",
            len(wanted),
        )
        values["missing"] = code_list([argument.name for argument in wanted if argument not in owners])
        yield make_finding("too-few-arguments", launch.call.name, message, **values)


def order_of_arguments(launch: Launch, region: Region) -> Iterator[Finding]:
    wanted = _countable_arguments(launch)
    if not wanted or launch.kernel is None or len(wanted) != len(launch.call.positional):
        return
    message = _(
        "Argument {number} of `{kernel}` is `{wanted}`, but `{given}` stands there. It takes, in this order: {names}."
    )
    for number, (declaration, given) in enumerate(zip(wanted, launch.call.positional, strict=True), start=1):
        owner = _owner(given, wanted, region)
        if owner and owner != declaration and _cannot_stand_for(owner, declaration, launch.kernel.function, region):
            yield make_finding(
                "argument-order",
                given.first,
                message,
                number=number,
                kernel=launch.kernel.function.name,
                wanted=declaration.name,
                given=given.name,
                names=code_list([argument.name for argument in wanted]),
            )
            return


def int_passed(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("`{given}` is an `Int`, which cannot be passed to a kernel: pass `{type}({given})`.")
    wanted = _countable_arguments(launch)
    if len(wanted) != len(launch.call.positional):
        return
    for declaration, given in zip(wanted, launch.call.positional, strict=True):
        definition = region.op_names.get(given.name or "")
        if definition is None or definition.kind != "argument" or given.name in region.own_names:
            continue
        if text_of(definition.value) == "Int" and declaration.type_text in ("Int32", "UInt32", "Int64", "UInt64"):
            values = {"given": given.name, "type": declaration.type_text}
            yield make_finding("int-passed", given.first, message, **values)


def other_number_passed(launch: Launch, region: Region) -> Iterator[Finding]:
    """A number that is made of another type than the kernel declares: nothing converts what a launch passes."""
    message = _("`{kernel}` declares `{wanted}` as `{type}`, and `{given}` is passed: pass `{right}`.")
    wanted = _countable_arguments(launch)
    if launch.kernel is None or len(wanted) != len(launch.call.positional):
        return
    for declaration, given in zip(wanted, launch.call.positional, strict=True):
        called, *rest = given.value
        is_call = bool(rest) and rest[0].text == "(" and closing(rest, 0) == len(rest) - 1
        if not is_call or called.text not in (NUMBERS | {"Int", "UInt"}) - region.names.keys():
            continue
        if declaration.type_text in NUMBERS and called.text != declaration.type_text:
            values = {"kernel": launch.kernel.function.name, "wanted": declaration.name, "type": declaration.type_text}
            right = declaration.type_text + written(rest)
            yield make_finding("other-number", called, message, given=written(given.value), right=right, **values)


def pointer_passed(launch: Launch, region: Region) -> Iterator[Finding]:
    message = _("`{given}` is a pointer, and the kernel takes the tensor itself for `{wanted}`: pass the tensor.")
    wanted = _countable_arguments(launch)
    if len(wanted) != len(launch.call.positional):
        return
    for declaration, given in zip(wanted, launch.call.positional, strict=True):
        _name, *access = [token.text for token in given.value]
        if declaration.type_text.startswith("TileTensor") and access in ([".", "ptr"], [".", "unsafe_ptr", "(", ")"]):
            written = region.text[given.value[0].start : given.value[-1].end]
            values = {"given": written, "wanted": declaration.name}
            yield make_finding("pointer-passed", given.value[0], message, **values)


def _countable_arguments(launch: Launch) -> tuple[Declaration, ...]:
    """The kernel's arguments, where each stands for exactly one value of the launch; else none."""
    arguments = launch.kernel.function.arguments if launch.kernel else ()
    if any(argument.has_default or argument.is_variadic for argument in arguments):
        return ()
    if launch.call.arguments is None or any(argument.unpacks for argument in launch.call.arguments):
        return ()
    return arguments


def _owner(given: Argument, wanted: tuple[Declaration, ...], region: Region) -> Declaration | None:
    """The kernel's argument that a bare name of the op is meant for: `x_tensor` or `x` for the argument `x`."""
    if given.name not in region.op_names or given.name in region.own_names:
        return None
    return next((argument for argument in wanted if given.name in (argument.name, argument.name + "_tensor")), None)


def _cannot_stand_for(given: Declaration, wanted: Declaration, kernel: Function, region: Region) -> bool:
    """Only one of the two is written, or their types differ. Two inputs of one type might be exchanged rightly."""
    if _is_written(given, kernel) != _is_written(wanted, kernel):
        return True
    compile_time = {parameter.name for parameter in kernel.parameters}
    types = []
    for declaration in (given, wanted):
        words = [region.meaning(token.text) if token.text in compile_time else token.text for token in declaration.type]
        if None in words:
            return False
        types.append(words)
    return types[0] != types[1]


def _is_written(argument: Declaration, kernel: Function) -> bool:
    for index, token in enumerate(kernel.body[:-1]):
        if token.text == argument.name:
            after = index + 1
            if kernel.body[after].text == "[":
                after = (closing(kernel.body, after) or after) + 1
            following = [word.text for word in kernel.body[after : after + 2]]
            if following[:1] and following[0].endswith("=") and following[0] not in ("==", "!=", "<=", ">="):
                return True
            if following[:1] == ["."] and following[-1].startswith("store"):
                return True
    return False


# The kernel's compile-time parameters


def number_of_parameters(launch: Launch, region: Region) -> Iterator[Finding]:
    if launch.kernel is None or not _countable_parameters(launch.kernel):
        return
    function, given = launch.kernel.function, launch.kernel.given or ()
    keywords = {argument.keyword.text for argument in given if argument.keyword}
    positional = [argument for argument in given if argument.keyword is None]
    by_position = [parameter for parameter in function.parameters if parameter.passing in ("pos", "pos_or_kw")]
    values = {
        "kernel": function.name,
        "count": len(function.parameters),
        "names": code_list([parameter.name for parameter in function.parameters]),
    }
    if len(positional) > len(by_position):
        message = ngettext(
            "`{kernel}` has {count} compile-time parameter ({names}); `{extra}` is one too many.",
            "`{kernel}` has {count} compile-time parameters ({names}); `{extra}` is one too many.",
            len(function.parameters),
        )
        extra = positional[len(by_position)]
        yield make_finding("too-many-parameters", extra.first, message, extra=written(extra.value), **values)
        return

    # A parameter left out in the middle shifts all that follow, so names say better than positions what is missing.
    names = [argument.name for argument in positional]
    known = {parameter.name for parameter in by_position}
    if not set(names) <= known or len(set(names)) < len(names):
        names = [parameter.name for parameter in by_position[: len(positional)]]
    missing = [
        parameter.name
        for parameter in function.parameters
        if parameter.name not in keywords | set(names) and not parameter.has_default and parameter.passing != "inferred"
    ]
    if missing and not given:
        message = _("`{kernel}` needs its compile-time parameters in square brackets: `{kernel}[…]` with {names}.")
        yield make_finding("missing-parameters", launch.call.name, message, **values)
    elif missing and len(positional) + len(keywords) < len(function.parameters):
        message = _("`{kernel}` needs the compile-time parameters {names}; missing is {missing}.")
        yield make_finding("missing-parameters", given[0].first, message, missing=code_list(missing), **values)


def unknown_parameter(launch: Launch, region: Region) -> Iterator[Finding]:
    if launch.kernel is None or not _countable_parameters(launch.kernel):
        return
    message = _("`{kernel}` has no compile-time parameter `{keyword}`; it has {names}.")
    known = [parameter.name for parameter in launch.kernel.function.parameters]
    for argument in launch.kernel.given or ():
        if argument.keyword and argument.keyword.text not in known:
            values = {
                "kernel": launch.kernel.function.name,
                "keyword": argument.keyword.text,
                "names": code_list(known),
            }
            yield make_finding("unknown-parameter", argument.keyword, message, **values)


def order_of_parameters(launch: Launch, region: Region) -> Iterator[Finding]:
    if launch.kernel is None or not _countable_parameters(launch.kernel):
        return
    if list(number_of_parameters(launch, region)):
        return
    if list(order_of_arguments(launch, region)):
        return  # layouts that follow exchanged arguments are the same mistake
    message = _(
        "`{given}` stands where `{kernel}` takes `{wanted}`. Its compile-time parameters are, in this order: {names}."
    )
    parameters = launch.kernel.function.parameters
    by_position = iter(parameter for parameter in parameters if parameter.passing in ("pos", "pos_or_kw"))
    by_name = {parameter.name: parameter for parameter in parameters}
    for argument in launch.kernel.given or ():
        wanted = by_name.get(argument.keyword.text) if argument.keyword else next(by_position, None)
        if wanted is None:
            return
        given, right = region.expand(argument.value), region.meaning(wanted.name)
        others = {region.meaning(parameter.name) for parameter in parameters}
        if given is not None and right is not None and given != right and given in others:
            yield make_finding(
                "parameter-order",
                argument.value[0],
                message,
                given=written(argument.value),
                kernel=launch.kernel.function.name,
                wanted=wanted.name,
                names=code_list([parameter.name for parameter in parameters if parameter.passing != "inferred"]),
            )
            return


def layout_instead_of_its_type(launch: Launch, region: Region) -> Iterator[Finding]:
    if launch.kernel is None or not _countable_parameters(launch.kernel):
        return
    message = _("`{given}` is a layout, and `{kernel}` takes its type for `{wanted}`: write `{type}`.")
    parameters = [one for one in launch.kernel.function.parameters if one.passing in ("pos", "pos_or_kw")]
    for wanted, given in zip(parameters, launch.kernel.given or (), strict=False):
        if given.keyword is not None or wanted.type_text != "TensorLayout":
            continue
        definition = region.op_names.get(given.name or "")
        if definition is None or given.name in region.own_names or definition.kind not in ("comptime", "var"):
            continue
        if definition.value and definition.value[0].text == "row_major":
            type_text = f"type_of({given.name})"
            types = {"".join(token.text for token in one.value): name for name, one in region.op_names.items()}
            values = {"given": given.name, "kernel": launch.kernel.function.name, "wanted": wanted.name}
            yield make_finding("layout-value", given.first, message, type=types.get(type_text, type_text), **values)


def _countable_parameters(kernel: Kernel) -> bool:
    """Each compile-time parameter stands for one value, and the launch leaves none of them open with `_` or `...`."""
    leaves_open = any(argument.unpacks or argument.value[0].text in ("_", "...") for argument in kernel.given or ())
    return not leaves_open and not any(parameter.is_variadic for parameter in kernel.function.parameters)


# The sizes


def size_of_launch(launch: Launch, region: Region) -> Iterator[Finding]:
    for keyword in ("grid_dim", "block_dim"):
        argument = launch.call.keywords.get(keyword)
        if argument:
            yield from _wrong_size(keyword, argument.value, region)


def _wrong_size(keyword: str, expression: tuple[Token, ...], region: Region) -> Iterator[Finding]:
    at = expression[0]
    is_list = at.text == "[" and closing(expression, 0) == len(expression) - 1
    is_no_number = len(expression) == 1 and (at.kind == "string" or at.text in ("None", "True", "False"))
    if is_list or is_no_number:
        message = _("`{keyword}` is a whole number, or a tuple of up to three; `{given}` is neither.")
        yield make_finding("size-type", at, message, keyword=keyword, given=written(expression))
        return

    value = region.value(expression)
    sizes = value if isinstance(value, tuple) else (value,)
    if any(isinstance(size, float) for size in sizes):
        message = _("`{keyword}` counts in whole numbers; `{given}` is not one.")
        yield make_finding("size-type", at, message, keyword=keyword, given=written(expression))
    elif len(sizes) > 3:
        message = _("`{keyword}` has at most three dimensions (x, y, z); here are {count}.")
        yield make_finding("too-many-dimensions", at, message, keyword=keyword, count=len(sizes))
    elif any(isinstance(size, int) and size < 1 for size in sizes):
        message = _("`{keyword}` is {value} here; it must be at least 1 in every dimension.")
        yield make_finding("size-not-positive", at, message, keyword=keyword, value=value)
    elif keyword == "block_dim":
        threads = 1
        for size in sizes:
            threads *= size if isinstance(size, int) else 1
        if threads > MAX_THREADS_PER_BLOCK:
            message = ngettext(
                "A block of {threads} thread is too large: a GPU takes at most {limit} threads in a block.",
                "A block of {threads} threads is too large: a GPU takes at most {limit} threads in a block.",
                threads,
            )
            yield make_finding("block-too-large", at, message, threads=threads, limit=MAX_THREADS_PER_BLOCK)


SYNTAX_RULES = (
    stray_beginning,
    foreign_character,
    unclosed_string,
    unbalanced_bracket,
    old_statement,
    comment_of_another_language,
    semicolon_in_brackets,
    launch_of_cuda,
    other_brackets,
    closed_too_early,
    size_is_no_name,
    keyword_without_equals,
    missing_comma,
    missing_value,
    ellipsis_as_argument,
)
REGION_RULES = (
    module_of_a_kernel,
    unknown_name,
    unknown_method,
    compiled_twice,
    missing_var,
    missing_context,
    kernel_called_directly,
)
FORM_RULES = (kernel_is_none, kernel_missing)
"""What makes the call none of a kernel: other mistakes in it are not reported beside it."""
CALL_RULES = (
    kernel_twice,
    kernel_called_in_brackets,
    launch_not_called,
    missing_size,
    unknown_keyword,
    repeated_keyword,
    positional_after_keyword,
)
KERNEL_RULES = (
    number_of_arguments,
    order_of_arguments,
    int_passed,
    other_number_passed,
    pointer_passed,
    number_of_parameters,
    unknown_parameter,
    order_of_parameters,
    layout_instead_of_its_type,
    size_of_launch,
)
