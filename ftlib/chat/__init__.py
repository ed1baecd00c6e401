"""Talk to a model: on a page in the browser, or in the terminal.

Both keep a history, put it into the template that the model was trained in, and show an answer while it is written.
"""

from ftlib.chat.console import talk
from ftlib.chat.server import launch, serving
from ftlib.chat.session import Limits, Settings
from ftlib.models.chat_model import ChatModel, load_chat_model

__all__ = ["ChatModel", "Limits", "Settings", "launch", "load_chat_model", "serving", "talk"]
