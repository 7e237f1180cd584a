"""The command `workbook`: how it begins and ends. parser.py has the commands."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> int:
    """Run the command; returns the exit status, as exit_codes has it."""
    try:
        return _main()
    except KeyboardInterrupt:
        from workbook.language import _

        print("\n" + _("Interrupted. Nothing that you typed is lost."), file=sys.stderr, flush=True)
        _die_of(signal.SIGINT)
    except BrokenPipeError:  # as of `workbook list | head -1`
        _discard_output()
        _die_of(signal.SIGPIPE)
    except OSError as error:
        if error.strerror is None:  # not from the system
            raise
        return _give_up(error)


def _main() -> int:
    # `>&-` closes them.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # where ✓ cannot be written, ? can
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    from workbook.commands.parser import run  # not before, so that an interrupt finds somebody to catch it

    status = run(sys.argv[1:])
    sys.stdout.flush()
    return status


def _give_up(error: OSError) -> int:
    """Say what the system could not do, with a file or with the output."""
    from workbook.commands import exit_codes
    from workbook.language import _

    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = _("{what}. `workbook doctor` looks for what is wrong with this machine.")
    print(text.format(what=what), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    return exit_codes.GIVEN_UP


def _discard_output() -> None:
    """Nobody can have what is still to be flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End as the signal would, but in order: a worker that compiles does not outlive its command."""
    raise SystemExit(128 + number)


def _die_of(number: int) -> NoReturn:
    """End as a program does that knows nothing of the signal, so that a shell's loop around it ends too."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
