"""Answers that don't come, or come out wrong."""

from book.troubles.trouble import Trouble

GENERATION = (
    Trouble(
        "Input length of input_ids is, but `max_length` is set to",
        "ValueError: Input length of input_ids is ..., but `max_length` is set to 20. This can lead to unexpected "
        "behavior. You should consider increasing `max_length` or, better yet, setting `max_new_tokens`.",
        cause="`max_length` counts the prompt, and this prompt alone is as long as that.",
        cure="Limit what is new:",
        provoke="""
            inputs = tokenizer("What is a token? " * 8, return_tensors="pt")
            model.generate(**inputs, max_length=20)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        """,
        holds="ids.shape[1] <= inputs['input_ids'].shape[1] + 8",
    ),
    Trouble(
        "Using the model-agnostic default `max_length`",
        "UserWarning: Using the model-agnostic default `max_length` (=...) to control the generation length. We "
        "recommend setting `max_new_tokens` to control the maximum length of the generation.",
        cause="Nothing says how long the answer may be, so it ends after 20 tokens.",
        cure="Say it:",
        provoke="""
            inputs = tokenizer("Why?", return_tensors="pt")
            model.generation_config.max_length = None
            model.generate(**inputs)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=8)
        """,
        holds="ids.shape[0] == 1",
    ),
    Trouble(
        "A decoder-only architecture is being used, but right-padding was detected",
        "A decoder-only architecture is being used, but right-padding was detected! For correct generation results, "
        "please set `padding_side='left'` when initializing the tokenizer.",
        cause="A new token is written behind the last one of each row. With padding on the right that is padding, and "
        "the answer comes out wrong.",
        cure="Pad on the left to generate, on the right to train. `ftlib.generate` pads by itself:",
        provoke="""
            texts = ["Why?", "What is a token?"]
            inputs = tokenizer(texts, padding=True, return_tensors="pt")
            model.generate(**inputs, max_new_tokens=4, pad_token_id=tokenizer.pad_token_id)
        """,
        fix="""
            inputs = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=4, pad_token_id=tokenizer.pad_token_id)
        """,
        holds="ids.shape[0] == 2",
    ),
    Trouble(
        "The attention mask is not set with a batched input, and cannot be inferred",
        "The attention mask is not set with a batched input, and cannot be inferred from input because pad token is "
        "same as eos token. As a consequence, you may observe unexpected behavior. Please pass your input's "
        "`attention_mask` to obtain reliable results.",
        cause="The model was given ids alone. Padding is then read as text.",
        cure="Hand on everything that the tokenizer returns, with `**`:",
        provoke="""
            tokenizer.pad_token = tokenizer.eos_token
            inputs = tokenizer(["Why?", "What is a token?"], padding=True, padding_side="left", return_tensors="pt")
            model.generate(inputs["input_ids"], max_new_tokens=4, pad_token_id=tokenizer.pad_token_id)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=4, pad_token_id=tokenizer.pad_token_id)
        """,
        holds="ids.shape[0] == 2",
    ),
    Trouble(
        "The attention mask and the pad token id were not set",
        "The attention mask and the pad token id were not set, with a batched input. As a consequence, you may "
        "observe unexpected behavior. Please pass your input's `attention_mask` to obtain reliable results.",
        cause="As above, for a model that names no padding token either.",
        cure="Give both:",
        provoke="""
            model.generation_config.pad_token_id = model.config.pad_token_id = None
            inputs = tokenizer(["Why?", "What is a token?"], padding=True, padding_side="left", return_tensors="pt")
            model.generate(inputs["input_ids"], max_new_tokens=4)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=4, pad_token_id=tokenizer.pad_token_id)
        """,
        holds="ids.shape[0] == 2",
    ),
    Trouble(
        "The following `model_kwargs` are not used by the model",
        "ValueError: The following `model_kwargs` are not used by the model: ['token_type_ids'] (...)",
        cause="`generate` was handed something that this model doesn't take: a name that the tokenizer returned, or "
        "one that is misspelt.",
        cure="Hand on ids and mask:",
        provoke="""
            inputs = tokenizer("Why?", return_tensors="pt")
            inputs["token_type_ids"] = inputs["input_ids"] * 0
            model.generate(**inputs, max_new_tokens=4)
        """,
        fix="""
            inputs.pop("token_type_ids")
            ids = model.generate(**inputs, max_new_tokens=4)
        """,
        holds="ids.shape[0] == 1",
    ),
    Trouble(
        "The following generation flags are not valid and may be ignored",
        "The following generation flags are not valid and may be ignored: ['temperature'...]. ...",
        cause="Greedy decoding takes the likeliest token: there is nothing for `temperature` or `top_p` to act on.",
        cure="Draw, or leave them out:",
        provoke="""
            inputs = tokenizer("Why?", return_tensors="pt")
            model.generate(**inputs, max_new_tokens=4, do_sample=False, temperature=0.7)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=4, do_sample=True, temperature=0.7)
        """,
        holds="ids.shape[0] == 1",
    ),
    Trouble(
        "`temperature` has to be a strictly positive float",
        "ValueError: `temperature` (=0.0) has to be a strictly positive float, otherwise your next token scores will "
        "be invalid. If you're looking for greedy decoding strategies, set `do_sample=False`.",
        cause="Scores are divided by the temperature.",
        cure="`ftlib.generate` takes 0 for greedy; `model.generate` wants it said:",
        provoke="""
            inputs = tokenizer("Why?", return_tensors="pt")
            model.generate(**inputs, max_new_tokens=4, do_sample=True, temperature=0.0)
        """,
        fix="""
            ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        """,
        holds="ids.shape[0] == 1",
    ),
    Trouble(
        "probability tensor contains either `inf`, `nan` or element < 0",
        "RuntimeError: probability tensor contains either `inf`, `nan` or element < 0",
        cause="The model's scores are no numbers: its weights broke in training (see `the loss is nan`), or float16 "
        "is too small for it.",
        cure="Look for the first weight that is no number. If there is one, load an earlier checkpoint; if there is "
        "none, load the model in float32.",
        provoke="""
            import torch
            with torch.no_grad():
                model.get_output_embeddings().weight.fill_(torch.nan)
            inputs = tokenizer("Why?", return_tensors="pt")
            model.generate(**inputs, max_new_tokens=4, do_sample=True)
        """,
        fix="""
            broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
        """,
        holds="len(broken) == 1",
    ),
    Trouble(
        "prompt has tokens and asks for more, but the model's context holds",
        "PromptTooLongError: prompt 0 has ... tokens and asks for 40 more, but the model's context holds 64: lower "
        "max_new_tokens to ... or shorten the prompt",
        cause="Prompt and answer share the model's context.",
        cure="Leave tokens for the answer. `inference` shortens a question by itself, `fit_history` a conversation:",
        provoke="""
            from ftlib import generate
            prompts = ["What is a token? " * 4]
            generate(model, tokenizer, prompts, max_new_tokens=40)
        """,
        fix="""
            texts = generate(model, tokenizer, prompts, max_new_tokens=8)
        """,
        holds="len(texts) == 1",
    ),
    Trouble(
        "the question lost its first characters",
        "TruncationWarning: the question lost its first ... characters: a prompt may have ... tokens here",
        cause="The question is longer than `max_input_tokens`, or leaves too few tokens for the answer.",
        cure="Ask more briefly, or for less:",
        provoke="""
            from ftlib.inference.generation import inference
            inference("What is a token? " * 8, model, tokenizer, max_output_tokens=8)
        """,
        fix="""
            text = inference("What is a token?", model, tokenizer, max_output_tokens=8)
        """,
        holds="isinstance(text, str)",
    ),
    Trouble(
        "a prompt must end with user, so that the model can answer",
        "DataError: template 'question-answer': a prompt must end with user, so that the model can answer",
        cause="The conversation ends with an answer.",
        cure="Leave out the last answer, or add a question:",
        provoke="""
            from ftlib.inference.generation import answer
            messages = conversations[0]["messages"]
            answer(model, tokenizer, [messages], max_new_tokens=4)
        """,
        fix="""
            texts = answer(model, tokenizer, [messages[:-1]], max_new_tokens=4)
        """,
        holds="len(texts) == 1",
    ),
    Trouble(
        "top_p is; expected a number above 0, at most 1",
        "ConfigError: top_p is 1.5; expected a number above 0, at most 1",
        cause="`top_p` is a share of the probability.",
        cure="1 draws from all tokens:",
        provoke="""
            from ftlib import generate
            generate(model, tokenizer, ["Why?"], max_new_tokens=4, temperature=1.0, top_p=1.5)
        """,
        fix="""
            texts = generate(model, tokenizer, ["Why?"], max_new_tokens=4, temperature=1.0, top_p=0.9)
        """,
        holds="len(texts) == 1",
    ),
    Trouble(
        "Cannot use chat template functions because tokenizer.chat_template is not set",
        "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template "
        "argument was passed! For information about writing templates and setting the tokenizer.chat_template "
        "attribute, please see the documentation at ...",
        cause="The tokenizer of a base model has no chat template: the model has never seen a conversation.",
        cure="Give it the template that it was trained with. Runs of `ftlib train` save theirs.",
        provoke="""
            messages = [{"role": "user", "content": "Why?"}]
            tokenizer.apply_chat_template(messages, tokenize=False)
        """,
        fix="""
            from ftlib import QUESTION_ANSWER
            from ftlib.text.chat_template import to_jinja

            tokenizer.chat_template = to_jinja(QUESTION_ANSWER)
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        """,
        holds="text == '### Question:\\nWhy?\\n\\n### Answer:\\n'",
    ),
    Trouble(
        "the tokenizer has no chat template: choose a text template",
        "DataError: the tokenizer has no chat template: choose a text template, such as 'chatml'",
        cause="`template: tokenizer` asks for the tokenizer's own chat template, and it has none.",
        cure="Name one of the text templates:",
        provoke="""
            from ftlib.text.chat_template import ChatTemplate
            ChatTemplate(tokenizer)
        """,
        fix="""
            from ftlib.text.templates import get_template

            template = get_template("chatml")
        """,
        holds="template.end_marker == '<|im_end|>'",
    ),
)
