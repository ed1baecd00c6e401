"""What is in a preference file: how many pairs, how long both answers are, what stands twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ftlib.data.messages import all_text
from ftlib.data.preferences import Preference
from ftlib.data.words import comparable
from ftlib.text.summary import Spread, spread


@dataclass(frozen=True)
class PreferenceSummary:
    """What a pass over preference rows found.

    Attributes:
        rows: Pairs of answers.
        words: Words of the prompt, the chosen and the rejected answer (what stands between spaces).
        chosen_longer: Share of the pairs whose chosen answer has more words than the rejected one (0 to 1).
        rejected_longer: Share whose rejected answer has more words; what is left is of one length.
        duplicates: Pairs that stand for the second time or more.
        same_prompt: Pairs whose prompt an earlier pair has too.
        contradictions: Pairs whose chosen answer another pair rejects for the same prompt.
        leaked: Pairs whose prompt is also among those held out; None where nothing was held against it.
    """

    rows: int
    words: dict[str, Spread]
    chosen_longer: float
    rejected_longer: float
    duplicates: int
    same_prompt: int
    contradictions: int
    leaked: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def summarize_preferences(
    rows: Iterable[Preference], held_out: Iterable[Preference] | None = None
) -> PreferenceSummary:
    """Count what preference rows are made of.

    Args:
        rows: From :func:`ftlib.data.preferences.iter_preferences`; read once.
        held_out: Rows whose prompts must not be among them.

    >>> from ftlib.data.preferences import read_preference
    >>> row = read_preference({"prompt": "Why?", "chosen": "It is so.", "rejected": "No."})
    >>> found = summarize_preferences([row, row])
    >>> found.rows, found.chosen_longer, found.duplicates
    (2, 1.0, 1)

    Taught in: chapters/14_preferences.ipynb
    """
    counts: dict[str, Counter[int]] = {name: Counter() for name in ("prompt", "chosen", "rejected")}
    pairs: Counter[tuple[str, ...]] = Counter()
    longer: Counter[int] = Counter()
    for row in rows:
        texts = {name: all_text(row[name]) for name in counts}  # type: ignore[literal-required]
        lengths = {name: len(text.split()) for name, text in texts.items()}
        for name, length in lengths.items():
            counts[name][length] += 1
        difference = lengths["chosen"] - lengths["rejected"]
        longer[(difference > 0) - (difference < 0)] += 1
        pairs[tuple(map(comparable, texts.values()))] += 1
    prompts = Counter[str]()
    for (prompt, *_), times in pairs.items():
        prompts[prompt] += times
    total = max(1, longer.total())
    known = None if held_out is None else {comparable(all_text(row["prompt"])) for row in held_out}
    return PreferenceSummary(
        rows=longer.total(),
        words={name: spread(found) for name, found in counts.items()},
        chosen_longer=longer[1] / total,
        rejected_longer=longer[-1] / total,
        duplicates=pairs.total() - len(pairs),
        same_prompt=prompts.total() - len(prompts),
        contradictions=sum(
            times for (prompt, better, worse), times in pairs.items() if (prompt, worse, better) in pairs
        ),
        leaked=None if known is None else sum(times for prompt, times in prompts.items() if prompt in known),
    )
