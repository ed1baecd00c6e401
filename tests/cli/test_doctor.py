import json
import shutil
import threading

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from ftlib import cli
from ftlib.cli import diagnosis, package_checks
from ftlib.cli.check import Check
from ftlib.cli.diagnosis import can_run, check_environment, check_hub, check_nano, examine
from ftlib.cli.package_checks import check_packages
from ftlib.errors import ModelError
from ftlib.paths import nano_folder

CANARY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def known_speed(monkeypatch):
    """A processor of a known speed: a product in bfloat16 takes seconds on some."""
    monkeypatch.setattr("ftlib.estimate.throughput.matrix_product_flops_per_second", lambda *args, size: 7e9)


def silent(address, limit_seconds):
    raise OSError("Name or service not known")


def test_the_course_can_run_here():
    checks = examine(environment={"HF_HUB_OFFLINE": "1"})
    assert can_run(checks), [check for check in checks if check.status == "broken"]
    found = {check.name: check for check in checks}
    assert "torch" in found["extra train"].found
    assert found["device"].found.startswith(("cpu: ", "cuda: ", "mps: "))
    assert found["matrix product in float32"].value == 7e9
    assert found["matrix product in float32"].found.startswith("7 GFLOP/s")
    assert found["model 'auto'"].found == "nano"
    assert "data sets" in found["data and configurations"].found


def test_packages_that_are_missing_or_old_are_named_with_the_remedy():
    wanted = ["rich>=13.9", "torch>=99; extra == 'train'", "no-such-package; extra == 'train'"]
    always, train = check_packages(map(Requirement, wanted))
    assert always.status == "ok"
    assert train.status == "broken"
    assert train.found.startswith("missing: no-such-package; torch 2.")
    assert train.found.endswith(" is not >=99")
    assert train.remedy == "pip install 'ftlib[train]'"


def test_an_extra_of_one_chapter_does_not_break_the_course():
    (chat,) = check_packages([Requirement("no-such-package>=5; extra == 'chat'")])
    assert (chat.status, chat.remedy) == ("note", "pip install 'ftlib[chat]'")
    assert can_run([chat])
    assert not can_run([Check("Python", "broken", "2.7")])


def test_a_package_of_two_extras_is_counted_once():
    wanted = ["torch>=2; extra == 'train'", "torch>=2; extra == 'course'", "rich>=1; extra == 'course'"]
    checks = check_packages(map(Requirement, wanted))
    assert ["torch" in check.found for check in checks] == [True, False]


def test_a_package_that_is_for_other_machines_is_not_missed():
    assert check_packages([Requirement("no-such-package; python_version < '3' and extra == 'train'")]) == []


def test_a_library_that_is_not_installed_is_said(monkeypatch):
    def unknown(name):
        raise package_checks.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(package_checks.importlib.metadata, "requires", unknown)
    (check,) = check_packages(package_checks.requirements())
    assert check.status == "broken"
    assert "pip install" in check.remedy


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("transformers.models", "pip install 'ftlib[train]'"),
        ("rouge_score", "pip install 'ftlib[train]'"),
        ("gradio", "pip install 'ftlib[chat]'"),
        ("xllamacpp", "pip install 'ftlib[serving]'"),
        ("nowhere", None),
    ],
)
def test_a_module_leads_to_its_extra(module, command):
    assert package_checks.install_command(module) == command


def test_offline_is_respected():
    def refuse(address, limit_seconds):
        pytest.fail("the network was asked")

    check = check_hub({"HF_HUB_OFFLINE": "1"}, refuse, limit_seconds=1)
    assert (check.status, check.value) == ("ok", False)
    assert "HF_HUB_OFFLINE" in check.found


def test_the_hub_answers_or_the_reason_is_said():
    asked = []
    check = check_hub({"HF_ENDPOINT": "https://mirror.example"}, lambda *told: asked.append(told), limit_seconds=1)
    assert (check.status, check.value, asked) == ("ok", True, [("https://mirror.example", 1)])
    check = check_hub({}, silent, limit_seconds=1)
    assert (check.status, check.value) == ("note", False)
    assert "Name or service not known" in check.found
    assert check_hub({"HF_ENDPOINT": "ftp://mirror"}, diagnosis._open, limit_seconds=1).status == "note"


def test_a_hub_that_hangs_is_not_waited_for():
    test_is_over = threading.Event()
    check = check_hub({}, lambda *_: test_is_over.wait(60), limit_seconds=0.1)
    test_is_over.set()
    assert "no answer within 0.1 s" in check.found
    assert can_run([check])


def test_a_key_is_never_printed(monkeypatch):
    checks = check_environment({"OPENAI_API_KEY": CANARY, "FTLIB_MODEL": "runs/mine"})
    found = {check.name: (check.found, check.value) for check in checks}
    assert found["OPENAI_API_KEY"] == ("set", True)
    assert found["HF_TOKEN"] == ("not set", False)
    assert "runs/mine" in found["model 'auto'"][0]
    for key in diagnosis.KEYS:
        monkeypatch.setenv(key, CANARY)
    for arguments in (["doctor"], ["doctor", "--json"]):
        assert CANARY not in CliRunner().invoke(cli.app, arguments).output


def test_nano_is_held_against_its_checksum(tmp_path):
    folder = shutil.copytree(nano_folder(), tmp_path / "nano")
    assert check_nano(folder).status == "ok"
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert check_nano(folder).status == "broken"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"missing: tokenizer\.json"):
        diagnosis.weights_checksum(folder)


def test_data_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "shipped", lambda folder: tmp_path / folder)
    assert diagnosis.check_data().status == "broken"


@pytest.mark.parametrize(("gain", "advice"), [(3.0, "3.0 times as fast"), (0.1, "stay with float32")])
def test_the_faster_precision_is_named(gain, advice):
    assert advice in diagnosis._precision(gain).remedy


def test_the_command_prints_and_ends_as_what_was_found(monkeypatch):
    checks = [Check("Python", "ok", "3.11"), Check("nano", "broken", "[gone]", "install it"), Check("Hub", "note", "x")]
    monkeypatch.setattr(diagnosis, "examine", lambda: checks)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "[gone]" in result.output
    assert "can't run here yet: nano" in result.output
    found = json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).output)
    assert found["can_run"] is False
    assert found["checks"][1] == {
        "name": "nano",
        "status": "broken",
        "found": "[gone]",
        "remedy": "install it",
        "value": None,
    }
    monkeypatch.setattr(diagnosis, "examine", lambda: checks[:1])
    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == 0
