"""The commands and what their arguments mean. Each command is the module of its name in this folder.

A command's module has `SUMMARY`, its line in `workbook --help`; `NOTES`, what its own help ends with;
`add_arguments(parser)`; and `run(options)`, which returns the exit status. None of them imports what takes time before
it runs.
"""

import argparse
import sys
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from workbook.commands import exit_codes
from workbook.commands.exit_codes import BadUsage
from workbook.commands.terminal import table
from workbook.language import N_, UnknownLanguage, _, ngettext
from workbook.learner.attempts import UnknownVersion
from workbook.puzzles import DamagedPuzzles, UnknownPuzzle, all_puzzles
from workbook.region import RegionError
from workbook.running.devices import NoSuchDevice

GROUPS = {
    N_("Begin"): ("lab", "list", "doctor"),
    N_("Work on a puzzle"): ("run", "check", "watch", "figure"),
    N_("Get help, and go back"): ("hint", "reveal", "history", "reset"),
    N_("Look after the workbook"): ("warm", "test"),
}
"""The commands in the order that a learner needs them."""

PASSES_ON = ("lab", "test")
"""The commands that hand arguments on to another program."""


def run(arguments: list[str]) -> int:
    """Run a command; what is wrong with its arguments or its files is told in a sentence."""
    try:
        return _run(arguments)
    except (BadUsage, UnknownLanguage, UnknownPuzzle, UnknownVersion, NoSuchDevice, RegionError) as error:
        print(error, file=sys.stderr)
        return exit_codes.BAD_USAGE
    except DamagedPuzzles as error:
        print(error, file=sys.stderr)
        return exit_codes.GIVEN_UP


def _run(arguments: list[str]) -> int:
    _suggest_command(arguments)
    parser = _parser()
    if not arguments:
        parser.print_help()
        return exit_codes.DONE
    options, passed_on = parser.parse_known_args(arguments)
    if passed_on and options.command not in PASSES_ON:
        options.parser.error(_("unrecognized arguments: %s") % " ".join(passed_on))
    options.passed_on = passed_on
    return _module(options.command).run(options)


def _module(command: str) -> ModuleType:
    return import_module(f"workbook.commands.{command}")


def _suggest_command(arguments: list[str]) -> None:
    """Raises BadUsage where the command does not exist."""
    names = [name for group in GROUPS.values() for name in group]
    if not arguments or arguments[0].startswith("-") or arguments[0] in names:
        return
    from difflib import get_close_matches

    text = _("There is no command {name!r}.").format(name=arguments[0])
    near = get_close_matches(arguments[0].lower(), names, n=1)
    if near:
        text += " " + _("Did you mean `{command}`?").format(command=f"workbook {near[0]}")
    raise BadUsage(text + " " + _("`workbook --help` lists the commands."))


# The parser


def _parser() -> argparse.ArgumentParser:
    # argparse looks its own words up with these, in a catalogue of its own that nobody has.
    vars(argparse).update(_=_, ngettext=ngettext)
    parser = _Overview(prog="workbook", add_help=False)
    parser.add_argument("-h", "--help", action="help")
    commands = parser.add_subparsers(parser_class=_CommandParser, required=True, metavar=_("COMMAND"))
    for group in GROUPS.values():
        for name in group:
            module = _module(name)
            command = commands.add_parser(
                name,
                description=_(module.SUMMARY),
                epilog=_(module.NOTES),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(command)
            command.set_defaults(command=name, parser=command)
    return parser


class _CommandParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if message == _("the following arguments are required: %s") % _("PUZZLE"):
            example = f"{self.prog} {next(reversed(all_puzzles()))}"
            text = _("Say which puzzle, as in `{example}`. The puzzles are: {puzzles}.")
            raise BadUsage(text.format(example=example, puzzles=", ".join(all_puzzles())))
        super().error(message)


class _Overview(argparse.ArgumentParser):
    """The parser of all commands; its help lists them in groups."""

    def format_help(self) -> str:
        lines = [
            _("Learn to launch GPU kernels with MAX and Mojo."),
            "",
            _("usage: ") + "workbook " + _("COMMAND") + " …",
        ]
        for title, names in GROUPS.items():
            lines += ["", f"{_(title)}:"]
            lines += _columns([(f"{name:<7}", _(_module(name).SUMMARY)) for name in names])
        lines += ["", _("Examples:"), *_columns(_examples())]
        lines += ["", _("`workbook COMMAND --help` says more of one, and what its `--json` has.")]
        lines += [
            "",
            _("Exit status:"),
            *_columns([(str(code), _(text)) for code, text in exit_codes.MEANINGS.items()]),
        ]
        return "\n".join(lines) + "\n"


def _examples() -> list[tuple[str, str]]:
    return [
        ("workbook lab", _("the notebooks, in a browser")),
        ("workbook watch p17", _("check problems/p17/op.mojo whenever you save it, in any editor")),
        ("workbook hint p17", _("the next hint")),
    ]


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    return [f"  {line}" for line in table(rows)]


ARGPARSE_TEXTS = (
    N_("usage: "),
    N_("options"),
    N_("positional arguments"),
    N_("show this help message and exit"),
    N_("%(prog)s: error: %(message)s\n"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("the following arguments are required: %s"),
    N_("unrecognized arguments: %s"),
    N_("expected one argument"),
    N_("invalid choice: %(value)r (choose from %(choices)s)"),
    N_("invalid %(type)s value: %(value)r"),
)
"""What argparse may say of this command line, word for word."""
