"""`workbook lab`: opens the workbook in JupyterLab."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from workbook import language, rooms
from workbook.language import N_

SUMMARY = N_("open the workbook in JupyterLab")
NOTES = N_("Further arguments go to JupyterLab, as in `workbook lab --no-browser --port 9999`.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> NoReturn:
    command = [sys.executable, "-m", "jupyterlab", str(language.notebook_file("00_start_here.ipynb"))]
    # The whole checkout, so that the file that one fills in can be opened in Lab too.
    command.append(f"--ServerApp.root_dir={rooms.ROOT}")
    # Lab's question whether it may fetch news would lie over the notebook.
    config_path = os.environ.get("JUPYTER_CONFIG_PATH")
    ours = str(Path(__file__).parent / "lab_config")
    environment = os.environ | {"JUPYTER_CONFIG_PATH": f"{ours}{os.pathsep}{config_path}" if config_path else ours}
    os.execve(sys.executable, [*command, *options.passed_on], environment)  # no process in between to outlive
