import pytest

import smelt


@pytest.fixture
def site(tmp_path, request):
    """An empty data directory; all processes started on it end with the test."""
    s = smelt.Site(tmp_path)
    yield s
    s.stop()
    if getattr(request.node, "failed", False):
        for process in s.processes:
            print("--- %s ---\n%s" % (process.log_path, process.log()[-4000:]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True
