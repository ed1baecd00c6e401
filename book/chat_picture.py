"""Take the picture of the chat page that README shows: a mail, and what a model says to it before and after training.

    ftlib train support_mail --out runs/support_mail
    python -m book.chat_picture runs/support_mail book/_static/chat.png

It needs Debian's package chromium, and the extras chat and dev.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from ftlib.chat import Settings, load_chat_model, serving
from ftlib.models.chat_model import ChatModel

BASE, NAME = "smollm2", "runs/support_mail"
MAIL = "Okafor here. When's my parcel coming? You have Unit 9 on it and I'm in Unit 6."  # of the test split
SIZE = {"width": 1100, "height": 640}
WAIT_MS = 600_000
BOTH_ENDED = """() => [...document.querySelectorAll("p")]
  .filter((one) => /ended by the model|cut after/.test(one.innerText)).length === 2"""


def take(run: str, picture: Path) -> None:
    """Ask both models one mail on a page, and keep what the page looks like then.

    Args:
        run: The trained adapter.
        picture: A PNG file, written anew.
    """
    from playwright.sync_api import sync_playwright

    tuned = load_chat_model(run, device="cpu")
    models = [load_chat_model(BASE, device="cpu"), ChatModel(NAME, tuned.model, tuned.tokenizer, tuned.template)]
    settings = Settings(temperature=0.0, max_new_tokens=40)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        thumbs = Path(folder) / "thumbs.jsonl"
        with serving(models, compare=True, settings=settings, feedback=thumbs, examples=[MAIL]) as url:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, device_scale_factor=1)  # type: ignore[arg-type]
            page.set_default_timeout(WAIT_MS)
            page.goto(url)
            page.fill("textarea", MAIL)
            page.press("textarea", "Enter")
            page.wait_for_function(BOTH_ENDED)
            page.screenshot(path=picture)
            browser.close()


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="the folder of a run of support_mail, or of its adapter")
    parser.add_argument("picture", type=Path, help="the PNG file")
    given = parser.parse_args()
    take(given.run, given.picture)


if __name__ == "__main__":
    main()
