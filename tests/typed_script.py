"""What a user writes, for the type checker: it must see through names that load on first use, mistakes included.

``make lint`` checks it. Each mistake is announced, and mypy reports an announcement that no mistake follows.
"""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftlib import estimate, finetune, generate, load_conversations, load_model, make_trainer, pad_batch, tokenize
from ftlib.data import read_rows
from ftlib.estimate import fits, gpu
from ftlib.evaluation import answer_loss
from ftlib.models import add_lora, merge_lora
from ftlib.text import QUESTION_ANSWER, Template


def right() -> list[str]:
    """Use the names as a chapter does."""
    loaded = load_model("nano")
    model: PreTrainedModel = loaded[0]
    tokenizer: PreTrainedTokenizerBase = loaded[1]
    template: Template = QUESTION_ANSWER
    rows = tokenize(tokenizer, load_conversations("faq"), template=template)
    finetune(add_lora(model, rank=2), tokenizer, rows, max_steps=1)
    parameters: int = estimate("nano").parameters
    chosen = (make_trainer, pad_batch, fits, gpu, read_rows("faq")[0]["question"])
    return generate(model, tokenizer, [f"Why {parameters}, {chosen}?"])


def wrong() -> str:
    """Make a mistake in each line."""
    load_model(42)  # type: ignore[arg-type]
    generate("Why?")  # type: ignore[call-arg, arg-type]
    add_lora("nano", rank=2)  # type: ignore[arg-type]
    answer_loss("nano", [])  # type: ignore[arg-type]
    merge_lora(1)  # type: ignore[arg-type]
    parameters: str = estimate("nano").parameters  # type: ignore[assignment]
    return parameters + str(QUESTION_ANSWER.no_such_name)  # type: ignore[attr-defined]
