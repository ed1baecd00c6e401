"""The testing file beside the training file of :mod:`ftlib.training.sft_yaml`: generate, write down, measure.

Its sections are ``cuda``, ``data``, ``generate_params``, ``model_name``, ``seed``, ``test_params`` and ``wandb``,
at the top of the file or all of them under ``test``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from pydantic import AliasChoices, Field, ValidationError, field_validator
from transformers import PreTrainedTokenizerBase

from ftlib.data.reading import load_conversations
from ftlib.errors import ConfigError, PromptTooLongError, TrainingError, TruncationWarning
from ftlib.files import check_folder
from ftlib.inference.decoding import Sampling, continue_ids
from ftlib.models.loading import context_length, load_model
from ftlib.models.trainable import merge_lora
from ftlib.text.ends import end_ids
from ftlib.text.templates import Segment
from ftlib.text.tokenization import encode_rows
from ftlib.training.config import TrackingSection
from ftlib.training.config_errors import explain
from ftlib.training.config_sections import Section, TemplateSection
from ftlib.training.run_log import tracked
from ftlib.training.scores import bleu_and_rouge
from ftlib.training.sft_data import find_split
from ftlib.training.sft_file import SftWandb
from ftlib.training.sft_keys import TEMPLATE

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class SftTestData(Section):
    """Which prompts."""

    data_dir: str
    """A file or folder with the splits train, val and test, or the name of a shipped data set."""
    split: str = "test"
    """train, val or test."""
    batch_size: int = Field(8, ge=1)
    """Prompts computed at once."""
    max_prompt_length: int | None = Field(None, ge=1)
    """Tokens that a prompt may have."""
    truncate_promt: bool = Field(True, validation_alias=AliasChoices("truncate_promt", "truncate_prompt"))
    """Whether the question of a longer prompt loses words from its beginning; otherwise it is an error."""
    padding: bool | Literal["longest", "max_length"] = True
    """Pad the prompts of a batch to the longest of them (true), or to max_prompt_length; false: one at a time."""
    padding_side: Literal["left", "right"] = "left"
    """Must be left."""

    @field_validator("padding_side")
    @classmethod
    def _left(cls, side: str) -> str:
        if side == "right":
            raise ValueError("padding on the right stands between a prompt and its answer: write left")
        return side


class SftGenerateParams(Section):
    """How text is generated."""

    do_sample: bool = False
    """Draw each token, instead of taking the likeliest; only then do temperature, top_k and top_p count."""
    max_new_tokens: int = Field(64, ge=1)
    """The most tokens of an answer."""
    no_repeat_ngram_size: int = Field(0, ge=0)
    """So many tokens in a row may occur once only; 0: any."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1, tokens that occurred are less likely."""
    temperature: float = Field(1.0, gt=0)
    """Above 1, the draw is more even."""
    top_k: int = Field(0, ge=0)
    """Draw from so many likeliest tokens; 0: from all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the likeliest tokens that together have this probability."""


class SftTestParams(Section):
    """What is tested, and what is written."""

    log_file: str
    """A new file for a JSON line of prompt, prediction and target for each row."""
    do_compute_metrics: bool = False
    """Whether BLEU and ROUGE-L are measured, and written beside the log file."""
    save_steps: int = Field(100, ge=1)
    """Rows between two writes to the log file."""
    test_model_path: str | None = None
    """A run, a checkpoint or another folder with the tuned weights; without it `model_name` itself is tested."""
    use_cache: bool = True
    """Keep keys and values of earlier tokens: faster, the same text."""


class SftTestFile(Section):
    """The whole testing file."""

    data: SftTestData
    test_params: SftTestParams
    generate_params: SftGenerateParams = Field(default_factory=SftGenerateParams)
    model_name: str = "auto"
    """nano, smollm2, a Hub id, or a folder."""
    cuda: bool = False
    """Compute on a graphics card, or else on the processor."""
    seed: int = 0
    """Of the draws."""
    wandb: SftWandb | None = None

    @field_validator("cuda")
    @classmethod
    def _card_is_there(cls, wanted: bool) -> bool:
        if wanted and not torch.cuda.is_available():
            raise ValueError("no NVIDIA card was found: set it to false")
        return wanted


@dataclass(frozen=True)
class SftTest:
    """What a test came to.

    Attributes:
        log_file: A line for each row.
        rows: How many there were.
        scores: ``bleu`` (0 to 100) and ``rouge_l`` (0 to 1), if they were wanted.
    """

    log_file: Path
    rows: int
    scores: dict[str, float]


class _Prompt(NamedTuple):
    ids: list[int]
    target: str


def run_sft_test(values: Mapping[str, Any], *, source: str = "the testing file") -> SftTest:
    """Let a model answer the questions of a data set as a testing file says.

    Args:
        values: As in the YAML file; :func:`ftlib.training.config.read_yaml` reads one.
        source: Where they come from, for errors.

    Raises:
        ConfigError: A key is unknown, or a value can't be used.
        PromptTooLongError: A prompt is longer than allowed, or leaves too few tokens for an answer.
        TrainingError: The log file is there already.
        ModelError: The model can't be loaded.
        DataError: The data can't be used.
    """
    file = _checked(values, source)
    log_file = Path(file.test_params.log_file).expanduser()
    if os.path.exists(log_file):  # noqa: PTH110 (a name that is too long is no error here)
        raise TrainingError(f"{log_file}: is there already, and nothing is overwritten: name another log_file")
    check_folder(log_file)
    name = file.test_params.test_model_path or file.model_name
    model, tokenizer = load_model(name, device="cuda" if file.cuda else "cpu")
    model = merge_lora(model)
    prompts = _prompts(file.data, tokenizer, context_length(model) - file.generate_params.max_new_tokens)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    predictions = []
    with torch.random.fork_rng(), _Log(log_file, file.test_params.save_steps) as log:
        torch.manual_seed(file.seed)
        for prompt, prediction in _answered(model, tokenizer, prompts, file):
            log.add(prompt=str(tokenizer.decode(prompt.ids)), prediction=prediction, target=prompt.target)
            predictions.append(prediction)
    targets = [prompt.target for prompt in prompts]
    found = bleu_and_rouge(predictions, targets) if file.test_params.do_compute_metrics else {}
    _report(file, log_file, {"rows": len(prompts), **found})
    return SftTest(log_file, len(prompts), found)


def _checked(values: Mapping[str, Any], source: str) -> SftTestFile:
    if set(values) == {"test"} and isinstance(values["test"], Mapping):
        values = values["test"]
    try:
        return SftTestFile.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, SftTestFile, source)) from None


def _prompts(section: SftTestData, tokenizer: PreTrainedTokenizerBase, most: int) -> list[_Prompt]:
    """Lay out every question as a prompt of at most ``max_prompt_length`` tokens."""
    name, split = find_split(section.data_dir, section.split)
    rows = load_conversations(name, format="question-answer", split=split)["messages"]
    template = TemplateSection(**TEMPLATE).template()
    rendered = [template.render_prompt([question]) for question, _ in rows]
    encoded = encode_rows(tokenizer, rendered)
    excess = [_excess(number, segment_ids, section) for number, segment_ids in enumerate(encoded)]
    if any(excess):
        message = f"shortened {sum(map(bool, excess))} of {len(excess)} prompts: raise max_prompt_length"
        warnings.warn(message, TruncationWarning, stacklevel=3)
    fitting = map(_shortened, rendered, encoded, excess)
    ids = [[token for ids in segment_ids for token in ids] for segment_ids in fitting]
    for number, tokens in enumerate(ids):
        if len(tokens) > most:
            raise PromptTooLongError(
                f"prompt {number} has {len(tokens)} tokens; beside max_new_tokens the model's context holds "
                f"{max(0, most)}: lower max_new_tokens or max_prompt_length"
            )
    return [_Prompt(tokens, row[1]["content"]) for tokens, row in zip(ids, rows, strict=True)]


def _excess(number: int, segment_ids: list[list[int]], section: SftTestData) -> int:
    """Tokens that a prompt has beyond what is allowed."""
    length, limit = sum(map(len, segment_ids)), section.max_prompt_length
    if limit is None or length <= limit:
        return 0
    if not section.truncate_promt:
        raise PromptTooLongError(
            f"prompt {number} has {length} tokens, max_prompt_length is {limit}: raise it, or set truncate_promt: true"
        )
    return length - limit


def _shortened(segments: Sequence[Segment], segment_ids: list[list[int]], excess: int) -> list[list[int]]:
    """Take tokens from the beginning of the question; the template stays."""
    return [
        ids if segment.is_markup else ids[min(excess, len(ids)) :]
        for segment, ids in zip(segments, segment_ids, strict=True)
    ]


def _answered(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[_Prompt],
    file: SftTestFile,
) -> Iterator[tuple[_Prompt, str]]:
    section = file.data
    size = section.batch_size if section.padding else 1
    width = (section.max_prompt_length or 0) if section.padding == "max_length" else 0
    asked, cached = file.generate_params, file.test_params.use_cache
    choose = _sampling(asked).chooser(model.device, no_repeat_ngram_size=asked.no_repeat_ngram_size)
    ends = frozenset(end_ids(None, tokenizer))
    for start in range(0, len(prompts), size):
        some = prompts[start : start + size]
        ids = [prompt.ids for prompt in some]
        limit = asked.max_new_tokens
        new = continue_ids(model, ids, choose, max_new_tokens=limit, end_ids=ends, use_cache=cached, width=width)
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        yield from zip(some, (text.strip() for text in texts), strict=True)


def _sampling(section: SftGenerateParams) -> Sampling:
    chosen = section.model_dump(exclude={"do_sample", "max_new_tokens", "no_repeat_ngram_size"})
    if not section.do_sample:
        chosen |= {"temperature": 0.0, "top_k": 0, "top_p": 1.0}
    return Sampling(**chosen)


class _Log:
    """A file of JSON lines that grows by so many at a time."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every, self.lines = path, every, list[str]()

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *unused: object) -> None:
        self._write()

    def add(self, **values: str) -> None:
        self.lines.append(json.dumps(values, ensure_ascii=False) + "\n")
        if len(self.lines) >= self.every:
            self._write()

    def _write(self) -> None:
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(self.lines)
        self.lines.clear()


def _report(file: SftTestFile, log_file: Path, numbers: dict[str, float]) -> None:
    """Write the scores beside the log file, and track them if that is asked for."""
    if file.test_params.do_compute_metrics:
        log_file.with_suffix(".scores.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    section = TrackingSection(**file.wandb.tracking()) if file.wandb else None
    log, finish = tracked(section, log_file.parent, file.model_dump(mode="json"))
    log({"number": 0, **numbers})
    finish()
