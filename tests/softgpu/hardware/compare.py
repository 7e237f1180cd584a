"""Compares softgpu with what a GPU did, bit by bit.

python tests/softgpu/hardware/compare.py CASES.npz RESULTS.npz
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cases import RESULTS, Case, Collector, load, run_tests

from softgpu import LaunchError, Module, UnsupportedPTX
from softgpu.ptx import Parameter

INEXACT = re.compile(r"\.approx\b|\.full\b|\btanh\b|\bex2\b|\bmma\.sync\S*\.(f16|bf16|tf32)\b")
"""Instructions whose results the manual leaves open in the last bits, or whose order of summation: their differences
are counted. That hardware and softgpu keep to the tolerance is for the tests to say, see `main`."""

ORDERED = re.compile(r"\b(atom|red)\b")
"""Instructions through which the order of blocks and warps may show. Bytes that it changes are not compared."""


@dataclass
class Comparison:
    """What became of the cases on one engine. Lists hold a line for each case."""

    same: int = 0
    inexact: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    failed_on_gpu: list[str] = field(default_factory=list)
    refused_by_softgpu: list[str] = field(default_factory=list)
    not_recorded: int = 0

    def __str__(self) -> str:
        lines = [f"{self.same} the same bit by bit; {self.not_recorded} without a result of the GPU"]
        for title in ("different", "inexact", "failed_on_gpu", "refused_by_softgpu"):
            rows = getattr(self, title)
            lines += [f"{len(rows)} {title.replace('_', ' ')}", *(f"    {row}" for row in rows)]
        return "\n".join(lines)


def recorded(path: Path, cases: Sequence[Case]) -> tuple[dict[str, Any], dict[str, list[bytes] | str]]:
    """A file of results: the device, and by the digest of a case its buffers after the launch or its error."""
    with np.load(path) as file:
        index, data = json.loads(file["index"].tobytes()), file["data"].tobytes()
    inputs = {case.digest: case.buffers for case in cases}
    answers: dict[str, list[bytes] | str] = {}
    for row in index.pop("cases"):
        if "error" in row:
            answers[row["digest"]] = row["error"]
        elif row["digest"] in inputs:
            answers[row["digest"]] = [
                before if place is None else data[place[0] : place[0] + place[1]]
                for place, before in zip(row["buffers"], inputs[row["digest"]], strict=True)
            ]
    return index, answers


def run(case: Case, engine: str | None, shuffle_seed: int | None = None) -> list[bytes]:
    """The buffers after softgpu executed the launch."""
    module = Module(case.ptx)
    buffers = [np.frombuffer(data, np.uint8).copy() for data in case.buffers]
    arguments = [
        buffers[argument] if isinstance(argument, int) else _scalar(argument, parameter)
        for argument, parameter in zip(case.arguments, module.program(case.kernel).kernel.parameters, strict=True)
    ]
    module.launch(
        case.kernel, case.grid, case.block, arguments, case.shared_bytes, engine=engine, shuffle_seed=shuffle_seed
    )
    return [buffer.tobytes() for buffer in buffers]


def _scalar(data: bytes, parameter: Parameter) -> np.generic:
    kind = "V" if parameter.is_array else {"u": "u", "s": "i", "f": "f"}.get(parameter.type[0], "V")
    return np.frombuffer(data, f"{kind}{len(data)}")[0]


def compare(cases: Sequence[Case], answers: dict[str, list[bytes] | str], engine: str | None) -> Comparison:
    """Run the cases that have a result on an engine (None: the fastest that can), and compare."""
    found = Comparison()
    for case in cases:
        wanted = answers.get(case.digest)
        if wanted is None:
            found.not_recorded += 1
            continue
        if isinstance(wanted, str):
            found.failed_on_gpu.append(f"{case.name}: {wanted}")
            continue
        try:
            got = run(case, engine)
        except (UnsupportedPTX, LaunchError) as error:
            found.refused_by_softgpu.append(f"{case.name}: {error}")
            continue
        difference = _difference(case, got, wanted)
        if difference is None:
            found.same += 1
        else:
            (found.inexact if INEXACT.search(case.ptx) else found.different).append(f"{case.name}: {difference}")
    return found


def _difference(case: Case, got: list[bytes], wanted: list[bytes]) -> str | None:
    others = [run(case, "lockstep", seed) for seed in (1, 2)] if ORDERED.search(case.ptx) and got != wanted else []
    for number, pair in enumerate(zip(got, wanted, strict=True)):
        if case.compared and not case.compared[number]:
            continue
        ours, theirs = (np.frombuffer(data, np.uint8) for data in pair)
        unlike = ours != theirs
        for other in others:
            unlike &= np.frombuffer(other[number], np.uint8) == ours
        if unlike.any():
            places = np.unique(np.nonzero(unlike)[0] // 4)
            first = int(places[0]) * 4
            return (
                f"{len(places)} of {-(-len(ours) // 4)} words of buffer {number}, first at byte {first}: "
                f"softgpu {_words(ours, first)}, GPU {_words(theirs, first)}"
            )
    return None


def _words(data: np.ndarray, first: int) -> str:
    return data[first : first + 4][::-1].tobytes().hex()


def main() -> int:
    (results_file,) = map(Path, sys.argv[1:])
    cases = load(RESULTS / "cases.npz")
    device, answers = recorded(results_file, cases)
    print(f"{device['device']}, CUDA {device['cuda_version']}")
    status = 0
    for engine in ("lockstep", None):
        found = compare(cases, answers, engine)
        print(f"\n{'the lock-step engine' if engine else 'the fastest engine'}: {found}")
        status |= bool(found.different)
    collector = Collector(answers)
    status |= bool(run_tests(collector))
    print(f"{collector.answered} launches of these tests got the GPU's results")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
