"""What an export costs: size of each format, and how many of 20 greedy texts llama.cpp writes as PyTorch does.

``OMP_NUM_THREADS=1 python -m benchmarks.exported [MODEL] [TOKENS] [DATA]``: the first 20 test questions of the FAQ, or
of another data set of the course; answers of at most so many tokens (default 40), one at a time. Prints the rows of a
table in Markdown. Tokens a second are those of an answer by the time for question and answer. They count only where
nothing else runs on the machine.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

from ftlib.data.messages import user
from ftlib.data.reading import load_conversations
from ftlib.export.gguf_file import Quantization, export_gguf
from ftlib.export.merged import export_merged
from ftlib.export.targets import load_merged
from ftlib.inference.generation import answer
from ftlib.models.chat_model import ChatModel
from tests.llama_cpp import ask

QUESTIONS = 20


def row(name: str, file: Path, conversations: list[Any], expected: list[str], limit: int) -> str:
    """Return a row of the table for a GGUF file."""
    answers = ask(file, conversations, limit=limit)
    equal = sum(one.text.strip() == text.strip() for one, text in zip(answers, expected, strict=True))
    speed = sum(len(one.ids) for one in answers) / sum(one.seconds for one in answers)
    return f"| {name} | {file.stat().st_size / 2**20:,.1f} MiB | {equal} of {QUESTIONS} | {speed:,.0f} |"


def written(model: ChatModel, asked: list[str], limit: int) -> tuple[list[str], float]:
    """Return PyTorch's answers, and how many tokens a second it wrote."""
    started = time.perf_counter()
    texts = answer(model.model, model.tokenizer, asked, template=model.template, max_new_tokens=limit, batch_size=1)
    seconds = time.perf_counter() - started
    return texts, sum(len(model.tokenizer(text)["input_ids"]) for text in texts) / seconds


def main(model: str, limit: int, data: str) -> None:
    """Print the table of a model."""
    loaded = load_merged(model)
    asked = [rows[0]["content"] for rows in load_conversations(data, split="test")["messages"][:QUESTIONS]]
    expected, speed = written(loaded, asked, limit)
    conversations = [[user(question)] for question in asked]
    print(f"| {model} | size | equal texts | tokens/s |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        merged = export_merged(model, Path(folder) / "merged")
        size = sum(path.stat().st_size for path in merged.iterdir())
        print(f"| merged, float32 | {size / 2**20:,.1f} MiB | {QUESTIONS} of {QUESTIONS} | {speed:,.0f} |")
        for quantization in get_args(Quantization):
            file = export_gguf(model, Path(folder) / f"{quantization}.gguf", quantization=quantization)
            print(row(f"gguf, {quantization}", file, conversations, expected, limit), flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    name, tokens, rows = [*given, *("nano", "40", "faq")[len(given) :]]
    main(name, int(tokens), rows)
