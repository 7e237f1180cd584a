"""A real browser and a JupyterLab for the tests: the fixtures are in conftest.py."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.isReady
        && panel.sessionContext.session?.kernel?.status === 'idle';
}"""


def screenshots() -> Path:
    folder = Path(os.environ.get("WORKBOOK_SCREENSHOTS", Path(__file__).parent.parent / "build" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def screenshot(page: Page, name: str) -> None:
    """Keep what is seen now as build/screenshots/NAME.png, once JupyterLab's splash screen is gone."""
    page.wait_for_function("!document.getElementById('jupyterlab-splash')")
    page.screenshot(path=screenshots() / f"{name}.png")


@contextmanager
def serve_lab(checkout: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of the checkout, on loopback only. It has settings of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"--no-browser --ip=127.0.0.1 --port={port} --IdentityProvider.token= --allow-root".split()
    own_folders = {f"JUPYTERLAB_{name}_DIR": str(checkout / ".lab" / name) for name in ("SETTINGS", "WORKSPACES")}
    server = subprocess.Popen(
        [sys.executable, "-m", "workbook.commands.main", "lab", *options, "--LabApp.expose_app_in_browser=True"],
        stdout=(checkout / "lab.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | own_folders,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api")
                break
            except OSError:
                assert server.poll() is None, (checkout / "lab.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextmanager
def open_browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"there is no browser at {CHROMIUM}: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()
