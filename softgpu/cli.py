"""The command `softgpu`: run any Python program that uses MAX on the software GPU."""

import argparse
import runpy
import sys
from pathlib import Path

import softgpu


def main() -> int:
    parser = argparse.ArgumentParser(prog="softgpu", description="A GPU in software, for programs that use MAX.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a Python program on the software GPU")
    run.add_argument("program", type=Path, help="the Python file")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets as its arguments")
    options = parser.parse_args()

    if not options.program.is_file():
        parser.error(f"there is no file {options.program}")
    try:
        softgpu.install()
    except softgpu.SoftGPUError as error:
        print(f"softgpu: {error}", file=sys.stderr)
        return 1
    # As `python PROGRAM ARGS` does: the program's own arguments, and its folder first on the path.
    sys.argv = [str(options.program), *options.arguments]
    sys.path.insert(0, str(options.program.resolve().parent))
    runpy.run_path(str(options.program), run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
