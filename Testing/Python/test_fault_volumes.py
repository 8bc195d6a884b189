"""The readers of NRRD, MetaImage and NIfTI against ITK's: the same voxels in the same place."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.metaimage import read_metaimage
from CovidLesionSegLogic.ct.nifti import DATA_TYPES, read_nifti
from CovidLesionSegLogic.ct.nrrd import read_nrrd
from CovidLesionSegLogic.ct.voxels import StoredImage

KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
NRRD_NAMES = dict(
    zip(
        KINDS,
        ("int8", "uchar", "short", "ushort", "int", "uint", "longlong", "uint64_t", "float",
         "double"),
        strict=True,
    )
)  # fmt: skip
META_NAMES = dict(
    zip(
        KINDS,
        ("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG_LONG", "ULONG_LONG", "FLOAT",
         "DOUBLE"),
        strict=True,
    )
)  # fmt: skip
READERS = {
    "nii": read_nifti, "nrrd": read_nrrd, "nhdr": read_nrrd, "mha": read_metaimage,
    "mhd": read_metaimage,
}  # fmt: skip
many = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Image:
    """Voxels (z, y, x) and their place: LPS mm, the axes as columns."""

    array: NDArray[Any]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: NDArray[np.float64]

    @property
    def axes(self) -> NDArray[np.float64]:
        return self.direction * self.spacing


@st.composite
def images(draw: st.DrawFn) -> Image:
    kind = np.dtype(draw(st.sampled_from(KINDS)))
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind.kind == "f":
        array = (rng.normal(0, 1000, shape)).astype(kind)
    else:  # the ends of its range too; 2**53 is what ITK's text holds
        info = np.iinfo(kind)
        low, high = max(info.min, -(2**53)), min(info.max, 2**53)
        array = rng.integers(low, high, shape, dtype=np.int64, endpoint=True).astype(kind)
    spacing = draw(st.tuples(*[st.floats(0.1, 9.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    axis, angle = draw(st.tuples(*[st.floats(0.1, 1)] * 3)), draw(st.floats(-3, 3))
    turned = np.reshape(sitk.VersorTransform(axis, angle).GetMatrix(), (3, 3))
    direction = turned if draw(st.booleans()) else np.eye(3)[list(draw(st.permutations(range(3))))]
    if np.linalg.det(direction) < 0 or draw(st.booleans()):
        direction = direction * [1.0, 1.0, -1.0]
    return Image(array, spacing, origin, direction)


def compare(path: Path, image: Image | None = None) -> None:
    """Our reader's image is ITK's and, where it is given, the one that was written."""
    own: StoredImage = READERS[path.name.split(".")[1]](path)
    theirs = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(own.array, sitk.GetArrayFromImage(theirs))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(theirs.GetDirection(), (3, 3)) * theirs.GetSpacing()
    affine[:3, 3] = theirs.GetOrigin()
    np.testing.assert_allclose(own.affine, affine, atol=2e-4)
    assert own.array.dtype.isnative
    if image is not None:
        assert own.array.dtype in (image.array.dtype, np.float64)  # that of numbers as text
        np.testing.assert_array_equal(own.array, image.array)
        np.testing.assert_allclose(own.affine[:3, :3], image.axes, atol=2e-4)
        np.testing.assert_allclose(own.affine[:3, 3], image.origin, atol=2e-4)


@many
@given(
    images(),
    st.sampled_from(["nrrd", "nhdr", "mha", "mhd", "nii", "nii.gz"]),
    st.booleans(),
)
def test_what_itk_writes(
    tmp_path_factory: pytest.TempPathFactory, image: Image, suffix: str, packed: bool
) -> None:
    written = sitk.GetImageFromArray(image.array, isVector=False)
    written.SetSpacing(image.spacing)
    written.SetOrigin(image.origin)
    written.SetDirection(image.direction.ravel().tolist())
    path = tmp_path_factory.mktemp("a") / f"a.{suffix}"
    sitk.WriteImage(written, str(path), useCompression=packed)
    compare(path, image)


def vector(numbers: Any) -> str:
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"


@many
@given(
    image=images(),
    order=st.sampled_from(["<", ">"]),
    encoding=st.sampled_from(["raw", "gzip", "ascii"]),
    space=st.sampled_from([("LPS", (1, 1, 1)), ("right-anterior-superior", (-1, -1, 1)),
                           ("LAS", (1, -1, 1))]),
    lines=st.integers(0, 2),
    skip=st.sampled_from([0, 5, -1]),
    detached=st.booleans(),
)  # fmt: skip
def test_any_way_to_write_nrrd(
    tmp_path_factory: pytest.TempPathFactory, image: Image, order: str, encoding: str,
    space: tuple[str, tuple[int, ...]], lines: int, skip: int, detached: bool,
) -> None:  # fmt: skip
    if encoding != "raw":
        lines, skip = 0, 0
    stored = image.array.astype(image.array.dtype.newbyteorder(order))
    data = stored.tobytes()
    if encoding == "gzip":
        data = gzip.compress(data, 1)
    elif encoding == "ascii":
        data = " ".join(repr(value.item()) for value in image.array.ravel()).encode()
    data = b"a line\n" * lines + b"\0" * (7 if skip == -1 else skip) + data
    signs = np.array(space[1])
    vectors = " ".join(vector(axis * signs) for axis in image.axes.T)
    header = (
        f"NRRD0004\n# made up\ntype: {NRRD_NAMES[image.array.dtype.str[1:]]}\ndimension: 3\n"
        f"space: {space[0]}\nsizes: {' '.join(map(str, image.array.shape[::-1]))}\n"
        f"space directions: {vectors}\nkinds: domain domain domain\n"
        f"endian: {'big' if order == '>' else 'little'}\nencoding: {encoding}\n"
        f"space origin: {vector(np.array(image.origin) * signs)}\n"
        f"line skip: {lines}\nbyte skip: {skip}\nmade-up:=key\n"
    ).encode()
    path = tmp_path_factory.mktemp("a") / ("a.nhdr" if detached else "a.nrrd")
    if detached:
        path.with_name("voxels").write_bytes(data)
        path.write_bytes(header + b"data file: voxels\n")
    else:
        path.write_bytes(header + b"\n" + data)
    compare(path, image)


@many
@given(
    image=images(),
    order=st.sampled_from(["<", ">"]),
    skip=st.sampled_from([0, 9, -1]),
    detached=st.booleans(),
    place=st.sampled_from(["Offset", "Origin", "Position"]),
)
def test_any_way_to_write_metaimage(
    tmp_path_factory: pytest.TempPathFactory,
    image: Image,
    order: str,
    skip: int,
    detached: bool,
    place: str,
) -> None:
    stored = image.array.astype(image.array.dtype.newbyteorder(order))
    data = b"\1" * (9 if detached and skip else 0) + stored.tobytes()
    kind = META_NAMES[image.array.dtype.str[1:]]
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {order == '>'}",
        f"TransformMatrix = {' '.join(repr(float(v)) for v in image.direction.T.ravel())}",
        f"{place} = {' '.join(map(repr, image.origin))}",
        f"ElementSpacing = {' '.join(map(repr, image.spacing))}",
        f"DimSize = {' '.join(map(str, image.array.shape[::-1]))}",
        *([f"HeaderSize = {skip}"] if detached and skip else []),
        f"ElementType = MET_{kind}",
        f"ElementDataFile = {'voxels.raw' if detached else 'LOCAL'}",
    ]
    path = tmp_path_factory.mktemp("a") / ("a.mhd" if detached else "a.mha")
    header = "\n".join(lines).encode() + b"\n"
    path.write_bytes(header if detached else header + data)
    if detached:
        path.with_name("voxels.raw").write_bytes(data)
    compare(path, image)


@many
@given(
    image=images(),
    order=st.sampled_from(["<", ">"]),
    offset=st.sampled_from([352, 368, 1024]),
    packed=st.booleans(),
    scale=st.sampled_from([(0.0, 0.0), (1.0, 0.0), (2.0, -1024.0), (0.5, 3.25)]),
)
def test_any_way_to_write_nifti(
    tmp_path_factory: pytest.TempPathFactory, image: Image, order: str, offset: int, packed: bool,
    scale: tuple[float, float],
) -> None:  # fmt: skip
    kind = image.array.dtype.str[1:]
    scaled = scale[0] not in (0.0, 1.0)
    array = (image.array.astype(np.float64) % 1000).astype(kind) if scaled else image.array
    ras = np.diag([-1.0, -1.0, 1.0])
    header = bytearray(offset)

    def put(place: int, layout: str, *values: Any) -> None:
        struct.pack_into(order + layout, header, place, *values)

    put(0, "i", 348)
    put(40, "8h", 3, *array.shape[::-1], 1, 1, 1, 1)
    put(70, "hh", {name: code for code, name in DATA_TYPES.items()}[kind], 8 * array.itemsize)
    put(76, "8f", 1, *image.spacing, 1, 1, 1, 1)
    put(108, "3f", offset, *scale)
    header[123] = 2
    put(252, "hh", 0, 1)
    srow = np.hstack([ras @ image.axes, (ras @ image.origin)[:, None]])
    put(280, "12f", *srow.ravel())
    header[344:348] = b"n+1\0"
    data = bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes()
    path = tmp_path_factory.mktemp("a") / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    if not scaled:
        compare(path, image)
        return
    own, theirs = read_nifti(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(own.array.astype(float), theirs.astype(float), atol=1e-3)
    expected = array.astype(float) * scale[0] + scale[1]
    assert own.array == pytest.approx(expected, abs=1e-3)
