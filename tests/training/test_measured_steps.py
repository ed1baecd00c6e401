import pytest

from datasets import Dataset
from ftlib.errors import TrainingError
from ftlib.training.measured_steps import try_steps

ROWS = Dataset.from_dict({"input_ids": [[2, 3, 4, 5]] * 4, "labels": [[-100, 3, 4, 5]] * 4})
STEPS = {"pad_token_id": 1, "max_steps": 2, "learning_rate": 1e-3, "batch_size": 2, "device": "cpu"}


def test_steps_are_those_of_a_model_of_this_size_and_repeat(tiny_model):
    config = tiny_model.config.__class__(**tiny_model.config.to_dict())
    config.update({"vocab_size": 30_000, "hidden_size": 256})
    first, again = (try_steps(config, ROWS, **STEPS, seed=5) for _ in range(2))
    assert [step.tokens for step in first.steps] == [8, 8]
    assert [step.loss for step in first.steps] == [step.loss for step in again.steps]
    assert first.steps[0].loss == pytest.approx(10.3, abs=0.5)  # ln 30,000
    weights_bytes = 2 * 30_000 * 256 * 4
    assert 3.8 * weights_bytes < first.peak_bytes < 8 * weights_bytes  # weights, gradients, two numbers of AdamW


def test_steps_that_fail_say_why(tiny_model):
    with pytest.raises(TrainingError, match=r"the measured steps failed: .*NaN_like"):
        try_steps(tiny_model.config, ROWS, **STEPS, NaN_like=1)
