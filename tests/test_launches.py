"""Every launch in wrong/ fails and is told why; every launch in right/ passes. Each one is really built and run; MAX
compiles those of a puzzle together, which takes hardly longer than one."""

from collections import defaultdict
from dataclasses import replace

import pytest
from torch_here import needs_torch

from workbook import rooms
from workbook.check import check_op
from workbook.notebook import vector_widths
from workbook.puzzles import Variant, all_puzzles, find_puzzle
from workbook.region import replace_region
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED
from workbook.what_if.forecast import forecast

SEED = 20261120


@pytest.fixture
def workers(request, puzzle):
    return workers_for(request, puzzle)


def workers_for(request, puzzle):
    """The workers of a check, as a notebook has them on a machine without a GPU."""
    names = ["cpu_worker", "worker"] if puzzle.also_on_cpu else ["worker"]
    return [request.getfixturevalue(name) for name in names]


@pytest.fixture(scope="module", autouse=True)
def compiled_ahead(request):
    """What the tests of wrong/ and right/ must have MAX compile, compiled at once for each puzzle and device."""
    for id, texts in texts_to_compile(request).items():
        puzzle = find_puzzle(id)
        for worker in workers_for(request, puzzle):
            worker.ask((id, sorted(texts)), lambda stage: None)


def texts_to_compile(request):
    """The attempts of the tests that were selected, of each puzzle: those that neither lint nor Mojo stops."""
    texts = defaultdict(set)
    for item in request.session.items:
        of_this_file = item.path == request.path and hasattr(item, "callspec")
        parameters = item.callspec.params if of_this_file else {}
        launch = parameters.get("mistake") or parameters.get("variant")
        if launch is None or parameters["puzzle"].fills == "torch":
            continue
        if isinstance(launch, Variant) or launch.caught_by in ("driver", "check"):
            puzzle = parameters["puzzle"]
            texts[puzzle.id].add(replace_region(puzzle.solution_file.read_text(), code_of(puzzle, launch)))
    return texts


def code_of(puzzle, launch):
    room = "right" if isinstance(launch, Variant) else "wrong"
    return (rooms.SOLUTIONS / puzzle.id / room / launch.file).read_text()


def verdict_on(puzzle, code, workers):
    op_text = replace_region(puzzle.solution_file.read_text(), code)
    return check_op(puzzle, op_text, workers, lambda stage: None, seed=SEED)


def every(room):
    return [
        pytest.param(
            puzzle,
            launch,
            id=f"{puzzle.id}-{launch.file.partition('.')[0]}",
            marks=needs_torch if puzzle.fills == "torch" else (),
        )
        for puzzle in all_puzzles().values()
        for launch in getattr(puzzle, room)
    ]


@pytest.mark.parametrize("puzzle, mistake", every("wrong"))
def test_a_wrong_launch_fails_and_says_why(puzzle, mistake, workers):
    code = code_of(puzzle, mistake)
    verdict = verdict_on(puzzle, code, workers)
    assert verdict.outcome == FAILED
    assert verdict.stage == mistake.caught_by, verdict
    told = str(verdict)
    for words in mistake.must_say:
        assert words in told
    if verdict.cases:
        # What was foreseen has come true, in the case that was named.
        foreseen = forecast(puzzle, replace_region(puzzle.solution_file.read_text(), code))
        assert not foreseen or verdict.first_wrong_case.name in foreseen


@pytest.mark.parametrize("puzzle, variant", every("right"))
def test_a_right_launch_passes(puzzle, variant, workers):
    verdict = verdict_on(puzzle, code_of(puzzle, variant), workers)
    assert verdict.outcome == PASSED, verdict
    if variant.remark:
        assert any(variant.remark in remark for remark in verdict.remarks), verdict
    else:
        assert not verdict.remarks


@pytest.mark.parametrize("code", ["", "# only a comment", "pass", "\n\n   \n"])
def test_an_empty_region_is_not_attempted(puzzle, code):
    assert verdict_on(puzzle, code, []).outcome == NOT_ATTEMPTED


def test_the_solution_passes_with_another_seed_and_shows_its_halo(puzzle, worker):
    verdict = check_op(puzzle, puzzle.solution_file.read_text(), [worker], lambda stage: None, seed=SEED + 1)
    assert verdict.outcome == PASSED
    assert "softgpu" in verdict.device
    crossing = verdict.cases[1]
    assert crossing.sizes["input_size"] == 28
    tile = crossing.view.blocks[0].shared[0]
    assert tile.name == "tile"
    assert [slot.provenance.value for slot in tile.slots] == ["own load"] * 15 + ["halo load"] * 3
    assert [slot.source.index for slot in tile.slots] == list(range(18))


@pytest.mark.parametrize("puzzle", [find_puzzle("t1")], ids=["t1"])
def test_the_first_op_is_checked_on_cpu_and_gpu_and_its_vectors_are_seen(puzzle, workers):
    verdict = check_op(puzzle, puzzle.solution_file.read_text(), workers, lambda stage: None, seed=SEED + 1)
    assert verdict.outcome == PASSED
    assert "the CPU" in verdict.device and "softgpu" in verdict.device
    view = verdict.cases[0].view
    assert (view.shape, view.grid, view.block) == ((5, 10), (1, 1, 1), (256, 1, 1))
    assert [output.writers[0].thread for output in view.outputs[:9]] == [0] * 4 + [1] * 4 + [2]
    assert len({output.writers[0].block for output in verdict.cases[4].view.outputs}) > 1

    probe = vector_widths.probe(puzzle.solution_file.read_text())
    executions = [worker.run(puzzle.id, probe, 0, lambda stage: None) for worker in workers]
    on_cpu, on_gpu = (execution.outputs for execution in executions)
    assert on_gpu[0][0].tolist() == [4] * 8 + [1, 1]  # what would cross the end of a row goes one by one
    assert on_cpu[4].max() >= 4
    shown = vector_widths.widths_html(puzzle, executions)
    assert "10 vectors of 4 elements, 10 vectors of one element; grid 1, blocks of 256 threads" in shown


@pytest.mark.parametrize("puzzle", [find_puzzle("t1")], ids=["t1"])
def test_what_is_right_on_the_gpu_only_does_not_pass(puzzle, workers):
    code = 'comptime if target == "gpu":\n    foreach[target="gpu"](add_one, output, ctx)'
    op_text = replace_region(puzzle.solution_file.read_text(), code)
    # A seed of its own: on the CPU the output may hold what an earlier run has left there.
    verdict = check_op(puzzle, op_text, workers, lambda stage: None, seed=SEED + 2)
    assert verdict.outcome == FAILED
    assert "On softgpu" in verdict.headline and "it is right" in verdict.headline
    assert "output[0, 0]" in str(verdict)


@pytest.mark.parametrize("puzzle", [find_puzzle("t2")], ids=["t2"])
def test_a_kernel_without_its_guard_is_stopped(puzzle, workers):
    kernel = puzzle.kernel_file.read_text()
    kernel = kernel[kernel.index("comptime TPB") :]
    guard = "    if i < Int(size):\n        output[i]"
    imported = "from kernels.vector_addition import TPB, vector_addition_kernel\n"
    op_text = puzzle.solution_file.read_text()
    assert guard in kernel and imported in op_text
    # The kernel stands in the op itself, without its guard.
    op_text = op_text.replace(imported, "from max.gpu import block_dim, block_idx, thread_idx\n")
    op_text = op_text.replace("def add_on_cpu", f"{kernel.replace(guard, '    output[i]')}\n\ndef add_on_cpu", 1)
    verdict = check_op(puzzle, op_text, workers, lambda stage: None, seed=SEED)
    assert (verdict.outcome, verdict.stage) == (FAILED, "driver")
    assert "The launch was stopped: thread" in verdict.headline
    assert "read lhs[" in verdict.headline or "read rhs[" in verdict.headline


class WorkerThatDisagrees:
    """A device that gives the right outputs but for one element, and records nothing: as a real GPU may."""

    device = "gpu"

    def __init__(self, worker):
        self.worker = worker

    def run(self, *request):
        execution = self.worker.run(*request)
        outputs = [output.copy() for output in execution.outputs]
        outputs[1][20] += 1
        return replace(execution, outputs=tuple(outputs), launches=(), recorded=False, device="another device")


def test_an_attempt_passes_only_if_every_device_says_so(puzzle, worker):
    text = puzzle.solution_file.read_text()
    verdict = check_op(puzzle, text, [worker, worker], lambda stage: None, seed=SEED)
    assert verdict.outcome == PASSED
    assert verdict.device.count("softgpu, the software GPU") == 2

    verdict = check_op(puzzle, text, [WorkerThatDisagrees(worker), worker], lambda stage: None, seed=SEED)
    assert verdict.outcome == FAILED
    assert verdict.device == "another device"
    assert "output[20]" in str(verdict)
    assert "On softgpu, the software GPU" in str(verdict)
