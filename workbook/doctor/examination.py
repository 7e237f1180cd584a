"""Looks at everything that the workbook needs, a part after the other. No part can fail or take long for the others."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workbook import language, rooms
from workbook.doctor.gpus import gpus
from workbook.doctor.machine import BAD, GOOD, NOTE, Finding, Machine, NoAnswer
from workbook.language import _, listed, ngettext
from workbook.learner import progress
from workbook.puzzles import DamagedPuzzles, all_puzzles
from workbook.pytorch import calls
from workbook.region import RegionError, read_region

GLIBC = (2, 34)
PYTHON = (3, 11)
CPU_FLAGS = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
"""Of x86-64-v3, which MAX is compiled for."""
GIGABYTE = 1e9
CHROMIUM = "usr/bin/chromium"

Part = Callable[[Machine], Iterable[Finding]]


def examine(machine: Machine | None = None) -> list[Finding]:
    """All findings, in the order of GROUPS. Takes as long as the slowest part: no part more than 12 s."""
    machine = machine or Machine()
    pool = ThreadPoolExecutor(len(PARTS))
    try:
        return [finding for found in pool.map(lambda part: _guarded(part, machine), PARTS) for finding in found]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for what is being asked


def _guarded(part: Part, machine: Machine) -> list[Finding]:
    try:
        return list(part(machine))
    except Exception as error:  # a look that fails says that it failed, and the others go on
        name = part.__name__
        text = _("This could not be looked at: {part}. {kind}: {error}")
        return [Finding(GROUP_OF[name], NOTE, text.format(part=name, kind=type(error).__name__, error=error))]


# This machine


def system(machine: Machine) -> Iterator[Finding]:
    name = "machine.system"
    surroundings = [_("WSL")] * machine.is_wsl + [_("in a container")] * machine.is_container
    where = f" ({', '.join(surroundings)})" if surroundings else ""
    is_apple = (machine.system, machine.architecture) == ("Darwin", "arm64")
    if machine.system == "Linux":
        glibc = machine.glibc()
        text = _("Linux on {architecture}{where}, glibc {version}.")
        what = text.format(architecture=machine.architecture, where=where, version=glibc or _("none"))
        numbers = tuple(int(part) for part in re.findall(r"\d+", glibc)[:2])
        if numbers < GLIBC:
            advice = _("MAX needs glibc {needed} or newer: Debian 12 or Ubuntu 22.04 have it, also in a container.")
            yield Finding(name, BAD, what, advice.format(needed=".".join(map(str, GLIBC))))
        else:
            yield Finding(name, GOOD, what)
    elif is_apple:
        yield Finding(name, GOOD, _("macOS {version} on Apple silicon.").format(version=machine.macos()))
    else:
        text = _("{system} on {architecture}: there is no MAX for it.")
        advice = _("Use Linux, a Mac with Apple silicon, or on Windows WSL.")
        yield Finding(name, BAD, text.format(system=machine.system, architecture=machine.architecture), advice)


def processor(machine: Machine) -> Iterator[Finding]:
    flags = re.search(r"^flags\s*:(.*)$", machine.text("proc/cpuinfo"), re.MULTILINE)
    missing = CPU_FLAGS - set(flags[1].split()) if flags else set()
    if missing:
        text = _("This processor lacks {features}, which MAX asks for.").format(features=", ".join(sorted(missing)))
        advice = _("In a virtual machine, pass on the features of the processor; else use a newer machine.")
        yield Finding("machine.processor", NOTE, text, advice)


def python(machine: Machine) -> Iterator[Finding]:
    name, what = "machine.python", _("Python {version}, in {folder}.").format(version=machine.python, folder=sys.prefix)
    if tuple(int(part) for part in re.findall(r"\d+", machine.python)[:2]) < PYTHON:
        yield Finding(name, BAD, what, _("Use Python {needed} or newer.").format(needed=".".join(map(str, PYTHON))))
    else:
        yield Finding(name, GOOD, what)


def memory(machine: Machine) -> Iterator[Finding]:
    name, total = "machine.memory", re.search(r"^MemTotal:\s+(\d+) kB", machine.text("proc/meminfo"), re.MULTILINE)
    limit = machine.text("sys/fs/cgroup/memory.max").strip()
    sizes = [int(total[1]) * 1024] * bool(total) if total else []
    sizes += [int(limit)] if limit.isdigit() else []
    if not sizes:
        return
    what = _("{size} of memory.").format(size=size(min(sizes)))
    if min(sizes) < 3.5 * GIGABYTE:
        advice = _("MAX may be ended in the middle of a build: close other programs, or give the container more.")
        yield Finding(name, NOTE, what, advice)
    else:
        yield Finding(name, GOOD, what)


def disk(machine: Machine) -> Iterator[Finding]:
    name = "machine.disk"
    from softgpu.driver.build import cache_folder

    devices = set()
    for folder in (rooms.ROOT, cache_folder()):
        while not folder.exists():
            folder = folder.parent
        if folder.stat().st_dev in devices:
            continue
        devices.add(folder.stat().st_dev)
        free = shutil.disk_usage(folder).free
        text = _("{size} free on the disk of {folder}.").format(size=size(free), folder=folder)
        state = BAD if free < 0.05 * GIGABYTE else NOTE if free < GIGABYTE else GOOD
        yield Finding(name, state, text, "" if state == GOOD else _("Make room: MAX and softgpu keep what they build."))


def speech(machine: Machine) -> Iterator[Finding]:
    name = "machine.language"
    others = [code for code in language.languages() if code != language.language()]
    text = _("The workbook speaks {language}; {variable} chooses another: {others}.")
    codes = {"language": language.language(), "variable": language.VARIABLE, "others": ", ".join(others)}
    yield Finding(name, GOOD, text.format(**codes))
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding != "utf8":
        text = _("This terminal's encoding is {encoding}: signs that it lacks are shown as question marks.")
        advice = _("Choose UTF-8: {command}").format(command="`export LANG=C.UTF-8`")
        yield Finding("machine.encoding", NOTE, text.format(encoding=sys.stdout.encoding), advice)


# Packages


def packages(machine: Machine) -> Iterator[Finding]:
    """The workbook's own pins, and Mojo's, which MAX brings."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in machine.requirements()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    again = "`pixi install`" if machine.exists(f"{sys.prefix}/conda-meta".lstrip("/")) else "`uv sync --inexact`"
    advice = _("Bring the packages up to date: {command}, in the folder of the workbook.").format(command=again)
    if not needed:
        text = _("The package of the workbook is not installed in this Python.")
        yield Finding("packages.workbook", BAD, text, advice)
    for name in ("max", "mojo-compiler", "jupyterlab"):
        version = machine.package(name)
        if version is not None:
            yield Finding(f"packages.{name}", GOOD, f"{TITLES[name]} {version}.")
    for one in needed:
        version = machine.package(one.name)
        if version is None:
            text = _("{package} is missing.").format(package=one.name)
            yield Finding(f"packages.{one.name}", BAD, text, advice)
        elif version not in one.specifier:
            text = _("{package} is version {version}, but the workbook is made for {needed}.")
            text = text.format(package=one.name, version=version, needed=str(one.specifier).lstrip("="))
            yield Finding(f"packages.{one.name}", NOTE, text, advice)
    if machine.package("max") is not None and machine.package("mojo-compiler") is None:
        yield Finding("packages.mojo-compiler", BAD, _("{package} is missing.").format(package="mojo-compiler"), advice)


TITLES = {"max": "MAX", "mojo-compiler": "Mojo", "jupyterlab": "JupyterLab"}


# GPU and software GPU


def graphics(machine: Machine) -> list[Finding]:
    return gpus(machine, _softgpu_runs(machine))


def software_gpu(machine: Machine) -> Iterator[Finding]:
    name = "softgpu.runs"
    if not _softgpu_runs(machine):
        text = _("The software GPU, which draws the pictures, runs on Linux x86-64 only.")
        yield Finding(name, NOTE, text, _("Attempts are checked on the GPU alone, without pictures."))
        return
    try:
        answer = machine.ask("softgpu")
    except NoAnswer as error:
        text = _("The software GPU does not run: {reason}").format(reason=error)
        advice = _("If it is being built for the first time, wait a minute and try again; else see {command}.")
        yield Finding(name, BAD, text, advice.format(command="`softgpu run --help`"))
        return
    if not answer["built"]:
        text = _("The software GPU is not built yet: the first attempt does it, which takes half a minute.")
        yield Finding(name, NOTE, text, _("To have it done now: {command}").format(command="`workbook warm`"))
    elif not answer["right"]:
        text = _("The software GPU gives wrong results.")
        yield Finding(name, BAD, text, _("Delete its cache, which is named below, and try again."))
    else:
        yield Finding(name, GOOD, _("The software GPU is built, answers MAX, and executes a kernel."))


def caches(machine: Machine) -> Iterator[Finding]:
    from softgpu.driver.build import cache_folder

    home = Path(machine.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = {
        _("MAX and Mojo"): Path(machine.environ.get("MODULAR_CACHE_DIR") or home / "modular"),
        _("the software GPU"): cache_folder(),
        _("the workbook's builds"): rooms.BUILD,
        _("answers to known attempts"): rooms.ANSWERS,
    }
    taken = {folder: _bytes_in(folder) for folder in folders.values()}
    shown = [f"{folder} ({what}, {size(taken[folder])})" for what, folder in folders.items()]
    text = _("Caches take {size} in all.").format(size=size(sum(taken.values())))
    advice = _("{command} clears one, while no notebook runs: {folders}.")
    yield Finding("softgpu.caches", GOOD, text, advice.format(command="`rm -r`", folders=", ".join(shown)))


def _softgpu_runs(machine: Machine) -> bool:
    return (machine.system, machine.architecture) == ("Linux", "x86_64")


# JupyterLab


def widgets(machine: Machine) -> Iterator[Finding]:
    """What draws the pictures in the browser, as `jupyter labextension list` finds it."""
    from jupyter_core.paths import jupyter_config_path, jupyter_path

    disabled = _disabled(Path(folder) / "labconfig" / "page_config.json" for folder in jupyter_config_path())
    for extension in ("anywidget", "@jupyter-widgets/jupyterlab-manager"):
        name = f"lab.{extension.rpartition('/')[2]}"
        found = [path for folder in jupyter_path("labextensions") if (path := Path(folder) / extension).exists()]
        if not any((path / "package.json").exists() for path in found):
            text = _("JupyterLab's extension {name} is not found: notebooks cannot show the pictures.")
            advice = _("Install it again: {command}")
            package = {"anywidget": "anywidget"}.get(extension, "jupyterlab-widgets")
            command = f"`uv sync --inexact --reinstall-package {package}`"
            yield Finding(name, BAD, text.format(name=extension), advice.format(command=command))
        elif extension in disabled:
            text = _("JupyterLab's extension {name} is disabled: notebooks cannot show the pictures.")
            advice = _("Enable it: {command}").format(command=f"`jupyter labextension enable {extension}`")
            yield Finding(name, BAD, text.format(name=extension), advice)
        else:
            yield Finding(name, GOOD, _("The extension {name} is installed.").format(name=extension))


def _disabled(files: Iterable[Path]) -> set[str]:
    import json

    names: set[str] = set()
    for file in files:
        try:
            entry = json.loads(file.read_text()).get("disabledExtensions", {})
        except (OSError, ValueError, AttributeError):
            continue
        names |= {name for name in entry if not isinstance(entry, dict) or entry[name]}
    return names


def kernel(machine: Machine) -> Iterator[Finding]:
    """Whether notebooks run in the Python that has the workbook: a kernel of the same name elsewhere may hide ours."""
    import json

    from jupyter_core.paths import jupyter_path

    files = (Path(folder) / "python3" / "kernel.json" for folder in jupyter_path("kernels"))
    first = next((file for file in files if file.exists()), None)
    if first is None:
        return  # JupyterLab has one of its own
    program = json.loads(first.read_text())["argv"][0]
    ours = {os.path.basename(sys.executable), "python", "python3", sys.executable}
    if program in ours or os.path.realpath(program) == os.path.realpath(sys.executable):
        yield Finding("lab.kernel", GOOD, _("Notebooks run in this Python."))
    else:
        text = _("Notebooks run in another Python, {program}: {file} says so.")
        advice = _("Remove that file, or start the notebooks with {command}.")
        command = "`JUPYTER_PREFER_ENV_PATH=1 workbook lab`"
        what = text.format(program=program, file=first)
        yield Finding("lab.kernel", NOTE, what, advice.format(command=command))


# The workbook's files


def content(machine: Machine) -> Iterator[Finding]:
    try:
        puzzles = all_puzzles()
    except DamagedPuzzles as error:
        yield Finding("workbook.puzzles", BAD, str(error))
        return
    except OSError as error:
        text = _("{file} cannot be read: {error}").format(file=rooms.PUZZLES_FILE, error=error)
        yield Finding("workbook.puzzles", BAD, text, _restore("puzzles.toml"))
        return
    damaged = 0
    for puzzle in puzzles.values():
        try:
            read_region(puzzle.problem_file.read_text())
        except (OSError, UnicodeDecodeError, RegionError) as error:
            damaged += 1
            reason = error.strerror if isinstance(error, OSError) else error
            text = _("{file}: {reason}").format(file=puzzle.problem_name, reason=reason)
            advice = _("{command} restores it; what it holds is kept in the history.")
            command = f"`workbook reset {puzzle.id}`"
            yield Finding(f"workbook.{puzzle.id}", NOTE, text, advice.format(command=command))
        ours = (puzzle.solution_file, puzzle.python_file, puzzle.kernel_file)
        for file in ours:
            if file is not None and not file.exists():
                damaged += 1
                name = file.relative_to(rooms.ROOT)
                text = _("{file} is missing.").format(file=name)
                yield Finding(f"workbook.{puzzle.id}", BAD, text, _restore(str(name)))
    if not damaged:
        text = ngettext(
            "The files of {count} puzzle are whole.", "The files of {count} puzzles are whole.", len(puzzles)
        )
        yield Finding("workbook.puzzles", GOOD, text.format(count=len(puzzles)))


def _restore(name: str) -> str:
    return _("Restore it: {command}").format(command=f"`git restore {name}`")


def permission(machine: Machine) -> Iterator[Finding]:
    name = "workbook.permission"
    for folder in (rooms.PROBLEMS, rooms.STATE if rooms.STATE.exists() else rooms.ROOT):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            text = _("Nothing can be written to {folder}: {reason}.").format(folder=folder, reason=error.strerror)
            yield Finding(name, BAD, text, _("Use a copy of the workbook in a folder of your own."))
            return
    yield Finding(name, GOOD, _("The workbook may write to {folder}.").format(folder=rooms.ROOT))


def progress_file(machine: Machine) -> Iterator[Finding]:
    name, file = "workbook.progress", rooms.PROGRESS.relative_to(rooms.ROOT)
    try:
        problem = progress.problem()
    except OSError as error:
        problem = str(error)
    if problem:
        text = _("Your progress in {file} cannot be read: {error}.").format(file=file, error=problem.rstrip("."))
        advice = _("Correct the file. Otherwise it is set aside, and made anew from your history, at the next check.")
        yield Finding(name, NOTE, text, advice)
    elif not rooms.PROGRESS.exists():
        yield Finding(name, GOOD, _("No puzzle has been attempted yet."))
    else:
        yield Finding(name, GOOD, _("Your progress in {file} is readable.").format(file=file))
    for notice in progress.notices():
        yield Finding(name, NOTE, notice)


# Not needed by all


def pytorch(machine: Machine) -> Iterator[Finding]:
    version = machine.package("torch")
    if version is None:
        ids = [puzzle.id for puzzle in all_puzzles().values() if puzzle.fills == "torch"]
        text = _("PyTorch is not installed: only {puzzles} needs it.").format(puzzles=listed(ids))
        advice = _("Install it with {cpu}, or with CUDA: {cuda}.")
        commands = {
            "cpu": f"`uv pip install --torch-backend=cpu {calls.TORCH}`",
            "cuda": "`uv sync --inexact --extra torch`",
        }
        yield Finding("optional.pytorch", NOTE, text, advice.format(**commands))
    else:
        yield Finding("optional.pytorch", GOOD, f"PyTorch {version}.")


def chromium(machine: Machine) -> Iterator[Finding]:
    if machine.exists(CHROMIUM):
        yield Finding("optional.chromium", GOOD, _("Chromium, with which the workbook is tested."))
    else:
        text = _("{file} is missing: only {command} needs it, and leaves some tests out without it.")
        what = text.format(file=f"`/{CHROMIUM}`", command="`workbook test`")
        yield Finding("optional.chromium", NOTE, what, _("Leave it, unless you change the workbook itself."))


def size(count: float) -> str:
    """1.2 GB"""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _bytes_in(folder: Path) -> int:
    """What the files below a folder take. Others may delete them meanwhile."""
    total = 0
    for path, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total


PARTS: tuple[Part, ...] = (
    system,
    processor,
    python,
    memory,
    disk,
    speech,
    packages,
    graphics,
    software_gpu,
    caches,
    widgets,
    kernel,
    content,
    permission,
    progress_file,
    pytorch,
    chromium,
)
GROUP_OF = {
    **dict.fromkeys(("system", "processor", "python", "memory", "disk", "speech"), "machine"),
    "packages": "packages",
    "graphics": "gpu",
    **dict.fromkeys(("software_gpu", "caches"), "softgpu"),
    **dict.fromkeys(("widgets", "kernel"), "lab"),
    **dict.fromkeys(("content", "permission", "progress_file"), "workbook"),
    **dict.fromkeys(("pytorch", "chromium"), "optional"),
}
"""Where it is said that a part could not be looked at."""
