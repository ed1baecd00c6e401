"""Take the pictures of the chat page: a question, and what a model says to it before and after training.

    ftlib train support_mail --out runs/support_mail
    python -m book.chat_picture runs/support_mail book/_static/chat.png
    ftlib train help_desk --out runs/help_desk
    python -m book.chat_picture runs/help_desk book/_static/help_desk.png

It needs Debian's package chromium, and the extras chat and dev.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlib.chat import Settings, load_chat_model, serving
from ftlib.inference.notes import read_notes
from ftlib.models.chat_model import ChatModel
from ftlib.training.config import FinetuneConfig

BASE = "smollm2"
WIDTH = 1100
WAIT_MS = 600_000
BOTH_ENDED = """() => [...document.querySelectorAll("p")]
  .filter((one) => /ended by the model|cut after/.test(one.innerText)).length === 2"""


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        asked: The question, of the test split.
        height: Of the window, in pixels.
        max_new_tokens: The longest answer.
        notes: Where notes are looked up, if they are.
    """

    asked: str
    height: int
    max_new_tokens: int
    notes: str | None = None


SCENES = {
    "support_mail": Scene("Okafor here. When's my parcel coming? You have Unit 9 on it and I'm in Unit 6.", 640, 40),
    "help_desk": Scene("How do I teach my cat to use a cat flap?", 720, 60, notes="faq"),
}
"""By the data that a run was trained on."""


def take(run: str, picture: Path) -> None:
    """Ask both models one question on a page, and keep what the page looks like then.

    Args:
        run: The folder of a trained run.
        picture: A PNG file, written anew.
    """
    from playwright.sync_api import sync_playwright

    source = FinetuneConfig.from_yaml(Path(run) / "config.yaml").data.source
    scene, tuned = SCENES[source], load_chat_model(run, device="cpu")
    named = ChatModel(f"runs/{source}", tuned.model, tuned.tokenizer, tuned.template)
    models = [load_chat_model(BASE, device="cpu"), named]
    settings = Settings(temperature=0.0, max_new_tokens=scene.max_new_tokens)
    notes = read_notes(scene.notes) if scene.notes else None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        options: dict[str, Any] = {"feedback": Path(folder) / "thumbs.jsonl", "examples": [scene.asked], "notes": notes}
        with serving(models, compare=True, settings=settings, **options) as url:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            size = {"width": WIDTH, "height": scene.height}
            page = browser.new_page(viewport=size, device_scale_factor=1)  # type: ignore[arg-type]
            page.set_default_timeout(WAIT_MS)
            page.goto(url)
            page.fill("textarea", scene.asked)
            page.press("textarea", "Enter")
            page.wait_for_function(BOTH_ENDED)
            page.screenshot(path=picture)
            browser.close()


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="the folder of a run of support_mail or help_desk")
    parser.add_argument("picture", type=Path, help="the PNG file")
    given = parser.parse_args()
    take(given.run, given.picture)


if __name__ == "__main__":
    main()
