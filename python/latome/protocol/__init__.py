"""Floor 3: what a module must offer, and what the engine promises in return."""

from latome.protocol.module import Generated, Module
from latome.protocol.settings import Settings, setting
from latome.protocol.terms import Term, Terms

__all__ = ["Generated", "Module", "Settings", "Term", "Terms", "setting"]
