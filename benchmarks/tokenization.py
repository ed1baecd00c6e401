"""How fast do 52,000 Alpaca-shaped rows become a tokenised split?

Three ways on the same rows, each in several rounds that take turns, so that other work on the machine
hits all of them alike:

- one row at a time, with two tokenizer calls for each row, as the tutorial did that the course began from;
- ``ftlib.tokenize_and_split``;
- one bare ``encode_batch_fast`` over the same texts, which makes ids and nothing else.

    python benchmarks/tokenization.py [ROWS] [ROUNDS]
"""

from __future__ import annotations

import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable

from datasets import Dataset
from ftlib import load_conversations, load_model, read_rows, tokenize_and_split
from ftlib.errors import LeakWarning
from ftlib.text.templates import ALPACA


def alpaca_rows(count: int) -> list[dict[str, str]]:
    """Rows of Alpaca's shape and about its lengths, from the FAQ's sentences; two in five have an input."""
    generator = random.Random(0)
    faq = read_rows("faq")
    rows = []
    for number in range(count):
        first, second, third = generator.choices(faq, k=3)
        rows.append(
            {
                "instruction": f"{first['question']} ({number})",
                "input": second["question"] if number % 5 < 2 else "",
                "output": f"{first['answer']} {third['answer']}",
            }
        )
    return rows


def one_by_one(texts: list[tuple[str, str]], tokenizer: object) -> Dataset:
    """One row at a time: once to see how long it is, once more to cut it (labels are a copy of the ids)."""
    pairs = Dataset.from_dict({"question": [q for q, _ in texts], "answer": [a for _, a in texts]})

    def tokenize_row(row: dict[str, list[str]]) -> dict[str, object]:
        text = row["question"][0] + row["answer"][0]
        tokenizer.pad_token = tokenizer.eos_token  # type: ignore[attr-defined]
        length = min(len(tokenizer(text, return_tensors="np", padding=True)["input_ids"][0]), 2048)  # type: ignore[operator]
        tokenizer.truncation_side = "left"  # type: ignore[attr-defined]
        ids = tokenizer(text, return_tensors="np", truncation=True, max_length=length)  # type: ignore[operator]
        return dict(ids)

    done = pairs.map(tokenize_row, batched=True, batch_size=1, drop_last_batch=True, load_from_cache_file=False)
    done = done.add_column("labels", done["input_ids"])
    return done.train_test_split(test_size=0.1, shuffle=True, seed=123)


def main(count: int = 52_000, rounds: int = 3) -> None:
    """Print seconds and ratios."""
    warnings.simplefilter("ignore", LeakWarning)
    import datasets

    datasets.disable_progress_bars()
    conversations = load_conversations(Dataset.from_list(alpaca_rows(count)))
    _, tokenizer = load_model("nano")
    _, spoiled = load_model("nano")
    rendered = [ALPACA.render(messages) for messages in conversations["messages"]]
    texts = [("".join(s.text for s in segments[:-1]), segments[-1].text) for segments in rendered]
    whole = [question + answer for question, answer in texts]
    ways: dict[str, Callable[[], object]] = {
        "encode_batch_fast": lambda: tokenizer.backend_tokenizer.encode_batch_fast(whole),
        "tokenize_and_split": lambda: tokenize_and_split(tokenizer, conversations, template=ALPACA, max_length=2048),
        "one by one": lambda: one_by_one(texts[: count // 20], spoiled),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append((time.perf_counter() - started) * (20 if name == "one by one" else 1))
    ours = statistics.median(seconds["tokenize_and_split"])
    print(f"{count:,} rows, median of {rounds} rounds ('one by one' from a twentieth of the rows)")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:20} {middle:8.2f} s {count / middle:10,.0f} rows/s   {middle / ours:6.2f} times ours")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
