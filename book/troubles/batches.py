"""From text to tensors."""

from book.troubles.trouble import Trouble

BATCHES = (
    Trouble(
        "Unable to create tensor, you should probably activate truncation and/or padding",
        "ValueError: Unable to create tensor, you should probably activate truncation and/or padding with "
        "'padding=True' 'truncation=True' to have batched tensors with the same length. Perhaps your features "
        "(`input_ids` in this case) have excessive nesting (inputs type `list` where type `int` is expected).",
        cause="All rows of a tensor have the same length, and these texts don't have the same number of tokens.",
        cure="Pad to the longest, and give `truncation` a length: without `max_length` it may cut nothing.",
        provoke="""
            texts = ["Why?", "What is a token?"]
            tokenizer(texts, return_tensors="pt")
        """,
        fix="""
            batch = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
        """,
        holds="batch['input_ids'].ndim == 2 and batch['attention_mask'].sum() < batch['input_ids'].numel()",
    ),
    Trouble(
        "Unable to create tensor: `labels` have excessive nesting",
        "ValueError: Unable to create tensor, you should probably activate truncation and/or padding with "
        "'padding=True' 'truncation=True' to have batched tensors with the same length. Perhaps your features "
        "(`labels` in this case) have excessive nesting (inputs type `list` where type `int` is expected).",
        cause="`DataCollatorWithPadding` pads what a tokenizer returns, and knows nothing of labels that are as long "
        "as the text.",
        cure="Take a collator that fills labels with -100:",
        provoke="""
            from transformers import DataCollatorWithPadding
            collator = DataCollatorWithPadding(tokenizer)
            collator([rows[0], rows[1]])
        """,
        fix="""
            from functools import partial

            from ftlib import pad_batch

            collator = partial(pad_batch, pad_token_id=tokenizer.pad_token_id)
            batch = collator([rows[0], rows[1]])
        """,
        holds="batch['labels'].shape == batch['input_ids'].shape and (batch['labels'] == -100).any()",
    ),
    Trouble(
        "Creating a tensor from a list of numpy.ndarrays is extremely slow",
        "UserWarning: Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider converting "
        "the list to a single numpy.ndarray with numpy.array() before converting to a tensor. ...",
        cause='PyTorch reads a list of arrays number by number. A data set with `set_format("numpy")` gives such '
        "lists.",
        cure="Stack the arrays first:",
        provoke="""
            import numpy as np
            import torch
            arrays = [np.array([1, 2, 3]), np.array([4, 5, 6])]
            torch.tensor(arrays)
        """,
        fix="""
            import numpy as np
            import torch

            batch = torch.from_numpy(np.stack(arrays))
        """,
        holds="batch.shape == (2, 3)",
    ),
    Trouble(
        "Asking to pad but the tokenizer does not have a padding token",
        "ValueError: Asking to pad but the tokenizer does not have a padding token. Please select a token to use as "
        "`pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)` or add a new pad token via "
        "`tokenizer.add_special_tokens({'pad_token': '[PAD]'})`.",
        cause="GPT-2, Pythia and many others were trained without padding, and their tokenizers name no token for it.",
        cure="`load_model` and `load_tokenizer` see to it. By hand, name a token, and make labels by position, never "
        "by `labels == pad_token_id`: that would hide every real end of text as well.",
        provoke="""
            texts = ["Why?", "What is a token?"]
            tokenizer.pad_token = None
            tokenizer(texts, padding=True)
        """,
        fix="""
            tokenizer.pad_token = tokenizer.eos_token
            batch = tokenizer(texts, padding=True, return_tensors="pt")
        """,
        holds="batch['attention_mask'][0].sum() < batch['attention_mask'][1].sum()",
    ),
    Trouble(
        "Token indices sequence length is longer than the specified maximum sequence length",
        "Token indices sequence length is longer than the specified maximum sequence length for this model (... > "
        "64). Running this sequence through the model will result in indexing errors",
        cause="The text has more tokens than the model can see at once. Nothing was cut.",
        cure="Cut it, if its end (or beginning) may go:",
        provoke="""
            text = "What is a token? " * 40
            tokenizer(text)
        """,
        fix="""
            ids = tokenizer(text, truncation=True, max_length=64)["input_ids"]
        """,
        holds="len(ids) == 64",
    ),
    Trouble(
        "truncated rows, tokens lost",
        "TruncationWarning: truncated 3 of 3 rows, ... tokens lost: raise max_length or shorten the text",
        cause="`tokenize` had to shorten rows. Answers stay whole as long as possible: whole exchanges go first, then "
        "words of the question.",
        cure="Raise `max_length` up to the model's context, or accept the loss, which is counted:",
        provoke="""
            from ftlib import tokenize
            rows = tokenize(tokenizer, conversations, max_length=20)
        """,
        fix="""
            rows = tokenize(tokenizer, conversations, max_length=64)
        """,
        holds="max(map(len, rows['input_ids'])) <= 64",
    ),
    Trouble(
        "index out of range in self",
        "IndexError: index out of range in self",
        cause="A token's number is higher than the rows of the model's embedding: the tokenizer is another model's, "
        "or has been given new tokens. (On a graphics card the same is a `device-side assert triggered`.)",
        cure="Load both by one name. Where you did add tokens, enlarge the embeddings for them:",
        provoke="""
            tokenizer.add_tokens(["<new>"])
            ids = tokenizer("A <new> word", return_tensors="pt")["input_ids"]
            model(ids)
        """,
        fix="""
            model.resize_token_embeddings(len(tokenizer))
            logits = model(ids).logits
        """,
        holds="logits.shape[-1] == len(tokenizer)",
    ),
    Trouble(
        "holds the token, the model knows 0 to: tokenise with the model's own tokenizer",
        "DataError: row 0 holds the token 999, the model knows 0 to ...: tokenise with the model's own tokenizer, or, "
        "if tokens were added to it, let the model have them too (model.resize_token_embeddings(len(tokenizer)))",
        cause="The rows were tokenised with another model's tokenizer, or with one that knows tokens which were added "
        "to it alone.",
        cure="Tokenise again, with the tokenizer that belongs to the model:",
        provoke="""
            from datasets import Dataset
            from ftlib import finetune
            rows = Dataset.from_list([{"input_ids": [5, 999], "labels": [-100, 999]}])
            finetune(model, tokenizer, rows, max_steps=1)
        """,
        fix="""
            from ftlib import tokenize

            rows = tokenize(tokenizer, conversations)
            steps = finetune(model, tokenizer, rows, max_steps=1)
        """,
        holds="len(steps) == 1",
    ),
    Trouble(
        "rows have tokens, the model sees: tokenise with max_length",
        "DataError: row 0 has 100 tokens, the model sees 64: tokenise with max_length",
        cause="A row is longer than the model's context.",
        cure="Shorten the rows when they are tokenised:",
        provoke="""
            from datasets import Dataset
            from ftlib import finetune
            rows = Dataset.from_list([{"input_ids": [5] * 100, "labels": [5] * 100}])
            finetune(model, tokenizer, rows, max_steps=1)
        """,
        fix="""
            from ftlib import tokenize
            from ftlib.models.loading import context_length

            rows = tokenize(tokenizer, conversations, max_length=context_length(model))
        """,
        holds="max(map(len, rows['input_ids'])) <= 64",
    ),
    Trouble(
        "left out rows without a target: every label is -100",
        "DroppedRowsWarning: left out 8 of 11 rows without a target (row 0, say): every label is -100, because the "
        "answer was cut away, or weighs 0: raise max_length, or shorten the prompts",
        cause="Nothing in these rows is trained on: prompts and padding have the label -100, and the answers are gone. "
        "They can't change the model, and a step of such rows alone has no loss.",
        cure="Make rows with `tokenize`, which cuts questions before answers, or drop rows without a target yourself:",
        provoke="""
            from datasets import Dataset
            from ftlib import finetune
            rows = Dataset.from_list([{"input_ids": [5, 6], "labels": [-100, -100]}] * 8 + list(rows))
            finetune(model, tokenizer, rows, max_steps=2, batch_size=4)
        """,
        fix="""
            rows = rows.filter(lambda row: any(label != -100 for label in row["labels"]))
            steps = finetune(model, tokenizer, rows, max_steps=2, batch_size=4)
        """,
        holds="len(steps) == 2",
    ),
    Trouble(
        "there is no target to learn or to measure in any of the rows",
        "DataError: there is no target to learn or to measure in any of the 3 training rows: every label is -100, "
        "because the answer was cut away, or weighs 0: raise max_length, or shorten the prompts",
        cause="The same, in all rows. With `truncate: end` a row loses its end, and that is where the answer stands.",
        cure="Allow longer rows, or cut their prompts:",
        provoke="""
            from ftlib import save_model
            from ftlib.training.config import FinetuneConfig
            from ftlib.training.run import train
            save_model(model, tokenizer, "base")
            values = {"model": {"name": "base", "device": "cpu"}, "train": {"max_steps": 1}}
            data = {"source": "data.jsonl", "max_length": 8, "truncate": "end", "validation_share": 0}
            train(FinetuneConfig.from_dict({**values, "data": data}), "first")
        """,
        fix="""
            data = {**data, "max_length": 64}
            run = train(FinetuneConfig.from_dict({**values, "data": data}), "second")
        """,
        holds="len(run.history) == 1",
        files={"data.jsonl": "".join(f'{{"question": "What is number {i}?", "answer": "One."}}\n' for i in range(3))},
    ),
    Trouble(
        "Expected input batch_size to match target batch_size",
        "ValueError: Expected input batch_size (...) to match target batch_size (...).",
        cause="`labels` were made from the answer alone. A model that continues text needs one label for each token "
        "of the whole row, prompt included.",
        cure="Put prompt and answer into one row, and -100 on the prompt. `tokenize` does:",
        provoke="""
            questions = tokenizer(["Why is that so?"], return_tensors="pt")
            answers = tokenizer(["So."], return_tensors="pt")
            model(**questions, labels=answers["input_ids"])
        """,
        fix="""
            from ftlib import load_conversations, pad_batch, tokenize

            conversations = load_conversations("data.jsonl")
            batch = pad_batch(tokenize(tokenizer, conversations), tokenizer.pad_token_id)
            loss = model(**batch).loss
        """,
        holds="loss.item() > 0",
        files={"data.jsonl": '{"question": "Why is that so?", "answer": "So."}\n'},
    ),
    Trouble(
        "a packed row holds: truncate it first",
        "DataError: row ... has ... tokens, a packed row holds 16: truncate it first",
        cause="Packing puts whole conversations into rows of one length; one of them is longer than that.",
        cure="Take the model's context as the length, for both steps:",
        provoke="""
            from ftlib.text.batches import pack_batch
            pack_batch(rows, tokenizer.pad_token_id, max_length=16)
        """,
        fix="""
            from ftlib import tokenize

            rows = tokenize(tokenizer, conversations, max_length=64)
            batch = pack_batch(rows, tokenizer.pad_token_id, max_length=64)
        """,
        holds="batch['input_ids'].shape[1] <= 64",
    ),
)
