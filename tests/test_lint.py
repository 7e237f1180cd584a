"""The lint: each rule refuses what is certainly wrong, and no rule refuses a launch that is right."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbook.lint.launch import Finding, is_attempted, lint
from workbook.region import read_region

ROOT = Path(__file__).parent.parent
OP = (ROOT / "problems/p17/op.mojo").read_text()
KERNELS = {"kernels.conv1d": (ROOT / "kernels/conv1d.mojo").read_text()}

KERNEL = "conv1d_kernel[OutLayout, InLayout, ConvLayout, input_size, conv_size, dtype]"
TENSORS = "output_tensor, input_tensor, kernel_tensor"
SIZES = "grid_dim=BLOCKS_PER_GRID, block_dim=TPB"


def launch(kernel: str = KERNEL, arguments: str = TENSORS, sizes: str = SIZES) -> str:
    return f"ctx.enqueue_function[{kernel}]({arguments}, {sizes})"


def findings(region: str) -> list[Finding]:
    return lint(region, OP, KERNELS)


# Each of these compiles.
RIGHT = {
    "plain": launch(),
    "indented": "    " + launch(),
    "on many lines": (
        f"ctx.enqueue_function[\n    {KERNEL}\n](\n"
        "    output_tensor,\n    input_tensor,\n    kernel_tensor,\n"
        "    grid_dim=BLOCKS_PER_GRID,\n    block_dim=TPB,\n)"
    ),
    "comments with brackets": f'# (\n{launch()}  # ] "',
    "comments inside": f"ctx.enqueue_function[  # which (\n  {KERNEL}](  # [\n  {TENSORS},\n  # two blocks\n  {SIZES})",
    "trailing commas": f"ctx.enqueue_function[{KERNEL},]({TENSORS}, {SIZES},)",
    "sizes exchanged": launch(sizes="block_dim=TPB, grid_dim=BLOCKS_PER_GRID"),
    "numbers": launch(sizes="grid_dim=2, block_dim=15"),
    "tuples": launch(sizes="grid_dim=(BLOCKS_PER_GRID, 1), block_dim=(TPB, 1, 1)"),
    "tuple of one": launch(sizes="grid_dim=(2,), block_dim=(TPB)"),
    "ceildiv": launch(sizes="grid_dim=ceildiv(input_size, TPB), block_dim=TPB"),
    "arithmetic": launch(sizes="grid_dim=(input_size + TPB - 1) // TPB, block_dim=TPB"),
    "wasteful grid": launch(sizes="grid_dim=100, block_dim=TPB"),
    "min and max": launch(sizes="grid_dim=max(1, BLOCKS_PER_GRID), block_dim=min(TPB, 1024)"),
    "largest block": launch(sizes="grid_dim=2, block_dim=1024"),
    "hexadecimal": launch(sizes="grid_dim=0x2, block_dim=1_5"),
    "conditional size": launch(sizes="grid_dim=2 if input_size > TPB else 1, block_dim=TPB"),
    "shared memory": launch(sizes=SIZES + ", shared_mem_bytes=0"),
    "func by keyword": f"ctx.enqueue_function[func={KERNEL}]({TENSORS}, {SIZES})",
    "comptime kernel": f"comptime k = {KERNEL}\n{launch('k')}",
    "comptime kernel, unbound": f"comptime k = conv1d_kernel\n{launch('k' + KERNEL[13:])}",
    "comptime kernel, partly bound": (
        f"comptime k = conv1d_kernel[OutLayout, InLayout, ConvLayout, ...]\n{launch('k[input_size, conv_size, dtype]')}"
    ),
    "keyword parameters": launch(
        "conv1d_kernel[input_size=input_size, conv_size=conv_size, OutLayout=OutLayout, InLayout=InLayout, "
        "ConvLayout=ConvLayout, dtype=dtype]"
    ),
    "mixed parameters": launch(
        "conv1d_kernel[OutLayout, InLayout, ConvLayout, dtype=dtype, conv_size=conv_size, input_size=input_size]"
    ),
    "equal layouts exchanged": launch("conv1d_kernel[InLayout, OutLayout, ConvLayout, input_size, conv_size, dtype]"),
    "one layout for both": launch("conv1d_kernel[InLayout, InLayout, ConvLayout, input_size, conv_size, dtype]"),
    "layouts by type_of": launch(
        "conv1d_kernel[type_of(out_layout), type_of(in_layout), type_of(conv_layout), input_size, conv_size, dtype]"
    ),
    "own layouts": (
        "comptime Signal = InLayout\ncomptime Weights = ConvLayout\n"
        + launch("conv1d_kernel[Signal, Signal, Weights, input_size, conv_size, dtype]")
    ),
    "own sizes": (
        "comptime n = input_size\ncomptime m = conv_size\n"
        + launch("conv1d_kernel[OutLayout, InLayout, ConvLayout, n, m, dtype]")
    ),
    "var sizes": f"var g = 2\nvar b = TPB\n{launch(sizes='grid_dim=g, block_dim=b')}",
    "var with a type": f"var blocks: Int = 2\n{launch(sizes='grid_dim=blocks, block_dim=TPB')}",
    "changed var": f"var g = 1\ng += 1\ng = 2\n{launch(sizes='grid_dim=g, block_dim=TPB')}",
    "two vars": f"var g, b = (2, TPB)\n{launch(sizes='grid_dim=g, block_dim=b')}",
    "several statements": f"var g = 2; var b = TPB; {launch(sizes='grid_dim=g, block_dim=b')}; ctx.synchronize()",
    "misspelt, but its own": (
        f"var output_tensr = output_tensor\n{launch(arguments='output_tensr, input_tensor, kernel_tensor')}"
    ),
    "names of its own": (
        f"var a = output_tensor\nvar b = input_tensor\nvar c = kernel_tensor\n{launch(arguments='a, b, c')}"
    ),
    "confusing names of its own": (
        f"var a = input_tensor\nvar input = output_tensor\n{launch(arguments='input, a, kernel_tensor')}"
    ),
    "another context": f"var gpu = ctx\ngpu.enqueue_function[{KERNEL}]({TENSORS}, {SIZES})",
    "in a branch": f"comptime if conv_size > 1:\n    {launch()}\nelse:\n    {launch()}",
    "in a loop": f"for _ in range(2):\n    {launch()}",
    "in one line": f"if True: {launch()}",
    "a helper": (
        "def blocks(n: Int) -> Int:\n    return ceildiv(n, TPB)\n\n"
        + launch(sizes="grid_dim=blocks(input_size), block_dim=TPB")
    ),
    "an import": f"from std.math import align_up\n{launch(sizes='grid_dim=align_up(2, 2), block_dim=TPB')}",
    "a closure": (
        "def body() {var output_tensor, var input_tensor, var kernel_tensor}:\n"
        f"    {KERNEL}({TENSORS})\nctx.enqueue_function(body, grid_dim=BLOCKS_PER_GRID, block_dim=TPB)"
    ),
    "a closure, sizes by position": (
        "def body() {var output_tensor, var input_tensor, var kernel_tensor}:\n"
        f"    {KERNEL}({TENSORS})\nctx.enqueue_function(body, BLOCKS_PER_GRID, TPB)"
    ),
    "a compiled function": f"var f = ctx.compile_function[{KERNEL}]()\nctx.enqueue_function(f, {TENSORS}, {SIZES})",
    "a docstring": f'"""Launch (it."""\n{launch()}',
    "a message": f'print("grid [", 2)\n{launch()}',
    "a template string": f'print(t"grid {{BLOCKS_PER_GRID}} (")\n{launch()}',
    "line continuation": f"var g = 1 + \\\n    1\n{launch(sizes='grid_dim=g, block_dim=TPB')}",
    "dimension object": f"from max.gpu.host import Dim\n{launch(sizes='grid_dim=Dim(2), block_dim=Dim(TPB, 1)')}",
    "launched twice": f"{launch()}\n{launch()}",
    "a guard": f'if input_size < 1:\n    raise Error("empty")\n{launch()}',
    "tensors cast": launch(arguments="(output_tensor), input_tensor, kernel_tensor"),
    "other alphabets in strings and comments": f'print("커널 – 2 × 15")  # …\n{launch()}',
    "an expression in braces": launch(sizes="grid_dim={2, 1}, block_dim={15, 1}"),
    "a semicolon at the end": f"{launch()};",
    "given back": f"return {launch()}",
    "whole division": launch(sizes="grid_dim=(input_size + TPB - 1) // TPB, block_dim=TPB") + "  # // not a comment",
    "a comparison": launch(sizes="grid_dim=2 if (input_size > TPB) else 1, block_dim=TPB if TPB < 16 else 16"),
    "a shift": launch(sizes="grid_dim=1 << 1, block_dim=(1 << 4) - 1"),
    "the context in a name": f"var device = ctx\ndevice.enqueue_function[{KERNEL}]({TENSORS}, {SIZES})",
    "sizes unpacked": (
        "var block_dim, grid_dim = TPB, BLOCKS_PER_GRID\n" + launch(sizes="grid_dim=grid_dim, block_dim=block_dim")
    ),
    "memset first": (
        "ctx.enqueue_memset(DeviceBuffer[dtype](ctx, output.unsafe_ptr(), input_size, owning=False), 0)\n" + launch()
    ),
}


@pytest.mark.parametrize("region", RIGHT.values(), ids=RIGHT.keys())
def test_right_launches_pass(region: str) -> None:
    assert findings(region) == []


def test_the_solutions_and_all_right_variants_pass() -> None:
    for solution in (ROOT / "solutions").glob("*/op.mojo"):
        op = solution.read_text()
        variants = [path.read_text() for path in solution.parent.glob("right/*.mojo")]
        for region in [read_region(op).code, *variants]:
            assert lint(region, op, KERNELS) == []


def wrong(rule: str, region: str, *words: str) -> Any:
    return pytest.param(rule, region, words, id=f"{rule}: {' '.join(words)}")


def with_layouts(layouts: str) -> str:
    return launch(f"conv1d_kernel[{layouts}, input_size, conv_size, dtype]")


# The mark ▲ shows where the finding must point; without it, at the name `enqueue_function`.
WRONG = [
    wrong("unclosed-bracket", f"ctx.enqueue_function[{KERNEL}]▲({TENSORS}, {SIZES}", "`(`", "`)`"),
    wrong("unclosed-bracket", "\n  ctx.enqueue_function▲[\n", "`[`", "`]`"),
    wrong("unopened-bracket", launch() + "▲)", "`)`", "closes nothing"),
    wrong("mismatched-bracket", "ctx.enqueue_function[k(▲]", "`]`", "`(` of column 23", "`)`"),
    wrong("mismatched-bracket", "ctx.enqueue_function[k(\n\n▲]", "`]`", "`(` of 2 lines above, column 23", "`)`"),
    wrong("unclosed-string", 'print(▲"two)', "never closed", "quote"),
    wrong("unclosed-string", 'x = ▲"""two\n\n)', "never closed"),
    wrong("pointer-passed", launch(arguments="▲output_tensor.ptr, input_tensor, kernel_tensor"), "`output_tensor.ptr`"),
    wrong(
        "pointer-passed",
        launch(arguments="output_tensor, ▲input_tensor.unsafe_ptr(), kernel_tensor"),
        "`input_tensor.unsafe_ptr()` is a pointer",
        "the tensor itself for `input`",
    ),
    wrong(
        "layout-value",
        launch("conv1d_kernel[OutLayout, InLayout, ▲conv_layout, input_size, conv_size, dtype]"),
        "`conv_layout` is a layout, and `conv1d_kernel` takes its type for `ConvLayout`: write `ConvLayout`.",
    ),
    wrong("missing-comma", launch(sizes="grid_dim=2 ▲block_dim=TPB"), "between `2` and `block_dim`"),
    wrong("missing-comma", launch(arguments="output_tensor\n ▲input_tensor, kernel_tensor"), "`input_tensor`"),
    wrong("missing-value", launch(sizes="grid_dim=2, block_dim=TPB ▲+"), "after `+`"),
    wrong("missing-value", launch(sizes="grid_dim▲=, block_dim=TPB"), "after `=`"),
    wrong("keyword-without-equals", launch(sizes="▲grid_dim: 2, block_dim=TPB"), "`grid_dim=…`"),
    wrong("keyword-without-equals", launch(sizes="grid_dim=2, ▲block_dim == TPB"), "`block_dim=…`"),
    wrong("unclosed-bracket", launch(sizes="grid_dim=ceildiv▲(input_size, TPB, block_dim=TPB"), "before `block_dim=`"),
    wrong("unclosed-bracket", launch(sizes="grid_dim=▲(input_size + TPB - 1 // TPB, block_dim=TPB"), "`)` is missing"),
    wrong("unclosed-bracket", f"ctx.enqueue_function▲[{KERNEL}({TENSORS}, {SIZES})", "`]`"),
    wrong("stray-beginning", f"▲// launch\n{launch()}", "`#`", "`//`"),
    wrong("stray-beginning", f"▲/* launch */\n{launch()}", "`#`"),
    wrong("stray-beginning", f"{launch()} ▲// launch", "`#`", "`//`"),
    wrong("stray-beginning", f"▲```mojo\n{launch()}\n```", "Markdown"),
    wrong("stray-beginning", f"▲>>> {launch()}", "prompt"),
    wrong("stray-beginning", f"▲%%fill p17\n{launch()}", "first line of a cell"),
    wrong("stray-beginning", f"▲!workbook check p17\n{launch()}", "delete this line"),
    wrong("foreign-character", f"print(▲“launch”)\n{launch()}", "`“`", '`"`'),
    wrong("foreign-character", f"ctx.enqueue_function[{KERNEL}]▲（{TENSORS}, {SIZES}）", "`（`", "type `(`"),
    wrong("foreign-character", launch(arguments="output_tensor▲， input_tensor， kernel_tensor"), "type `,`"),
    wrong("foreign-character", launch(sizes="grid_dim▲＝2, block_dim=TPB"), "type `=`"),
    wrong("foreign-character", launch(sizes="grid_dim=▲２, block_dim=TPB"), "type `2`"),
    wrong("foreign-character", launch(sizes="grid_dim=▲커널, block_dim=TPB"), "`커`", "strings and comments"),
    wrong("foreign-character", launch(sizes="grid_dim=TPB ▲– 13, block_dim=TPB"), "`–`", "type `-`"),
    wrong("foreign-character", launch(sizes="grid_dim=2 ▲× 1, block_dim=TPB"), "type `*`"),
    wrong("foreign-character", launch(sizes="grid_dim=2,▲\u00a0block_dim=TPB"), "invisible", "no-break space"),
    wrong("foreign-character", "ctx.enqueue▲\u200b_function", "invisible", "zero width space"),
    wrong("foreign-character", launch(arguments="▲…"), "left out"),
    wrong("foreign-character", "ctx.enqueue▲\\_function", "`\\`"),
    wrong("foreign-character", "how do I launch it▲?", "`?`"),
    wrong("ellipsis", launch(arguments="▲..."), "left out"),
    wrong("semicolon", launch(arguments="output_tensor▲; input_tensor, kernel_tensor"), "`,`", "`;`"),
    wrong("semicolon", launch(sizes="grid_dim=2▲; block_dim=TPB"), "comma"),
    wrong("semicolon", f"ctx.enqueue_function[{KERNEL}]({TENSORS}, {SIZES}▲;)", "comma"),
    wrong(
        "cuda-launch", f"conv1d_kernel▲<<<BLOCKS_PER_GRID, TPB>>>({TENSORS})", "CUDA", "`ctx.enqueue_function[…](…)`"
    ),
    wrong("cuda-launch", f"{KERNEL}▲<<<2, 15, 0>>>({TENSORS})", "`grid_dim=…`"),
    wrong("other-brackets", launch("conv1d_kernel▲<OutLayout, InLayout, ConvLayout, 15, 4, dtype>"), "`<…>`", "`[…]`"),
    wrong("other-brackets", launch("▲<conv1d_kernel>"), "square brackets"),
    wrong("other-brackets", f"ctx.enqueue_function▲<conv1d_kernel>({TENSORS}, {SIZES})", "square brackets"),
    wrong("other-brackets", f"ctx.enqueue_function▲{{{KERNEL}}}({TENSORS}, {SIZES})", "`{…}`"),
    wrong("closed-too-early", f"ctx.enqueue_function[{KERNEL}]({TENSORS}), ▲{SIZES}", "before `grid_dim=…`"),
    wrong("keyword-not-a-name", launch(sizes="▲grid-dim=2, block_dim=TPB"), "`grid_dim=…`, not `grid-dim=…`"),
    wrong("keyword-not-a-name", launch(sizes="grid_dim=2, ▲block.dim=TPB"), "not `block.dim=…`"),
    wrong("keyword-not-a-name", launch(sizes="▲grid dim=2, block_dim=TPB"), "`grid_dim=…`"),
    wrong("keyword-without-equals", launch(sizes="▲grid_dim:=2, block_dim=TPB"), "not `grid_dim:=…`"),
    wrong("keyword-without-equals", launch(sizes="▲grid_dim=>2, block_dim=TPB"), "not `grid_dim=>…`"),
    wrong("missing-value", "ctx▲.", "after `.`"),
    wrong("missing-value", "var g ▲=", "after `=`"),
    wrong("kernel-is-text", launch('▲"conv1d_kernel"'), "without quotes", "`enqueue_function[conv1d_kernel[…]](…)`"),
    wrong("kernel-is-text", f'ctx.enqueue_function(▲"conv1d_kernel", {TENSORS}, {SIZES})', "without quotes"),
    wrong("kernel-is-struct", launch("▲Conv1D"), "`Conv1D` is the struct", "`conv1d_kernel`"),
    wrong("kernel-is-tensor", launch("▲kernel[OutLayout]"), "`kernel` is a tensor", "`conv1d_kernel`"),
    wrong("module-of-kernel", launch("▲kernels.conv1d." + KERNEL), "alone, without `kernels.conv1d.`"),
    wrong("unknown-name", launch("▲conv1d[OutLayout]", "x, y"), "mean `conv1d_kernel`"),
    wrong("kernel-twice", f"var f = ctx.compile_function[{KERNEL}, ▲{KERNEL}]()\nctx.enqueue_function(f)", "once"),
    wrong("unknown-method", f"ctx.▲launch[{KERNEL}]({TENSORS}, {SIZES})", "`ctx.enqueue_function[…](…)`"),
    wrong("unknown-method", f"ctx.▲run({KERNEL}, {TENSORS})", "`ctx` has no method `run`"),
    wrong("launch-not-called", "ctx.enqueue_function", "the name `enqueue_function` alone"),
    wrong("no-launch", "▲ctx", "Nothing is launched"),
    wrong("no-launch", f"▲var f = ctx.compile_function[{KERNEL}]()", "Nothing is launched"),
    wrong("kernel-not-in-brackets", f"ctx.enqueue_function(▲conv1d_kernel(OutLayout))({TENSORS})", "square brackets"),
    wrong("old-mojo", f"▲fn f():\n    pass\n{launch()}", "`fn`", "`def`"),
    wrong("old-mojo", f"▲alias g = 2\n{launch()}", "`alias`", "`comptime`"),
    wrong("old-mojo", f"▲let g = 2\n{launch()}", "`let`", "`var`"),
    wrong("old-mojo", f"▲@parameter\nif conv_size > 1:\n    {launch()}", "`comptime if`"),
    wrong("old-mojo", f"def f(▲owned x: Int):\n    pass\n{launch()}", "`owned`", "`var`"),
    wrong("old-mojo", "ctx.▲" + launch().replace("function", "function_checked")[4:], "`enqueue_function`"),
    wrong("old-mojo", "ctx.▲get_device_context()" + launch()[3:], "`ctx` is the DeviceContext already"),
    wrong("unknown-name", launch(arguments="▲output_tensr, input_tensor, kernel_tensor"), "mean `output_tensor`"),
    wrong("unknown-name", "▲gpu_" + launch(), "`gpu_ctx` does not exist", "mean `ctx`"),
    wrong("unknown-name", "▲" + launch().replace("ctx.", "device."), "`device` does not exist", "mean `ctx`"),
    wrong("unknown-name", launch().replace("output_tensor", "▲outputTensor"), "mean `output_tensor`"),
    wrong("unknown-name", launch(sizes="grid_dim=▲BLOCK_PER_GRID, block_dim=TPB"), "mean `BLOCKS_PER_GRID`"),
    wrong("unknown-name", launch(sizes="grid_dim=2, block_dim=▲tpb"), "mean `TPB`"),
    wrong("unknown-name", launch("▲" + KERNEL.replace("kernel", "kernl")), "mean `conv1d_kernel`"),
    wrong("unknown-method", "ctx.▲" + launch()[4:].replace("enqueue", "enque"), "`enque_function`"),
    wrong("unknown-method", "ctx.▲" + launch()[4:].replace("function", "functions"), "mean `enqueue_function`"),
    wrong("missing-var", f"▲g = 2\n{launch(sizes='grid_dim=g, block_dim=TPB')}", "`var g = …`"),
    wrong("missing-context", launch()[4:], "`ctx.enqueue_function`"),
    wrong("kernel-called-directly", f"▲{KERNEL}({TENSORS})", "`conv1d_kernel(…)`", "GPU"),
    wrong("kernel-called-directly", f"▲conv1d_kernel({TENSORS}, {SIZES})", "enqueue_function["),
    wrong("no-launch", "▲var g = 2", "`ctx.enqueue_function[…](…)`"),
    wrong("no-launch", "# launch\n  ▲print(TPB)\nctx.synchronize()", "Nothing is launched"),
    wrong("kernel-not-in-brackets", f"ctx.enqueue_function(▲conv1d_kernel, {TENSORS}, {SIZES})", "square brackets"),
    wrong("kernel-not-in-brackets", f"ctx.enqueue_function({TENSORS}, {SIZES})", "which kernel"),
    wrong("kernel-called-in-brackets", f"ctx.enqueue_function[▲{KERNEL}({TENSORS})]({SIZES})", "parentheses"),
    wrong("kernel-twice", f"ctx.enqueue_function[{KERNEL}, ▲{KERNEL}]({TENSORS}, {SIZES})", "once", "older Mojo"),
    wrong("launch-not-called", f"ctx.enqueue_function[{KERNEL}]", "parentheses"),
    wrong("missing-grid-dim", launch(sizes="block_dim=TPB"), "`grid_dim`", "blocks"),
    wrong("missing-block-dim", launch(sizes="grid_dim=2"), "`block_dim`", "threads"),
    wrong("unknown-keyword", launch(sizes="▲grid=2, block_dim=TPB"), "`grid`", "mean `grid_dim`"),
    wrong("unknown-keyword", launch(sizes="▲blocks=2, block_dim=TPB"), "`blocks`", "mean `grid_dim`"),
    wrong("unknown-keyword", launch(sizes="▲gird_dim=2, block_dim=TPB"), "`gird_dim`", "mean `grid_dim`"),
    wrong("unknown-keyword", launch(sizes="grid_dim=2, ▲blockDim=TPB"), "`blockDim`", "mean `block_dim`"),
    wrong("unknown-keyword", launch(sizes="grid_dim=2, ▲threads=TPB"), "`threads`", "mean `block_dim`"),
    wrong("unknown-keyword", launch(sizes=SIZES + ", ▲colour=3"), "`colour`", "`grid_dim` and `block_dim`"),
    wrong("repeated-keyword", launch(sizes=SIZES + ", ▲block_dim=3"), "`block_dim`", "twice"),
    wrong(
        "kernel-argument-by-keyword",
        launch(arguments="output_tensor, input_tensor, ▲kernel=kernel_tensor"),
        "`kernel_tensor` without `kernel=`",
    ),
    wrong("positional-after-keyword", f"ctx.enqueue_function[{KERNEL}]({SIZES}, ▲{TENSORS})", "`output_tensor`"),
    wrong("too-few-arguments", launch(arguments="output_tensor, input_tensor"), "passes 2", "missing is `kernel`"),
    wrong("too-few-arguments", launch(arguments="output_tensor, kernel_tensor"), "missing is `input`"),
    wrong("too-few-arguments", launch(arguments="output_tensor, 1"), "takes 3", "passes only 2"),
    wrong("too-many-arguments", launch(arguments=TENSORS + ", ▲input_size"), "takes 3", "passes 4"),
    wrong("too-many-arguments", launch(sizes=SIZES + ", ▲input_size"), "takes 3", "passes 4"),
    wrong("argument-order", launch(arguments="▲input_tensor, output_tensor, kernel_tensor"), "Argument 1"),
    wrong("argument-order", launch(arguments="output_tensor, ▲kernel_tensor, input_tensor"), "is `input`"),
    wrong("argument-order", launch(arguments="output_tensor, ▲kernel, input_tensor"), "`kernel` stands"),
    wrong("missing-parameters", launch("conv1d_kernel"), "square brackets", "`OutLayout`"),
    wrong("missing-parameters", with_layouts("▲OutLayout, InLayout, ConvLayout").replace(", dtype", ""), "is `dtype`"),
    wrong("missing-parameters", with_layouts("▲OutLayout, InLayout"), "missing is `ConvLayout`"),
    wrong(
        "missing-parameters",
        launch("conv1d_kernel[▲input_size=input_size, conv_size=conv_size]"),
        "missing is `OutLayout`, `InLayout`, `ConvLayout`, `dtype`",
    ),
    wrong("too-many-parameters", launch(KERNEL.replace("dtype", "dtype, ▲3")), "`3` is one too many"),
    wrong("unknown-parameter", launch(KERNEL.replace("dtype", "dtype=dtype, ▲colour=dtype")), "`colour`"),
    wrong("parameter-order", with_layouts("OutLayout, ▲ConvLayout, InLayout"), "`ConvLayout`", "takes `InLayout`"),
    wrong("parameter-order", with_layouts("InLayout, ▲ConvLayout, ConvLayout"), "`ConvLayout`", "takes `InLayout`"),
    wrong("parameter-order", "comptime n = conv_size\n" + launch(KERNEL.replace("input_size", "▲n")), "`n` stands"),
    wrong(
        "parameter-order",
        launch("conv1d_kernel[OutLayout, InLayout, ConvLayout, ▲conv_size, input_size, dtype]"),
        "`conv_size` stands where `conv1d_kernel` takes `input_size`",
    ),
    wrong(
        "parameter-order",
        launch(
            KERNEL.replace("input_size, conv_size, dtype", "conv_size=▲input_size, input_size=conv_size, dtype=dtype")
        ),
        "`input_size` stands where `conv1d_kernel` takes `conv_size`",
    ),
    wrong("size-type", launch(sizes='grid_dim=▲"2", block_dim=TPB'), '`"2"`', "whole number"),
    wrong("size-type", launch(sizes="grid_dim=▲None, block_dim=TPB"), "`None`", "whole number"),
    wrong("size-type", launch(sizes="grid_dim=▲[2], block_dim=TPB"), "tuple"),
    wrong("size-type", launch(sizes="grid_dim=▲2.0, block_dim=TPB"), "`2.0`"),
    wrong("too-many-dimensions", launch(sizes="grid_dim=2, block_dim=▲(TPB, 1, 1, 1)"), "three", "4"),
    wrong("size-not-positive", launch(sizes="grid_dim=▲0, block_dim=TPB"), "`grid_dim` is 0"),
    wrong("size-not-positive", launch(sizes="grid_dim=2, block_dim=▲TPB - 15"), "`block_dim` is 0"),
    wrong("size-not-positive", launch(sizes="grid_dim=▲(2, -1), block_dim=TPB"), "at least 1"),
    wrong("block-too-large", launch(sizes="grid_dim=2, block_dim=▲2048"), "2048", "1024"),
    wrong("block-too-large", launch(sizes="grid_dim=2, block_dim=▲(TPB * 10, 10)"), "1500"),
    wrong("block-too-large", "comptime t = 100 * TPB\n" + launch(sizes="grid_dim=2, block_dim=▲t"), "1500"),
]


@pytest.mark.parametrize(("rule", "region", "words"), WRONG)
def test_wrong_launches_are_refused_once_and_at_the_right_place(rule: str, region: str, words: tuple[str, ...]) -> None:
    before = region[: region.index("▲" if "▲" in region else "enqueue_function")]
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    (finding,) = findings(region.replace("▲", ""))
    assert (finding.rule, (finding.line, finding.column)) == (rule, place)
    for word in words:
        assert word in finding.message


def test_every_rule_is_tested() -> None:
    source = (ROOT / "workbook/lint/launch.py").read_text()
    named = set(re.findall(r'_finding\(\s*"([a-z-]+)"', source)) | {"missing-grid-dim", "missing-block-dim"}
    assert named == {case.values[0] for case in WRONG} | {"int-passed", "other-number"}


@pytest.mark.parametrize(
    "region",
    [
        "var n = undefined_elsewhere\n" + launch(),  # no name that is near it: the compiler answers
        launch(arguments="*(output_tensor, input_tensor, kernel_tensor)"),
        launch(arguments="first(), second(), third()"),
        launch(sizes="grid_dim=some_function(), block_dim=TPB"),
        launch(sizes="grid_dim=input_size // 0, block_dim=TPB"),
        "comptime g = g\n" + launch(sizes="grid_dim=g, block_dim=TPB"),
        "from elsewhere import some_kernel\n" + launch("some_kernel[3]", arguments="x, y"),
        f"var input_tensor = 3\n{launch(arguments='input_tensor, x(), kernel_tensor')}",
        f"from elsewhere import *\n{launch(arguments='output_tensr, input_tensor, kernel_tensor')}",
        "comptime n = 3\nctx.enqueue_cpu_function(n)",
        "helper(ctx)",
        f"var stream = ctx.stream()\nstream.enqueue_function[{KERNEL}]({TENSORS}, size=3)",
        f"try:\n    {launch()}\nexcept outpt:\n    raise outpt",
    ],
)
def test_what_is_not_certain_is_left_to_the_compiler_and_the_check(region: str) -> None:
    assert findings(region) == []


def test_findings_are_in_the_order_of_the_text() -> None:
    region = launch(arguments="input_tensor, output_tensor, kernel_tensor", sizes="grid_dim=0, block_dim=4096")
    assert [finding.rule for finding in findings(region)] == ["argument-order", "size-not-positive", "block-too-large"]


def test_a_mistake_is_reported_by_its_root_only() -> None:
    both = launch(
        KERNEL.replace("InLayout, ConvLayout", "ConvLayout, InLayout"), "output_tensor, kernel_tensor, input_tensor"
    )
    assert [finding.rule for finding in findings(both)] == ["argument-order"]
    by_position = launch(sizes="BLOCKS_PER_GRID, TPB")
    assert [finding.rule for finding in findings(by_position)] == ["missing-grid-dim", "missing-block-dim"]


@pytest.mark.parametrize(
    "region", ["", "\n\n", "# launch it", "pass", "  pass  # later", '"""Later."""', "# (\n'x'\npass\n", "..."]
)
def test_not_attempted(region: str) -> None:
    assert not is_attempted(region)
    assert findings(region) == []


@pytest.mark.parametrize("region", [launch(), "var x = 1", "ctx", "passed", '"""unclosed', "(", "1"])
def test_attempted(region: str) -> None:
    assert is_attempted(region)


ADD_KERNEL = """
from max.gpu import thread_idx

comptime THREADS = 64

def add_kernel[size: Int, //, dtype: DType, Layout: TensorLayout, *, bias: Int = 0](
    total: TileTensor[dtype, Layout, MutAnyOrigin],
    left: TileTensor[dtype, Layout, MutAnyOrigin],
    right: TileTensor[dtype, Layout, MutAnyOrigin],
):
    total[thread_idx.x] = left[thread_idx.x] + right[thread_idx.x]

def blocks_for(size: Int) -> Int:
    return size // THREADS
"""
ADD_OP = """
from kernels.add import THREADS, add_kernel as kernel, blocks_for

struct Add:
    @staticmethod
    def execute[target: StaticString, dtype: DType, size: Int](device: DeviceContext) raises:
        comptime Layout = type_of(row_major[size]())
        var total_tensor = TileTensor[dtype, Layout, MutAnyOrigin](row_major[size]())
        var left_tensor = TileTensor[dtype, Layout, MutAnyOrigin](row_major[size]())
        var right_tensor = TileTensor[dtype, Layout, MutAnyOrigin](row_major[size]())
        # >>> your code
        # <<< your code
"""


@pytest.mark.parametrize(
    ("arguments", "rules"),
    [
        ("total_tensor, left_tensor, right_tensor", []),
        ("total_tensor, right_tensor, left_tensor", []),  # two inputs of one type: either order may be right
        ("left_tensor, total_tensor, right_tensor", ["argument-order"]),
        ("total_tensor, left_tensor", ["too-few-arguments"]),
    ],
)
def test_another_kernel_and_another_op(arguments: str, rules: list[str]) -> None:
    region = (
        f"device.enqueue_function[kernel[dtype, Layout]]({arguments}, grid_dim=blocks_for(size), block_dim=THREADS)"
    )
    assert [finding.rule for finding in lint(region, ADD_OP, {"kernels.add": ADD_KERNEL})] == rules


def test_names_of_another_op_are_read_from_its_text() -> None:
    tensors = "total_tensor, left_tensor, right_tensor"
    region = f"device.enqueue_function[kernel[Layout, dtype]]({tensors}, block_dim=THREADS * 17)"
    found = lint(region, ADD_OP, {"kernels.add": ADD_KERNEL})
    assert [finding.rule for finding in found] == ["missing-grid-dim", "parameter-order", "block-too-large"]
    assert "takes `dtype`" in found[1].message
    assert "1088" in found[2].message


VECTORS = (ROOT / "problems/t2/op.mojo").read_text()
VECTOR_KERNELS = {"kernels.vector_addition": (ROOT / "kernels/vector_addition.mojo").read_text()}


@pytest.mark.parametrize(
    ("region", "rules"),
    [
        ("ctx.enqueue_function[vector_addition_kernel[Layout, dtype]]({size}, {sizes})", []),
        ("ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](size, {sizes})", ["int-passed"]),
        ("add_on_cpu(output, lhs, rhs, size)", ["no-launch"]),  # a function of the op that is given no context
        ("add_on_gpu(output, lhs, rhs, size, ctx)", []),
    ],
)
def test_an_op_with_functions_of_its_own_and_a_size_that_is_passed(region: str, rules: list[str]) -> None:
    sizes = "grid_dim=ceildiv(size, TPB), block_dim=TPB"
    region = region.replace("({size}", "(output, lhs, rhs, Int32(size)").replace("(size", "(output, lhs, rhs, size")
    found = lint(region.replace("{sizes}", sizes), VECTORS, VECTOR_KERNELS)
    assert [finding.rule for finding in found] == rules


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("UInt32(size)", "`size` as `Int32`, and `UInt32(size)` is passed: pass `Int32(size)`"),
        ("Int64( size  + 1 )", "and `Int64( size + 1 )` is passed: pass `Int32( size + 1 )`"),
        ("Float32(3)", "pass `Int32(3)`"),
        ("Int(size)", "pass `Int32(size)`"),
        ("Int32(Int64(size))", ""),
        ("Int64(size).cast[DType.int32]()", ""),
        ("Int64(size) // Int64(size)", ""),  # the compiler answers what is computed
    ],
)
def test_a_number_of_another_type_than_the_kernel_declares(given: str, said: str) -> None:
    region = f"ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](output, lhs, rhs, {given}, grid_dim=1"
    found = lint(f"{region}, block_dim=16)", VECTORS, VECTOR_KERNELS)
    assert [(one.rule, one.column) for one in found] == ([("other-number", region.index(given) + 1)] if said else [])
    assert all(said in one.message for one in found)


def test_what_is_quoted_stands_as_it_was_written() -> None:
    region = "ctx.enqueue_function[vector_addition_kernel[Layout, dtype]](output, lhs, rhs, size=Int32(size)"
    (found,) = lint(f"{region}, grid_dim=1, block_dim=16)", VECTORS, VECTOR_KERNELS)
    assert "write `Int32(size)` without `size=`" in found.message


MOJO_PIECES = st.sampled_from(
    [*launch(), *launch().split(), "\n", " ", '"', "'", '"""', "\\", "[", ")", "def ", "=", "x"]
)


@given(st.one_of(st.text(), st.lists(MOJO_PIECES).map("".join)))
def test_no_text_makes_the_lint_raise(text: str) -> None:
    lint(text, OP, KERNELS)
    lint(launch(), text, {"kernels.conv1d": text})
    lint(launch(), OP, {"kernels.conv1d": text})
