"""No check hangs on a clock: a shared machine, a laptop on battery and a runner differ by ten. What can be counted
(calls, tokens, operations, bytes) is asserted instead, and a test waits for a state and never for a time."""

import ast
import doctest
import json
import re
from pathlib import Path

import pytest

from tests.clocks import CLOCKS, asserts_on_a_clock
from tests.course import ROOT

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
MODULES = sorted((ROOT / "ftlib").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TESTS = [path for path in TESTS if "old_code" not in path.parts and path != Path(__file__)]  # its snippets read clocks


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def cells_of(notebook: Path) -> str:
    """Return a notebook's code cells as one module; a magic command is left out, but for ``x = %timeit ...``."""
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^(\s*)[%!].*", r"\1pass", re.sub(r"= %timeit\b.*", "= timeit()", lines), flags=re.M)


def doctests_of(module: Path) -> str:
    """Return a module's doctests as code in which each expected output is asserted."""
    parts = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            for example in doctest.DocTestParser().get_examples(text):
                parts.append(example.source if not example.want else f"assert {_one_line(example.source)} == ...")
    return "\n".join(parts)


def _one_line(source: str) -> str:
    tree = ast.parse(source)
    return ast.unparse(tree.body[-1]) if isinstance(tree.body[-1], ast.Expr) else "None"


@pytest.mark.parametrize("path", CHAPTERS, ids=name_of)
def test_no_chapter_asserts_a_time(path):
    assert asserts_on_a_clock(cells_of(path)) == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_asserts_a_time_or_waits_for_one(path):
    code = path.read_text(encoding="utf-8")
    assert asserts_on_a_clock(code) == []
    assert waits_for_a_time(code) == []


def test_no_doctest_asserts_a_time():
    assert {name_of(path): found for path in MODULES if (found := asserts_on_a_clock(doctests_of(path)))} == {}


HANG_ON_A_CLOCK = {
    "a difference of two readings": """
import time
started = time.perf_counter()
assert time.perf_counter() - started < 5
""",
    "another name of the clock": """
from time import monotonic as now
started = now()
work()
assert now() < started + 1
""",
    "through a function, a comprehension and an unpacking": """
def milliseconds(candidate):
    begin = time.perf_counter()
    candidate()
    return 1000 * (time.perf_counter() - begin)

times = [(milliseconds(adapted), milliseconds(merged)) for i in range(100)]
slow, fast = (min(column) for column in zip(*times, strict=True))
assert fast < slow
""",
    "a field of a step, by way of a table": """
table["ms a step"] = {name: 1000 * pd.Series([step.seconds for step in steps]).median() for name, steps in runs.items()}
losses, costs = (table[name] for name in table.columns[[0, 3]])
assert costs["rank 1"] > 0.2 * costs["all weights"]
""",
    "a dictionary that is filled in a loop": """
results = {}
for name in settings:
    history = short_run(name)
    results[name] = {"loss": history[-1].loss, "ms": 1000 * min(step.seconds for step in history)}
table = pd.DataFrame(results).T
assert (table["ms"] > 0).all()
""",
    "a list that is filled in a loop": """
seconds = {name: [] for name in trades}
for name in trades:
    begun = time.perf_counter()
    seconds[name].append(time.perf_counter() - begun)
best = {name: min(times) for name, times in seconds.items()}
table = pd.DataFrame({"memory": measured, "time": {name: best[name] / best["plain"] for name in trades}})
saved, slower = table["memory"], table["time"]
assert 1 < slower["checkpointing"] < 2.5
""",
    "a function that fills a dictionary outside": """
times = {}
def measure(name):
    begun = time.time()
    times[name] = time.time() - begun
measure("a")
assert times["a"] < 3
""",
    "a rate": """
peak = matrix_product_flops_per_second("cpu")
reached = model_flops_utilization(tokens / best, flops_per_token, peak)
assert 0.02 < reached < 1.2
""",
    "a rate in a log": 'assert logged[0]["tokens_per_second"] > 100',
    "pytest.approx": 'assert found["iter_time"] == pytest.approx(2)',
    "math.isclose": "assert math.isclose(measured.steps[0].seconds, 1, rel_tol=0.5)",
    "NumPy's way": "np.testing.assert_allclose([step.seconds for step in history], 1)",
    "an if that fails": """
if time.monotonic() - started > 5:
    pytest.fail("too slow")
""",
    "a loop that carries it on": """
last = total = 0
for step in range(9):
    total = last
    last = time.perf_counter()
assert total > 0
""",
    "a class that reads it": """
class Timer:
    def __enter__(self):
        self.begun = time.perf_counter()
        return self
    def __exit__(self, *_):
        self.took = time.perf_counter() - self.begun

with Timer() as timer:
    work()
assert timer.took < 5
""",
    "a context that fills a record": """
@contextmanager
def timed():
    begun, found = time.perf_counter(), {}
    yield found
    found["s"] = time.perf_counter() - begun

with timed() as found:
    work()
assert found["s"] < 5
""",
    "a decorator": """
def timed(function):
    def inner(*arguments):
        begun = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - begun
    return inner

@timed
def work(): ...

assert work() < 5
""",
    "a fixture": """
@pytest.fixture
def took():
    begun = time.monotonic()
    work()
    return time.monotonic() - begun

def test_it(took):
    assert took < 5
""",
    "the clock under another name": """
clock = time.perf_counter
begun = clock()
work()
assert clock() - begun < 5
""",
    "a name of the code around": """
total = 0
def work():
    global total
    total = time.perf_counter() - begun
work()
assert total < 5
""",
    "a column that is assigned": """
table = table.assign(ms=[1000 * step.seconds for step in history])
assert table["ms"].min() > 0
""",
    "the other branch": """
if fast_seconds < slow_seconds - time.perf_counter():
    print("faster")
else:
    raise AssertionError
""",
    "a date": """
begun = datetime.datetime.now()
work()
assert (datetime.datetime.now() - begun).total_seconds() < 5
""",
    "timeit": 'assert timeit.timeit("x", number=9) < 1',
    "a program in a string": """
code = "import time; start = time.process_time(); import ftlib; print(time.process_time() - start)"
taken = subprocess.run([sys.executable, "-c", code], capture_output=True).stdout
assert float(taken) < 0.05
""",
    "what a process took": """
after = resource.getrusage(resource.RUSAGE_CHILDREN)
assert after.ru_utime < 2
""",
    "within a test": """
def test_it():
    (reply,) = ask()
    assert reply.seconds > 0
""",
}

HANG_ON_NONE = {
    "arithmetic": 'assert gpu("H100").seconds(6e15, "mixed", utilization=0.3) == by_hand',
    "a name that is used again": """
seconds = time.perf_counter() - started
print(seconds)
seconds = 12 * parameters / 1e9
assert seconds < 100
""",
    "another column of the same table": """
shown = {"loss": [1, 2], "time (s)": [step.seconds for step in history]}
table = pd.DataFrame(shown).T
table["ms"] = 1000 * table["time (s)"]
assert table["loss"].max() < 3
assert list(table.columns) == ["loss", "time (s)", "ms"]
assert (table[["loss"]] > 0).all()
""",
    "a column beside one that is assigned": """
table = table.assign(ms=1000 * found.seconds)
assert table["loss"].max() < 2
""",
    "how many were measured": """
times = [step.seconds for step in history]
assert len(times) == len(history) == 3
""",
    "another field of a step": "assert [step.tokens for step in measured.steps] == [8, 8]",
    "an object made from written numbers": """
done = throughput.Throughput(4, 200, 10.0, peak=480e6)
assert (done.tokens_per_second, done.utilization) == (20.0, 0.25)
""",
    "a clock of the test's own": """
def test_it(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(client, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert all(reply.seconds == 1 for reply in ask())
""",
    "memory, beside the time": """
started = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
assert peak < 2
""",
}


@pytest.mark.parametrize("name", HANG_ON_A_CLOCK)
def test_an_assertion_on_a_time_is_found(name):
    assert len(asserts_on_a_clock(HANG_ON_A_CLOCK[name])) == 1


@pytest.mark.parametrize("name", HANG_ON_NONE)
def test_nothing_else_is_found(name):
    assert asserts_on_a_clock(HANG_ON_NONE[name]) == []


def waits_for_a_time(code: str) -> list[tuple[int, str]]:
    """Return line and text of each pause that somebody waits through, where a state should be waited for.

    Two kinds of sleep are none: between two looks at a state (in a ``while`` that asks for more than the time), and in
    a function within a function or a lambda, which makes a stand-in slow. Programs in strings are stand-ins too.
    """
    found: list[tuple[int, str]] = []
    _look_for_pauses(ast.parse(code), found, depth=0, looks=False)
    return found


def _look_for_pauses(node: ast.AST, found: list[tuple[int, str]], *, depth: int, looks: bool) -> None:
    if isinstance(node, ast.Call):
        last = ast.unparse(node.func).rpartition(".")[2]
        if last == "wait_for_timeout" or (last == "sleep" and depth < 2 and not looks):
            found.append((node.lineno, ast.unparse(node)))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        depth, looks = depth + 1 + isinstance(node, ast.Lambda), False
    if isinstance(node, ast.While):
        calls = {ast.unparse(part.func).rpartition(".")[2] for part in ast.walk(node) if isinstance(part, ast.Call)}
        looks = bool(calls - CLOCKS - {"sleep"})
    for child in ast.iter_child_nodes(node):
        _look_for_pauses(child, found, depth=depth, looks=looks)


@pytest.mark.parametrize(
    "line",
    [
        "def test_it(page):\n    page.wait_for_timeout(500)",
        "def test_it():\n    time.sleep(0.8)",
        "def helper():\n    for _ in range(9):\n        sleep(0.1)",
        "def test_it():\n    while time.monotonic() < end:\n        time.sleep(0.1)",
        "async def test_it():\n    await asyncio.sleep(1)",
    ],
)
def test_a_pause_is_found(line):
    assert len(waits_for_a_time(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "def waited_for(condition):\n    while not condition() and time.monotonic() < end:\n        time.sleep(0.1)",
        "def test_it():\n    check(lambda *_: time.sleep(30))",
        "def test_it():\n    def slow_answer(asked):\n        time.sleep(0.1)\n    with Loopback(slow_answer): ...",
        'PROGRAM = "model.register_forward_hook(lambda *_: time.sleep(0.12))"',
        "def test_it(page):\n    page.wait_for_selector('button')",
    ],
)
def test_looking_again_and_slow_stand_ins_are_no_pause(line):
    assert waits_for_a_time(line) == []
