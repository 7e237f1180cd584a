"""What the tests share: a copy of the learner's files to write to, and one warm worker for all of them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import compiled_ahead
import pytest
from browser import open_browser, serve_lab
from compiled_ahead import ExecutorAhead
from playwright.sync_api import Browser, Page

from workbook import language, rooms
from workbook.pictures.sheet import font_families
from workbook.puzzles import Puzzle, find_puzzle
from workbook.running.worker import Worker

os.environ.pop(language.VARIABLE, None)  # tests know what is said in English

TIME_LIMIT = 900.0  # many attempts that are compiled together take longer than one

ROOMS = ("experiments", "kernels", "problems", "solutions", "notebooks", "puzzles.toml")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's content: no test writes to the learner's files. Compiled packages are shared."""
    original, root = rooms.ROOT, tmp_path / "checkout"
    root.mkdir()
    for room in ROOMS:
        source = original / room
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / room)
    # Processes that a test starts find the packages there too, and MAX its graphs of them.
    rooms.BUILD.mkdir(parents=True, exist_ok=True)
    (root / ".workbook").mkdir()
    (root / ".workbook" / "build").symlink_to(rooms.BUILD)
    monkeypatch.setenv("WORKBOOK_ROOT", str(root))
    for name, path in vars(rooms).copy().items():
        if isinstance(path, Path) and path.is_relative_to(original):
            monkeypatch.setattr(rooms, name, root / path.relative_to(original))
    return root


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes this process speak a language, until the end of the test."""
    caches = (language.language, language._translations, font_families)

    def change(code: str) -> None:
        monkeypatch.setenv(language.VARIABLE, code)
        for cache in caches:
            cache.cache_clear()

    yield change
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def puzzle() -> Puzzle:
    return find_puzzle("p17")


@pytest.fixture(scope="session")
def worker(path_of_workers: Path) -> Iterator[Worker]:
    """One warm worker with the software GPU, as a notebook has it."""
    worker = Worker("softgpu", TIME_LIMIT, ExecutorAhead)
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def cpu_worker(path_of_workers: Path) -> Iterator[Worker]:
    """One warm worker with the CPU, for the puzzles that are checked on it too."""
    worker = Worker("cpu", TIME_LIMIT, ExecutorAhead)
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def path_of_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where worker processes find the executor of the tests, and it alone: tests/softgpu would pass for the package."""
    folder = tmp_path_factory.mktemp("path")
    shutil.copy(compiled_ahead.__file__, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder


@pytest.fixture
def lab(checkout: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves the copy of the checkout."""
    with serve_lab(checkout) as address:
        yield address


@pytest.fixture(scope="module")  # while it is open, no other test can have an event loop
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1800})
    yield page
    page.close()
