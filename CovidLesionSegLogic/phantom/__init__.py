"""Made-up chest CTs with known truth, for tests and the demonstration; no data needed."""

from CovidLesionSegLogic.phantom.make import Phantom, make_phantom

__all__ = ["Phantom", "make_phantom"]
