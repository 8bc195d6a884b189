"""The files by which Slicer builds, lists and shows the extension."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def cmake_fields(repository: Path) -> dict[str, str]:
    """EXTENSION_* fields as Slicer's tools find them: one line each."""
    text = (repository / "CMakeLists.txt").read_text("utf-8")
    found = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]*)"\)$', text, re.MULTILINE))
    assert len(found) == text.count("set(EXTENSION_"), "a field is not on one line"
    return found


def s4ext_fields(repository: Path) -> dict[str, str]:
    lines = (repository / "CovidLesionSeg.s4ext").read_text("utf-8").splitlines()
    pairs = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {key: value for key, _, value in pairs}


def catalog_entry(repository: Path) -> dict[str, object]:
    return json.loads((repository / "CovidLesionSeg.json").read_text("utf-8"))


def test_catalog_entry_and_s4ext_say_the_same(repository: Path) -> None:
    entry, old = catalog_entry(repository), s4ext_fields(repository)
    assert old["scm"] == entry["scm_type"]
    assert old["scmurl"] == entry["scm_url"]
    assert old["scmrevision"] == entry["scm_revision"]
    assert old["depends"].split() == entry["build_dependencies"]
    assert old["build_subdirectory"] == entry["build_subdirectory"]
    assert old["category"] == entry["category"]


def test_cmake_and_s4ext_say_the_same(repository: Path) -> None:
    fields, old = cmake_fields(repository), s4ext_fields(repository)
    for key in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "DEPENDS"):
        assert fields[key], key
        assert fields[key] == old[key.lower()], key
    assert fields["SCREENSHOTURLS"] == old["screenshoturls"]


def test_catalog_entry_has_only_the_schemas_keys(repository: Path) -> None:
    """The schema (v1.0.1) allows no others; the first three are required."""
    entry = catalog_entry(repository)
    assert {"$schema", "category", "scm_url"} <= set(entry)
    optional = {"build_dependencies", "build_subdirectory", "enabled", "scm_revision", "scm_type"}
    assert set(entry) <= {"$schema", "category", "scm_url", "tier"} | optional
    assert entry["tier"] in (1, 3, 5)


def test_project_is_named_as_the_catalog_entry(repository: Path) -> None:
    text = (repository / "CMakeLists.txt").read_text("utf-8")
    assert re.findall(r"^project\((\w+)", text, re.MULTILINE) == ["CovidLesionSeg"]


def test_requirements_have_the_floors_of_the_python_package(repository: Path) -> None:
    """And name nothing that Slicer builds itself, nor torch, which its extension installs."""
    text = (repository / "CovidLesionSeg" / "Resources" / "requirements.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    project = (repository / "pyproject.toml").read_text("utf-8")
    for line in lines:
        assert f'"{line}"' in project
    names = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert names.isdisjoint({"numpy", "SimpleITK", "pydicom", "torch"})


def test_pictures_named_by_address_are_in_the_repository(repository: Path) -> None:
    fields = cmake_fields(repository)
    base = fields["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    for address in (fields["ICONURL"], *fields["SCREENSHOTURLS"].split()):
        assert address.startswith(base)
        assert (repository / address.removeprefix(base)).is_file(), address


def test_icon_is_a_png_of_128_pixels(repository: Path) -> None:
    data = (repository / "Resources" / "Icons" / "CovidLesionSeg.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 128)


# A stand-in for Slicer's CMake package: it notes what it is asked to build and refuses what
# Slicer's own macro refuses (unknown keywords, files that do not exist).
SLICER_CONFIG = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/Empty.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Empty.cmake")
"""
USE_SLICER = """
option(BUILD_TESTING "" ON)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES"
    ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT DEFINED MY_NAME)
    message(FATAL_ERROR "wrong arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "nonexistent: ${file}")
    endif()
    file(APPEND ${CMAKE_BINARY_DIR}/installed.txt "${file}\\n")
  endforeach()
endmacro()
function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  file(APPEND ${CMAKE_BINARY_DIR}/tests.txt "${MY_SCRIPT}\\n")
endfunction()
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")
def test_every_python_file_and_resource_is_installed(repository: Path, tmp_path: Path) -> None:
    source, slicer, build = (tmp_path / name for name in ("source", "slicer", "build"))
    for folder in ("CovidLesionSeg", "CovidLesionSegLogic", "Resources"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(repository / folder, source / folder, ignore=ignored)
    # A compiler is no part of the question.
    text = (repository / "CMakeLists.txt").read_text("utf-8")
    text = text.replace("project(CovidLesionSeg)", "project(CovidLesionSeg LANGUAGES NONE)")
    (source / "CMakeLists.txt").write_text(text, "utf-8")
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG, "utf-8")
    (slicer / "UseSlicer.cmake").write_text(USE_SLICER, "utf-8")
    (slicer / "Empty.cmake").write_text("", "utf-8")
    done = subprocess.run(
        ["cmake", "-S", source, "-B", build, f"-DSlicer_DIR={slicer}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    installed = (build / "installed.txt").read_text("utf-8").splitlines()
    assert len(installed) == len(set(installed))
    module_folder = source / "CovidLesionSeg"
    expected = {"CovidLesionSegLib/packages.py", "Resources/requirements.txt"}
    for folder, base in (
        (module_folder, module_folder),
        (source / "CovidLesionSegLogic", source),
        (source / "Resources", source),
    ):
        files = (path for path in folder.rglob("*") if path.is_file())
        expected |= {path.relative_to(base).as_posix() for path in files}
    expected.remove("CMakeLists.txt")
    expected = {name for name in expected if not name.startswith("Resources/Screenshots/")}
    assert set(installed) == expected
    assert (build / "tests.txt").read_text("utf-8").split() == ["CovidLesionSeg.py"]
