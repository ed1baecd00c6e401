"""Where the course stands, for the tests: they lie in folders of different depth."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
