import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlib.data.leaks import Leak, find_leaks, jaccard, same_prompts, shingles
from ftlib.data.reading import to_conversations
from ftlib.errors import DataError


def rows(*questions):
    return to_conversations([{"question": question, "answer": "Because it is so."} for question in questions])


def test_shingles_by_hand():
    assert shingles("A b, c D!") == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles("Why?") == {("why",)}
    assert shingles("...") == frozenset()


def test_the_likest_training_row_is_named_and_the_worst_leak_comes_first():
    train = rows("How do I pad a batch of rows on the left?", "What is a token?", "Why is the sky so blue today?")
    test = rows("How do I pad a batch of rows on the right?", "Is tea better than coffee?", "What is a token?")
    leaks = find_leaks(train, test)
    assert [leak[:2] for leak in leaks] == [(2, 1), (0, 0)]
    assert leaks[0].likeness == 1.0
    assert find_leaks(train, test, threshold=1.0) == [Leak(2, 1, 1.0)]


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(DataError, match="threshold"):
        find_leaks(rows("a"), rows("a"), threshold=0)


@given(st.lists(st.text("abc ", max_size=20), max_size=6), st.lists(st.text("abc ", max_size=20), max_size=6))
def test_the_index_finds_what_comparing_all_pairs_finds(train, test):
    def conversations(texts):
        return [{"messages": [{"role": "user", "content": text}]} for text in texts]

    found = {leak.test_row: leak.likeness for leak in find_leaks(conversations(train), conversations(test))}
    for number, text in enumerate(test):
        best = max((jaccard(shingles(text), shingles(other)) for other in train if shingles(other)), default=0)
        assert found.get(number, 0) == (best if best >= 0.5 and shingles(text) else 0)


def test_same_prompts_ignore_case_space_and_punctuation():
    messages = rows("Why?", "what", " WHY ")["messages"]
    assert same_prompts(messages, [0, 1], [2]) == [(2, 0)]
