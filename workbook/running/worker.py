"""The warm worker: one process that owns the device, builds graphs and runs them.

The notebook never touches the device itself, so that a crash, an endless kernel or a cancelled run costs a worker
and never the notebook. A worker that is gone is replaced at once, and whoever asked is told.
"""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import IO, Any

from workbook import language, rooms
from workbook.language import _
from workbook.running.execution import Cases, Execution
from workbook.running.executor import Executor

TIME_LIMIT = 180.0
"""Seconds that one attempt may take before its worker is given up. A graph compiles in about 15."""


SECONDS_BETWEEN_SIGNS_OF_LIFE = 0.2  # a button that cancels is heard then

Request = tuple[Any, ...]
"""What the executor's `run` is called with, before `progress`; for an attempt a puzzle's id, the text of an op.mojo,
the seed of the random data, and the sizes of its cases, if not those of the puzzle."""


class WorkerLost(Exception):
    """The worker died, or was given up, in the middle of an attempt. The message says why; a new one is starting."""


class Worker:
    """The notebook's side: starts the process, hands it attempts, and replaces it."""

    def __init__(self, device: str, time_limit: float = TIME_LIMIT, executor: type = Executor):
        """`executor` is made in the process, for the device, and its `run` answers what is asked."""
        self.device = device
        self.executor = f"{executor.__module__}:{executor.__name__}"
        self.time_limit = time_limit
        self._process: subprocess.Popen | None = None
        self._start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def run(
        self,
        puzzle_id: str,
        op_text: str,
        seed: int,
        progress: Callable[[str], None],
        cases: Cases | None = None,
    ) -> Execution:
        """Run an attempt, with all cases of the puzzle or with those that are given."""
        return self.ask((puzzle_id, op_text, seed, cases), progress)

    def ask(self, request: Request, progress: Callable[[str], None]) -> Any:
        """What the process answers. `progress` hears of each stage when it begins and several times a second while it
        lasts; what it raises ends the attempt.

        Raises WorkerLost, and whatever an interrupt or `progress` raises; then a new worker has been started.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            self._replace()
        try:
            kind, content = self._converse(request, progress)
        except TimeoutError:
            self._replace()
            raise WorkerLost(
                _(
                    "The attempt took longer than {seconds:g} seconds and was stopped; a new worker has been started. "
                    "Does the kernel, or a loop around the launch, ever end?"
                ).format(seconds=self.time_limit)
            ) from None
        except (EOFError, ConnectionError):  # the other end of the socket is gone, and so is its process
            code = self._process.wait()
            last_words = self._last_words()
            self._replace()
            if code < 0:
                reason = _(
                    "The worker process was ended by signal {signal} in the middle of the attempt; "
                    "a new one has been started."
                ).format(signal=-code)
            else:
                reason = _(
                    "The worker process ended with status {status} in the middle of the attempt; "
                    "a new one has been started."
                ).format(status=code)
            advice = _(
                "Nothing you typed is lost. If it happens again, it is the code around the launch that ends it: it may "
                "end the program, or read a tensor's elements on the CPU, which cannot reach the memory of a GPU."
            )
            raise WorkerLost(f"{reason} {advice}{last_words}") from None
        except BaseException:  # an interrupt, most of all: the worker is in the middle of something
            self._replace()
            raise
        if kind == "error":
            raise content
        return content

    def _converse(self, request: Request, progress: Callable[[str], None]) -> tuple[str, Any]:
        """Send a request, and pass on progress until the answer is there."""
        deadline = time.monotonic() + self.time_limit
        stage = "start"
        self._log.truncate(0)  # last words are those of this attempt
        self._connection.send(request)
        while True:
            progress(stage)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._connection.poll(min(left, SECONDS_BETWEEN_SIGNS_OF_LIFE)):
                kind, content = self._connection.recv()
                if kind != "progress":
                    return kind, content
                stage = content

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._log: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - open as long as the worker writes to it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workbook.running.worker", self.executor, self.device, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=rooms.ROOT,
            env=language.environment(),
            start_new_session=True,  # an interrupt from the keyboard is ours to handle
        )
        theirs.close()
        self._connection = Connection(ours.detach())

    def _replace(self) -> None:
        self.close()
        self._start()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        lines = [line for line in lines if line.strip() and "Crashpad" not in line]
        return "\n".join(["", _("Its last words:"), *lines[-5:]]) if lines else ""


def serve(make_executor: Callable[[str], Any], device: str, connection: Connection) -> None:
    """The worker's side: answer requests until the notebook goes away."""
    try:
        executor = make_executor(device)
    except Exception as error:
        executor = error
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if isinstance(executor, Exception):
            connection.send(("error", executor))
            continue
        try:
            result = executor.run(*request, lambda stage: connection.send(("progress", stage)))
            connection.send(("result", result))
        except Exception as error:
            connection.send(("error", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else one with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    module, name = sys.argv[1].split(":")
    serve(getattr(import_module(module), name), sys.argv[2], Connection(int(sys.argv[3])))
    os._exit(0)  # MAX's threads may abort an orderly exit
