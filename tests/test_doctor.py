"""`workbook doctor`: what it says of machines that we do not have, and of this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupyter_core.paths
import pytest

from softgpu.driver.build import built_driver, modular_lib_folder
from workbook import rooms
from workbook.doctor import examination
from workbook.doctor.examination import examine
from workbook.doctor.machine import BAD, GOOD, GROUPS, NOTE, Machine, NoAnswer
from workbook.puzzles import all_puzzles
from workbook.region import BEGIN

SUPPORTED = """\
AMD (ROCm/HIP):
  gfx90a         - CDNA2 (MI250X)
  mi250x         - (alias) -> gfx90a
  gfx942         - CDNA3 (MI300X)
  gfx1100        - RDNA3 (Radeon 7900)
NVIDIA (CUDA):
  sm_61          - Pascal (GTX 1060, GTX 1080 Ti)
  sm_75          - Turing (RTX 2060)
  sm_90          - Hopper (H100)
  sm_90a         - Hopper with extensions
"""


class FakeMachine(Machine):
    """A machine with the files below `root`, and otherwise with what it is told."""

    def __init__(self, root, files=(), libraries=(), answers=None, outputs=None, packages=None, **others):
        self.root = root
        for name, text in dict(files).items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.libraries, self.outputs, self.environ = libraries, outputs or {}, {}
        self.answers = {"max_gpus": {"count": 0}, "softgpu": {"built": True, "right": True}} | (answers or {})
        self.packages = {"max": "26.7.0", "mojo-compiler": "1.2.0", "jupyterlab": "4.6.6"} | (packages or {})
        self.system, self.architecture = "Linux", "x86_64"
        vars(self).update(others)

    def glibc(self):
        return vars(self).get("libc", "2.36")

    def macos(self):
        return vars(self).get("mac", "")

    def package(self, name):
        return self.packages.get(name)

    def requirements(self):
        return ["max==26.7.0", 'tkinter-of-others==1; sys_platform == "win32"', 'torch==2.13.0; extra == "torch"']

    def loads(self, library):
        return library in self.libraries

    def output(self, *command):
        return self.outputs.get(Path(command[0]).name)

    def mojo(self, *arguments):
        return SUPPORTED

    def ask(self, question):
        if question not in self.answers:
            raise NoAnswer("nobody knows")
        return self.answers[question]


def pci(vendor, kind="0x030000"):
    return {"sys/bus/pci/devices/0000:01:00.0/vendor": f"{vendor}\n", "sys/bus/pci/devices/0000:01:00.0/class": kind}


def hopper(driver, architecture="sm_90"):
    return {"nvidia": {"driver": driver, "gpus": [{"name": "NVIDIA H100", "architecture": architecture}]}}


NVIDIA, AMD = pci("0x10de"), pci("0x1002", "0x120000")
WSL = {"proc/version": "Linux version 6.6.87.2-microsoft-standard-WSL2", "dev/dxg": ""}
CONTAINER = {".dockerenv": ""}
CUDA, HIP = ("libcuda.so.1",), ("libamdhip64.so",)
MAX_HAS_NVIDIA = {"max_gpus": {"count": 1, "api": "cuda", "architecture": "sm_90"}}
NODE = "sys/class/kfd/kfd/topology/nodes/1/properties"
INSTINCT = AMD | {"dev/kfd": "", NODE: "simd_count 304\ngfx_target_version 90402\n"}
ROCM = {"opt/rocm/.info/version": "6.4.1-83\n"}
MAC = {"system": "Darwin", "architecture": "arm64", "mac": "15.6"}
XCODE = {"sysctl": "Apple M3\n", "xcode-select": "/Applications/Xcode.app\n", "xcrun": "metal 32023\n"}
ASSEMBLER = "MODULAR_NVPTX_COMPILER_PATH"

MACHINES = [
    ("no GPU", {}, "gpu.max", GOOD, "None is needed: the software GPU executes your kernels."),
    ("no GPU on ARM", {"architecture": "aarch64"}, "gpu.max", BAD, "Linux x86-64 only. | or one with a GPU"),
    (
        "NVIDIA",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("580.65.06") | MAX_HAS_NVIDIA},
        "gpu.nvidia",
        GOOD,
        "NVIDIA H100 (sm_90), driver 580.65.06",
    ),
    (
        "MAX uses it",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("580.65.06") | MAX_HAS_NVIDIA},
        "gpu.max",
        GOOD,
        "MAX finds a GPU (cuda, sm_90)",
    ),
    (
        "MAX does not",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("580.65.06")},
        "gpu.max",
        NOTE,
        "MAX finds no GPU that it can use: the software GPU",
    ),
    (
        "old driver",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("570.86.15")},
        "gpu.nvidia.driver",
        NOTE,
        "570.86.15 is too old for MAX 26.7.0, which needs 580 or newer | (and restart the machine)",
    ),
    (
        "old driver on WSL",
        {"files": WSL, "libraries": CUDA, "answers": hopper("570.86.15")},
        "gpu.nvidia.driver",
        NOTE,
        "too old | (on Windows, not in WSL)",
    ),
    (
        "old driver, nvidia-smi only",
        {"files": NVIDIA, "libraries": CUDA, "outputs": {"nvidia-smi": "535.1, 9.0, NVIDIA H100 PCIe\n"}},
        "gpu.nvidia.driver",
        NOTE,
        "535.1 is too old",
    ),
    (
        "Pascal",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("580.1", "sm_61")},
        "gpu.nvidia.architecture",
        NOTE,
        "sm_61 is older | export MODULAR_NVPTX_COMPILER_PATH=/usr/local/cuda/bin/ptxas",
    ),
    (
        "a GPU that MAX does not know",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("590.1", "sm_140")},
        "gpu.nvidia.architecture",
        NOTE,
        "does not compile for sm_140 | `--device softgpu`",
    ),
    (
        "assembler that is gone",
        {"files": NVIDIA, "libraries": CUDA, "answers": hopper("580.1"), "environ": {ASSEMBLER: "/opt/cuda/bin/ptxas"}},
        "gpu.nvidia.assembler",
        NOTE,
        "/opt/cuda/bin/ptxas, which does not",
    ),
    ("no driver", {"files": NVIDIA}, "gpu.nvidia", NOTE, "`libcuda.so.1` | Install NVIDIA's driver 580 or newer"),
    (
        "in a container without it",
        {"files": NVIDIA | CONTAINER},
        "gpu.nvidia",
        NOTE,
        "this container was started without it | `docker run --gpus all …`",
    ),
    ("the container shows none", {"files": CONTAINER, "libraries": CUDA}, "gpu.nvidia", NOTE, "shows no GPU | docker"),
    (
        "WSL without a driver",
        {"files": WSL},
        "gpu.nvidia",
        NOTE,
        "This is WSL | NVIDIA's driver 580 or newer on Windows",
    ),
    (
        "updated under the feet",
        {"files": NVIDIA, "libraries": CUDA, "answers": {"nvidia": {"error": 18}}},
        "gpu.nvidia",
        NOTE,
        "was updated | Restart the machine",
    ),
    (
        "driver does not answer",
        {"files": NVIDIA, "libraries": CUDA, "answers": {"nvidia": {"error": 9}}},
        "gpu.nvidia",
        NOTE,
        "its driver does not answer | `nvidia-smi`",
    ),
    (
        "a library and no GPU",
        {"libraries": CUDA, "answers": {"nvidia": {"error": 9}}},
        "gpu.nvidia",
        GOOD,
        "is no NVIDIA",
    ),
    ("AMD", {"files": INSTINCT | ROCM, "libraries": HIP}, "gpu.amd", GOOD, "AMD: gfx942, ROCm 6.4.1-83"),
    (
        "old ROCm",
        {"files": INSTINCT | {"opt/rocm/.info/version": "6.2.0"}, "libraries": HIP},
        "gpu.amd.driver",
        NOTE,
        "ROCm 6.2.0 is too old for MAX 26.7.0, which needs 6.3.3",
    ),
    ("no ROCm", {"files": INSTINCT}, "gpu.amd", NOTE, "`libamdhip64.so` is missing | ROCm 6.3.3 or newer"),
    ("no AMD driver", {"files": AMD}, "gpu.amd", NOTE, "`/dev/kfd` is missing"),
    ("AMD not in the container", {"files": AMD | CONTAINER}, "gpu.amd", NOTE, "without it | --device /dev/kfd"),
    (
        "old Radeon",
        {"files": INSTINCT | ROCM | {NODE: "gfx_target_version 90000\n"}, "libraries": HIP},
        "gpu.amd.architecture",
        NOTE,
        "does not compile for gfx900 | `--device softgpu`",
    ),
    (
        "not for this user",
        {"files": INSTINCT | ROCM, "libraries": HIP, "may_write": lambda path: False},
        "gpu.amd.permission",
        NOTE,
        "`/dev/kfd` | usermod -aG render,video",
    ),
    ("Apple", MAC | {"outputs": XCODE}, "gpu.apple", GOOD, "Apple M3, macOS 15.6"),
    ("old macOS", MAC | {"outputs": XCODE, "mac": "14.5"}, "gpu.apple.macos", NOTE, "from macOS 15 on | Update macOS"),
    ("no Xcode", MAC, "gpu.apple.xcode", NOTE, "Xcode | App Store"),
    (
        "no Metal",
        MAC | {"outputs": XCODE | {"xcrun": None}},
        "gpu.apple.metal",
        NOTE,
        "| MetalToolchain",
    ),
    ("Apple without its GPU", MAC | {"outputs": XCODE}, "gpu.max", BAD, "MAX finds no GPU"),
    ("Intel Mac", {"system": "Darwin"}, "gpu.apple", BAD, "Intel processor | Apple silicon"),
    ("Windows", {"system": "Windows", "architecture": "AMD64"}, "machine.system", BAD, "there is no MAX | WSL"),
    ("old Linux", {"libc": "2.31"}, "machine.system", BAD, "glibc 2.31 | needs glibc 2.34 or newer"),
    ("musl", {"libc": ""}, "machine.system", BAD, "glibc none | needs glibc"),
    ("WSL", {"files": WSL}, "machine.system", GOOD, "x86_64 (WSL), glibc 2.36"),
    (
        "old processor",
        {"files": {"proc/cpuinfo": "flags\t\t: fpu sse4_2 avx\n"}},
        "machine.processor",
        NOTE,
        "avx2, bmi1 | virtual machine",
    ),
    (
        "little memory",
        {"files": {"proc/meminfo": "MemTotal:        2000000 kB\n"}},
        "machine.memory",
        NOTE,
        "2.0 GB | MAX",
    ),
    (
        "little for the container",
        {"files": {"proc/meminfo": "MemTotal: 64000000 kB\n", "sys/fs/cgroup/memory.max": "1073741824\n"}},
        "machine.memory",
        NOTE,
        "1.1 GB | give the container more",
    ),
    ("old Python", {"python": "3.10.4"}, "machine.python", BAD, "Python 3.10.4 | 3.11 or newer"),
    ("no MAX", {"packages": {"max": None}}, "packages.max", BAD, "max is missing | `uv sync --inexact`"),
    (
        "another MAX",
        {"packages": {"max": "26.5.0"}},
        "packages.max",
        NOTE,
        "is version 26.5.0, but the workbook is made for 26.7.0 | `uv sync --inexact`",
    ),
    ("no Mojo", {"packages": {"mojo-compiler": None}}, "packages.mojo-compiler", BAD, "mojo-compiler is missing"),
    ("not installed", {"requirements": list}, "packages.workbook", BAD, "is not installed in this Python"),
    ("MAX broken", {"answers": {"max_gpus": None}}, "gpu.max", BAD, "cannot be asked"),
    (
        "softgpu not built",
        {"answers": {"softgpu": {"built": False}}},
        "softgpu.runs",
        NOTE,
        "not built | `workbook warm`",
    ),
    ("softgpu wrong", {"answers": {"softgpu": {"built": True, "right": False}}}, "softgpu.runs", BAD, "wrong | Delete"),
    ("softgpu broken", {"answers": {"softgpu": None}}, "softgpu.runs", BAD, "does not run: nobody knows"),
    ("no softgpu", {"architecture": "aarch64"}, "softgpu.runs", NOTE, "Linux x86-64 only | without pictures"),
    ("no PyTorch", {}, "optional.pytorch", NOTE, "only p20 needs it | uv pip install --torch-backend=cpu torch=="),
    ("PyTorch", {"packages": {"torch": "2.13.0+cpu"}}, "optional.pytorch", GOOD, "PyTorch 2.13.0+cpu"),
    ("no Chromium", {}, "optional.chromium", NOTE, "`/usr/bin/chromium` is missing | Leave it"),
]


def found(findings, name, state, words):
    """Whether a finding says the words: those before "|" as what it is, those after it as advice."""
    what, _, advice = (part.strip() for part in words.partition("|"))
    same = [one for one in findings if (one.name, one.state) == (name, state)]
    return any(what in one.what and advice in one.advice for one in same)


@pytest.mark.parametrize(
    ("machine", "name", "state", "words"), [row[1:] for row in MACHINES], ids=[r[0] for r in MACHINES]
)
def test_what_is_said_of_a_machine(tmp_path, machine, name, state, words):
    machine = dict(machine)
    answers = machine.pop("answers", {})
    fake = FakeMachine(tmp_path / "root", answers=answers, **machine)
    fake.answers = {question: answer for question, answer in fake.answers.items() if answer is not None}
    findings = examine(fake)
    assert found(findings, name, state, words), "\n".join(
        f"{one.name} {one.state}: {one.what} {one.advice}" for one in findings
    )
    assert not any("could not be looked at" in one.what for one in findings)


def test_an_assembler_of_ones_own_makes_an_old_driver_do(tmp_path):
    files = NVIDIA | {"usr/bin/ptxas": ""}
    machine = FakeMachine(tmp_path, files, CUDA, hopper("535.1", "sm_61"))
    machine.environ = {ASSEMBLER: "/usr/bin/ptxas"}
    assert {one.name for one in examine(machine) if one.name.startswith("gpu.nvidia")} == {"gpu.nvidia"}


@pytest.mark.parametrize("part", examination.PARTS, ids=lambda part: part.__name__)
def test_a_part_that_fails_says_so_and_leaves_the_others_alone(tmp_path, monkeypatch, part):
    def fails(machine):
        raise ZeroDivisionError("oh")

    fails.__name__ = part.__name__
    others = [one for one in examination.PARTS if one != part]
    monkeypatch.setattr(examination, "PARTS", (fails, others[0]))
    first, *rest = examine(FakeMachine(tmp_path))
    assert (first.state, first.what) == (NOTE, f"This could not be looked at: {part.__name__}. ZeroDivisionError: oh")
    assert first.name in GROUPS
    assert rest or others[0] is examination.processor


# The files of this checkout, and Jupyter


def state_of(name, tmp_path):
    return next(one for one in examine(FakeMachine(tmp_path / "root")) if one.name == name)


def test_a_damaged_problem_and_a_missing_solution_are_named(tmp_path, puzzle):
    puzzle.problem_file.write_text(puzzle.problem_file.read_text().replace(BEGIN, ""))
    finding = state_of("workbook.p17", tmp_path)
    assert finding.state == NOTE
    assert "problems/p17/op.mojo: The file must have the line" in finding.what
    assert "`workbook reset p17`" in finding.advice

    all_puzzles()["t1"].solution_file.unlink()
    finding = state_of("workbook.t1", tmp_path)
    assert (finding.state, finding.what) == (BAD, "solutions/t1/op.mojo is missing.")
    assert "`git restore solutions/t1/op.mojo`" in finding.advice


@pytest.mark.parametrize("content", ["[p17\n", "[p17]\nattempts = 'many'\n"])
def test_progress_that_cannot_be_read_is_named_and_left_alone(tmp_path, content):
    rooms.PROGRESS.write_text(content)
    finding = state_of("workbook.progress", tmp_path)
    assert finding.state == NOTE
    assert ".workbook/progress.toml cannot be read" in finding.what
    assert rooms.PROGRESS.read_text() == content


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    def refuses(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(examination.tempfile, "TemporaryFile", refuses)
    finding = state_of("workbook.permission", tmp_path)
    assert (finding.state, finding.what) == (BAD, f"Nothing can be written to {rooms.PROBLEMS}: Permission denied.")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda folder: os.statvfs_result)
    monkeypatch.setattr(os.statvfs_result, "free", 2e6, raising=False)
    finding = state_of("machine.disk", tmp_path)
    assert finding.state == BAD
    assert finding.what.startswith("2 MB free")


@pytest.fixture
def jupyter(tmp_path, monkeypatch):
    """The folders of a Jupyter that has nothing."""
    for kind in ("jupyter_path", "jupyter_config_path"):
        monkeypatch.setattr(jupyter_core.paths, kind, lambda *parts, k=kind: [str(tmp_path.joinpath(k, *parts))])
    return tmp_path


def install(folder, extension):
    place = folder / "jupyter_path" / "labextensions" / extension
    place.mkdir(parents=True)
    (place / "package.json").write_text("{}")


def test_a_missing_and_a_disabled_extension_are_named(jupyter):
    finding = state_of("lab.anywidget", jupyter)
    assert (finding.state, "anywidget is not found" in finding.what) == (BAD, True)
    assert "--reinstall-package jupyterlab-widgets" in state_of("lab.jupyterlab-manager", jupyter).advice
    install(jupyter, "anywidget")
    assert state_of("lab.anywidget", jupyter).state == GOOD
    config = jupyter / "jupyter_config_path" / "labconfig"
    config.mkdir(parents=True)
    for disabled in ({"anywidget": True}, ["anywidget"]):
        (config / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
        assert "`jupyter labextension enable anywidget`" in state_of("lab.anywidget", jupyter).advice
    (config / "page_config.json").write_text(json.dumps({"disabledExtensions": {"anywidget": False}}))
    assert state_of("lab.anywidget", jupyter).state == GOOD


def test_a_kernel_of_another_python_is_named(jupyter):
    kernel = jupyter / "jupyter_path" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    for program, state in (("python", GOOD), (sys.executable, GOOD), ("/opt/other/bin/python", NOTE)):
        (kernel / "kernel.json").write_text(json.dumps({"argv": [program, "-m", "ipykernel_launcher"]}))
        assert state_of("lab.kernel", jupyter).state == state
    assert "/opt/other/bin/python" in state_of("lab.kernel", jupyter).what


# This machine


def test_nvidias_library_is_asked_as_it_is_meant_to_be():
    """The software GPU's own stands in for it."""
    folders = f"{built_driver()}:{modular_lib_folder()}"
    command = [sys.executable, "-m", "workbook.doctor.questions", "nvidia"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LD_LIBRARY_PATH": folders})
    answer = json.loads(done.stdout)
    assert [gpu["architecture"] for gpu in answer["gpus"]] == ["sm_80"]
    assert int(answer["driver"].split(".")[0]) >= 580
    assert "softgpu" in answer["gpus"][0]["name"].lower()


def doctor(*options, **variables):
    command = [sys.executable, "-m", "workbook.commands.main", "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


def test_this_machine_can_be_used_and_both_outputs_say_the_same():
    told = doctor("--json")
    answer = json.loads(told.stdout)
    assert (told.returncode, told.stderr) == (0, "")
    assert answer["usable"] is True
    states = {finding["name"]: finding["state"] for finding in answer["findings"]}
    assert states["softgpu.runs"] == states["packages.max"] == states["lab.anywidget"] == GOOD
    assert not any("could not be looked at" in finding["what"] for finding in answer["findings"])
    shown = doctor().stdout
    for finding in answer["findings"]:
        if "free" not in finding["what"] and "take" not in finding["what"]:  # sizes, which change
            assert finding["what"] in shown
    assert shown.endswith("The workbook can be used here.\n")


def test_a_machine_that_cannot_be_used_gets_another_exit_status(puzzle):
    puzzle.solution_file.unlink()
    told = doctor()
    assert told.returncode == 1
    assert "  ✗ solutions/p17/op.mojo is missing.\n" in told.stdout
    assert told.stdout.endswith("The workbook cannot be used here yet: 1 thing is missing, marked ✗.\n")


def test_a_software_gpu_that_is_not_built_is_not_built_by_looking(tmp_path):
    told = doctor(SOFTGPU_CACHE_DIR=str(tmp_path / "cache"))
    assert told.returncode == 0
    assert "The software GPU is not built yet" in told.stdout
    assert not list((tmp_path / "cache").glob("driver-*"))
