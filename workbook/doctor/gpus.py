"""The GPUs of this machine, and whether MAX can use them.

What MAX asks of drivers and GPUs is from its "System requirements" (docs.modular.com/mojo/requirements); which
architectures it compiles for, `mojo build --print-supported-accelerators` says.
"""

import re
from collections.abc import Iterator

from workbook.doctor.machine import BAD, GOOD, NOTE, Finding, Machine, NoAnswer
from workbook.language import _

NVIDIA_DRIVER = 580
OLDEST_NVIDIA = 75
"""Turing: what NVIDIA's assembler in MAX still compiles for."""
ROCM = (6, 3, 3)
MACOS = 15
DRIVER_IS_ANOTHER = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH: the library is newer than the driver that runs."""

ASSEMBLER = "MODULAR_NVPTX_COMPILER_PATH"


def gpus(machine: Machine, softgpu_runs_here: bool) -> list[Finding]:
    """What there is to say of GPUs."""
    vendors = {"Darwin": [_apple]}.get(machine.system, [_nvidia, _amd])
    found = [finding for vendor in vendors for finding in vendor(machine)]
    answer = _as_max_sees_it(machine, bool(found), softgpu_runs_here)
    return [*found, answer]


def _as_max_sees_it(machine: Machine, is_there: bool, softgpu_runs_here: bool) -> Finding:
    name = "gpu.max"
    try:
        answer = machine.ask("max_gpus")
    except NoAnswer as error:
        advice = _("Without MAX nothing runs: look at the packages above.")
        return Finding(name, BAD, _("MAX cannot be asked for GPUs: {reason}").format(reason=error), advice)
    if answer["count"]:
        text = _("MAX finds a GPU ({api}, {architecture}): checks and runs use it.")
        return Finding(name, GOOD, text.format(api=answer["api"], architecture=answer["architecture"]))
    if is_there and softgpu_runs_here:
        return Finding(name, NOTE, _("MAX finds no GPU that it can use: the software GPU executes your kernels."))
    if is_there:
        return Finding(name, BAD, _("MAX finds no GPU that it can use."))
    if softgpu_runs_here:
        text = _("There is no GPU of NVIDIA or AMD here. None is needed: the software GPU executes your kernels.")
        return Finding(name, GOOD, text)
    text = _("There is no GPU that MAX can use, and the software GPU runs on Linux x86-64 only.")
    return Finding(name, BAD, text, _("Use a machine with Linux on x86-64, or one with a GPU that MAX supports."))


# NVIDIA


def _nvidia(machine: Machine) -> Iterator[Finding]:
    name = "gpu.nvidia"
    is_there = (
        "0x10de" in machine.graphics_vendors()
        or machine.exists("proc/driver/nvidia/version")
        or machine.exists("dev/nvidia0")
    )
    if not machine.loads("libcuda.so.1"):
        if is_there or machine.exists("dev/dxg"):  # of WSL: Windows may have one
            yield _without_nvidias_driver(machine, name, is_there)
        return
    driver, devices, problem = _ask_nvidia(machine)
    if not devices:
        yield _no_nvidia_device(machine, name, is_there, problem)
        return
    major = int(re.match(r"\d+", driver + "?")[0]) if driver[:1].isdigit() else 0  # type: ignore[index]
    known = _supported(machine)
    for device, architecture in devices:
        text = _("NVIDIA: {device} ({architecture}), driver {driver}.")
        yield Finding(
            name, GOOD, text.format(device=device, architecture=architecture, driver=driver or _("of unknown version"))
        )
        if known and architecture not in known:
            text = _("MAX {version} does not compile for {architecture}.")
            advice = _("Let the software GPU do it: {option} with every command, and for the notebooks {command}.")
            text = text.format(version=machine.package("max"), architecture=architecture)
            yield Finding("gpu.nvidia.architecture", NOTE, text, advice.format(**_without_the_gpu()))
        elif int(re.sub(r"\D", "", architecture) or OLDEST_NVIDIA) < OLDEST_NVIDIA and not _own_assembler(machine):
            text = _("{architecture} is older than what the assembler in MAX compiles for (sm_75, Turing).")
            yield Finding("gpu.nvidia.architecture", NOTE, text.format(architecture=architecture), _set_assembler())
    if major and major < NVIDIA_DRIVER and not _own_assembler(machine):
        text = _("NVIDIA's driver {driver} is too old for MAX {version}, which needs {needed} or newer.")
        text = text.format(driver=driver, version=machine.package("max"), needed=NVIDIA_DRIVER)
        where = _("on Windows, not in WSL") if machine.is_wsl else _("and restart the machine")
        advice = _("Install a newer driver ({where}). Where you cannot: {other}")
        yield Finding("gpu.nvidia.driver", NOTE, text, advice.format(where=where, other=_set_assembler()))
    chosen = machine.environ.get(ASSEMBLER)
    if chosen is not None and not machine.exists(chosen.lstrip("/")):
        text = _("{variable} names {file}, which does not exist.").format(variable=ASSEMBLER, file=chosen)
        yield Finding("gpu.nvidia.assembler", NOTE, text, _("Correct it, or remove it from the environment."))


def _ask_nvidia(machine: Machine) -> tuple[str, list[tuple[str, str]], int | None]:
    """The driver's version, each GPU with its architecture, and the driver's error if it says one."""
    try:
        answer = machine.ask("nvidia")
        if "error" in answer:
            return "", [], answer["error"]
        return answer["driver"], [(gpu["name"], gpu["architecture"]) for gpu in answer["gpus"]], None
    except NoAnswer:
        pass
    columns = "--query-gpu=driver_version,compute_cap,name"
    driver, devices = "", []
    for line in (machine.output("nvidia-smi", columns, "--format=csv,noheader") or "").splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3:
            driver = parts[0]
            devices.append((parts[2], f"sm_{parts[1].replace('.', '')}"))
    return driver, devices, None


def _without_nvidias_driver(machine: Machine, name: str, is_there: bool) -> Finding:
    if machine.is_container:
        text = _("An NVIDIA GPU is in this machine, but this container was started without it.")
        advice = _("Start it with {docker} (or {podman}); that needs NVIDIA's Container Toolkit outside of it.")
        options = {"docker": "`docker run --gpus all …`", "podman": "`podman run --device nvidia.com/gpu=all …`"}
        return Finding(name, NOTE, text, advice.format(**options))
    if machine.is_wsl and not is_there:
        text = _("This is WSL, and Windows passes on no NVIDIA GPU.")
        advice = _("If there is one: install NVIDIA's driver {needed} or newer on Windows, not in WSL, then {command}.")
        return Finding(name, NOTE, text, advice.format(needed=NVIDIA_DRIVER, command="`wsl --shutdown`"))
    text = _("An NVIDIA GPU is in this machine, but `libcuda.so.1`, which NVIDIA's driver brings, is not found.")
    advice = _("Install NVIDIA's driver {needed} or newer, and restart the machine.").format(needed=NVIDIA_DRIVER)
    return Finding(name, NOTE, text, advice)


def _no_nvidia_device(machine: Machine, name: str, is_there: bool, problem: int | None) -> Finding:
    if problem == DRIVER_IS_ANOTHER:
        text = _("NVIDIA's driver was updated, and the one that runs is still the old one.")
        return Finding(name, NOTE, text, _("Restart the machine."))
    if machine.is_container:
        text = _("NVIDIA's library is in this container, but it shows no GPU.")
        advice = _("If the machine has one, start the container with {docker} (or {podman}).")
        options = {"docker": "`docker run --gpus all …`", "podman": "`podman run --device nvidia.com/gpu=all …`"}
        return Finding(name, NOTE, text, advice.format(**options))
    if is_there:
        text = _("An NVIDIA GPU is in this machine, but its driver does not answer.")
        advice = _("See what {command} says; a restart helps where the driver was just installed.")
        return Finding(name, NOTE, text, advice.format(command="`nvidia-smi`"))
    return Finding(name, GOOD, _("NVIDIA's library is installed, and there is no NVIDIA GPU."))


def _own_assembler(machine: Machine) -> bool:
    """Whether MAX is told to use an assembler that suits the driver."""
    chosen = machine.environ.get(ASSEMBLER)
    return chosen is not None and machine.exists(chosen.lstrip("/"))


def _set_assembler() -> str:
    text = _("set {variable} to the `ptxas` of a CUDA toolkit that suits the driver, as in {example}.")
    return text.format(variable=ASSEMBLER, example=f"`export {ASSEMBLER}=/usr/local/cuda/bin/ptxas`")


def _without_the_gpu() -> dict[str, str]:
    return {"option": "`--device softgpu`", "command": "`CUDA_VISIBLE_DEVICES= workbook lab`"}


# AMD


def _amd(machine: Machine) -> Iterator[Finding]:
    name = "gpu.amd"
    kernel_device = machine.exists("dev/kfd")
    if "0x1002" not in machine.graphics_vendors() and not kernel_device:
        return
    needed = ".".join(map(str, ROCM))
    if not kernel_device and machine.is_container:
        text = _("An AMD GPU is in this machine, but this container was started without it.")
        advice = _("Start it with {options}.")
        options = "`docker run --device /dev/kfd --device /dev/dri --group-add video --group-add render …`"
        yield Finding(name, NOTE, text, advice.format(options=options))
        return
    architectures = _amd_architectures(machine)
    if not kernel_device or not machine.loads("libamdhip64.so"):
        text = _("An AMD GPU is in this machine, but ROCm, with which MAX uses it, is not complete: {file} is missing.")
        missing = "`libamdhip64.so`" if kernel_device else "`/dev/kfd`"
        advice = _("If MAX supports this GPU, install AMD's driver and ROCm {needed} or newer; else leave it.")
        yield Finding(name, NOTE, text.format(file=missing), advice.format(needed=needed))
        return
    version = machine.text("opt/rocm/.info/version").strip()
    shown = ", ".join(architectures) or _("of unknown architecture")
    text = _("AMD: {architectures}, ROCm {version}.")
    yield Finding(name, GOOD, text.format(architectures=shown, version=version or _("of unknown version")))
    if not machine.may_write("dev/kfd"):
        text = _("You may not use the AMD GPU: {file} cannot be opened.").format(file="`/dev/kfd`")
        advice = _("Join the groups that may: {command}; then log out and in again.")
        command = "`sudo usermod -aG render,video $USER`"
        yield Finding("gpu.amd.permission", NOTE, text, advice.format(command=command))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers and numbers < ROCM:
        text = _("ROCm {version} is too old for MAX {max}, which needs {needed} or newer.")
        text = text.format(version=version, max=machine.package("max"), needed=needed)
        yield Finding("gpu.amd.driver", NOTE, text, _("Install a newer one, and restart the machine."))
    known = _supported(machine)
    if known and architectures and not known & set(architectures):
        text = _("MAX {version} does not compile for {architecture}.")
        text = text.format(version=machine.package("max"), architecture=", ".join(architectures))
        advice = _("Let the software GPU do it: {option} with every command.").format(option="`--device softgpu`")
        yield Finding("gpu.amd.architecture", NOTE, text, advice)


def _amd_architectures(machine: Machine) -> list[str]:
    """As the kernel's driver names them: 90402 is gfx942, 90010 is gfx90a, 110000 is gfx1100."""
    found = []
    for node in sorted((machine.root / "sys/class/kfd/kfd/topology/nodes").glob("*")):
        match = re.search(
            r"^gfx_target_version (\d+)$",
            machine.text(f"sys/class/kfd/kfd/topology/nodes/{node.name}/properties"),
            re.MULTILINE,
        )
        if match and int(match[1]):  # 0 is a CPU
            number = int(match[1])
            found.append(f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}")
    return found


# Apple


def _apple(machine: Machine) -> Iterator[Finding]:
    name = "gpu.apple"
    if machine.architecture != "arm64":
        text = _("This Mac has an Intel processor, for which there is no MAX.")
        yield Finding(name, BAD, text, _("Use a Mac with Apple silicon, or Linux on x86-64."))
        return
    chip = (machine.output("sysctl", "-n", "machdep.cpu.brand_string") or _("Apple silicon")).strip()
    yield Finding(name, GOOD, _("Apple: {chip}, macOS {version}.").format(chip=chip, version=machine.macos()))
    major = re.match(r"\d+", machine.macos())
    if major and int(major[0]) < MACOS:
        text = _("MAX uses the GPU from macOS {needed} on.").format(needed=MACOS)
        yield Finding("gpu.apple.macos", NOTE, text, _("Update macOS."))
    if machine.output("xcode-select", "-p") is None:
        text = _("Xcode, with which MAX compiles for the GPU, is not installed.")
        yield Finding("gpu.apple.xcode", NOTE, text, _("Install Xcode 16 or newer from the App Store."))
    elif machine.output("xcrun", "-sdk", "macosx", "metal", "--version") is None:
        text = _("Xcode's Metal toolchain is missing; updates of macOS and Xcode remove it.")
        advice = _("Install it: {command}").format(command="`xcodebuild -downloadComponent MetalToolchain`")
        yield Finding("gpu.apple.metal", NOTE, text, advice)


def _supported(machine: Machine) -> set[str]:
    """The architectures that Mojo compiles for; empty where it does not say."""
    listing = machine.mojo("build", "--print-supported-accelerators") or ""
    return set(re.findall(r"^\s+(sm_\d+a?|gfx\w+)\s+-", listing, re.MULTILINE))
