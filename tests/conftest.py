"""What holds for every test: how much Hypothesis tries, which shared fixtures there are, and that CI skips nothing.

A suite whose toolchain is missing calls `pytest.skip` with a sentence that says what to install. On a contributor's
machine that is fair; with `CI=true` it would be a green run that showed nothing, so there every skip is a failure.
"""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() == "true"

# Who starts the tests in the background may have SIGINT ignored, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules that hold no tests of their own, but assert: they, too, tell what they have seen when they fail.
pytest.register_assert_rewrite("tests.support", "tests.contract", "tests.model", "tests.simulation", "tests.unit")

_SUPPORT = Path(__file__).with_name("support")
# Fixtures of real parts, each in a file of its own.
pytest_plugins = [
    f"tests.support.{name}"
    for name in ("databases", "kafka", "kubernetes", "network", "node", "operator")
    if (_SUPPORT / f"{name}.py").is_file()
]

# No deadlines: a busy machine misses any limit of milliseconds. What hangs is caught by pytest-timeout.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not IN_CI or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} was skipped, and with CI=true nothing may be. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failed one in CI."""
    report = yield
    _fail_if_skipped(report)
    return report
