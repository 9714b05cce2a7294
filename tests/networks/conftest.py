"""Networks need the extra ``dfp[networks]``: without it their tests are skipped."""

import pytest

torch = pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small networks are fastest on one thread, and tests may run in parallel."""
    torch.set_num_threads(1)
