"""Runs cases on the CUDA device of this machine: `python run_on_gpu.py CASES.npz RESULTS.npz`.

Needs Python, NumPy and NVIDIA's driver, nothing else. The results hold what each buffer was after the launch, or the
error that the driver answered with; see `results`. Cases run in a process of their own, for a kernel that fails leaves
its context unusable, and one that never ends has to be killed; the next case then runs in a new process.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 5, 6  # CUjit_option
MAX_DYNAMIC_SHARED_SIZE_BYTES = 8  # CUfunction_attribute
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
LOG_BYTES = 16384
GUARD = 4096
"""Bytes of 0xA5 on both sides of a buffer, which no case may change."""


class CudaError(Exception):
    """The driver's answer to a call: the call, and the error's name and number."""


class Device:
    """The first CUDA device, through the driver's C interface."""

    def __init__(self, library: str = "libcuda.so.1"):
        self._cuda = ctypes.CDLL(library)
        self.call("cuInit", 0)
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any, log: ctypes.Array | None = None) -> None:
        """Call a function of the driver. Python numbers are passed as C int. Raises CudaError."""
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text, details = ctypes.c_char_p(), ctypes.c_char_p()
            self._cuda.cuGetErrorName(code, ctypes.byref(text))
            self._cuda.cuGetErrorString(code, ctypes.byref(details))
            said = (log.value if log else b"") or details.value or b"no text"
            raise CudaError(
                f"{name}: {(text.value or b'?').decode()} ({code}): {said.decode(errors='replace').strip()}"
            )

    def is_usable(self) -> bool:
        """False after an error that sticks to the context."""
        return self._cuda.cuCtxSynchronize() == 0

    def description(self) -> dict[str, Any]:
        """Name, compute capability and the driver's version of CUDA."""
        name, version = ctypes.create_string_buffer(256), ctypes.c_int()
        self.call("cuDeviceGetName", name, len(name), self._device)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        capability = []
        for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR):
            number = ctypes.c_int()
            self.call("cuDeviceGetAttribute", ctypes.byref(number), attribute, self._device)
            capability.append(number.value)
        driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return {"device": name.value.decode(), "compute_capability": capability, "cuda_version": driver}

    def run(self, case: dict[str, Any], ptx: bytes, buffers: list[bytes]) -> list[bytes]:
        """The buffers after a launch. Raises CudaError."""
        module = ctypes.c_void_p()
        log = ctypes.create_string_buffer(LOG_BYTES)
        options = (ctypes.c_int * 2)(JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
        self.call("cuModuleLoadDataEx", ctypes.byref(module), ptx, 2, options, values, log=log)
        addresses = []
        try:
            function = ctypes.c_void_p()
            self.call("cuModuleGetFunction", ctypes.byref(function), module, case["kernel"].encode())
            if case["shared_bytes"] > 48 * 1024:
                self.call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED_SIZE_BYTES, case["shared_bytes"])
            for data in buffers:
                address = ctypes.c_uint64()
                self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(len(data) + 2 * GUARD))
                addresses.append(address)
                guarded = bytes([0xA5]) * GUARD + data + bytes([0xA5]) * GUARD
                self.call("cuMemcpyHtoD_v2", address, guarded, ctypes.c_size_t(len(guarded)))
            self._launch(case, function, addresses)
            return [self._fetch(address, len(data)) for address, data in zip(addresses, buffers, strict=True)]
        finally:
            # After a failed kernel these fail too, which is no news.
            for address in addresses:
                self._cuda.cuMemFree_v2(address)
            self._cuda.cuModuleUnload(module)

    def _launch(self, case: dict[str, Any], function: ctypes.c_void_p, addresses: list[ctypes.c_uint64]) -> None:
        arguments = []
        for argument in case["arguments"]:
            if isinstance(argument, int):
                arguments.append(ctypes.c_uint64(addresses[argument].value + GUARD))
            else:
                scalar = bytes.fromhex(argument)
                arguments.append(ctypes.create_string_buffer(scalar, len(scalar)))
        pointers = (ctypes.c_void_p * max(len(arguments), 1))(*map(ctypes.addressof, arguments))
        stream = extra = None
        self.call(
            "cuLaunchKernel", function, *case["grid"], *case["block"], case["shared_bytes"], stream, pointers, extra
        )
        self.call("cuCtxSynchronize")

    def _fetch(self, address: ctypes.c_uint64, count: int) -> bytes:
        everything = ctypes.create_string_buffer(count + 2 * GUARD)
        self.call("cuMemcpyDtoH_v2", everything, address, ctypes.c_size_t(len(everything)))
        before, after = everything.raw[:GUARD], everything.raw[GUARD + count :]
        if before.strip(b"\xa5") or after.strip(b"\xa5"):
            raise CudaError("the kernel wrote outside of a buffer")
        return everything.raw[GUARD : GUARD + count]


def read(path: Path) -> tuple[list[dict[str, Any]], bytes]:
    """The rows of a file of cases, and the bytes that they refer to by first and number."""
    with np.load(path) as file:
        return json.loads(file["index"].tobytes()), file["data"].tobytes()


def work(path: Path, first: int, answers: Connection) -> None:
    """In a process of its own: run the cases from a first one on, up to one that leaves the context unusable."""
    rows, data = read(path)

    def part(place: list[int]) -> bytes:
        return data[place[0] : place[0] + place[1]]

    device = Device()
    answers.send(device.description())
    for row in rows[first:]:
        try:
            answers.send(device.run(row, part(row["ptx"]) + b"\0", [part(place) for place in row["buffers"]]))
        except CudaError as error:
            answers.send(str(error))
            if not device.is_usable():
                return


def results(path: Path, seconds: float) -> tuple[dict[str, Any], list[list[bytes] | str]]:
    """The device, and for each case its buffers or its error. A case may take so many seconds."""
    rows, _ = read(path)
    device: dict[str, Any] = {}
    answers: list[list[bytes] | str] = []
    try:
        while len(answers) < len(rows):
            device = _one_process(path, seconds, answers, len(rows)) or device
    except KeyboardInterrupt:
        print(f"stopped after {len(answers)} of {len(rows)} cases", file=sys.stderr)
    return device, answers


def _one_process(path: Path, seconds: float, answers: list[list[bytes] | str], count: int) -> dict[str, Any]:
    """Let one process add answers until a case fails or takes too long. Returns the device's description."""
    # A fork keeps a driver that is loaded already, as the stand-in that the tests use. CUDA itself starts in the child.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(path, len(answers), sender))
    process.start()
    sender.close()
    device: dict[str, Any] = {}
    first = len(answers)
    try:
        if not receiver.poll(120):
            raise RuntimeError("the CUDA driver did not start within two minutes")
        device = receiver.recv()
        while len(answers) < count:
            if not receiver.poll(seconds):
                answers.append(f"no end within {seconds:g} seconds")
                break
            answers.append(receiver.recv())
    except EOFError:
        if not device:
            raise RuntimeError("there is no CUDA device: see the error above") from None
        if len(answers) == first or not isinstance(answers[-1], str):
            answers.append("the process died")
    finally:
        process.kill()
        process.join()
    return device


def save(path: Path, cases: Path, device: dict[str, Any], answers: list[list[bytes] | str]) -> None:
    """Results: for each case its digest, and either its error or where its buffers are in `data`: first, number.

    A buffer that the launch left as it was is not kept: it is null.
    """
    rows, inputs = read(cases)
    data, size, kept = [], 0, []
    for row, answer in zip(rows, answers, strict=False):  # fewer answers where it was stopped
        if isinstance(answer, str):
            kept.append({"digest": row["digest"], "error": answer})
            continue
        places: list[tuple[int, int] | None] = []
        for (first, count), buffer in zip(row["buffers"], answer, strict=True):
            if buffer == inputs[first : first + count]:
                places.append(None)
                continue
            places.append((size, count))
            data.append(buffer)
            size += count
        kept.append({"digest": row["digest"], "buffers": places})
    index = json.dumps({**device, "cases": kept}).encode()
    np.savez_compressed(path, index=np.frombuffer(index, np.uint8), data=np.frombuffer(b"".join(data), np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=20, help="that a case may take (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is done by then is saved
    device, answers = results(options.cases, options.seconds)
    save(options.results, options.cases, device, answers)
    errors = sum(isinstance(answer, str) for answer in answers)
    where = f"{device['device']} (CUDA {device['cuda_version']})"
    print(f"{len(answers)} cases on {where}, {errors} refused or failed; {options.results.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
