"""A text template written as a Jinja program, the language of chat templates."""

from __future__ import annotations

import json

from ftlib.text.templates import DialogueTemplate, TextTemplate

_CHECKS = (
    "{% for message in messages %}{% if message['content'] is not string or message['tool_calls'] %}"
    "{{ raise_exception('only text has a place in this template: no tool call, no picture') }}{% endif %}{% endfor %}"
    "{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% if not turns %}{{ raise_exception('the conversation holds nothing but a system message') }}{% endif %}"
)
_CHECK_ROLE = (
    "{% if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}"
    "{{ raise_exception('expected at most one system message, then user and assistant in turn') }}{% endif %}"
)
# A message's text without the material that stands at its end, behind an empty line.
_ASKED = "message['content'][:-2 - message['context'] | length]"


def jinja_source(template: TextTemplate, *, begin: str, behind_answer: str) -> str:
    """Return the program.

    Args:
        template: What it lays out.
        begin: Stands in front of every text.
        behind_answer: Follows each answer.
    """
    first = f"{{{{ {_quoted(begin)} }}}}" if begin else ""
    return "".join([_CHECKS, first, _opening(template), _names(template), _turns(template, behind_answer)])


def _opening(template: TextTemplate) -> str:
    system = f"{_quoted(template.before_system)} ~ messages[0]['content'] ~ {_quoted(template.after_system)}"
    opening = _quoted(template.opening)
    if template.opening_with_context:
        opening = f"({_quoted(template.opening_with_context)} if turns[0]['context'] else {opening})"
    return f"{{{{ {system} if messages[0]['role'] == 'system' else {opening} }}}}"


def _names(template: TextTemplate) -> str:
    if not isinstance(template, DialogueTemplate):
        return ""
    return (
        "{% set names = messages | selectattr('role', 'equalto', 'assistant') | map(attribute='name') | select "
        "| unique(case_sensitive=true) | list %}"
        "{% if names | length > 1 %}{{ raise_exception('one name for the assistant is expected') }}{% endif %}"
    )


def _turns(template: TextTemplate, behind_answer: str) -> str:
    before_user, before_assistant = _quoted(template.before_user), _quoted(template.before_assistant)
    if isinstance(template, DialogueTemplate):
        before_user = f"(message['name'] or {_quoted(template.user_name)}) ~ {before_user}"
        before_assistant = f"'\\n' ~ (names[0] or {_quoted(template.assistant_name)}) ~ {before_assistant}"
    asked = "message['content']"
    if template.before_context != "\n\n":
        with_context = f"{_ASKED} ~ {_quoted(template.before_context)} ~ message['context']"
        asked = f"({with_context} if message['context'] else {asked})"
    return (
        "{% for message in turns %}" + _CHECK_ROLE + "{% if message['role'] == 'user' %}"
        f"{{{{ ('' if loop.first else {_quoted(template.between_turns)}) ~ {before_user} ~ {asked} }}}}"
        f"{{% if not loop.last or add_generation_prompt %}}{{{{ {before_assistant} }}}}{{% endif %}}"
        f"{{% else %}}{{{{ message['content'] ~ {_quoted(behind_answer)} }}}}{{% endif %}}{{% endfor %}}"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
