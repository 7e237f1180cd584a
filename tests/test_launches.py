"""Every launch in wrong/ fails and is told why; every launch in right/ passes. Each one is really built and run."""

from dataclasses import replace

import pytest

from workbook import rooms
from workbook.check import check_op
from workbook.puzzles import all_puzzles
from workbook.region import replace_region
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED

SEED = 20261120


def verdict_on(puzzle, code, worker):
    op_text = replace_region(puzzle.solution_file.read_text(), code)
    return check_op(puzzle, op_text, [worker], lambda stage: None, seed=SEED)


def every(room):
    return [
        pytest.param(puzzle, launch, id=f"{puzzle.id}-{launch.file.removesuffix('.mojo')}")
        for puzzle in all_puzzles().values()
        for launch in getattr(puzzle, room)
    ]


@pytest.mark.parametrize("puzzle, mistake", every("wrong"))
def test_a_wrong_launch_fails_and_says_why(puzzle, mistake, worker):
    code = (rooms.SOLUTIONS / puzzle.id / "wrong" / mistake.file).read_text()
    verdict = verdict_on(puzzle, code, worker)
    assert verdict.outcome == FAILED
    assert verdict.stage == mistake.caught_by, verdict
    told = str(verdict)
    for words in mistake.must_say:
        assert words in told


@pytest.mark.parametrize("puzzle, variant", every("right"))
def test_a_right_launch_passes(puzzle, variant, worker):
    code = (rooms.SOLUTIONS / puzzle.id / "right" / variant.file).read_text()
    verdict = verdict_on(puzzle, code, worker)
    assert verdict.outcome == PASSED, verdict
    if variant.remark:
        assert any(variant.remark in remark for remark in verdict.remarks), verdict
    else:
        assert not verdict.remarks


@pytest.mark.parametrize("code", ["", "# only a comment", "pass", "\n\n   \n"])
def test_an_empty_region_is_not_attempted(puzzle, code, worker):
    assert verdict_on(puzzle, code, worker).outcome == NOT_ATTEMPTED


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


class WorkerThatDisagrees:
    """A device that gives the right outputs but for one element, and records nothing: as a real GPU may."""

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
