"""Why a request ends where it ends: the simulation's steps, with the objects and the lines that are behind each."""

from fairlead.explain.asked import Asked
from fairlead.explain.explaining import Subject, explain, most_telling
from fairlead.explain.text import as_text
from fairlead.explain.values import Explanation, Hint, Source, Stop

__all__ = ["Asked", "Explanation", "Hint", "Source", "Stop", "Subject", "as_text", "explain", "most_telling"]
