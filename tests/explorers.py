"""The what-if explorer of puzzle 17, whose launches are run on softgpu without MAX."""

from launches import case_of, conv1d

from workbook.puzzles import find_puzzle
from workbook.verdict import FAILED, PASSED, Verdict
from workbook.what_if.run import RunOfChoice
from workbook.what_if.widget import Explorer


def run(choice, progress) -> RunOfChoice:
    """What came of a launch with the sizes that tests/data has a kernel for."""
    view = conv1d(**choice.case, grid=choice.blocks, block=choice.threads)
    case = case_of(view, **choice.case)
    stage = "driver" if view.fault else "check"
    verdict = Verdict("p17", PASSED if case.right else FAILED, view.fault, stage=stage, cases=(case,))
    return RunOfChoice(verdict)


def explorer_of_p17(run=run, **chosen) -> Explorer:
    return Explorer(find_puzzle("p17"), run, ["softgpu"], chosen)
