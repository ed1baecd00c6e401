import threading

import pytest

from ftlib.hosted.cache import AnswerCache

REQUEST = {
    "provider": "openai",
    "model": "m",
    "messages": [{"role": "user", "content": "Grüße? 😀"}],
    "temperature": 0.0,
}


def test_what_is_put_in_comes_out(tmp_path):
    cache = AnswerCache(tmp_path / "new" / "folder")
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, {"text": "Ja. 😀", "input_tokens": None})
    assert cache.get(dict(reversed(REQUEST.items()))) == {"text": "Ja. 😀", "input_tokens": None}
    assert AnswerCache(tmp_path / "new" / "folder").get(REQUEST) == {"text": "Ja. 😀", "input_tokens": None}


def test_every_part_of_the_request_counts(tmp_path):
    cache = AnswerCache(tmp_path)
    cache.put(REQUEST, {"text": "first"})
    for change in ({"model": "other"}, {"temperature": 0.5}, {"provider": "deepseek"}, {"messages": []}, {"seed": 1}):
        assert cache.get(REQUEST | change) is None


def test_a_damaged_file_counts_as_missing_and_is_written_anew(tmp_path):
    cache = AnswerCache(tmp_path)
    cache.put(REQUEST, {"text": "first"})
    (file,) = tmp_path.iterdir()
    whole = file.read_text(encoding="utf-8")
    for damaged in (whole[: len(whole) // 2], "", "[]", "{}", whole.replace('"m"', '"other"')):
        file.write_text(damaged, encoding="utf-8")
        assert cache.get(REQUEST) is None
    cache.put(REQUEST, {"text": "second"})
    assert cache.get(REQUEST) == {"text": "second"}


def test_many_at_once_leave_whole_files_and_no_drafts(tmp_path):
    cache = AnswerCache(tmp_path)

    def work(number):
        for turn in range(20):
            cache.put(REQUEST | {"seed": turn % 5}, {"text": f"{number} {turn}" * 100})
            assert cache.get(REQUEST | {"seed": turn % 5}) is not None

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 5
    assert all(cache.get(REQUEST | {"seed": seed}) for seed in range(5))


def test_what_cannot_be_written_leaves_no_draft(tmp_path):
    cache = AnswerCache(tmp_path)
    with pytest.raises(UnicodeEncodeError):
        cache.put(REQUEST, {"text": "half a pair: \ud800"})
    assert list(tmp_path.iterdir()) == []
