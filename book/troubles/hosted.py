"""Models at a provider, and on a server of one's own."""

from book.troubles.trouble import Trouble

HOSTED = (
    Trouble(
        "there is no key: set OPENAI_API_KEY",
        "ProviderError: openai: there is no key: set OPENAI_API_KEY",
        cause="A provider's key is read from the environment, and the variable is not set.",
        cure="Set it in the shell that starts Python or Jupyter. Don't write a key into a notebook.",
        provoke="""
            import os
            from unittest import mock
            from ftlib.hosted import why_not
            from ftlib.hosted.providers import find_endpoint
            find_endpoint("openai")
        """,
        fix="export OPENAI_API_KEY=sk-...",
        language="bash",
        holds="why_not('openai') is None",
    ),
    Trouble(
        "Missing credentials. Please pass an `api_key`",
        "OpenAIError: Missing credentials. Please pass an `api_key`, `workload_identity`, `admin_api_key`, or set the "
        "`OPENAI_API_KEY` or `OPENAI_ADMIN_KEY` environment variable.",
        cause="The same, as OpenAI's own client says it.",
        cure="Set the variable before Python starts:",
        provoke="""
            import openai
            openai.OpenAI()
        """,
        fix="export OPENAI_API_KEY=sk-...",
        language="bash",
        holds="openai.OpenAI().api_key",
    ),
    Trouble(
        "set OPENAI_API_KEY to a key that is valid (status 401)",
        "ProviderError: openai: Incorrect API key provided (status 401): set OPENAI_API_KEY to a key that is valid. 0 "
        "of 1 prompts were answered",
        cause="The provider doesn't know the key: it was revoked, or belongs to another provider.",
        cure="Make a new key on the provider's site, and set it:",
        provoke="""
            import os
            from ftlib.hosted import ask
            serve(stack, lambda request, number: (401, "Incorrect API key provided.") if number == 0 else None)
            ask("openai", ["Why?"])
        """,
        fix="export OPENAI_API_KEY=sk-...",
        language="bash",
        holds="ask('openai', ['Why?'])[0].text == 'So.'",
    ),
    Trouble(
        "the model may have been retired: pass model= (status 404)",
        "ProviderError: openai: The model does not exist (status 404): the model 'gpt-old' may have been retired: "
        "pass model=, or set OPENAI_MODEL. 0 of 1 prompts were answered",
        cause="Providers retire their models. Code that holds a name stops working one day.",
        cure="Set the name in one place, outside of the code:",
        provoke="""
            from ftlib.hosted import ask
            refusal = (404, "The model does not exist")
            serve(stack, lambda request, number: refusal if request["model"] == "gpt-old" else None)
            ask("openai", ["Why?"], model="gpt-old")
        """,
        fix="export OPENAI_MODEL=gpt-new",
        language="bash",
        holds="ask('openai', ['Why?'])[0].text == 'So.'",
    ),
    Trouble(
        "lower concurrency, or wait and ask again (status 429)",
        "ProviderError: openai: prompt 0: Rate limit reached (status 429): lower concurrency, or wait and ask again. "
        "0 of 1 prompts were answered",
        cause="More questions a minute than the account may ask. `ask` has waited and tried again already.",
        cure="Ask fewer at once, with more patience. Answers that did come are in the error's `replies`, and in "
        "`cache`.",
        provoke="""
            from ftlib.hosted import ask
            serve(stack, lambda request, number: (429, "Rate limit reached") if number == 0 else None)
            ask("openai", ["Why?"], retries=0)
        """,
        fix="""
            replies = ask("openai", ["Why?"], concurrency=1, retries=5, cache="answers")
        """,
        holds="replies[0].text == 'So.'",
    ),
    Trouble(
        "add credit to the account",
        "ProviderError: openai: You exceeded your current quota (status 429): add credit to the account. 0 of 1 "
        "prompts were answered",
        cause="The account has no credit left. Waiting doesn't help.",
        cure="Pay, or ask a model on this computer, which costs nothing:",
        provoke="""
            from ftlib.hosted import ask
            serve(stack, lambda request, number: (429, "You exceeded your current quota"))
            ask("openai", ["Why?"])
        """,
        fix="""
            from ftlib import generate, load_model

            model, tokenizer = load_model("nano", device="cpu")
            texts = generate(model, tokenizer, ["Why?"], max_new_tokens=8)
        """,
        holds="len(texts) == 1",
    ),
    Trouble(
        "the key holds a space or another character that no key has",
        "ProviderError: openai: the key holds a space or another character that no key has, at position ...: copy it "
        "again, without what stands around it",
        cause="A quote, a space or a line break was copied with the key.",
        cure="Set it again, without what stands around it:",
        provoke="""
            from ftlib.hosted.providers import find_endpoint
            find_endpoint("openai", api_key="sk-12 34")
        """,
        fix="""
            endpoint = find_endpoint("openai", api_key="sk-1234")
        """,
        holds="endpoint.key.value == 'sk-1234'",
    ),
    Trouble(
        "the key would go unencrypted",
        "ProviderError: openai: the key would go unencrypted to example.com: use https: over http anyone on the way "
        "could read it",
        cause="The address begins with `http:` and is not on this computer.",
        cure="Use `https:`:",
        provoke="""
            from ftlib.hosted.providers import find_endpoint
            find_endpoint("openai", api_key="sk-1234", base_url="http://example.com/v1")
        """,
        fix="""
            endpoint = find_endpoint("openai", api_key="sk-1234", base_url="https://example.com/v1")
        """,
        holds="endpoint.base_url.startswith('https:')",
    ),
    Trouble(
        "unknown provider: did you mean",
        "ProviderError: opnai: unknown provider 'opnai': expected one of ...; did you mean 'openai'?",
        cause="There are `openai`, `deepseek`, `lamini` and `local`.",
        cure="Take one of them. Any other service that speaks OpenAI's protocol is `openai` with another `base_url`:",
        provoke="""
            from ftlib.hosted.providers import find_endpoint
            find_endpoint("opnai")
        """,
        fix="""
            address = "https://example.com/v1"
            endpoint = find_endpoint("openai", api_key="sk-1234", base_url=address, model="their-model")
        """,
        holds="endpoint.model == 'their-model'",
    ),
    Trouble(
        "there is no address: start one with ftlib.hosted.server.local_server",
        "ProviderError: local: there is no address: start one with ftlib.hosted.server.local_server and pass its "
        "base_url, or set FTLIB_LOCAL_URL",
        cause="`local` is a server on your computer, and `ask` isn't told where.",
        cure="Say where, and which model it serves:",
        provoke="""
            from ftlib.hosted.providers import find_endpoint
            find_endpoint("local")
        """,
        fix="export FTLIB_LOCAL_URL=http://127.0.0.1:8000/v1 FTLIB_LOCAL_MODEL=nano",
        language="bash",
        holds="find_endpoint('local').model == 'nano'",
    ),
    Trouble(
        "a model was given without its tokenizer",
        "ModelError: a model was given without its tokenizer: pass tokenizer= as well",
        cause="A model in memory doesn't know its tokenizer; a name or folder does.",
        cure="Hand both over, or serve a folder:",
        provoke="""
            from ftlib.hosted.server import local_server
            with local_server(model):
                pass
        """,
        fix="""
            from ftlib import save_model

            folder = save_model(model, tokenizer, "tuned")  # then: with local_server(folder) as server: ...
        """,
        holds="(folder / 'tokenizer.json').is_file()",
    ),
    Trouble(
        "may not start fine-tuning jobs: OpenAI is closing this service",
        "ProviderError: openai: Your organization may not create jobs (status 403): this account may not start "
        "fine-tuning jobs, or the key may not, ... OpenAI is closing this service: it takes jobs only from "
        "organisations that fine-tuned before 2026-05-07 and still ask their models, and none from 2027-01-06 "
        "(https://developers.openai.com/api/docs/deprecations): train on your own machine (ftlib train), or at another "
        "service (base_url=); not every one has fine-tuning",
        cause="The key is valid, and questions to a model would be answered: it is fine-tuning that is refused.",
        cure="Train an open model yourself. The rows are the same:",
        provoke="""
            from ftlib.hosted.openai_finetuning import openai_client, start_job
            serve(stack, lambda request, number: (403, "Your organization may not create jobs"))
            with openai_client() as client:
                start_job(client, "file-1")
        """,
        fix="""
            from ftlib import finetune

            history = finetune(model, tokenizer, rows, max_steps=2)
        """,
        holds="len(history) == 2",
    ),
    Trouble(
        "not sent; mend this first (a file for fine-tuning)",
        "DataError: train.jsonl: not sent; mend this first:\nline 1: expected an object with 'messages', a list of "
        "objects\nthe file has 1 rows, and 10 is the least",
        cause="The file would have been refused, after the upload. All problems are listed, each with its line.",
        cure="Let `save_conversations` write the file; its default is OpenAI's format. It needs ten rows at least.",
        provoke="""
            from ftlib.hosted.openai_finetuning import openai_client, upload_file
            with openai_client(api_key="sk-1234") as client:
                upload_file(client, "train.jsonl")
        """,
        fix="""
            from ftlib import load_conversations, save_conversations
            from ftlib.hosted.finetuning_file import check_finetuning_file

            save_conversations(load_conversations("faq"), "mended.jsonl")
            problems = check_finetuning_file("mended.jsonl").problems
        """,
        holds="not problems",
        files={"train.jsonl": '{"question": "Why?", "answer": "Because."}\n'},
    ),
    Trouble(
        "cannot import name 'BasicModelRunner' from 'lamini'",
        "ImportError: cannot import name 'BasicModelRunner' from 'lamini' (...)",
        cause="Lamini's client has had no such class for several releases.",
        cure="Ask through `ftlib`, which calls what took its place; `why_not` says whether a key is there:",
        provoke="""
            from lamini import BasicModelRunner
        """,
        fix="""
            from ftlib.hosted import why_not

            reason = why_not("lamini")  # None: ask("lamini", ["Why?"]) will work
        """,
        holds="reason == 'not run: set LAMINI_API_KEY'",
    ),
)
