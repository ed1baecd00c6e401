import matplotlib.pyplot as plt
import pytest

from ftlib.plots import plot_batch, plot_curves
from ftlib.text.batches import pad_batch


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_a_batch_shows_prompt_target_and_padding_in_three_colours():
    batch = pad_batch([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}], 1)
    (axes,) = plot_batch(batch, [["a", "b", "c"], ["d", "", ""]]).axes
    cells = axes.images[0].get_array()
    assert cells.shape == (2, 3, 3)
    kinds = [[tuple(cell) for cell in row] for row in cells.tolist()]
    prompt, target, padding = kinds[0][0], kinds[0][1], kinds[1][1]
    assert len({prompt, target, padding}) == 3
    assert kinds == [[prompt, target, target], [target, padding, padding]]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c", "d", "", ""]


def test_curves_carry_their_labels_and_differ_without_colour():
    (axes,) = plot_curves({"one": ([1, 2], [3, 4]), "two": ([1, 2], [5, 6])}, x="steps", y="loss (nats)").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "loss (nats)")
    first, second = axes.lines
    assert first.get_marker() != second.get_marker()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
