"""One decoding loop, that of ``ftlib.inference``: whoever wants text asks there."""

import ast

import pytest

from tests.contracts.test_house import MODULES

# GRPO learns from what TRL's own trainer samples, together with the probabilities that it keeps of it.
OF_TRL = {"training.trl_grpo": ["_generate_and_score_completions"]}


def writes(source):
    """Yield what makes a model write: a method of that name, a draw of tokens, or the scores of the next token."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name == "generate" or name.startswith("_generate") or ast.unparse(node.func) == "torch.multinomial":
                yield name
        elif isinstance(node, ast.Subscript) and ast.unparse(node).endswith("logits[:, -1]"):
            yield "logits[:, -1]"


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("model.generate(**batch)", ["generate"]),
        ("self.model.get_base_model().generate(ids)", ["generate"]),
        ("while True:\n    ids.append(model(ids).logits[:, -1].argmax())", ["logits[:, -1]"]),
        ("torch.multinomial(scores.softmax(-1), 1)", ["multinomial"]),
        ("generate(model, tokenizer, prompts)", []),
        ("model(ids).logits[:, :-1]", []),
    ],
)
def test_no_other_loop_is_overlooked(planted, found):
    assert list(writes(planted)) == found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_inference_makes_a_model_write(name):
    if name.partition(".")[0] != "inference":
        assert list(writes(MODULES[name].read_text(encoding="utf-8"))) == OF_TRL.get(name, [])


def test_inference_has_one_loop():
    rooms = [path.read_text(encoding="utf-8") for name, path in MODULES.items() if name.startswith("inference")]
    assert sorted(found for source in rooms for found in writes(source)) == ["logits[:, -1]", "multinomial"]
