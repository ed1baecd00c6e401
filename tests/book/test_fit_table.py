"""The table behind the page "Will it fit?": equal to the estimate to the byte."""

import itertools

import pytest
from transformers import GPTNeoConfig, LlamaConfig

from book.fit import table
from book.fit.formulas import PRIMES, TRACED, Sizes, continued, letters_of, value
from book.fit.moments import Trace, highest, with_layers
from book.generators import fit_examples
from book.generators.fit_examples import DEFAULTS, arguments
from ftlib.errors import DataError
from ftlib.estimate.cards import GPUS
from ftlib.estimate.estimation import architecture, estimate
from tests.book.worked_out import counts, peak
from tests.course import ROOT

TABLE = table.read_table(ROOT / "book" / "_static" / "fit_table.js")
PAGE = ROOT / "book" / "will_it_fit.md"
SIZES = {"vocab_size": 300, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 0}
WIDE = {"hidden_size": 64, "num_attention_heads": 4}
SMALL = {
    "llama": LlamaConfig(**SIZES, **WIDE, num_hidden_layers=9, num_key_value_heads=2, intermediate_size=96),
    "gpt_neo": GPTNeoConfig(
        **SIZES | {"max_position_embeddings": 1024},  # its mask has this size, and is traced with 977 tokens
        hidden_size=64,
        num_layers=8,
        num_heads=4,
        attention_types=[[["global", "local"], 4]],
        window_size=16,
    ),
}


def same(model, name, settings):
    need = estimate(name, **arguments(settings))
    assert peak(model, settings) == need.peak, settings
    assert counts(model, settings) == {
        "parameters": need.parameters,
        "trainable": need.trainable_parameters,
        "flops": need.flops_per_token,
        "per_step": need.flops_per_step,
        "per_run": need.flops_per_run,
    }


def test_the_sizes_of_a_number_of_bytes():
    for letters in ("", "B", "BT", "BTT", "BP", "BU", "BTr", "rr"):
        assert letters_of(value({letters: 4 * 96}, TRACED)) == (letters, 4 * 96)


@pytest.mark.parametrize("name", table.page_models())
def test_no_width_of_a_model_is_taken_for_a_letter(name):
    config = architecture(name).to_dict()
    sizes = [size for key, size in config.items() if type(size) is int and size > 0 and not key.endswith("_id")]
    taken = {f"{size} for {letter}" for size in sizes for letter, prime in PRIMES.items() if size % prime == 0}
    assert not taken, f"{name}: choose other sizes for TRACED"


def test_layers_that_are_put_in_are_found():
    forward, loss, backward = [("activations", "BT", 8), None], ("logits", "BT", 2), ("activations", "BT", -8)

    def step(layers):
        end = [("logits", "BT", -2), *[backward] * layers, ("weights", "", -1)]
        return Trace({"weights": {"": 5}}, [*forward * layers, loss, None, *end])

    few, more = step(4), step(6)
    moments = with_layers(few, more, layers=(4, 6, 30))
    assert moments == list(step(30).moments().values())[-len(moments) :]
    assert with_layers(few, Trace({}, [None]), layers=(4, 6, 30)) is None
    assert continued({"": 4}, {"": 6}, layers=(4, 6, 30)) == {"": 30}


def test_of_equal_moments_the_first_stays_and_of_a_row_the_ends():
    def moment(rows, constant):
        return {"weights": {"B": rows, "": constant}}

    assert highest([{"weights": {"": 3}}, {"logits": {"": 3}}], 64) == [{"weights": {"": 3}}]
    row = [moment(10, 0), moment(5, 500), moment(0, 1000)]
    assert highest(row, 64) == [row[0], row[2]]


@pytest.mark.parametrize("family", SMALL)
def test_a_model_is_reckoned_as_it_is_estimated(family, monkeypatch):
    monkeypatch.setattr(table, "architecture", lambda name: SMALL[name])
    chosen = [
        ("cuda", "mixed", "none", False),
        ("cuda", "bfloat16", "blocks", True),
        ("cpu", "float32", "attention", False),
    ]
    model = table.model_table(family, chosen)
    sizes = [(1, 97), (9, 2), (9, 64)]
    optimizers = ("adamw", "adafactor", "muon") if family == "llama" else ("muon", "adamw", "adafactor")
    for (device, precision, adapters, again), optimizer, (rows, length) in zip(chosen, optimizers, sizes, strict=True):
        run = {"device": device, "precision": precision, "adapters": adapters, "checkpointing": again, "rank": 5}
        same(model, SMALL[family], DEFAULTS | run | {"optimizer": optimizer, "rows": rows, "length": length})


RUNS = [
    {"rows": 3, "length": 50, "adapters": "attention", "precision": "mixed", "optimizer": "muon"},
    {"rows": 1, "length": 2, "optimizer": "adafactor", "precision": "bfloat16"},
    {"rows": 32, "length": 250, "adapters": "blocks", "checkpointing": True, "rank": 64},
]


@pytest.mark.parametrize(("name", "run"), list(zip(TABLE["models"], itertools.cycle(RUNS), strict=False)), ids=str)
def test_the_table_says_what_the_estimate_says(name, run):
    """With all layers: the table was made from steps of a few."""
    same(TABLE["models"][name], name, DEFAULTS | run)


def test_nano_in_many_ways():
    model = TABLE["models"]["nano"]
    for number, (device, precision, adapters, again) in list(enumerate(table.settings()))[::3]:
        run = {"device": device, "precision": precision, "adapters": adapters, "checkpointing": again}
        optimizer = ("adamw", "adafactor", "muon", "sgd")[number % 4]
        kind = number // 3 % 3
        sizes = {"rows": 2 + 5 * kind, "length": (33, 64, 200)[kind], "rank": 1 + number}
        same(model, "nano", DEFAULTS | run | sizes | {"optimizer": optimizer})


def test_of_a_single_row_the_labels_are_counted_once_more():
    """PyTorch doesn't copy the shifted labels of one row, because they lie side by side; the table says it does."""
    settings = DEFAULTS | {"model": "nano", "rows": 1, "length": 33}
    need = estimate("nano", **arguments(settings)).peak.total
    assert peak(TABLE["models"]["nano"], settings).total - need in (0, 8 * 33)


def test_a_part_of_the_table_is_made_anew():
    chosen = [("cuda", "mixed", "blocks", True), ("cpu", "float32", "none", False)]
    anew = table.model_table("nano", chosen)
    kept = TABLE["models"]["nano"]
    for part in ("sizes", "steps", "updates"):
        assert {name: kept[part][name] for name in anew[part]} == anew[part]


def test_cards_and_the_two_models_of_the_course_are_in_it():
    assert [card["usable"] for card in TABLE["cards"]] == [card.usable_bytes for card in GPUS]
    assert list(TABLE["models"])[:3] == ["nano", "smollm2", "EleutherAI/pythia-70m"]
    assert set(TABLE["models"]) <= set(table.page_models())
    for name in table.ON_CPU:
        assert any(setting.startswith("cpu") for setting in TABLE["models"][name]["steps"])


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "other.js").write_text("let x = 1;", encoding="utf-8")
    with pytest.raises(DataError, match="no table of this program"):
        table.read_table(tmp_path / "other.js")


def test_a_table_is_read_as_it_was_written(tmp_path):
    (tmp_path / "table.js").write_text(table.as_script({"nano": TABLE["models"]["nano"]}), encoding="utf-8")
    assert table.read_table(tmp_path / "table.js")["models"] == {"nano": TABLE["models"]["nano"]}


def test_the_page_shows_what_its_program_makes():
    assert fit_examples.current(PAGE) == PAGE.read_text(encoding="utf-8")


def test_every_example_can_be_chosen_on_the_page():
    for settings in ({**DEFAULTS, **changes} for changes in fit_examples.EXAMPLES.values()):
        assert set(settings) == set(DEFAULTS)
        assert peak(TABLE["models"][settings["model"]], settings).total > 0


def test_a_row_longer_by_one_takes_a_block_of_32_more():
    assert Sizes(rows=1, length=32).letters()["P"] == 32
    assert Sizes(rows=1, length=33).letters()["P"] == 64
