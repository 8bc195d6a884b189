"""Model cards, weights and checksums: from a model's name to a network ready to use."""

from CovidLesionSegLogic.models.card import CARD_FORMAT, ModelCard
from CovidLesionSegLogic.models.kept import KeptNetworks
from CovidLesionSegLogic.models.parts import (
    ANY_SLICE,
    CONSECUTIVE,
    GATE_RULES,
    GateSpec,
    InferenceSpec,
    InputSpec,
    LesionClass,
    PostprocessSpec,
    WeightsSpec,
)
from CovidLesionSegLogic.models.registry import (
    DEFAULT_MODEL,
    LESION_TYPES_MODEL,
    LUNG_MODEL,
    LoadNetwork,
    Verification,
    get_card,
    list_models,
    load_fast_network,
    load_network,
    model_folders,
    verify,
)
from CovidLesionSegLogic.models.store import load_weights, save_weights, sha256_of

__all__ = [
    "ANY_SLICE",
    "CARD_FORMAT",
    "CONSECUTIVE",
    "DEFAULT_MODEL",
    "GATE_RULES",
    "LESION_TYPES_MODEL",
    "LUNG_MODEL",
    "GateSpec",
    "InferenceSpec",
    "InputSpec",
    "KeptNetworks",
    "LesionClass",
    "LoadNetwork",
    "ModelCard",
    "PostprocessSpec",
    "Verification",
    "WeightsSpec",
    "get_card",
    "list_models",
    "load_fast_network",
    "load_network",
    "load_weights",
    "model_folders",
    "save_weights",
    "sha256_of",
    "verify",
]
