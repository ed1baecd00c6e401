"""What a rule can tell of answers: are they varied, do they refuse, do they hold the fact that was asked for?

Each metric says its scale and which direction is better.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from nltk.stem.porter import PorterStemmer

from ftlib.argument_checks import at_least, checked, each, one_text
from ftlib.data.words import QUOTES, words
from ftlib.evaluation.metrics import check_pairs

_SERVICE = (
    "help|assist|answer|provide|give|offer|share|discuss|comment|advise|recommend|write|produce|generate|create|tell"
    "|explain|describe|process|fulfil|fulfill|comply|reveal|view|browse|guess|support|engage|access|talk|speak|diagnose"
    "|predict|do that|do this|cover|handle|respond|taste"
)
_CANNOT = "can ?not|can't|won't|will not|not (going|able|permitted|allowed) to|unable to|rather not|prefer not to"
_OWN = "i|me|my|mine|us|ours?|(the|this|a) course|this assistant|we (study|look at)|stay here|feel free|fair game"
_REFUSAL = re.compile(
    # I or we can't, won't or may not do what was asked for, or have no way to.
    rf"\b(i|we)\b[\w' ]{{0,40}}\b({_CANNOT}) (\w+ )?({_SERVICE})\b(?!.*\benough\b)"
    r"|\b(i|we) (must|have to|need to) (\w+ )?(decline|refuse|turn)\b|\b(i|we) (won't|will not)\.$"
    r"|\b(i|we) (do not|don't) (have (\w+ )?(opinions?|access|the ability)|feel comfortable)\b"
    r"|\bas an ai\b[^.]*, i\b.*\b(not|\w+n't|cannot|no)\b|\b(not appropriate|wrong) (for|of) me\b"
    # What is asked lies outside of what the assistant does.
    r"|\b(outside|beyond) (of )?(me|my|our|this (course|desk)|what (i|we)|the scope of (this|my|our))\b"
    r"|\bis off.topic\b|\bnot (related|relevant) to (my|our|this)\b|\b(limited|restricted) to questions\b"
    r"|\b(i|we)( can)? (only|just) (answer|help|cover|discuss)\b"
    rf"|\bnot (something|a (subject|topic|matter)) (that )?(i|we) (can )?({_SERVICE}|follow)\b"
    r"|\b(i|we)('m| am|'re| are| have been) (told|designed|made) to (discuss|talk|answer|help)\b.*\bonly\b"
    r"|\b(i|we)('m| am|'re| are| have been) (told|designed|made) (only to|to only|to discuss only|to talk only)\b"
    r"|\b(sorry|afraid),? (but )?(no|(please )?(ask|see|consult|contact))\b"
    rf"|\bsorry, (but )?(i|we) ({_CANNOT})\b(?!.*\benough\b)"
    # The assistant turns back to a subject: that of the conversation, or that of this course, named in full as what the
    # assistant or the course is for. A sentence that begins with it only speaks of it.
    r"|\blet('s| us) (please )?(keep|stay|stick|get back|return)\b.*"
    r"\b(discussion|conversation|topic|relevant|questions)\b"
    rf"|(?s:^(?!fine-tun)(?=.*\b({_OWN})\b).*\bfine-tuning (of )?(a )?language models?\b)"
    r"|^it is about fine-tuning language models\.$",
)
_SHORT = 3  # letters of words that say little by themselves
_QUOTED = re.compile(r'"[^"]*"')
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@checked(predictions=each(one_text), n=at_least(1))
def distinct_n(predictions: Sequence[str], n: int = 2) -> float:
    """Share of the runs of ``n`` words, over all answers, that are different (0 to 1; higher is more varied).

    (Li et al., 2016.) It falls with the number and the length of the texts: compare only answers to the same
    questions. A text of nonsense scores high. Of no runs at all it is 0.

    >>> distinct_n(["a b a b", "a b"], n=2)
    0.5
    """
    runs = [run for text in predictions for run in _runs(words(text), n)]
    return len(set(runs)) / len(runs) if runs else 0.0


@checked(predictions=each(one_text), n=at_least(1))
def distinct_each(predictions: Sequence[str], n: int = 2) -> list[float]:
    """Share of each answer's own runs of ``n`` words that are different (0 to 1; below 1 it repeats itself).

    >>> distinct_each(["a b a b", "one two three", ""])
    [0.6666666666666666, 1.0, 0.0]
    """
    return [distinct_n([text], n) for text in predictions]


@checked(predictions=each(one_text), n=at_least(1))
def repeats(predictions: Sequence[str], n: int = 4) -> list[float]:
    """Whether each answer goes round in circles: it holds a run of ``n`` words twice or more (0 or 1; 0 is better).

    A model that doesn't learn when to stop does that, above all where the likeliest token is taken each time.

    >>> repeats(["It is a token. It is a token.", "It is a token."], n=4)
    [1.0, 0.0]
    """
    runs = [_runs(words(text), n) for text in predictions]
    return [float(len(set(each)) < len(each)) for each in runs]


@checked(predictions=each(one_text), references=each(one_text), questions=each(one_text))
def fact_recall(predictions: Sequence[str], references: Sequence[str], questions: Sequence[str]) -> list[float]:
    """Share of what each reference adds to its question that the answer says, too (0 to 1; higher is better).

    Compared are the stems (Porter, 1980) of words with more than three letters, without those of the question, so that
    an answer that only repeats the question gets 0. An answer that has half of them mostly holds the fact; how often
    it does is said in the card of the data set ``faq``. What is false besides is not seen.

    Args:
        predictions: What the model wrote.
        references: What is right, one for each.
        questions: What was asked, one for each.

    Raises:
        DataError: There are no rows, or not as many of one as of another.

    >>> fact_recall(["It reads tokens.", "What is it?"], ["A model reads tokens"] * 2, ["What does a model do?"] * 2)
    [1.0, 0.0]

    Taught in: chapters/01_why_finetune.ipynb
    """
    check_pairs(predictions, references)
    check_pairs(questions, references)
    return [_recall(*one) for one in zip(predictions, references, questions, strict=True)]


def _recall(prediction: str, reference: str, question: str) -> float:
    wanted = _stems(reference) - _stems(question) or _stems(reference)
    return len(wanted & _stems(prediction)) / len(wanted) if wanted else 0.0


def _stems(text: str) -> set[str]:
    stemmer = PorterStemmer()
    return {stemmer.stem(word) for word in words(text) if len(word) > _SHORT}


@checked(predictions=each(one_text))
def refuses(predictions: Sequence[str]) -> list[float]:
    """Whether each answer declines (0 or 1): better on a question off the subject, worse on one that belongs to it.

    The rule: one of its first two sentences, quotations left out, says that the writer (I or we) can't, won't or may
    not do such a thing (help, answer, write, ...), or that the question lies outside of what he does, or leads back to
    a subject ("let's keep the discussion relevant to ..."); or names the subject of this course in full as its own or
    the course's, as the declining answers of its data do. An apology alone is no refusal. It knows English, and only
    these ways: on 96 answers labelled by hand (``tests/labelled/refusals.jsonl``) a test says how often it is right.

    >>> refuses(["Sorry, I cannot help with that.", "A token is a piece of text.", "I'm sorry that it is late."])
    [1.0, 0.0, 0.0]

    Taught in: chapters/10_lora_chatbot.ipynb
    """
    return [float(any(map(_REFUSAL.search, _opening(text)))) for text in predictions]


def _opening(text: str) -> list[str]:
    straight = unicodedata.normalize("NFC", text).translate(QUOTES).lower()
    return _SENTENCE_END.split(_QUOTED.sub("", straight).strip())[:2]


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
