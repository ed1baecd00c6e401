"""Contracts between the files of the project: what one says, the other does."""

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement

import ftlib
from ftlib.training.config import FinetuneConfig
from tests.conftest import POSIX_ONLY
from tests.course import ROOT
from tests.variants import GIT, course_files

MODULES = sorted(ROOT.glob("ftlib/**/*.py"))
# What stands in tests/ and holds no test.
HELPERS = {
    "__init__",
    "alone",
    "axe_core",
    "chat_templates",
    "clocks",
    "conftest",
    "course",
    "families",
    "held",
    "llama_cpp",
    "loopback",
    "machines",
    "matrix",
    "published",
    "quiet_chapters",
    "solutions",
    "typed_script",
    "variants",
    "waiting",
}


def pins(text):
    return dict(re.findall(r"^\s*-?\s*([A-Za-z0-9._-]+)==(\S+)", text, flags=re.M))


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_is_sorted_importable_and_small():
    assert list(ftlib.__all__) == sorted(ftlib.__all__, key=lambda name: (name.upper() != name, name)) or (
        sorted(ftlib.__all__) == list(ftlib.__all__)
    )
    assert len(ftlib.__all__) <= 25
    for name in ftlib.__all__:
        assert getattr(ftlib, name) is not None
    modules = {path.stem for path in (ROOT / "ftlib").iterdir()}
    # Once a module is imported its name stands for it: these two can be called (ftlib.callable_package).
    assert modules & set(ftlib.__all__) == {"estimate", "inference"}
    with pytest.raises(AttributeError, match="it offers"):
        _ = ftlib.nothing


def test_import_loads_nothing_heavy():
    code = (
        "import sys, ftlib; print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout == "[]\n"
    )


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    code = "import sys; sys.modules['datasets'] = None; import ftlib; ftlib.load_conversations"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert "MissingExtraError: ftlib.load_conversations needs the package 'datasets'" in done.stderr
    assert "pip install 'ftlib[train]'" in done.stderr


def brought_by_torch():
    """Return what torch's own metadata asks for, and what that asks for: a CUDA build names its libraries exactly."""
    found, waiting = set(), ["torch"]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or []:
            need = Requirement(line)
            if normal(need.name) not in found and (need.marker is None or need.marker.evaluate({"extra": ""})):
                found.add(normal(need.name))
                waiting.append(need.name)
    return found


def test_everything_installed_is_pinned_exactly():
    pinned = {
        normal(name): version for name, version in pins((ROOT / "constraints.txt").read_text(encoding="utf-8")).items()
    }
    installed = {normal(d.metadata["Name"]): d.version.split("+")[0] for d in importlib.metadata.distributions()}
    for own in ("ftlib", "pip"):
        installed.pop(own, None)
    for library in brought_by_torch() - pinned.keys():
        installed.pop(library, None)
    assert installed == {name: version for name, version in pinned.items() if name in installed}
    assert pinned["torch"] == "2.13.0"


def test_a_condition_says_for_which_pythons_and_systems_a_pin_is():
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert [str(Requirement(line)).replace(";", " ;").replace("'", '"') for line in lines] == lines
    pythons = [version for version in ("3.10", "3.11", "3.12", "3.13", "3.14") if overrides(version)]
    assert pythons == ["3.10", "3.11"]


def overrides(python):
    """Say whether the package of this name, which only older Pythons need, is pinned for one of them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pin = Requirement(next(line for line in lines if line.startswith("overrides==")))
    return pin.marker.evaluate({"python_version": python})


def test_environment_yml_agrees_with_the_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(item for item in environment["dependencies"] if isinstance(item, str) and item.startswith("python="))
    assert python == "python=3.11"
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert "--constraint constraints.txt" in pip
    assert "--editable .[course,dev]" in pip
    named = pins("\n".join(pip))
    constraints = {
        normal(name): version for name, version in pins((ROOT / "constraints.txt").read_text(encoding="utf-8")).items()
    }
    assert named
    assert {name: constraints[normal(name)] for name in named} == named


def test_a_chapter_that_is_said_to_teach_something_names_it():
    chapters = {
        path.name: "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
        for path in (ROOT / "chapters").glob("*.ipynb")
    }
    said = 0
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            name = path.stem if isinstance(node, ast.Module) else node.name
            for chapter in re.findall(r"Taught in: chapters/(\S+)", ast.get_docstring(node) or ""):
                said += 1
                assert re.search(rf"\b{name}\b", chapters[chapter]), f"{path.name}: {name} isn't named in {chapter}"
    assert said == sum(path.read_text(encoding="utf-8").count("Taught in:") for path in MODULES)


def test_every_chapter_and_page_is_in_the_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"(?:file|root): (\S+)", toc))
    there = {
        str(path.relative_to(ROOT).with_suffix(""))
        for pattern in ("chapters/*.ipynb", "book/**/*.md")
        for path in ROOT.glob(pattern)
    }
    assert listed == there


def test_what_is_left_out_on_windows_is_still_there():
    for name in POSIX_ONLY:
        file, _, test = name.partition("::")
        assert f"def {test}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name


def test_every_test_file_is_collected():
    others = {path.stem for path in ROOT.glob("tests/*.py") if not path.name.startswith("test_")}
    assert others == HELPERS


def test_tests_have_a_folder_for_each_subpackage():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in ROOT.glob("tests/**/test_*.py")}
    subpackages = {path.parent.name for path in ROOT.glob("ftlib/*/__init__.py")}
    assert folders == {".", "book", "contracts", *subpackages}
    assert all((ROOT / "tests" / folder / "__init__.py").is_file() for folder in folders), "two files may have one name"


@pytest.mark.parametrize("path", sorted(ROOT.glob("chapters/*.ipynb")), ids=lambda path: path.stem)
def test_chapters_keep_the_house_style(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for wanted in ("**Goal.**", "**You need.**", "**Time and memory.**", "## Exercises", "## Quiz", "Solution"):
        assert wanted in text, wanted
    run = 0
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        tags = set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "markdown":
            run = 0
            continue
        run += not tags & {"remove-cell", "hide-cell"}  # what a reader is made to read
        assert run <= 2, f"cell {number}: more than two code cells in a row"
        is_setup = "hide-input" in tags and not cell["outputs"]  # imports and settings
        assert is_setup or len(source.splitlines()) <= 20, f"cell {number} is long"
        figure = cell["metadata"].get("mystnb", {}).get("image")
        if figure:
            assert figure["alt"], f"cell {number}: a figure without alternative text"
            assert any("image/png" in output.get("data", {}) for output in cell["outputs"]), f"cell {number}: no figure"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"cell {number} stores an error"
            assert output.get("name") != "stderr", f"cell {number} stores a warning"
    assert "widgets" not in notebook["metadata"]


def test_the_wheel_carries_data_and_library(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("ftlib-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "ftlib/shipped/datasets/faq/train.jsonl",
        "ftlib/shipped/datasets/faq/test.jsonl",
        "ftlib/shipped/datasets/faq/README.md",
        "ftlib/shipped/datasets/dialogues/train.jsonl",
        "ftlib/shipped/datasets/house_plants/train.jsonl",
        "ftlib/shipped/constraints.txt",
        "ftlib/assets/architectures.json",
        "ftlib/assets/nano/model.safetensors",
        "ftlib/assets/nano/tokenizer.json",
        "ftlib/assets/nano/README.md",
        "ftlib/assets/smollm2_card.md",
        "ftlib/assets/run_card.md",
        "ftlib/assets/chat/save.js",
        "ftlib/assets/evaluation.css",
        "ftlib/assets/page/index.html",
        "ftlib/assets/talk/talk.css",
        "ftlib/assets/talk/lm/worker.js",
        "ftlib/training/loop.py",
    ):
        assert wanted in names, wanted
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import ftlib.data as d; print(len(d.read_rows('faq')), d.shipped_datasets().parts[-3:])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "1260 ('ftlib', 'shipped', 'datasets')", done.stderr


@pytest.mark.skipif(not ((ROOT / ".git").exists() and shutil.which("git")), reason="no git checkout")
def test_among_the_chapters_the_repository_has_nothing_else():
    # Asked is what is committed: what a reader leaves beside the chapters is his own.
    known = subprocess.run([*GIT, "ls-files", "chapters"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    others = [name for name in known.stdout.splitlines() if not name.endswith(".ipynb")]
    assert others == ["chapters/matplotlibrc"]


def test_no_large_file_and_no_pickle():
    if not (ROOT / ".git").exists():
        pytest.skip("a copy without git's own folder doesn't say which files are ours")
    for name in course_files():
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size <= 16 * 2**20, name
            assert path.suffix not in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}, name


def test_the_front_page_shows_the_training_of_chapter_1():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "book/index.md").read_text(encoding="utf-8"), flags=re.S)
    shown = {name: yaml.safe_load(value) for name, value in re.findall(r"(\w+)=([^,()\s]+)", block)}
    cells = json.loads((ROOT / "chapters/01_why_finetune.ipynb").read_text(encoding="utf-8"))["cells"]
    chapter = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert 'train_once(plan, name="support_mail")' in chapter
    assert shown.pop("max_steps") == int(re.search(r"^MAIL_STEPS = (\d+)", chapter, flags=re.M)[1])
    plan = FinetuneConfig.from_yaml(ROOT / "configs/support_mail.yaml")
    assert f'load_model("{plan.model.name}")' in block
    assert f'load_conversations("{plan.data.source}"' in block
    assert shown.pop("split") == plan.data.split
    assert float(shown.pop("learning_rate")) == plan.train.learning_rate  # YAML takes 2e-3 for a word
    settings = {**vars(plan.train), **vars(plan.model.lora)}
    for name, value in shown.items():
        assert settings[name] == value, name


@pytest.mark.parametrize("page", ["README.md", "book/index.md"])
def test_the_code_on_the_front_pages_runs(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    assert blocks
    for block in blocks:
        code = re.sub(r"(max_steps\W+)\d+", r"\g<1>2", block)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
