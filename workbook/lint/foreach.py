"""Answers the mistakes in a call of `foreach` that can be read off its text, as launch.py does for launches."""

from collections.abc import Iterator, Mapping

from workbook.language import _
from workbook.lint.launch import (
    REGION_RULES,
    SYNTAX_RULES,
    Finding,
    Region,
    code_list,
    is_attempted,
    make_finding,
    position,
)
from workbook.lint.mojo_source import Argument, Call, find_calls, text_of

FOREACH = "foreach"
ARGUMENTS = ("func", "tensor", "ctx")
"""What `foreach` takes, by the names of its own declaration."""


def lint_foreach(region: str, op_text: str, kernel_texts: Mapping[str, str]) -> list[Finding]:
    """What is certainly wrong with the learner's region of an op that calls `foreach`, in the order of the text."""
    if not is_attempted(region):
        return []
    learner = Region(region, op_text, kernel_texts)
    for syntax_rule in SYNTAX_RULES:
        for finding in syntax_rule(learner):
            return [finding]
    findings = [finding for rule in REGION_RULES for finding in rule(learner)]
    calls = find_calls(learner.code, FOREACH)
    for call in calls:
        findings += [finding for rule in CALL_RULES for finding in rule(call, learner)][:1]
    if (
        not findings
        and len(calls) == 1
        and not any(statement.keyword in ("if", "elif") for statement in learner.statements)
    ):
        # Of several calls each may be for one device, and say so.
        findings += target_of_the_op(calls[0], learner)
    if not findings:
        findings += nothing_called(learner)
    return sorted(findings, key=position)


def role(argument: Argument, region: Region) -> str | None:
    """What a bare name stands for: "func", "tensor", "ctx", or "input"; None where that cannot be said."""
    definition = region.names.get(argument.name or "")
    if definition is None:
        return None
    if definition.kind == "def":
        return "func"
    if definition.kind == "argument":
        types = {"OutputTensor": "tensor", "InputTensor": "input", "DeviceContext": "ctx"}
        return types.get(definition.value[0].text) if definition.value else None
    return None


# One call


def method_of_something(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`foreach` is a function, not a method: write it without `{receiver}.`")
    if call.receiver is not None and call.receiver.text in region.names:
        yield make_finding("foreach-method", call.receiver, message, receiver=call.receiver.text)


def not_called(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`foreach` is not called here: what it works with goes into parentheses: {arguments}.")
    if call.arguments is None and call.receiver is None:
        yield make_finding("foreach-not-called", call.name, message, arguments=_offered(region))


def function_in_brackets(call: Call, region: Region) -> Iterator[Finding]:
    message = _(
        "The function goes into the parentheses now, as the first argument; in the square brackets it was the form of "
        "an older Mojo."
    )
    for argument in call.parameters or ():
        has_width = argument.value[1:] and argument.value[1].text == "[" and argument.value[-1].text == "]"
        function = Argument(None, argument.value[:1]) if has_width else argument  # `add_one` of `add_one[4]`
        if argument.keyword is None and role(function, region) == "func":
            yield make_finding("old-mojo", argument.first, message)


def target_by_position(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`target` is given by keyword: write `foreach[target={value}]`.")
    for argument in call.parameters or ():
        value = text_of(argument.value)
        if argument.keyword is None and (value == "target" or value[0] in "\"'"):
            yield make_finding("target-by-position", argument.first, message, value=value)


def target_in_parentheses(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`target` is known when the op is compiled: it goes into square brackets, `foreach[target=…](…)`.")
    for argument in call.arguments or ():
        if (argument.keyword and argument.keyword.text == "target") or argument.name == "target":
            yield make_finding("target-in-parentheses", argument.first, message)


def unknown_keyword(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`foreach` has no argument `{keyword}`; it takes, in this order: {names}.")
    for keyword, argument in call.keywords.items():
        if keyword not in ARGUMENTS:
            names = _offered(region)
            yield make_finding("unknown-keyword", argument.first, message, keyword=keyword, names=names)


def unknown_parameter(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`foreach` has no parameter `{keyword}` in its square brackets; the device is `target=target`.")
    for argument in call.parameters or ():
        if argument.keyword and argument.keyword.text in ("device", "Target", "targets", "ctx"):
            yield make_finding("unknown-parameter", argument.keyword, message, keyword=argument.keyword.text)


def function_called(call: Call, region: Region) -> Iterator[Finding]:
    message = _("`{name}` is called here. Give `foreach` the name alone: it is `foreach` that calls it.")
    for argument in call.arguments or ():
        first = argument.value[0]
        definition = region.names.get(first.text)
        if definition and definition.kind == "def" and find_calls(argument.value, first.text)[0].arguments is not None:
            yield make_finding("function-called", first, message, name=first.text)


def input_passed(call: Call, region: Region) -> Iterator[Finding]:
    message = _(
        "`{given}` is an input. `foreach` takes the tensor that it is to fill, the output; the function reads the "
        "input itself."
    )
    for argument in call.arguments or ():
        if role(argument, region) == "input":
            yield make_finding("input-passed", argument.first, message, given=argument.name)


def arguments_in_order(call: Call, region: Region) -> Iterator[Finding]:
    if call.arguments is None or any(argument.unpacks or argument.keyword for argument in call.arguments):
        return
    roles = [role(argument, region) for argument in call.positional]
    names = _offered(region)
    for number, (argument, given, wanted) in enumerate(zip(call.positional, roles, ARGUMENTS, strict=False), start=1):
        if len(roles) == len(ARGUMENTS) and given not in (None, wanted):
            message = _("Argument {number} of `foreach` cannot be `{given}`. It takes, in this order: {names}.")
            values = {"number": number, "given": argument.name, "names": names}
            yield make_finding("argument-order", argument.first, message, **values)
            return
    if len(roles) < len(ARGUMENTS):
        missing = [name for name in ARGUMENTS if name not in roles]
        if len(missing) == len(ARGUMENTS) - len(roles):
            message = _("`foreach` takes three arguments: {names}. Missing is {missing}.")
            given = code_list([_names_of(region)[name] for name in missing])
            yield make_finding("too-few-arguments", call.name, message, names=names, missing=given)
        else:
            message = _("`foreach` takes three arguments: {names}. Here are fewer.")
            yield make_finding("too-few-arguments", call.name, message, names=names)
    elif len(roles) > len(ARGUMENTS):
        message = _("`foreach` takes three arguments: {names}. Here are more.")
        yield make_finding("too-many-arguments", call.positional[len(ARGUMENTS)].first, message, names=names)


def _names_of(region: Region) -> dict[str, str]:
    """How the op calls what `foreach` takes."""
    names = {"func": "func", "tensor": "output", "ctx": region.context or "ctx"}
    for name, definition in region.op_names.items():
        if definition.kind == "def":
            names["func"] = name
        if definition.kind == "argument" and definition.value and definition.value[0].text == "OutputTensor":
            names["tensor"] = name
    return names


def _offered(region: Region) -> str:
    """What `foreach` takes, in its order."""
    return code_list([_names_of(region)[name] for name in ARGUMENTS])


# The device


def target_of_the_op(call: Call, region: Region) -> Iterator[Finding]:
    given = {argument.keyword.text: argument for argument in call.parameters or () if argument.keyword}
    if call.receiver is not None or any(argument.keyword is None for argument in call.parameters or ()):
        return
    if "target" not in given:
        message = _(
            "This call does not say for which device it is compiled, and then it is the CPU. Pass on what the op is "
            "told: `foreach[target=target](…)`."
        )
        yield make_finding("missing-target", call.name, message)
        return
    value = region.expand(given["target"].value)
    if value is not None and value[:1] in ('"', "'"):
        message = _(
            "`target` is always {value} here, but the op is compiled for CPUs and for GPUs. Pass on what the op is "
            "told: `foreach[target=target](…)`."
        )
        yield make_finding("fixed-target", given["target"].first, message, value=value)


# No call


def nothing_called(region: Region) -> Iterator[Finding]:
    """Code that cannot reach a GPU, since it names neither `foreach` nor the DeviceContext."""
    if not region.statements or {token.text for token in region.code} & {FOREACH, region.context, "DeviceContext"}:
        return
    function = _names_of(region)["func"]
    first = region.statements[0].tokens[0]
    direct = find_calls(region.code, function)
    if direct:
        message = _(
            "`{function}` is called directly: it works on one vector and gives it back. `foreach` calls it for all "
            "elements and stores what comes back."
        )
        yield make_finding("function-called-directly", direct[0].name, message, function=function)
    elif any(statement.keyword in ("for", "while") for statement in region.statements):
        message = _(
            "This loop runs on the CPU, and the elements of a GPU's tensor lie in the memory of the GPU, which the CPU "
            "cannot reach. `foreach` goes through the elements on the device where they are."
        )
        yield make_finding("loop-on-the-cpu", first, message)
    else:
        message = _("Nothing is done with the elements here: `foreach` calls `{function}` for all of them.")
        yield make_finding("no-foreach", first, message, function=function)


CALL_RULES = (
    method_of_something,
    not_called,
    function_in_brackets,
    target_by_position,
    target_in_parentheses,
    unknown_keyword,
    unknown_parameter,
    function_called,
    input_passed,
    arguments_in_order,
)
