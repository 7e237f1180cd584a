"""Everything that touches the Mojo compiler: precompiling packages, and reading its diagnostics."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from mojo.run import subprocess_run_mojo

from workbook import rooms
from workbook.language import _


@dataclass(frozen=True)
class Diagnostic:
    """One error of the Mojo compiler. Lines and columns count from 1."""

    message: str
    file: str
    line: int
    column: int
    source: str
    """The line of source that it points at."""
    notes: tuple[str, ...] = field(default=())


class MojoCompileError(Exception):
    """The package does not compile. `diagnostics` holds the errors, first one first; `raw` all that Mojo said."""

    def __init__(self, diagnostics: list[Diagnostic], raw: str):
        super().__init__(diagnostics[0].message)
        self.diagnostics = diagnostics
        self.raw = raw


def precompile_kernels() -> Path:
    """The compiled package of kernels/."""
    sources = {file.name: file.read_text() for file in sorted(rooms.KERNELS.glob("*.mojo"))}
    return precompile("kernels", sources)


def precompile_op(puzzle_id: str, op_text: str, kernels: Path) -> Path:
    """The compiled package of an op.mojo that imports `kernels`."""
    return precompile(puzzle_id, {"__init__.mojo": "", "op.mojo": op_text}, include=kernels.parent)


def precompile(name: str, sources: dict[str, str], include: Path | None = None) -> Path:
    """A package from its sources, in a folder named by their hash: the same sources are compiled once.

    MAX remembers what it found in a package by its path, also on disk: different packages must never share one, and a
    package has one path, whatever links lead to it.

    Raises MojoCompileError; and OSError where it is the machine that keeps Mojo from compiling.
    """
    identity = repr([version("mojo-compiler"), str(include), sorted(sources.items())])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = (rooms.BUILD / f"{name}-{digest}").resolve()
    package = folder / f"{name}.mojoc"
    if package.exists():
        return package

    rooms.BUILD.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=rooms.BUILD))
    try:
        source_folder = building / name
        source_folder.mkdir()
        for file_name, text in sources.items():
            (source_folder / file_name).write_text(text)
        command = ["precompile", str(source_folder), "-o", str(building / package.name)]
        if include is not None:
            command += ["-I", str(include)]
        compiled = subprocess_run_mojo([*command, "--diagnostic-format", "json"], capture_output=True, text=True)
        if compiled.returncode != 0:
            raw = compiled.stderr + compiled.stdout
            diagnostics = _read_diagnostics(raw)
            if not diagnostics:  # it was ended, as where memory is short, or could not write
                said = _("Mojo ended with status {status} and named no error.").format(status=compiled.returncode)
                raise OSError("\n".join([said, *raw.splitlines()[-3:]]))
            raise MojoCompileError(diagnostics, raw)
        # The rename makes the folder appear complete or not at all; another process may have been faster.
        try:
            os.rename(building, folder)
        except OSError:
            if not package.exists():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return package


def _read_diagnostics(raw: str) -> list[Diagnostic]:
    """The errors in what `--diagnostic-format json` printed: one JSON object a line, notes after their error."""
    found: list[Diagnostic] = []
    for line in raw.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # not a diagnostic: Mojo also prints plain lines
        if not isinstance(entry, dict) or "diagnostic" not in entry:
            continue
        place = entry["diagnostic"]
        if entry["kind"] == "error":
            position = place["location"]
            diagnostic = Diagnostic(
                entry["message"], Path(place["file"]).name, position["line"], position["column"] + 1, place["text"]
            )
            if diagnostic not in found:  # Mojo repeats errors of one place
                found.append(diagnostic)
        elif entry["kind"] == "note" and found:
            last = found[-1]
            found[-1] = Diagnostic(
                last.message, last.file, last.line, last.column, last.source, (*last.notes, entry["message"])
            )
    return found
