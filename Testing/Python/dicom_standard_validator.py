"""The package dicom-validator (of the pydicom project) with the standard's tables from PyPI.

dicom-validator reads the tables of PS3.3 and PS3.6 from DocBook files that it downloads. The
package dicom-standard carries the same tables as JSON (edition of spring 2020); here they are put
into the form that dicom-validator keeps them in, the conditions of types 1C and 2C read by its own
parser. Enumerated values are those listed without a condition.
"""

from __future__ import annotations

import html
import json
import logging
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pydicom.config
import pytest

ENUMERATED = re.compile(
    r"<strong>Enumerated Values(?: for Value (\d+))?:</strong>.*?<dl>(.*?)</dl>", re.DOTALL
)
TERM = re.compile(r"<dt>\s*<span>(.*?)</span>", re.DOTALL)
GROUPS = ("(5200,9229)", "(5200,9230)")


def violations(path: Path) -> list[str]:
    """What dicom-validator finds wrong, one line each; skipped where a package is missing."""
    pytest.importorskip("dicom_validator", reason="dicom-validator is not installed")
    from dicom_validator.validator.dicom_file_validator import DicomFileValidator

    mode = pydicom.config.settings.reading_validation_mode
    try:
        validator = DicomFileValidator(tables(), log_level=logging.CRITICAL)
        (result,) = validator.validate(path).values()
    finally:  # it switches pydicom's own checks off
        pydicom.config.settings.reading_validation_mode = mode
    found = [
        f"{module}: {tag} {error.code.name}"
        for module, errors in result.module_errors.items()
        for tag, error in errors.items()
    ]
    assert result.errors == len(found)
    assert result.sop_class_uid == "1.2.840.10008.5.1.4.1.1.66.4"
    return found


@lru_cache(maxsize=1)
def tables() -> Any:
    """The standard as dicom-validator's ``DicomInfo``, of the Segmentation IOD only."""
    from dicom_validator.spec_reader.condition_parser import ConditionParser
    from dicom_validator.validator.dicom_info import DicomInfo

    dictionary = {
        a["tag"]: {"name": a["name"], "vr": a["valueRepresentation"]} for a in load("attributes")
    }
    parser = ConditionParser(dictionary)
    uses = {
        kind: [u for u in load(file) if u["ciodId"] == "segmentation"]
        for kind, file in (("module", "ciod_to_modules"), ("macro", "ciod_to_fg_macros"))
    }
    modules: dict[str, Any] = {}
    for kind, users in uses.items():
        wanted = {use[f"{kind}Id"] for use in users}
        for attribute in load(f"{kind}_to_attributes"):
            if attribute[f"{kind}Id"] in wanted and attribute["type"] != "None":
                place = modules.setdefault(attribute[f"{kind}Id"], {})
                for tag in attribute["path"].split(":")[1:-1]:
                    place = place[dotted(tag)].setdefault("items", {})
                place[attribute["tag"]] = described(attribute, dictionary, parser)
    for tag in GROUPS:
        group = modules["multi-frame-functional-groups"][tag]
        group["items"] = {"include": [{"ref": "FuncGroup"}]}
    iod = {
        "title": "Segmentation IOD",
        "modules": {u["moduleId"]: used(u, "moduleId", parser) for u in uses["module"]},
        "group_macros": {u["macroId"]: used(u, "macroId", parser) for u in uses["macro"]},
    }
    return DicomInfo(dictionary, {"1.2.840.10008.5.1.4.1.1.66.4": iod}, modules)


def load(name: str) -> Any:
    """One of the tables that dicom-standard installs."""
    try:
        files = metadata.files("dicom-standard") or []
    except metadata.PackageNotFoundError:
        pytest.skip("dicom-standard is not installed")
    path = next(Path(f.locate()) for f in files if f.name == f"{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def dotted(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})".upper()


def used(use: dict[str, Any], key: str, parser: Any) -> dict[str, Any]:
    """A module or macro of the IOD, with the condition of its use."""
    found = {"ref": use[key], "use": use["usage"]}
    if use["conditionalStatement"]:
        condition = parser.parse(f"{use['usage']} - {use['conditionalStatement']}")
        found["cond"] = condition.result_dict()
    return found


def described(attribute: dict[str, Any], dictionary: dict[str, Any], parser: Any) -> dict[str, Any]:
    tag, text = attribute["tag"], attribute["description"]
    info = dictionary.get(tag, {"name": tag, "vr": ""})
    found: dict[str, Any] = {"name": info["name"], "type": attribute["type"]}
    if attribute["type"] in ("1C", "2C", "3"):
        plain = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))
        condition = parser.parse(plain)
        if condition.type.value != "U":
            found["cond"] = condition.result_dict()
    enums = []
    for index, terms in ENUMERATED.findall(text):
        values: list[Any] = [html.unescape(term.strip()) for term in TERM.findall(terms)]
        if info["vr"] in ("US", "UL", "SS", "SL"):
            values = [int(v) if v.isdigit() else int(v.rstrip("H"), 16) for v in values]
        enums.append({"val": values} | ({"index": int(index)} if index else {}))
    if enums:
        found["enums"] = enums
    return found
