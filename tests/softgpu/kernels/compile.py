"""Compiles the Mojo kernels of this folder to PTX, into ptx/TARGET/KERNEL.ptx. Run it after a change of a source:

    python tests/softgpu/kernels/compile.py [elementwise.mojo ...]

The tests read the PTX, so only who changes a kernel needs Mojo. Each file begins with a line that names its source and
the hash of it. Kernels get the names of their functions, and no path of the machine is left.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = ("sm_80", "sm_90")
# Mojo writes the absolute path of a source into what assertions print: a neutral one, the same on every machine.
WORKSHOP = Path(tempfile.gettempdir()) / "softgpu-kernels"


def header(source: Path, version: str, target: str) -> str:
    """The first line of a PTX file, which the tests compare with the source."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    return f"// {source.name} {digest}, {version}, {target}; made by tests/softgpu/kernels/compile.py\n"


def main(sources: list[Path]) -> None:
    version = mojo("--version").strip().split(" (")[0]
    for source in sources:
        for target in TARGETS:
            kernels = compiled(source, target)
            folder = HERE / "ptx" / target
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.glob("*.ptx"):
                if path.read_text().startswith(f"// {source.name} "):
                    path.unlink()
            for name, ptx in kernels.items():
                (folder / f"{name}.ptx").write_text(header(source, version, target) + ptx)
            print(f"{source.name} for {target}: {len(kernels)} kernels")


def compiled(source: Path, target: str) -> dict[str, str]:
    """The PTX of each kernel that the source's main launches, by the name of its function."""
    shutil.rmtree(WORKSHOP, ignore_errors=True)
    (WORKSHOP / "out").mkdir(parents=True)
    copy = Path(shutil.copy(source, WORKSHOP))
    # Mojo 1.2 warns of every p[i], and wants p[unsafe_offset=i]: true, but these kernels are there to be read.
    flags = ["--emit", "asm", "--target-accelerator", target, "-g1", "--disable-warnings"]
    mojo("build", *flags, str(copy), "-o", str(WORKSHOP / "out" / "host.s"))
    functions = re.findall(r"^def (\w+)", source.read_text(), re.MULTILINE)
    kernels = {}
    for path in sorted((WORKSHOP / "out").glob("*.ptx")):
        text = path.read_text().replace(f'"{WORKSHOP}/', '"')
        symbol = re.search(r"^\.visible \.entry (\w+)", text, re.MULTILINE)
        assert symbol is not None
        name = function_of(symbol.group(1), source.stem, functions)
        assert name not in kernels, f"{source.name} has two kernels that are called {name}"
        kernels[name] = text.replace(symbol.group(1), name)
    return kernels


def function_of(symbol: str, module: str, functions: list[str]) -> str:
    """Which function a symbol means: it is module_function_types_hash, and cut off before the types if it is long."""
    rest = symbol.removeprefix(f"{module}_")
    beginning = rest.split("6A")[0]
    cut_off = [name for name in functions if name.startswith(beginning)]
    found = cut_off or [max((name for name in functions if rest.startswith(f"{name}_")), key=len)]
    assert len(found) == 1, f"{symbol} may be any of {found}: rename one"
    return found[0]


def mojo(*arguments: str) -> str:
    beside = Path(sys.executable).with_name("mojo")
    run = subprocess.run([beside if beside.exists() else "mojo", *arguments], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    return run.stdout


if __name__ == "__main__":
    main([HERE / argument for argument in sys.argv[1:]] or sorted(HERE.glob("*.mojo")))
