"""Methods of tokenizers and models, whose type a parser can't know."""

import pytest

from tests.upgrade.upgrading import IMPORTS, NEWEST, findings, new_code


def test_target_tokenizer_blocks_become_an_argument():
    old = "with tok.as_target_tokenizer():\n    a = tok(x, max_length=3)\n    b = tok(text=y)\nc = 1"
    new = "a = tok(text_target=x, max_length=3)\nb = tok(text_target=y)\nc = 1"
    assert new_code(IMPORTS + old) == IMPORTS + new


@pytest.mark.parametrize(
    "code",
    [
        "with tok.as_target_tokenizer():\n    a = other(x)\n    b = tok(y)",
        "with tok.as_target_tokenizer(), open('f'):\n    a = tok(x)",
        "with tok.as_target_tokenizer():\n    a = tok(x, pair)",
        "with tok.as_target_tokenizer():\n    a = tok.encode(x)",
        "context = tok.as_target_tokenizer()",
    ],
)
def test_target_tokenizer_blocks_that_do_more_are_said(code):
    assert new_code(IMPORTS + code) == IMPORTS + code
    assert findings(IMPORTS + code, versions=NEWEST) == [(2, "as_target_tokenizer", "decide")]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ids = tok.apply_chat_template(m)\nmodel.generate(ids)", True),
        ("tok.apply_chat_template(m, return_tensors='pt').to('cuda')", True),
        ("tok.apply_chat_template(m, tokenize=False)", False),
        ("tok.apply_chat_template(m, return_dict=True)", False),
        ("model(**tok.apply_chat_template(m))", False),
        ("tok.apply_chat_template(m, return_tensors='pt').to('cuda')['input_ids']", False),
        ("batch = tok.apply_chat_template(m)\nmodel.generate(**batch)", False),
        ("batch = tok.apply_chat_template(m).to(0)\nmodel.generate(batch['input_ids'])", False),
    ],
)
def test_chat_templates_are_said_only_where_ids_were_expected(code, said):
    expected = [(2, "apply_chat_template", "decide")] if said else []
    assert findings(IMPORTS + code, versions=NEWEST) == expected
    assert new_code(IMPORTS + code) == IMPORTS + code


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("m = AutoModel.from_pretrained('x').to('cpu')\nm.floating_point_ops(i)", "change"),
        ("class T(Trainer):\n    def f(self):\n        self.model.floating_point_ops(1)", "change"),
        ("class T(Trainer):\n    def f(self):\n        self.floating_point_ops(1)", None),
        ("t = Trainer(m)\nt.floating_point_ops(i)", None),
        ("unknown.floating_point_ops(i)", "decide"),
        ("m = m.to('cpu')\nm.floating_point_ops(i)", "decide"),
    ],
)
def test_floating_point_ops_of_models_not_of_trainers(code, level):
    assert [each[2] for each in findings(IMPORTS + code, versions=NEWEST)] == ([level] if level else [])


def test_floating_point_ops_becomes_the_librarys_function():
    code = IMPORTS + "m = AutoModel.from_pretrained('x')\nprint(m.floating_point_ops({'input_ids': i}) * 2)"
    *_, last = new_code(code).splitlines()
    assert last == "print(floating_point_ops(m, {'input_ids': i}) * 2)"
    assert "from ftlib.compat import floating_point_ops\n" in new_code(code)
