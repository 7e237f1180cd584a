"""The stand-in driver, through unmodified programs that use MAX. Each runs in a process of its own, as users run it."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from softgpu.driver import build
from softgpu.driver.build import assembler, built_driver


def run(tmp_path, program, *arguments, command=("-m", "softgpu.cli", "run")):
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(program))
    return subprocess.run(
        [sys.executable, *command, str(file), *arguments], capture_output=True, text=True, timeout=300
    )


def test_a_program_finds_a_gpu_and_its_arguments(tmp_path):
    program = """
        import sys
        from max.driver import Accelerator, accelerator_count
        print(sys.argv[1:], __name__, accelerator_count(), Accelerator().api)
    """
    result = run(tmp_path, program, "--size", "3")
    assert result.stdout == "['--size', '3'] __main__ 1 cuda\n", result.stderr


def test_buffers_go_to_the_device_and_back(tmp_path):
    program = """
        import numpy as np
        from max.driver import CPU, Accelerator, Buffer
        device = Accelerator()
        for array in (np.arange(7, dtype=np.float32), np.arange(100_000), np.zeros((3, 5), np.int8)):
            there = Buffer.from_numpy(array).to(device)
            assert not there.is_host
            np.testing.assert_array_equal(there.to(CPU()).to_numpy(), array)
        print("same")
    """
    result = run(tmp_path, program)
    assert result.stdout == "same\n", result.stderr


def test_device_memory_cannot_be_read_on_the_cpu(tmp_path):
    """As on a machine with a GPU: the process is stopped, whatever it hoped to find there."""
    program = """
        import ctypes
        import numpy as np
        from max.driver import Accelerator, Buffer
        buffer = Buffer.from_numpy(np.ones(4, np.float32)).to(Accelerator())
        print(ctypes.c_float.from_address(buffer._data_ptr()))
    """
    result = run(tmp_path, program)
    assert result.stdout == ""
    assert result.returncode == -signal.SIGSEGV


def test_a_graph_of_maxs_own_ops_runs(tmp_path):
    program = """
        import numpy as np
        from max.driver import CPU, Accelerator, Buffer
        from max.dtype import DType
        from max.engine import InferenceSession
        from max.graph import DeviceRef, Graph, TensorType
        device = Accelerator()
        kind = TensorType(DType.float32, [1000], DeviceRef.from_device(device))
        with Graph("add", input_types=[kind, kind]) as graph:
            a, b = (value.tensor for value in graph.inputs)
            graph.output(a + b * 2.0)
        model = InferenceSession(devices=[device]).load(graph)
        a, b = np.arange(1000, dtype=np.float32), np.ones(1000, np.float32)
        (result,) = model.execute(*(Buffer.from_numpy(array).to(device) for array in (a, b)))
        np.testing.assert_array_equal(result.to(CPU()).to_numpy(), a + 2)
        print("right")
    """
    result = run(tmp_path, program)
    assert result.stdout == "right\n", result.stderr


def test_matrix_products_of_every_shape_run_without_cublas(tmp_path):
    """MAX wants cuBLAS for these. All values are small integers, so that every type's product is exact."""
    program = """
        import numpy as np
        from max.driver import CPU, Accelerator, Buffer
        from max.dtype import DType
        from max.engine import InferenceSession
        from max.graph import DeviceRef, Graph, TensorType, ops
        device = Accelerator()

        def kind(*shape):
            return TensorType(DType.float32, shape, DeviceRef.from_device(device))

        kinds = [kind("m", "k"), kind("k", "n"), kind("batch", "m", "k"), kind("batch", "k", "n")]
        with Graph("products", input_types=kinds) as graph:
            a, b, many_a, many_b = (value.tensor for value in graph.inputs)
            half = [ops.matmul(a.cast(d), b.cast(d)).cast(DType.float32) for d in (DType.bfloat16, DType.float16)]
            graph.output(ops.matmul(a, b), ops.matmul(many_a, many_b), *half)
        model = InferenceSession(devices=[device]).load(graph)
        random = np.random.default_rng(0)
        for m, k, n in ((32, 48, 64), (5, 7, 3), (1, 37, 20), (33, 60, 1), (17, 1, 19)):
            shapes = (m, k), (k, n), (3, m, k), (3, k, n)
            a, b, many_a, many_b = (random.integers(-2, 3, shape).astype(np.float32) for shape in shapes)
            results = model.execute(*(Buffer.from_numpy(array).to(device) for array in (a, b, many_a, many_b)))
            for result, expected in zip(results, (a @ b, many_a @ many_b, a @ b, a @ b), strict=True):
                np.testing.assert_array_equal(result.to(CPU()).to_numpy(), expected)
        print("right")
    """
    result = run(tmp_path, program)
    assert result.stdout == "right\n", result.stderr


def test_models_of_two_sessions_run_from_many_threads(tmp_path):
    """Several kernels in a graph, two graphs, two sessions; buffers come and go while others launch."""
    program = """
        import faulthandler, gc, threading
        import numpy as np
        from max.driver import CPU, Accelerator, Buffer
        from max.dtype import DType
        from max.engine import InferenceSession
        from max.graph import DeviceRef, Graph, TensorType, ops
        faulthandler.dump_traceback_later(250, exit=True)
        device = Accelerator()
        kind = TensorType(DType.float32, [8, 100], DeviceRef.from_device(device))
        with Graph("scaled_softmax", input_types=[kind, kind]) as first:
            a, b = (value.tensor for value in first.inputs)
            first.output(ops.softmax(a * b), ops.sum(a, axis=-1))
        with Graph("difference", input_types=[kind, kind]) as second:
            a, b = (value.tensor for value in second.inputs)
            second.output(ops.sqrt(a * a + 1.0) - b)
        sessions = [InferenceSession(devices=[device]) for _ in range(2)]
        models = [(session.load(first), session.load(second)) for session in sessions]
        failures = []

        def work(seed):
            try:
                random = np.random.default_rng(seed)
                for softmax, difference in models * 3:
                    a, b = random.uniform(-1, 1, (2, 8, 100)).astype(np.float32)
                    on_device = [Buffer.from_numpy(array).to(device) for array in (a, b)]
                    weights, sums = softmax.execute(*on_device)
                    (result,) = difference.execute(*on_device)
                    powers = np.exp(a.astype(float) * b)
                    expected = powers / powers.sum(-1, keepdims=True)
                    np.testing.assert_allclose(weights.to(CPU()).to_numpy(), expected, rtol=1e-5)
                    np.testing.assert_allclose(sums.to(CPU()).to_numpy()[:, 0], a.sum(-1), rtol=1e-4, atol=1e-5)
                    expected = np.sqrt(a * a + 1) - b
                    np.testing.assert_allclose(result.to(CPU()).to_numpy(), expected, rtol=1e-5, atol=1e-6)
                    device.synchronize()
                    gc.collect()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(failures)
    """
    result = run(tmp_path, program)
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="Mojo links a Python module with the system's compiler")
def test_mojo_code_with_a_device_context_is_imported_and_run(tmp_path):
    """Two kernels, a print in one of them, copies, a fill, timing events, and the same again from threads."""
    shutil.copy(Path(__file__).parent / "twice.mojo", tmp_path)
    program = """
        import threading
        import mojo.importer
        import twice
        print(twice.run(100))
        results = []
        threads = [threading.Thread(target=lambda: results.append(twice.run(50))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(results, 0 < twice.seconds(100) < 10)
    """
    result = run(tmp_path, program)
    line = "thread 3 has 6.0\n"
    assert result.stdout == f"{line}19900.0\n{line * 3}[7450.0, 7450.0, 7450.0] True\n", result.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="Mojo links a Python module with the system's compiler")
def test_a_failed_kernel_ends_the_program_as_on_a_gpu_and_not_when_it_is_checked(tmp_path):
    """Mojo's DeviceContext synchronises when it is destroyed, and takes an error that stuck for a reason to abort."""
    shutil.copy(Path(__file__).parent / "outside.mojo", tmp_path)
    program = """
        import mojo.importer
        import outside
        for count in (64, 100, 128):
            try:
                outside.run(count)
                print(count, "is well")
            except Exception as error:
                print(count, "CUDA_ERROR_ILLEGAL_ADDRESS" in str(error), flush=True)
    """
    result = run(tmp_path, program)
    assert result.returncode == -signal.SIGABRT
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (Invalid global load of 4 bytes" in result.stdout + result.stderr
    result = run(tmp_path, program, command=("-m", "softgpu.cli", "run", "--check", "memcheck"))
    assert result.returncode == 1
    assert [line for line in result.stdout.splitlines() if line[0] != "="] == ["64 is well", "100 True", "128 is well"]
    assert "ERROR SUMMARY: 2 errors" in result.stdout + result.stderr


def test_without_softgpu_there_is_no_gpu_and_the_cache_is_another(tmp_path):
    """What softgpu compiles must never be handed to a real GPU."""
    program = """
        import os
        print(os.environ.get("MODULAR_CACHE_DIR", "none").endswith("softgpu/modular"))
    """
    assert run(tmp_path, program).stdout == "True\n"
    assert run(tmp_path, program, command=()).stdout == "False\n"


def test_the_driver_is_built_once_by_processes_that_start_together(tmp_path):
    program = """
        import os
        from softgpu.driver.build import built_driver, assembler
        print(built_driver(), sorted(os.listdir(built_driver())), os.access(assembler(), os.X_OK))
    """
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(program))
    environment = os.environ | {"SOFTGPU_CACHE_DIR": str(tmp_path / "cache")}
    processes = [
        subprocess.Popen([sys.executable, file], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    printed = {process.communicate(timeout=300)[0] for process in processes}
    assert len(printed) == 1
    assert printed.pop().endswith(" ['libcuda.so.1', 'libnvidia-ml.so.1'] True\n")
    assert {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()} == {"driver", "assembler", "lock"}


def test_the_assemblers_path_does_not_change_with_the_driver():
    """MAX compiles every kernel anew when it changes."""
    assert built_driver() not in assembler().parents
    assert built_driver().parent == assembler().parent


def test_installing_twice_is_once(tmp_path):
    program = """
        import softgpu
        print(softgpu.install() is softgpu.install())
    """
    assert run(tmp_path, program, command=()).stdout == "True\n"


def test_processes_that_a_program_starts_use_the_gpu(tmp_path):
    program = """
        import multiprocessing
        import numpy as np
        import softgpu

        def work(values):
            softgpu.install()
            from max.driver import CPU, Accelerator, Buffer
            return Buffer.from_numpy(np.array(values)).to(Accelerator()).to(CPU()).to_numpy().tolist()

        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.map(work, [[1, 2]]))
    """
    result = run(tmp_path, program)
    assert result.stdout == "[[1, 2]]\n" * 2, result.stderr


def test_installing_after_a_real_driver_is_refused(tmp_path):
    """A library of the driver's name stands for it: softgpu's own, loaded behind its back."""
    program = f"""
        import ctypes
        import softgpu
        from softgpu.driver.build import modular_lib_folder
        ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL({str(built_driver() / "libcuda.so.1")!r})
        try:
            softgpu.install()
        except softgpu.SoftGPUError as error:
            print(error)
    """
    result = run(tmp_path, program, command=())
    assert result.stdout.startswith("softgpu.install() came too late:"), result.stderr


def test_what_a_program_raises_is_shown_as_python_shows_it(tmp_path):
    program = """
        def fails():
            raise ValueError("of the program's own")
        fails()
    """
    softgpu, python = run(tmp_path, program), run(tmp_path, program, command=())
    assert (softgpu.returncode, softgpu.stderr) == (python.returncode, python.stderr)
    assert run(tmp_path, "def fails(:").stderr == run(tmp_path, "def fails(:", command=()).stderr


def test_the_programs_exit_status_is_that_of_the_command(tmp_path):
    for status in (0, 3):
        assert run(tmp_path, f"import sys; sys.exit({status})").returncode == status


def test_checks_of_a_program_without_kernels_say_so(tmp_path):
    result = run(tmp_path, "print('hello')", command=("-m", "softgpu.cli", "run", "--check", "memcheck"))
    assert result.stdout.splitlines()[:2] == [
        "hello",
        "========= No kernel was launched in this process: there was nothing to check",
    ]
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SOFTGPU_ARCH", "sm_70", "softgpu: SOFTGPU_ARCH is sm_70, but softgpu can be sm_80 or sm_90\n"),
        ("SOFTGPU_CACHE_DIR", "/proc/none", "softgpu: softgpu's driver cannot be kept in /proc/none (No such file"),
    ],
)
def test_an_environment_that_does_not_do_is_one_sentence(tmp_path, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    result = run(tmp_path, "print('hello')")
    assert (result.stdout, result.returncode) == ("", 1)
    assert result.stderr.startswith(expected) and result.stderr.count("\n") == 1


def test_a_missing_program_is_one_sentence(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "softgpu.cli", "run", str(tmp_path / "none.py")], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "there is no file" in result.stderr


@pytest.fixture
def cuda():
    """The stand-in library itself, called as MAX calls it. It needs no launcher for this."""
    import ctypes

    from softgpu.driver.build import modular_lib_folder

    ctypes.CDLL(str(modular_lib_folder() / "libKGENCompilerRTShared.so"), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(built_driver() / "libcuda.so.1"))


def error_of(cuda, code):
    import ctypes

    name, text = ctypes.c_char_p(), ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(name))
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return name.value.decode(), text.value.decode()


def test_what_is_not_supported_is_refused_and_named(cuda, capfd):
    code = cuda.cuGraphLaunch(None, None)
    assert error_of(cuda, code) == ("CUDA_ERROR_NOT_SUPPORTED", "softgpu does not support cuGraphLaunch")
    assert "softgpu: the driver function cuGraphLaunch is not supported" in capfd.readouterr().err


def test_memory_is_poisoned_and_copies_stay_inside(cuda):
    import ctypes

    address = ctypes.c_uint64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_uint64(16)) == 0
    there, size = address.value, ctypes.c_uint64
    back = (ctypes.c_uint8 * 32)()
    assert cuda.cuMemcpyDtoH_v2(back, ctypes.c_uint64(there), size(16)) == 0
    assert list(back[:16]) == [0xFF] * 16
    assert cuda.cuMemsetD32_v2(ctypes.c_uint64(there + 4), ctypes.c_uint32(7), size(3)) == 0
    assert cuda.cuMemcpyDtoH_v2(back, ctypes.c_uint64(there), size(16)) == 0
    assert list(back[:16]) == [0xFF] * 4 + [7, 0, 0, 0] * 3
    code = cuda.cuMemcpyDtoH_v2(back, ctypes.c_uint64(there), size(17))
    assert error_of(cuda, code) == (
        "CUDA_ERROR_INVALID_VALUE",
        "a copy of 17 bytes does not stay inside one allocation",
    )
    assert cuda.cuMemsetD8_v2(ctypes.c_uint64(there + 15), ctypes.c_uint8(1), size(2)) == 1
    assert cuda.cuMemFree_v2(ctypes.c_uint64(there)) == 0
    code = cuda.cuMemFree_v2(ctypes.c_uint64(there))
    assert "no live allocation" in error_of(cuda, code)[1]


def test_more_memory_than_there_is_is_refused(cuda):
    import ctypes

    address = ctypes.c_uint64()
    code = cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_uint64(1 << 40))
    assert error_of(cuda, code)[0] == "CUDA_ERROR_OUT_OF_MEMORY"


def test_a_new_build_removes_those_that_nobody_has_used_for_long(tmp_path, monkeypatch):
    def new_build(version):
        monkeypatch.setattr(build, "version", lambda tool: version)
        return built_driver()

    def made(nvml, cuda, folder):
        libraries = folder / "libraries"
        libraries.mkdir()
        (libraries / "libcuda.so.1").touch()
        return libraries

    monkeypatch.setenv("SOFTGPU_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(build, "_build", made)
    unused, used, recent = map(new_build, ("unused", "used", "recent"))
    days = {unused: 31, used: 31, recent: 29}
    for folder, age in days.items():
        os.utime(folder, (time.time() - age * 24 * 3600,) * 2)
    new_build("used")
    latest = new_build("latest")
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {used, recent, latest}
