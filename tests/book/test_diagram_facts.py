"""What the diagrams say is what the library says: ids, labels, losses, shapes, counts and bytes."""

import copy
import json
import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from datasets import Dataset
from ftlib.data import load_conversations
from ftlib.estimate import architecture, estimate
from ftlib.evaluation.rewards import choose_rewards, group_advantages
from ftlib.models import add_lora, linear_layers, load_model, merge_lora
from ftlib.models.run_folder import CONFIG
from ftlib.pretraining import encode_documents
from ftlib.text import CHATML, QUESTION_ANSWER, encode_segments, packing_plan, tokenize
from ftlib.training.config import config_path
from ftlib.training.job import MicroBatches
from ftlib.training.run import CARD
from ftlib.training.run_log import METRICS, SCORE_LOG
from tests.course import ROOT

FOLDER = ROOT / "book" / "_static" / "diagrams"


SIGNS = {"\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "x"}


def source(name):
    return (FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def words(name):
    """Return the texts of a diagram in the order of the file, with signs as a keyboard has them."""
    root = ElementTree.fromstring(source(name))  # noqa: S314 (our own file)
    return [text.text.translate(str.maketrans(SIGNS)) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def row_of(tokenizer, question, answer, **how):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages, tokenize(tokenizer, Dataset.from_list([{"messages": messages}]), **how)[0]


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


def test_the_map_holds_every_chapter_and_stars_the_evening_path():
    shown = {word.lstrip("★ ")[:2]: "★" in word for word in words("course-map") if re.match(r"(★ )?\d\d ", word)}
    index = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    cards = re.findall(r"(?m)^:::\{grid-item-card\} (\d\d)( ★)? ", index)
    assert shown == {number: bool(star) for number, star in cards}


def test_text_to_loss(nano):
    model, tokenizer = nano
    _, row = row_of(tokenizer, "Hi, how are you?", "I'm good")
    ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, labels[1:], reduction="none")[-6:]
    answer = ids[-6:].tolist()
    lines = [
        ["…", "\\n", *(tokenizer.decode([one]).strip() for one in answer[:-1]), "end"],
        ["…", str(ids[-7].item()), *map(str, answer)],
        ["…", "-100", *map(str, labels[-6:].tolist())],
    ]
    shown = words("text-to-loss")
    columns = [*zip(*lines, strict=True)]
    for number, loss in enumerate(losses.tolist(), start=2):
        columns[number] += (f"{loss:.1f}",)
    assert shown[shown.index("…") : -1] == [word for column in columns for word in column]
    assert shown[-1] == f"mean of the six: {losses.mean():.2f}"


def test_template_anatomy(nano):
    messages, row = row_of(nano[1], "What is 15 percent of 80?", "15 percent of 80 is 12.", template=CHATML)
    assert row["labels"][-1] == nano[1].eos_token_id
    expected = []
    for template in (QUESTION_ANSWER, CHATML):
        lines = [line for part in template.render(messages) for line in part.text.strip().split("\n")]
        expected += [*lines, "end of text"]
    assert words("template-anatomy")[2:-2] == expected


def test_label_mask_and_data_road(nano):
    messages, row = row_of(nano[1], "Why pad?", "To be equally long.")
    counts = [len(encode_segments(nano[1], [part])) for part in QUESTION_ANSWER.render(messages)[:3]]
    answer = row["input_ids"][sum(counts) : -1]
    shown = words("label-mask")
    assert [word for word in shown if word.endswith("-100")] == [f"{count} x -100" for count in (*counts, 3)]
    assert [word for word in shown if word.endswith("x 1")] == [f"{count} x 1" for count in (*counts, len(answer))]
    assert {f"its {len(answer)} ids", f"its id, {row['labels'][-1]}"} <= set(shown)
    assert {f"{sum(counts)} ids, label -100", f"{len(answer) + 1} targets"} <= set(words("data-road"))


def test_padding_sides(nano):
    tokens = [[nano[1].decode([i]).strip() for i in nano[1](text)["input_ids"]] for text in ("Yes", "I'm good")]
    cells = [word for word in words("padding-sides") if word in {"pad", *tokens[0], *tokens[1]}]
    assert cells == [*tokens[0], *["pad"] * 3, *tokens[1], *["pad"] * 3, *tokens[0], *tokens[1]]


def test_packing():
    lengths = [3, 9, 4, 6]
    plan = packing_plan(lengths, max_length=10)
    padded, packed = len(lengths) * max(lengths), len(plan) * 10
    shown = words("packing")
    assert f"padded: {padded - sum(lengths)} of {padded} empty" == shown[0]
    assert f"packed: {packed - sum(lengths)} of {packed} empty" == shown[1]
    assert shown[2:10] == [*map(str, range(4)), *(str(row) for rows in plan for row in rows)]
    assert shown[11:21] == [str(position) for row in plan[1] for position in range(lengths[row])]


def test_lora(nano):
    adapted = add_lora(copy.deepcopy(nano[0]), rank=8, alpha=16)
    layer = adapted.get_base_model().get_submodule(linear_layers(nano[0])[0])
    pair = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    shown = set(words("lora"))
    assert {
        f"{rows} x {columns}" for rows, columns in (layer.base_layer.weight.shape, *(one.shape for one in pair))
    } <= shown
    assert f"{layer.base_layer.weight.numel():,} numbers" in shown
    assert f"{sum(one.numel() for one in pair):,} numbers" in shown
    assert layer.scaling["default"] == 2


def test_lora_merge(nano):
    adapted = add_lora(copy.deepcopy(nano[0]), rank=8, targets="blocks")
    operations = [operations_of_a_token(adapted), operations_of_a_token(merge_lora(adapted))]
    assert [word for word in words("lora-merge") if word.endswith("operations")] == [
        f"{n:,} operations" for n in operations
    ]


@torch.no_grad()
def operations_of_a_token(model):
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.tensor([[5]]))
    return counter.get_total_flops()


def test_one_training_step():
    need = estimate(architecture("EleutherAI/pythia-70m"), batch_size=1, length=2048)
    parts = [need.weight_bytes, need.gradient_bytes, need.optimizer_bytes, need.logit_bytes]
    shown = words("one-training-step")
    assert [word for word in shown if re.fullmatch(r"\d\.\d\d", word)] == [f"{part / 2**30:.2f}" for part in parts]
    assert need.state_bytes == 16 * need.parameters
    widths = re.findall(r'class="(?!note)\w+" x="[\d.]+" y="\d+" width="([\d.]+)"', source("one-training-step"))
    bars = [float(width) for width in widths]
    assert [bar / bars[0] for bar in bars] == pytest.approx([part / parts[0] for part in parts], rel=0.01)


def test_memory_on_one_card():
    config = architecture("EleutherAI/pythia-6.9b")
    ways = ({}, {"precision": "mixed"}, {"dtype": "bfloat16", "lora_rank": 8})
    needs = [estimate(config, batch_size=8, length=512, **way).peak for way in ways]
    matrices = 12 * config.hidden_size**2 * config.num_hidden_layers
    in_four_bits = needs[-1].total - matrices * (16 - 4.5) / 8
    totals = [need.total for need in needs] + [in_four_bits]
    shown = words("memory-on-one-card")
    assert [word for word in shown if re.fullmatch(r"\d+ GB", word)] == [f"{total / 1e9:.0f} GB" for total in totals]
    parts = [(p.weights, p.optimizer, p.total - p.weights - p.optimizer) for p in needs]
    parts.append((0, 0, parts[-1][2]))
    expected = [f"{part / 1e9:.0f}" for bar in parts for part in bar if part > 1e9]
    assert [word for word in shown if word.isdigit()] == expected


def test_dpo():
    policy, reference = (-12, -15), (-14, -13)
    rewards = [0.1 * (one - other) for one, other in zip(policy, reference, strict=True)]
    margin = rewards[0] - rewards[1]
    loss = -math.log(1 / (1 + math.exp(-margin)))
    shown = " ".join(words("dpo"))
    for number in (*policy, *reference):
        assert f"log p {number}" in shown
    assert f"{rewards[0]:.1f} - ({rewards[1]:.1f}) = {margin:.1f}" in shown
    assert f"= {loss:.3f}" in shown


def test_grpo():
    shown = words("grpo")
    rows = [shown[start : start + 3] for start in range(shown.index("advantage") + 1, len(shown) - 1, 3)]
    notes = [dict(zip(("topic", "name", "order"), text.split(" · "), strict=True)) for text, *_ in rows]
    texts = [json.dumps({name: None if value == "null" else value for name, value in note.items()}) for note in notes]
    rewards = torch.tensor([choose_rewards(["json_fields"], texts)["json_fields"](texts, texts[:1] * len(texts))])
    advantages = group_advantages(rewards)
    assert [[float(word) for word in row[1:]] for row in rows] == [
        [round(float(reward), 2), round(float(advantage), 2)]
        for reward, advantage in zip(rewards[0], advantages[0], strict=True)
    ]
    assert all(value in shown[0] for value in rows[0][0].split(" · ")[1:])
    assert shown[-1].startswith("advantage = (reward - mean")
    assert f"mean {rewards.mean():.2f}" in shown[-1]
    assert shown[-1].endswith(f"spread {rewards.std():.2f}")


def test_quantisation_blocks():
    shown = words("quantisation-blocks")
    weights, integers, used = ([float(word) for word in shown[start : start + 4]] for start in (7, 13, 18))
    scale = max(abs(weight) for weight in weights) / 7
    assert integers == [round(weight / scale) for weight in weights]
    assert used == pytest.approx([integer * scale for integer in integers])
    assert shown[11] == f"scale = largest / 7 = 0.70 / 7 = {scale:.1f}"
    assert shown[-1] == f"(32 x 4 + 16) / 32 = {(32 * 4 + 16) / 32} bits a weight"


def test_text_is_its_own_label(nano):
    shown = words("text-is-its-label")
    row = encode_documents(nano[1], shown[:2])
    names = ["end" if one == nano[1].eos_token_id else nano[1].decode([one]).strip() for one in row.tolist()]
    cells = [word for word in shown if word in names]
    assert cells == [word for pair in pairwise(names) for word in pair]


def test_config_to_run():
    shown = words("config-to-run")
    sections = [*shown[1].split(", "), *shown[2].split(", ")]
    assert sections == list(yaml.safe_load(config_path(shown[0].removesuffix(".yaml")).read_text(encoding="utf-8")))
    files = [name for line in shown[-2:] for name in line.split(", ")]
    assert files == [CONFIG, METRICS, SCORE_LOG, "checkpoints", CARD]


def test_four_trainers(nano):
    rows = tokenize(nano[1], load_conversations("faq", split="train"))
    pad = nano[1].pad_token_id
    how = {"pad_token_id": pad, "batch_size": 2, "accumulation_steps": 4, "max_steps": 50}  # as chapter 11 has them
    batches = MicroBatches(rows, order="shuffled", seed=0, **how)
    step = [batches[place] for place in range(4)]
    shown = words("four-trainers")
    counts = [int((batch["labels"][:, 1:] != -100).sum()) for batch in step]
    assert [word for word in shown if word.endswith(" targets")] == [f"{count} targets" for count in counts]
    assert f"summed loss / {step[0]['step_targets']}, gradients add up" in shown
