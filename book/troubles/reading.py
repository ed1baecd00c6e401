"""What data files hold, and what becomes of it."""

from book.troubles.trouble import Trouble

_LOAD = """
    from ftlib import load_conversations
    found = load_conversations("{}")
"""
_GOOD = '{"question": "Why?", "answer": "Because."}\n'

READING = (
    Trouble(
        "is empty: write the text or delete the row",
        "DataError: data.jsonl, line 2 (byte ...): 'answer' is empty: write the text or delete the row",
        cause="A row has no text where there must be some. It would become a row without tokens to learn, which many "
        "trainers crash on.",
        cure="Mend the line that is named, or leave out every such row, with a warning for each:",
        provoke=_LOAD.format("data.jsonl"),
        fix="""
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                conversations = load_conversations("data.jsonl", on_error="skip")
        """,
        holds="len(conversations) == 1",
        files={"data.jsonl": _GOOD + '{"question": "And then?", "answer": ""}\n'},
    ),
    Trouble(
        "SkippedRowWarning: skipped",
        "SkippedRowWarning: skipped: data.jsonl, line 2 (byte ...): no field 'answer'; found 'question', 'reply': add "
        "or rename it",
        cause='`on_error="skip"` leaves out a row that can\'t be used, and says which and why.',
        cure="If the row matters, mend it. All rows must name their fields alike:",
        provoke="""
            from ftlib import load_conversations
            found = load_conversations("data.jsonl", format="question-answer", on_error="skip")
        """,
        fix="""
            {"question": "Why?", "answer": "Because."}
            {"question": "And then?", "answer": "Nothing."}
        """,
        language="json",
        holds="len(found) == 2",
        files={"data.jsonl": _GOOD + '{"question": "And then?", "reply": "Nothing."}\n'},
    ),
    Trouble(
        "ColumnWarning: left out, here and in further rows",
        "ColumnWarning: data.jsonl, line 1 (byte 0): left out, here and in further rows: 'score' (every row counts the "
        "same: leave bad rows out beforehand, or give their messages a weight of 0)",
        cause="A column may change what should be learnt, and has no place in a conversation. What is learnt doesn't "
        "depend on it.",
        cure="Use it before the rows are read, and hand on only what is to be learnt:",
        provoke=_LOAD.format("data.jsonl"),
        fix="""
            import json
            from pathlib import Path

            from ftlib.data.reading import to_conversations

            rows = [json.loads(line) for line in Path("data.jsonl").read_text(encoding="utf-8").splitlines()]
            good = [{"question": row["question"], "answer": row["answer"]} for row in rows if row["score"] >= 0.5]
            conversations = to_conversations(good)
        """,
        holds="len(conversations) == 1",
        files={
            "data.jsonl": '{"question": "Why?", "answer": "Because.", "score": 0.9}\n'
            '{"question": "How?", "answer": "No idea.", "score": 0.1}\n'
        },
    ),
    Trouble(
        "the answer is a bad one, and training would teach it",
        "DataError: data.jsonl, line 2 (byte ...): 'label' is False: the answer is a bad one, and training would teach "
        "it: delete the row, or keep it for a method that learns from both (KTO, DPO)",
        cause="The file was made for KTO: each answer has a thumb, up or down. Supervised training would learn the bad "
        "answers too.",
        cure="Leave the rows with a thumb down out, with a warning for each:",
        provoke=_LOAD.format("data.jsonl"),
        fix="""
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                conversations = load_conversations("data.jsonl", on_error="skip")
        """,
        holds="len(conversations) == 1",
        files={
            "data.jsonl": '{"prompt": "Why?", "completion": "Because.", "label": true}\n'
            '{"prompt": "How?", "completion": "No idea.", "label": false}\n'
        },
    ),
    Trouble(
        "the rows hold a better and a worse answer",
        "DataError: data.jsonl, line 1 (byte 0): the rows hold a better and a worse answer, as DPO takes them: to "
        "learn from both, train with objective: dpo (ftlib.data.load_preferences reads them); to learn the better one, "
        "rename 'chosen' to 'completion' (or to 'messages', if it holds the whole conversation); "
        "found the fields 'prompt', 'chosen', 'rejected'",
        cause="Preference training holds two answers against each other; supervised training learns one.",
        cure="Train with `objective: dpo`, or name the better one as the answer, and leave the other out:",
        provoke=_LOAD.format("data.jsonl"),
        fix='{"prompt": "Why?", "completion": "Because."}',
        language="json",
        holds="len(found) == 1",
        files={"data.jsonl": '{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n'},
    ),
    Trouble(
        "no known format has these fields",
        "DataError: data.jsonl, line 1 (byte 0): no known format has these fields: 'ask', 'reply'; choose one with "
        "format= (question-answer, alpaca, ...), or rename the columns, to 'question' and 'answer' say",
        cause="The format of a file is told from the names of its fields, and these belong to none.",
        cure="Rename the fields to those of a known format:",
        provoke=_LOAD.format("data.jsonl"),
        fix='{"question": "Why?", "answer": "Because."}',
        language="json",
        holds="len(found) == 1",
        files={"data.jsonl": '{"ask": "Why?", "reply": "Because."}\n'},
    ),
    Trouble(
        "looks like one format, the others like another: keep one format a file",
        "DataError: data.jsonl, line 2 (byte ...): looks like alpaca, but data.jsonl, line 1 (byte 0) looks like "
        "question-answer: keep one format a file, or choose with format= and on_error='skip'",
        cause="Two files of different formats were put together.",
        cure="Write all rows in one format:",
        provoke=_LOAD.format("data.jsonl"),
        fix="""
            {"question": "Why?", "answer": "Because."}
            {"question": "How?", "answer": "So."}
        """,
        language="json",
        holds="len(found) == 2",
        files={"data.jsonl": _GOOD + '{"instruction": "How?", "input": "", "output": "So."}\n'},
    ),
    Trouble(
        "KeyError: 0",
        "KeyError: 0",
        cause='The file holds one line, and in it all rows, by column: `{"question": {"0": ...}, "answer": {"0": '
        "...}}`. That is what pandas' `to_json` writes. Read as JSON Lines it is one row whose fields are "
        "dictionaries.",
        cure="`load_conversations` sees it and unfolds the columns:",
        provoke="""
            import json
            from pathlib import Path
            rows = [json.loads(line) for line in Path("data.jsonl").read_text(encoding="utf-8").splitlines()]
            first = rows[0]["question"][0]
        """,
        fix="""
            from ftlib import load_conversations

            conversations = load_conversations("data.jsonl")
        """,
        holds="len(conversations) == 2",
        files={"data.jsonl": '{"question": {"0": "Why?", "1": "How?"}, "answer": {"0": "Because.", "1": "So."}}\n'},
    ),
    Trouble(
        "the key stands more than once in one object",
        "DataError: data.jsonl, line 1 (byte 0): the key 'answer' stands more than once in one object: rename one",
        cause="JSON libraries keep the last value of a repeated key and drop the others without a word. `ftlib` "
        "doesn't.",
        cure="Decide which value is meant. (Dialogues may repeat the speakers' names; each turn is kept.)",
        provoke=_LOAD.format("data.jsonl"),
        fix='{"question": "Why?", "answer": "Because."}',
        language="json",
        holds="len(found) == 1",
        files={"data.jsonl": '{"question": "Why?", "answer": "No.", "answer": "Because."}\n'},
    ),
    Trouble(
        "not JSON: expected one object such as",
        "DataError: data.jsonl, line 1 (byte 0): not JSON: ... (... at character ...); expected one object such as "
        '{"question": "...", "answer": "..."}',
        cause="The line is no JSON. Single quotes and a comma behind the last field are the usual reasons.",
        cure="Use double quotes, and no comma at the end. From Python, let `json.dumps` or `save_conversations` write.",
        provoke=_LOAD.format("data.jsonl"),
        fix='{"question": "Why?", "answer": "Because."}',
        language="json",
        files={"data.jsonl": "{'question': 'Why?', 'answer': 'Because.',}\n"},
    ),
    Trouble(
        "not JSON: it ends in the middle",
        "DataError: data.jsonl, line 2 (byte ...): not JSON: it ends in the middle (...): the text is cut off; fetch "
        "the file again, or, if this object goes on in the next line, write it in one",
        cause="The download, or the program that wrote the file, stopped before the end.",
        cure="Fetch it again, or delete the half line:",
        provoke=_LOAD.format("data.jsonl"),
        fix='{"question": "Why?", "answer": "Because."}',
        language="json",
        files={"data.jsonl": _GOOD + '{"question": "How?", "ans'},
    ),
    Trouble(
        "not UTF-8: save the file as UTF-8",
        "DataError: data.csv, line 2...: not UTF-8 (byte ... of the line): save the file as UTF-8",
        cause="A spreadsheet saved the file in another encoding, such as Windows' cp1252.",
        cure="Write it anew in UTF-8:",
        provoke="""
            from pathlib import Path
            from ftlib import load_conversations
            Path("data.csv").write_bytes("question,answer\\nWhere?,In a café.\\n".encode("cp1252"))
            load_conversations("data.csv")
        """,
        fix="""
            from pathlib import Path

            file = Path("data.csv")
            file.write_text(file.read_text(encoding="cp1252"), encoding="utf-8")
            conversations = load_conversations("data.csv")
        """,
        holds="conversations[0]['messages'][1]['content'] == 'In a café.'",
    ),
    Trouble(
        "no such file, and no shipped data set of that name",
        "DataError: faqs: no such file, and no shipped data set of that name (shipped: ..., faq, ...). Did "
        "you mean 'faq'?",
        cause="The path is meant from the folder that Python was started in, or the name is misspelt.",
        cure="Check the folder with `pwd`, or take a name of the list:",
        provoke=_LOAD.format("faqs"),
        fix='conversations = load_conversations("faq")',
        holds="len(conversations) == 1260",
    ),
    Trouble(
        "the file holds the splits: choose one with split=",
        "DataError: data.json...: the file holds the splits train, test: choose one with split=",
        cause='The file holds several lists of rows, `{"train": [...], "test": [...]}`.',
        cure="Say which one is meant:",
        provoke=_LOAD.format("data.json"),
        fix='conversations = load_conversations("data.json", split="train")',
        holds="len(conversations) == 1",
        files={"data.json": '{"train": [' + _GOOD + '], "test": [' + _GOOD + "]}"},
    ),
    Trouble(
        "rows hold a template already",
        "TemplateWarning: ... of ... rows hold a template already (...), and the template ... puts another one around "
        "them: take it out of the rows, or train with one that adds nothing (...)",
        cause="The questions of the file were written for one template, with its words around. The template of the "
        "training adds its own, and the model learns to answer in two of them.",
        cure="Take the words out of the rows, and let the template write them:",
        provoke="""
            from ftlib import tokenize
            from ftlib.data.reading import to_conversations
            pairs = [{"question": "### Question:\\nWhy?\\n\\n### Answer:", "answer": "So."}]
            rows = tokenize(tokenizer, to_conversations(pairs))
        """,
        fix="""
            markup = ("### Question:", "### Answer:")
            inner = [pair["question"].removeprefix(markup[0]).removesuffix(markup[1]).strip() for pair in pairs]
            bare = [{**pair, "question": question} for pair, question in zip(pairs, inner)]
            rows = tokenize(tokenizer, to_conversations(bare))
        """,
        holds="bare[0]['question'] == 'Why?' and len(rows) == 1",
    ),
    Trouble(
        "test rows have a prompt that is also trained on",
        "LeakWarning: ... test rows have a prompt that is also trained on (row ... as row ..., say): remove the "
        "duplicates, or split by hand",
        cause="The data holds a question twice, and a random split put it on both sides. The test then measures what "
        "was learnt by heart.",
        cure="Keep the first row of each question:",
        provoke="""
            from datasets import concatenate_datasets
            from ftlib import tokenize_and_split
            conversations = concatenate_datasets([conversations] * 4)
            split = tokenize_and_split(tokenizer, conversations, test_size=0.5)
        """,
        fix="""
            first = {row["messages"][0]["content"]: number for number, row in reversed(list(enumerate(conversations)))}
            split = tokenize_and_split(tokenizer, conversations.select(sorted(first.values())), test_size=0.5)
        """,
        holds="split.leaks == 0 and len(first) == 3",
    ),
    Trouble(
        "evaluation rows have a prompt that is also trained on",
        "LeakWarning: ... of ... evaluation rows have a prompt that is also trained on (evaluation row ... as training "
        "row ..., say): the evaluation measures memory there: remove the duplicates, or give data.validation a file of "
        "its own",
        cause="The same, in a run of `ftlib train`: questions of the file came up for training and for evaluation.",
        cure="Evaluate on questions that stand nowhere else:",
        provoke="""
            from ftlib import save_model
            from ftlib.training.config import FinetuneConfig
            from ftlib.training.run import train
            save_model(model, tokenizer, "base")
            values = {
                "model": {"name": "base", "device": "cpu"},
                "data": {"source": "data.jsonl", "max_length": 64, "validation_share": 0.5},
                "train": {"max_steps": 1},
            }
            train(FinetuneConfig.from_dict(values), "first")
        """,
        fix="""
            with open("held_out.jsonl", "w", encoding="utf-8") as file:
                file.write('{"question": "Whose?", "answer": "Nobody."}\\n')
            data = {"source": "data.jsonl", "max_length": 64, "validation": "held_out.jsonl"}
            run = train(FinetuneConfig.from_dict({**values, "data": data}), "second")
        """,
        holds="run.best.eval_loss > 0",
        files={"data.jsonl": 6 * _GOOD},
    ),
    Trouble(
        "expected a column 'messages'",
        "DataError: expected a column 'messages', found ['question', 'answer']: see load_conversations",
        cause="`tokenize` takes conversations, whatever format the file had.",
        cure="Turn the rows into conversations first:",
        provoke="""
            from datasets import Dataset
            from ftlib import tokenize
            pairs = Dataset.from_list([{"question": "Why?", "answer": "Because."}])
            tokenize(tokenizer, pairs)
        """,
        fix="""
            from ftlib import load_conversations

            rows = tokenize(tokenizer, load_conversations(pairs))
        """,
        holds="len(rows) == 1",
    ),
    Trouble(
        "there is no assistant's message to learn",
        "DataError: row ...: template 'question-answer': there is no assistant's message to learn",
        cause="A conversation holds questions only.",
        cure="Leave such conversations out of the training rows:",
        provoke="""
            from datasets import Dataset, concatenate_datasets
            from ftlib import tokenize
            asked = Dataset.from_list([{"messages": [{"role": "user", "content": "Why?"}]}])
            conversations = concatenate_datasets([conversations, asked])
            tokenize(tokenizer, conversations)
        """,
        fix="""
            answered = conversations.filter(lambda row: any(m["role"] == "assistant" for m in row["messages"]))
            rows = tokenize(tokenizer, answered)
        """,
        holds="len(rows) == 3",
    ),
    Trouble(
        "Dataset scripts are no longer supported",
        "RuntimeError: Dataset scripts are no longer supported, but found rows.py",
        cause="Since `datasets` 4.0 no Python program that comes with data is run. Many repositories of before hold "
        "one.",
        cure="Take a copy that was converted to Parquet or JSON Lines, and name the files:",
        provoke="""
            from datasets import load_dataset
            load_dataset("rows.py", cache_dir="cache")
        """,
        fix="""
            from pathlib import Path

            Path("rows.jsonl").write_text('{"question": "Why?", "answer": "Because."}', encoding="utf-8")
            data = load_dataset("json", data_files="rows.jsonl", split="train", cache_dir="cache")
        """,
        holds="len(data) == 1",
        files={"rows.py": "import datasets\n"},
    ),
)
