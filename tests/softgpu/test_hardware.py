"""softgpu against a real GPU, bit by bit: live where there is one, else against results recorded on one.

To record them, on a machine with an NVIDIA GPU, its driver, Python and NumPy (nothing else is needed), in results/:

    python ../run_on_gpu.py cases.npz GPU.npz

`python tests/softgpu/hardware/compare.py RESULTS.npz` tells more than these tests. After changes of the tests that the
cases come from, `python tests/softgpu/hardware/cases.py` makes new ones.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import assembler
import numpy as np
import pytest

HARDWARE = Path(__file__).parent / "hardware"
sys.path.insert(0, str(HARDWARE))

import cases as hardware_cases  # noqa: E402
import compare  # noqa: E402
import run_on_gpu  # noqa: E402

RUNNER = HARDWARE / "run_on_gpu.py"
CASES = HARDWARE / "results" / "cases.npz"
RECORDED = sorted(set(CASES.parent.glob("*.npz")) - {CASES})
SHARE = 4
"""One case of so many runs in an ordinary test run; compare.py runs all."""


def a_gpu_is_there() -> bool:
    """Whether there is a CUDA driver with a device. Asked in a process of its own, for a driver stays loaded."""
    code = "import ctypes; n = ctypes.c_int(); c = ctypes.CDLL('libcuda.so.1'); assert not c.cuInit(0); "
    code += "assert not c.cuDeviceGetCount(ctypes.byref(n)) and n.value"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def results_at_hand(folder: Path) -> list[Path]:
    """Files of results: made on this machine's GPU now, or recorded. Skips the test where there are none."""
    if a_gpu_is_there():
        live = folder / "live.npz"
        subprocess.run([sys.executable, RUNNER, CASES, live], check=True)
        return [live]
    if not RECORDED:
        pytest.skip(f"no GPU here, and no results of one: `python {RUNNER.name} {CASES.name} GPU.npz` records them")
    return RECORDED


@pytest.mark.parametrize("engine", ["lockstep", None], ids=["lockstep", "native"])
def test_softgpu_does_what_the_gpu_did(tmp_path, engine):
    cases = hardware_cases.load(CASES)
    for path in results_at_hand(tmp_path):
        device, answers = compare.recorded(path, cases)
        found = compare.compare(cases[::SHARE], answers, engine)
        print(f"{path.name}: {device['device']}, CUDA {device['cuda_version']}: {found}")
        assert not found.different, str(found)


# The harness itself, on the stand-in driver

ADD_ONE = """.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 p, .param .u32 step, .param .u64 last)
{
.reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<4>; ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x;
ld.param.u32 %r2, [step]; ld.param.u64 %rd3, [last]; mad.wide.u32 %rd2, %r1, 4, %rd1;
add.u64 %rd2, %rd2, %rd3; ld.global.u32 %r3, [%rd2]; add.u32 %r3, %r3, %r2; st.global.u32 [%rd2], %r3; ret;
}"""


def on_the_stand_in(cases: list, folder: Path) -> dict:
    """What run_on_gpu.py answers to some cases, on softgpu in the driver's place."""
    given, results = folder / "given.npz", folder / "results.npz"
    hardware_cases.save(cases, given)
    softgpu = [sys.executable, "-m", "softgpu.cli", "run"]
    subprocess.run([*softgpu, RUNNER, given, results], check=True, timeout=120, cwd=HARDWARE.parents[2])
    device, answers = compare.recorded(results, cases)
    assert device["device"].startswith("softgpu") and device["compute_capability"] == [8, 0]
    return answers


def test_cases_run_through_the_drivers_interface(tmp_path):
    cases = hardware_cases.load(CASES)
    some = cases[:: len(cases) // 40]
    answers = on_the_stand_in(some, tmp_path)
    found = compare.compare(some, answers, "lockstep")
    assert found.same == len(some), str(found)


def test_failures_are_told_and_the_next_case_runs(tmp_path):
    values = np.arange(8, dtype=np.uint32)

    def add(name: str, step: int, offset: int, ptx: str = ADD_ONE):
        return hardware_cases.case_of(name, ptx, "k", 1, 8, [values, np.uint32(step), np.uint64(offset)])

    good, far = add("good", 5, 0), add("far outside", 5, 1 << 46)
    guard, refused = add("just outside", 5, 16), add("refused", 5, 0, ADD_ONE.replace("add.u32", "add.u23"))
    last = add("last", 6, 0)
    answers = on_the_stand_in([good, far, guard, refused, last], tmp_path)
    assert np.frombuffer(answers[good.digest][0], np.uint32).tolist() == [5, 6, 7, 8, 9, 10, 11, 12]
    assert np.frombuffer(answers[last.digest][0], np.uint32).tolist() == [6, 7, 8, 9, 10, 11, 12, 13]
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in answers[far.digest]
    assert answers[guard.digest] == "the kernel wrote outside of a buffer"
    assert answers[refused.digest].startswith("cu") and "add.u23" in answers[refused.digest], answers[refused.digest]


class Faulty:
    """A device on which some kernels never end, and some take the process with them."""

    def description(self) -> dict:
        return {"device": "faulty"}

    def run(self, case: dict, ptx: bytes, buffers: list[bytes]) -> list[bytes]:
        if case["name"] == "endless":
            time.sleep(1000)
        if case["name"] == "deadly":
            os._exit(1)
        return buffers


def test_kernels_that_never_end_or_kill_the_process_are_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(run_on_gpu, "Device", Faulty)
    names = ["deadly", "endless", "good", "endless", "deadly", "deadly", "good"]
    cases = [hardware_cases.case_of(name, "", "k", 1, 1, [np.arange(3)]) for name in names]
    hardware_cases.save(cases, tmp_path / "cases.npz")
    device, answers = run_on_gpu.results(tmp_path / "cases.npz", seconds=0.5)
    expected = {"good": cases[0].buffers, "endless": "no end within 0.5 seconds", "deadly": "the process died"}
    assert device == {"device": "faulty"} and answers == [expected[name] for name in names]


def test_a_difference_is_seen():
    case = hardware_cases.case_of("one", ADD_ONE, "k", 1, 1, [np.zeros(3, np.uint32), np.uint32(5), np.uint64(4)])
    right = np.array([0, 5, 0], np.uint32).tobytes()
    assert compare.compare([case], {case.digest: [right]}, "lockstep").same == 1
    wrong = np.array([0, 6, 0], np.uint32).tobytes()
    (line,) = compare.compare([case], {case.digest: [wrong]}, "lockstep").different
    assert line == "one: 1 of 3 words of buffer 0, first at byte 4: softgpu 00000005, GPU 00000006"


def test_the_assembler_accepts_the_cases():
    library = assembler.library()
    if library is None:
        pytest.skip("there is no libNVPTX.so in this environment")
    texts = {case.ptx for case in hardware_cases.load(CASES)[:: 4 * SHARE]}
    assert not any(assembler.complaints(sorted(texts), library))
