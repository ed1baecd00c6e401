"""Every shipped data set: it has a card that counts right, and reads as what it is."""

import json
import re

import pytest

from ftlib.data.leaks import find_leaks
from ftlib.data.reading import load_conversations
from ftlib.data.sources import shipped_datasets
from ftlib.text.templates import ALPACA
from tests.course import ROOT

FOLDERS = sorted(folder for folder in shipped_datasets().iterdir() if folder.is_dir())
ROWS = {"dialogues": 124, "faq": 1260, "help_desk": 279, "house_plants": 100, "instructions": 60, "preferences": 160}
ROWS |= {"support_mail": 422, "web_pages": 40}


def rows_of(folder, split="train"):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_these_data_sets_are_shipped():
    assert {folder.name: len(rows_of(folder)) for folder in FOLDERS} == ROWS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_states_licence_and_size(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card
    assert re.search(rf"\b{ROWS[folder.name]:,}\b".replace(",", ",?"), card)


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("preferences", "web_pages")])
def test_instruction_data_reads_without_naming_its_format(name):
    assert len(load_conversations(name)) == ROWS[name]


def test_alpacas_ready_made_text_is_its_template():
    rows = rows_of(shipped_datasets() / "instructions")
    for row, conversation in zip(rows, load_conversations("instructions"), strict=True):
        assert "".join(segment.text for segment in ALPACA.render(conversation["messages"])) == row["text"]
    assert sum(bool(row["input"]) for row in rows) == 25


def test_web_pages_have_c4s_columns():
    assert all(set(row) == {"text", "timestamp", "url"} for row in rows_of(shipped_datasets() / "web_pages"))


def test_no_faq_test_row_is_nearly_a_training_row():
    assert find_leaks(load_conversations("faq"), load_conversations("faq", split="test")) == []


MAILS = {split: rows_of(shipped_datasets() / "support_mail", split) for split in ("train", "validation", "test")}
TOPICS = {"delivery", "defect", "return", "payment", "advice"}
NO_NAMES = {"Mr", "Mrs", "Ms", "Miss", "Dr", "Prof", "Herr", "Frau", "Cheers", "Thanks", "Regards", "Yours", "Ta"}


@pytest.mark.parametrize("split", MAILS)
def test_the_fields_of_a_mail_are_what_its_card_says(split):
    for row in MAILS[split]:
        fields = json.loads(row["completion"])
        assert list(fields) == ["topic", "name", "order"], row
        assert fields["topic"] in TOPICS
        name, order = fields["name"], fields["order"]
        if name is not None:
            assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", row["prompt"]), row
            assert 1 <= len(name.split()) <= 4, row
            assert not {word.strip(".,") for word in name.split()} & NO_NAMES, row
        if order is not None:
            assert re.fullmatch(r"\d{5}", order), row
            assert re.search(rf"(?<!\d){order}(?!\d)", row["prompt"]), row
        assert json.dumps(fields, ensure_ascii=False) == row["completion"]


def test_no_mail_stands_twice():
    rows = [row for split in MAILS.values() for row in split]
    assert len({row["id"] for row in rows}) == len(rows) == 622
    orders = [json.loads(row["completion"])["order"] for row in rows]
    named = [order for order in orders if order]
    assert len(set(named)) == len(named)
    conversations = {split: load_conversations("support_mail", split=split) for split in MAILS}
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]
    near = {pair: find_leaks(*(conversations[split] for split in pair), threshold=0.1)[0] for pair in pairs}
    pair = max(near, key=lambda one: near[one].likeness)
    there, here = MAILS[pair[0]][near[pair].train_row]["id"], MAILS[pair[1]][near[pair].test_row]["id"]
    assert pair == ("train", "test")
    most = f"at most {near[pair].likeness:.0%} is in both (`{here}` of the test and `{there}` of training)"
    assert most.replace("%", " %") in " ".join(mail_card().split())


@pytest.mark.parametrize("split", MAILS)
def test_topics_are_even_and_no_field_is_always_the_same(split):
    fields = [json.loads(row["completion"]) for row in MAILS[split]]
    for topic in TOPICS:
        assert 0.18 < sum(one["topic"] == topic for one in fields) / len(fields) < 0.22
    assert 0.4 < sum(one["name"] is not None for one in fields) / len(fields) < 0.6
    assert 0.25 < sum(one["order"] is None for one in fields) / len(fields) < 0.37


def mail_card():
    return (shipped_datasets() / "support_mail" / "README.md").read_text(encoding="utf-8")


def filled(field, labels):
    return sum(one[field] is not None for one in labels)


def test_the_card_of_the_mails_counts_names_and_orders_right():
    second = rows_of(shipped_datasets() / "support_mail", "second_labels")
    labels = {split: [json.loads(row["completion"]) for row in rows] for split, rows in MAILS.items()}
    for file, found in {**labels, "second_labels": second}.items():
        row = f"| `{file}.jsonl` | {len(found)} | {filled('name', found)} | {filled('order', found)} |"
        assert row in mail_card()
    every = [one for found in labels.values() for one in found]
    names, orders = (round(100 * filled(field, every) / len(every)) for field in ("name", "order"))
    assert f"of all mails, {names} % give the writer's name and {orders} % the number of an order" in mail_card()


def test_simple_rules_do_as_well_as_the_card_says():
    """The rules are those of chapter 1: the code of its cell."""
    pytest.importorskip("sklearn")
    cells = json.loads(next((ROOT / "chapters").glob("01_*.ipynb")).read_text(encoding="utf-8"))["cells"]
    (code,) = ("".join(cell["source"]) for cell in cells if "def by_rules(" in "".join(cell["source"]))
    (imports,) = ("".join(cell["source"]) for cell in cells if "from sklearn" in "".join(cell["source"]))
    wanted = [line for line in imports.split("\n") if line.startswith(("import json", "import re", "from sklearn"))]
    chapter = {"load_conversations": load_conversations}
    exec("\n".join([*wanted, code]), chapter)  # noqa: S102 (our own)
    right = dict.fromkeys(("topic", "name", "order", "all three fields"), 0)
    for row in MAILS["test"]:
        found, fields = json.loads(chapter["by_rules"](row["prompt"])), json.loads(row["completion"])
        for name in fields:
            right[name] += found[name] == fields[name]
        right["all three fields"] += found == fields
    told = " ".join(mail_card().split())
    assert f"three simple rules get all three fields right in {right['all three fields']} of the 100 test mails" in told
    assert f"For the topic, right in {right['topic']}: a bag of words" in told
    assert f"For the name, right in {right['name']}: the last line" in told
    assert f"For the order, right in {right['order']}: the first number of five digits" in told


def test_the_second_reader_agrees_as_the_card_says():
    second = {row.pop("id"): row for row in rows_of(shipped_datasets() / "support_mail", "second_labels")}
    first = {row["id"]: json.loads(row["completion"]) for row in MAILS["test"]}
    assert first == second  # the label of b115 was mended: the second reader was right
    assert list(second) == list(first)
    assert all(list(one) == ["topic", "name", "order"] for one in second.values())
    told = " ".join(mail_card().split())
    assert "Of the 100, 99 were the same in all three fields; in `b115`" in told


PAIRS = {split: rows_of(shipped_datasets() / "preferences", split) for split in ("train", "test")}
KINDS = {"brief", "unknown", "correct", "fuller"}


def length(text):
    return len(text.split())


@pytest.mark.parametrize("split", PAIRS)
def test_a_preference_pair_has_its_four_fields_and_a_chosen_answer_of_at_most_40_words(split):
    for row in PAIRS[split]:
        assert list(row) == ["prompt", "chosen", "rejected", "kind"], row
        assert all(isinstance(text, str) and text == text.strip() and text for text in row.values()), row
        assert row["kind"] in KINDS
        assert length(row["chosen"]) <= 40, row


def test_no_preference_prompt_and_no_answer_stands_twice():
    rows = [row for split in PAIRS.values() for row in split]
    assert len({row["prompt"].lower() for row in rows}) == len(rows) == 200
    answers = [row[side].lower() for row in rows for side in ("chosen", "rejected")]
    assert len(set(answers)) == len(answers)


def test_no_preference_pair_of_the_test_is_nearly_one_of_training():
    whole = {
        split: [{"messages": [{"role": "user", "content": " ".join(list(row.values())[:3])}]} for row in rows]
        for split, rows in PAIRS.items()
    }
    assert find_leaks(whole["train"], whole["test"], threshold=0.2) == []


def test_the_card_of_the_preferences_counts_kinds_and_lengths_right():
    card = (shipped_datasets() / "preferences" / "README.md").read_text(encoding="utf-8")
    for split, rows in PAIRS.items():
        longer = sum(length(row["chosen"]) > length(row["rejected"]) for row in rows)
        assert f"| `{split}.jsonl` | {len(rows)} | {longer} |" in card
    for kind in KINDS:
        counts = [sum(row["kind"] == kind for row in rows) for rows in PAIRS.values()]
        assert f"| `{kind}` | {counts[0]} | {counts[1]} |" in card
    shorter = sum(length(row["chosen"]) < length(row["rejected"]) for row in PAIRS["train"])
    assert f"{round(100 * shorter / len(PAIRS['train']))} % of the training pairs" in card


def test_fuller_answers_are_always_the_longer_ones():
    assert all(
        (length(row["chosen"]) > length(row["rejected"])) or row["kind"] != "fuller"
        for rows in PAIRS.values()
        for row in rows
    )
