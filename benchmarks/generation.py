"""How long does a model take for the 140 test questions of the FAQ, greedily, 64 tokens at most for each?

Three ways take turns, so that other work on the machine hits all of them alike, and must give the same texts:

- one call of transformers' ``model.generate`` for each question;
- one call of ``ftlib.inference.generation.answer`` for each question;
- one call of ``ftlib.inference.generation.answer`` for all of them.

    python benchmarks/generation.py [MODEL] [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import GenerationConfig

from ftlib import QUESTION_ANSWER, load_model, read_rows
from ftlib.data.messages import user
from ftlib.inference.generation import answer
from ftlib.text.tokenization import encode_segments

LIMIT = 64


def one_call_each(model: object, tokenizer: object, questions: list[str]) -> list[str]:
    """Ask one question at a time, with transformers alone."""
    settings = GenerationConfig(
        max_new_tokens=LIMIT,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,  # type: ignore[attr-defined]
        pad_token_id=tokenizer.pad_token_id,  # type: ignore[attr-defined]
    )
    texts = []
    for question in questions:
        ids = torch.tensor([encode_segments(tokenizer, QUESTION_ANSWER.render_prompt([user(question)]))])
        with torch.inference_mode():
            output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)  # type: ignore[attr-defined]
        texts.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip())  # type: ignore[attr-defined]
    return texts


def main(name: str = "nano", rounds: int = 3) -> None:
    """Print seconds and ratios."""
    model, tokenizer = load_model(name, device="cpu")
    questions = [row["question"] for row in read_rows("faq", split="test")]
    ways: dict[str, Callable[[], list[str]]] = {
        "model.generate, one by one": lambda: one_call_each(model, tokenizer, questions),
        "answer, one by one": lambda: [
            answer(model, tokenizer, [question], max_new_tokens=LIMIT)[0] for question in questions
        ],
        "answer, all at once": lambda: answer(model, tokenizer, questions, max_new_tokens=LIMIT),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, list[str]] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            started = time.perf_counter()
            found[way] = run()
            seconds[way].append(time.perf_counter() - started)
    ours = statistics.median(seconds["answer, all at once"])
    threads = torch.get_num_threads()
    print(f"{name}: {len(questions)} questions, median of {rounds} rounds, {threads} threads")
    for way, times in seconds.items():
        middle = statistics.median(times)
        same = sum(a == b for a, b in zip(found[way], found["answer, all at once"], strict=True))
        print(f"{way:28} {middle:8.2f} s   {middle / ours:6.1f} times   {same} texts the same")


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(argument) for argument in sys.argv[2:]))
