"""Runs the command `workbook` for the tests, as a script does or as somebody at a terminal does."""

import io
import os
import pty
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from workbook.commands.main import main

COMMAND = (sys.executable, "-m", "workbook.commands.main")


def workbook(*arguments, **variables):
    """The finished process, with what it wrote."""
    environment = os.environ | variables
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )


def in_this_process(*arguments):
    """The same for commands that start no process and want no terminal: faster."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    argv, no_handlers = patch.object(sys, "argv", ["workbook", *arguments]), patch.object(signal, "signal")
    with redirect_stdout(out), redirect_stderr(err), argv, no_handlers:
        try:
            status = main()
        except SystemExit as ending:
            status = ending.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, status, *texts)


def at_a_terminal(*arguments, types="", **variables):
    """What somebody at a terminal sees, and the exit status; `types` is typed at once."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"} | variables
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        os.write(ours, types.encode())
        seen = b""
        while True:
            try:
                some = os.read(ours, 4096)
            except OSError:  # the other end was closed
                break
            if not some:
                break
            seen += some
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), process.returncode
