"""What a user writes, for the type checker: it must see through names that load on first use, mistakes included.

``make lint`` checks it. Each mistake is announced, and mypy reports an announcement that no mistake follows.
"""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftlib import estimate, finetune, generate, load_conversations, load_model, make_trainer, pad_batch, tokenize
from ftlib.compat import training_arguments
from ftlib.data import read_rows
from ftlib.estimate import Estimate, architecture, fits, gpu
from ftlib.estimate.flops import flops_per_token
from ftlib.estimate.meta_model import make_meta_model
from ftlib.evaluation import answer_loss
from ftlib.export.gguf_file import export_gguf
from ftlib.models import ChatModel, add_lora, context_length, load_chat_model, merge_lora
from ftlib.models.quantized import quantize_4bit
from ftlib.text import QUESTION_ANSWER, Template
from ftlib.text.ends import end_ids


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


def from_a_name_to_a_file(name: str) -> Path:
    """Estimate, train and export: what one call gives, the next one takes."""
    need: Estimate = estimate(name, batch_size=8, lora_rank=4)
    per_token: int = flops_per_token(make_meta_model(architecture(name)))
    model, tokenizer = load_model(name)
    layers: int = quantize_4bit(model)
    rows = tokenize(tokenizer, load_conversations("faq"), max_length=context_length(model))
    trainer = make_trainer(add_lora(model, rank=4), training_arguments(output_dir="out"), train_dataset=rows)
    trainer.train()
    talking: ChatModel = load_chat_model("out")
    ends: list[int] = end_ids(talking.model, talking.tokenizer, talking.template)
    return export_gguf("out", f"{need.peak.total + per_token + layers + ends[0]}.gguf")


def wrong() -> str:
    """Make a mistake in each line."""
    load_model(42)  # type: ignore[arg-type]
    generate("Why?")  # type: ignore[call-arg, arg-type]
    add_lora("nano", rank=2)  # type: ignore[arg-type]
    answer_loss("nano", [])  # type: ignore[arg-type]
    merge_lora(1)  # type: ignore[arg-type]
    estimate(42)  # type: ignore[arg-type]
    flops_per_token("nano")  # type: ignore[arg-type]
    quantize_4bit("nano")  # type: ignore[arg-type]
    context_length("nano")  # type: ignore[arg-type]
    make_trainer("nano", training_arguments(output_dir="out"))  # type: ignore[arg-type]
    end_ids(load_model("nano"), load_model("nano")[1])  # type: ignore[arg-type]
    generate(load_chat_model("nano"), load_model("nano")[1], ["Why?"])  # type: ignore[arg-type]
    finetune("nano", load_model("nano")[1], load_conversations("faq"), max_steps=1)  # type: ignore[arg-type]
    parameters: str = estimate("nano").parameters  # type: ignore[assignment]
    return parameters + str(QUESTION_ANSWER.no_such_name)  # type: ignore[attr-defined]
