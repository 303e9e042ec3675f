"""Settings of every test of the tree."""

from __future__ import annotations

import os

# The tensors of the tests are small: a second thread costs more than it brings, and the tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing is remembered from one test to another.
os.environ["FUSELIGHT_CACHE_DIR"] = ""
