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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed
        _die_of(signal.SIGPIPE)


def _main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # where ✓ cannot be written, ? can
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    from workbook.commands.parser import run  # not before, so that an interrupt finds somebody to catch it

    status = run(sys.argv[1:])
    sys.stdout.flush()
    return status


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
