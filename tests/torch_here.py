"""PyTorch is optional: without it the tests of puzzle 20 are skipped and say so, but not in CI."""

import os
from importlib.util import find_spec

import pytest

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None and not os.environ.get("CI"),
    reason="PyTorch is not installed: uv pip install --torch-backend=cpu torch==2.13.0",
)
