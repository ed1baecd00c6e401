"""Models that somebody else runs, behind one call: OpenAI, DeepSeek, Lamini, and a server of your own."""

from ftlib.hosted.client import Reply, ask, why_not

__all__ = ["Reply", "ask", "why_not"]
