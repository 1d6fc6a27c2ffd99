"""The doctor: what is absent, what is broken, and the one command that mends it."""

import json
import sys

import pytest
from typer.testing import CliRunner

from seefar.cli import app, doctor
from seefar.cli.doctor import Finding, Part, guarded, package


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package of one module on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name, version, source):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return put


def test_a_package_that_works_is_ok_with_its_version(install):
    install("goodpart", "3.2", "")
    assert package(Part("goodpart", "goodpart", "this test")) == Finding("goodpart", "ok", "3.2, this test")


def test_a_package_that_breaks_while_it_is_imported_is_told_from_one_that_is_absent(install):
    install("badpart", "3.2", "raise RuntimeError('libfoo.so.13: not found\\nsecond line')")
    found = package(Part("badpart", "badpart", "this test", "read"))
    assert (found.state, found.fix) == ("broken", "pip install --force-reinstall --no-deps badpart")
    assert found.detail == "3.2 is installed and cannot be imported: libfoo.so.13: not found"


def test_an_absent_extra_is_no_fault_and_an_absent_part_of_the_core_is():
    extra = package(Part("nopart", "nopart", "this test", "fast"))
    assert (extra.state, extra.fix) == ("absent", "pip install 'seefar[fast]'")
    core = package(Part("nopart", "nopart", "this test"))
    assert (core.state, core.fix) == ("broken", "pip install 'nopart'")


def test_a_torchvision_that_breaks_transformers_is_found(install):
    install("torchvision", "0.99", "raise RuntimeError('operator torchvision::nms does not exist')")
    (found,) = doctor._harmful(("torchvision",))
    assert (found.state, found.fix) == ("broken", "pip uninstall -y torchvision")
    assert "nms does not exist" in found.detail
    (absent,) = doctor._harmful(("torchcodec_of_nowhere",))
    assert absent.state == "ok"


def test_a_look_that_fails_is_a_finding_and_not_the_end():
    def _look():
        raise OSError("cannot look")

    assert guarded(_look) == Finding("look", "broken", "cannot look")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("absent", 0), ("slow", 0), ("broken", 1)])
def test_only_what_is_broken_fails_and_its_command_is_shown(monkeypatch, state, code):
    monkeypatch.setattr(doctor, "findings", lambda: iter([Finding("thing", state, "found so", "mend thing")]))
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == code
    assert "thing" in told.stdout and state in told.stdout and "mend thing" in told.stdout
    told = CliRunner().invoke(app, ["doctor", "--json"])
    assert told.exit_code == code
    assert json.loads(told.stdout) == {
        "broken": code,
        "findings": [{"name": "thing", "state": state, "detail": "found so", "fix": "mend thing"}],
    }


@pytest.mark.slow
def test_here_every_look_can_be_taken():
    found = {finding.name: finding for finding in doctor.findings()}
    assert {"python", "torch", "seefar.wrap", "h264", "device", "scans", "pico", "torchvision"} <= set(found)
    assert found["seefar.wrap"].state == found["h264"].state == "ok"
    assert all(finding.fix for finding in found.values() if finding.state in ("absent", "slow"))
