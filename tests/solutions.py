"""The solutions of the exercises as code, each with the check of its exercise.

A solution says what to write: a piece of code, the body of a function, a value, or words. nbval runs it behind its
exercise, in the kernel of its chapter (:mod:`tests.quiet_chapters`), where it has to pass.
"""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

_SOLUTION = re.compile(r"<summary>Solution</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
_CHECK = re.compile(r'print\("solved" if (?P<passes>.*) else "not yet"\)\Z|print\((?P<verdict>check_\d\(.*\))\)\Z')
_FUNCTION = re.compile(r"^(def \w+\(.*\)): \.\.\.  # your", re.MULTILINE)
_VALUE = re.compile(r"^(\w+) = .*  # ", re.MULTILINE)
# What stands in words: chapter and number of the exercise, a piece of its text, and the same as code.
_IN_WORDS = {
    ("08", 2): ("Four, as before", "rows_in_a_step = 4"),
    ("09", 1): (
        "`freeze: [embeddings, attention, feed_forward, other]` under `model`. Nine norms of 192 weights and 192 "
        "biases: 3,456",
        'only_norms = only_norms + "  freeze: [embeddings, attention, feed_forward, other]"\npredicted = 3456',
    ),
    ("09", 2): (
        "`batch_size`, `warmup_steps_per_cent: 0.03`, and `do_freeze: true` above `freeze_attn`",
        'broken = broken.replace("batchsize", "batch_size").replace("per_cent: 3 ", "per_cent: 0.03 ")\n'
        'broken = broken.replace("  freeze_attn", "  do_freeze: true\\n  freeze_attn")',
    ),
    ("13", 2): (
        'with another format, such as GGUF; and for the truth, `"As safetensors files."`',
        'false_answer = reference.replace("safetensors", "GGUF")\ntrue_answer = "As safetensors files."',
    ),
}


def as_code(exercise: str, solution: str) -> str:
    """Return what a solution says as the code that solves the exercise."""
    if fenced := re.search(r"```python\n(.*?)\n```", solution + "\n```", re.DOTALL):
        return fenced[1]
    said = re.findall(r"`([^`]+)`", solution)
    if stub := _FUNCTION.search(exercise):
        imports = [one for one in said if one.startswith("import ")]
        body = [one for one in said if re.match(r"return |\w+ = ", one)]
        return "\n".join([*imports, f"{stub[1]}:", *(f"    {line}" for line in body)])
    name = _VALUE.search(exercise)[1]
    if said and said[0].startswith(f"{name} = "):
        return said[0]
    value = said[0] if solution.startswith("`") else re.match(r"[\d.]*\d", solution)[0]
    return f"{name} = {value}"


def solved(notebook: NotebookNode, chapter: str) -> Iterator[tuple[str, str]]:
    """Yield, of each exercise with a solution, its source and the code that solves and checks it.

    Args:
        notebook: The chapter.
        chapter: Its number, with two digits.
    """
    exercise, number = "", 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exercise = cell.source
        elif found := _SOLUTION.search(cell.source):
            number += 1
            words, code = _IN_WORDS.get((chapter, number), ("", ""))
            assert words in found[1], f"chapter {chapter}, solution {number}: {words!r} isn't there any more"
            check = _CHECK.search(exercise)
            assert check, f"chapter {chapter}, exercise {number}: no check in its last line"
            passes = check["passes"] or f'{check["verdict"]} == "solved"'
            rest = exercise[: check.start()]
            yield exercise, f"{rest}\n{code or as_code(exercise, found[1])}\nassert {passes}"
