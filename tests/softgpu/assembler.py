"""NVIDIA's assembler, which comes with MAX as a library: what it says of PTX.

https://docs.nvidia.com/cuda/ptx-compiler-api. It runs in a process of its own, because some PTX makes it crash:
`python assembler.py LIBRARY` reads a list of texts as JSON, and writes what is wrong with each.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def library() -> Path | None:
    """Where it is, if MAX is installed."""
    folders = [Path(folder) for folder in sys.path if "site-packages" in folder]
    return next((path for folder in folders for path in folder.glob("**/libNVPTX.so")), None)


def complaints(ptx: Sequence[str], assembler: Path) -> list[str]:
    """What is wrong with each text; nothing if it is legal."""
    command = [sys.executable, __file__, str(assembler)]
    process = subprocess.run(command, input=json.dumps(ptx), capture_output=True, text=True)
    if process.returncode == 0:
        return json.loads(process.stdout)
    if len(ptx) == 1:
        return ["the assembler crashed"]
    half = len(ptx) // 2
    return complaints(ptx[:half], assembler) + complaints(ptx[half:], assembler)


def lines_of(complaint: str) -> list[int]:
    """The lines it is about."""
    return [int(line) for line in re.findall(r"line (\d+);", complaint)]


def _compile(library: ctypes.CDLL, ptx: bytes) -> str:
    compiler, size = ctypes.c_void_p(), ctypes.c_size_t()
    target = ptx.partition(b".target ")[2].split()[0].rstrip(b",")
    options = (ctypes.c_char_p * 2)(b"--gpu-name=" + target, b"-O0")
    library.nvPTXCompilerCreate(ctypes.byref(compiler), ctypes.c_size_t(len(ptx)), ptx)
    failed = library.nvPTXCompilerCompile(compiler, len(options), options)
    library.nvPTXCompilerGetErrorLogSize(compiler, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    library.nvPTXCompilerGetErrorLog(compiler, log)
    library.nvPTXCompilerDestroy(ctypes.byref(compiler))
    return (log.value.decode() or "it is not legal") if failed else ""


if __name__ == "__main__":
    found = ctypes.CDLL(sys.argv[1])
    print(json.dumps([_compile(found, text.encode()) for text in json.load(sys.stdin)]))
