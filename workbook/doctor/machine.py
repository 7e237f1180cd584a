"""Looks at this machine. Every look that may fail or take long is here, so that a test can put another in its place."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from workbook.language import N_, _

SECONDS = 10.0
"""How long any program is waited for."""

GOOD, NOTE, BAD = "good", "note", "bad"
SYMBOLS = {GOOD: "✓", NOTE: "!", BAD: "✗"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Only BAD ones keep the workbook from being used."""

    name: str
    """For scripts; it does not change with the language."""
    state: str
    what: str
    advice: str = ""
    """What to do about it."""


class NoAnswer(Exception):
    """A question was not answered; the message says why."""


class Machine:
    """This machine, as far as it matters here."""

    root = Path("/")
    environ: Mapping[str, str] = os.environ
    system = platform.system()
    """"Linux" or "Darwin"."""
    architecture = platform.machine()
    python = platform.python_version()

    def glibc(self) -> str:
        """The version of the C library, "2.36"; empty where it is another one."""
        name, version = platform.libc_ver()
        return version if name == "glibc" else ""

    def macos(self) -> str:
        return platform.mac_ver()[0]

    def package(self, name: str) -> str | None:
        """The version of an installed package."""
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    def requirements(self) -> list[str]:
        """What the workbook's own package asks for."""
        try:
            return metadata.requires("workbook") or []
        except metadata.PackageNotFoundError:
            return []

    def loads(self, library: str) -> bool:
        """Whether a shared library is found."""
        try:
            ctypes.CDLL(library)
        except OSError:
            return False
        return True

    def output(self, *command: str) -> str | None:
        """What a program prints; None where there is none, or it fails or takes too long."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def ask(self, question: str) -> dict[str, Any]:
        """The answer to one of the functions in questions.py, from a process of its own. Raises NoAnswer."""
        command = [sys.executable, "-m", "workbook.doctor.questions", question]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, errors="replace"
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(_("no answer within {seconds:.0f} seconds").format(seconds=SECONDS)) from None
        try:
            return json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise NoAnswer(words[-1] if words else _("status {status}").format(status=done.returncode)) from None

    def mojo(self, *arguments: str) -> str | None:
        """What Mojo's own program prints."""
        return self.output(str(Path(sys.executable).with_name("mojo")), *arguments)

    def text(self, path: str) -> str:
        """The content of a file below the root; empty where it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def may_write(self, path: str) -> bool:
        return os.access(self.root / path, os.R_OK | os.W_OK)

    @property
    def is_wsl(self) -> bool:
        return "microsoft" in self.text("proc/version").lower()

    @property
    def is_container(self) -> bool:
        marks = ("container", "KUBERNETES_SERVICE_HOST")
        files = (".dockerenv", "run/.containerenv")
        return any(self.environ.get(mark) for mark in marks) or any(map(self.exists, files))

    def graphics_vendors(self) -> set[str]:
        """The makers of the PCI devices that are displays or accelerators: "0x10de" is NVIDIA, "0x1002" AMD."""
        devices = (self.root / "sys/bus/pci/devices").glob("*")
        classes = ("0x03", "0x12")
        return {
            self.text(f"sys/bus/pci/devices/{device.name}/vendor").strip()
            for device in devices
            if self.text(f"sys/bus/pci/devices/{device.name}/class").startswith(classes)
        }


GROUPS = {
    "machine": N_("This machine"),
    "packages": N_("Packages"),
    "gpu": N_("GPU"),
    "softgpu": N_("Software GPU"),
    "lab": N_("JupyterLab"),
    "workbook": N_("The workbook's files"),
    "optional": N_("Not needed by all"),
}
"""The first parts of the findings' names, in their order."""
