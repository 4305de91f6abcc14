"""Fixtures: every process that a test starts is ended by its pid, and a failure shows its log."""

import pytest

import kit


@pytest.fixture
def running():
    """The processes of the test, in the order of their start."""
    processes = []
    yield processes
    for process in reversed(processes):
        process.kill()


@pytest.fixture
def s3(running, tmp_path):
    """An S3 server with an empty bucket."""
    server = kit.S3Server(tmp_path)
    running.append(server)
    return server.start()


@pytest.fixture
def folder_lake(tmp_path):
    return kit.FolderLake(tmp_path)


@pytest.fixture
def s3_lake(s3):
    return kit.S3Lake(s3)


@pytest.fixture
def new_lakehose(running, tmp_path):
    """Makes a Lakehose that is not started yet: `new_lakehose(identities, lake, streams)`.

    Further keyword arguments replace settings of the file's top level.
    """

    def make(identities, lake, streams, name="lakehose", **replaced):
        settings = kit.settings_of(tmp_path, identities, lake, streams) | replaced
        server = kit.Lakehose(tmp_path, settings, kit.secrets_of(identities), name)
        running.append(server)
        return server

    return make


def pytest_terminal_summary(terminalreporter):
    """What was not run is said aloud: a green run must not hide it."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("NOT RUN", red=True, bold=True)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"{report.nodeid}: {reason}", red=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for process in item.funcargs.get("running", []):
            report.sections.append((f"end of {process.log}", process.log_tail()))
