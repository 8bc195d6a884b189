"""The overview picture: one page a radiologist takes in at a glance."""

from __future__ import annotations

import textwrap
from os import PathLike

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.quantify.severity import MOST
from CovidLesionSegLogic.report import panels
from CovidLesionSegLogic.report.canvas import AMBER, BACKGROUND, INK, SOFT, Canvas
from CovidLesionSegLogic.report.drawing import draw_plane, note
from CovidLesionSegLogic.report.subject import (
    DISCLAIMER,
    ShownResult,
    all_warnings,
    describe_model,
    software_name,
)
from CovidLesionSegLogic.report.text import clean, elide, millimetres, percent, volume
from CovidLesionSegLogic.report.views import (
    Scene,
    axial,
    best_planes,
    choose_slices,
    coronal,
    sagittal,
)

WIDTH, PAD, GAP = 1600, 24, 10
COLUMNS, SLICES = 5, 10
TILE_WIDTH_LIMIT, TILE_LIMIT, PLANE_LIMIT, PLANE_LEAST = 440, 330, 430, 60
WARNING_LINES = 3


def write_overview(result: ShownResult, path: str | PathLike[str]) -> None:
    """Write the overview picture of a result as PNG, whole or not at all.

    Axial slices where lesion is largest, a coronal and a sagittal plane, lesion area per slice
    and the table of volumes. The patient's right is on the left of the picture, whatever the
    orientation of the input.

    Raises
    ------
    RequestError
        When matplotlib is not installed or the folder cannot be written.
    """
    data = overview_png(result)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def overview_png(result: ShownResult) -> bytes:
    """The overview picture as PNG data, 1600 pixels wide; see :func:`write_overview`."""
    scene = Scene.of(result)
    slices = choose_slices(scene, SLICES)
    warnings = _warning_lines(all_warnings(result))
    inner = WIDTH - 2 * PAD

    columns = min(COLUMNS, len(slices))
    tile_width = min(TILE_WIDTH_LIMIT, (inner - (columns - 1) * GAP) / columns)
    height_mm, width_mm = axial(scene, slices[0]).size_mm
    tile_height = min(TILE_LIMIT, tile_width * height_mm / width_mm)
    tile_rows = -(-len(slices) // columns)

    planes = best_planes(scene)
    front, side = coronal(scene, planes.j), sagittal(scene, planes.i)
    scale = min(PLANE_LIMIT / front.size_mm[0], 560 / front.size_mm[1], 400 / side.size_mm[1])
    plane_height = front.size_mm[0] * scale
    row_height = max(plane_height, 180)

    head = 96
    warned = 22 * len(warnings) + 16 if warnings else 0
    tiles_y = head + warned + 36
    planes_y = tiles_y + tile_rows * (tile_height + GAP) + 34
    table_y = planes_y + row_height + 62
    height = table_y + panels.table_height(result) + 40
    canvas = Canvas(WIDTH, round(height))

    _header(canvas, result)
    for row, line in enumerate(warnings):
        canvas.text(PAD, head + 10 + 22 * row, line, size=15, color=AMBER, room=inner)
    panels.legend(canvas, result, PAD, tiles_y - 20)
    total = scene.ct.shape[0]
    for n, k in enumerate(slices):
        x = PAD + n % columns * (tile_width + GAP)
        y = tiles_y + n // columns * (tile_height + GAP)
        axes = draw_plane(
            canvas, axial(scene, k), result.classes, (x, y, tile_width, tile_height), ("R", "L")
        )
        measured = result.quantification.slices[total - 1 - k]
        place = f"{measured.index + 1}/{total}   z {millimetres(measured.z_mm)} mm"
        note(canvas, axes, (0, 0), place, align="left", above=True)
        if measured.total_lesion_area_mm2 > 0:
            area = f"{measured.total_lesion_area_mm2 / 100:.1f} cm²"
            note(canvas, axes, (1, 0), area, align="right", above=True)

    x = float(PAD)
    if plane_height < PLANE_LEAST:
        room = "Too few slices for a coronal or sagittal plane"
        canvas.text(x, planes_y - 14, room, size=14, color=SOFT)
        x += 420
    else:
        for plane, letters, name in ((front, "RL", "Coronal"), (side, "AP", "Sagittal")):
            frame = (x, planes_y, plane.size_mm[1] * scale, plane_height)
            canvas.text(x, planes_y - 14, f"{name}, {planes.why}", size=14, color=SOFT)
            axes = draw_plane(canvas, plane, result.classes, frame, (letters[0], letters[1]))
            top = scene.box[0][1]
            panels.slice_marks(axes, [(top - k - 0.5) * plane.row_mm for k in slices])
            x += frame[2] + 16
    chart = (x, planes_y, WIDTH - PAD - x, row_height)
    panels.area_chart(canvas, result, scene, slices, chart)
    panels.table(canvas, result, PAD, table_y, inner)
    canvas.text(
        PAD,
        height - 22,
        "Slices are counted from the top; z is the patient's superior coordinate. "
        "Window −1200 to 200 HU. The patient's right is on the left of the picture.",
        size=13,
        color=SOFT,
        room=inner,
    )
    return canvas.png()


def _header(canvas: Canvas, result: ShownResult) -> None:
    total = result.quantification.total
    canvas.panel(WIDTH - PAD - 400, 16, 400, 34, AMBER)
    canvas.text(
        WIDTH - PAD - 200, 33, DISCLAIMER, size=17, bold=True, color=BACKGROUND, align="center"
    )
    canvas.text(PAD, 33, clean(result.ct.name) or "unnamed study", size=25, bold=True,
                room=WIDTH - 2 * PAD - 430)  # fmt: skip
    if total.volume_ml > 0 and total.share_of_lungs_percent is None:
        line = f"Lesions {volume(total.volume_ml)} mL; no lungs, so no share of the lungs"
    elif total.volume_ml > 0:
        line = (
            f"Lesions {volume(total.volume_ml)} mL, {percent(total.share_of_lungs_percent)} of the "
            f"lungs (right {percent(total.share_of_right_lung_percent)}, "
            f"left {percent(total.share_of_left_lung_percent)})"
        )
    else:
        line = "No lesion found"
    score = result.quantification.score_0_to_25
    if score is not None:
        line += f"  ·  CT severity score {score} of {MOST}"
    canvas.text(PAD, 73, line, size=20, color=INK, room=1040)
    parts = [describe_model(result.provenance).name, software_name(result.provenance)]
    method = clean("  ·  ".join(p for p in parts if p))
    canvas.text(WIDTH - PAD, 73, method, size=15, color=SOFT, align="right", room=480)


def _warning_lines(warnings: list[str]) -> list[str]:
    lines: list[str] = []
    for n, warning in enumerate(warnings):
        wrapped = textwrap.wrap(f"⚠ {elide(clean(warning), 330)}", 178, subsequent_indent="   ")
        if len(lines) + len(wrapped) > WARNING_LINES:
            left = len(warnings) - n
            return [*lines, f"⚠ {left} more warning{'s' if left > 1 else ''}: see the report."]
        lines += wrapped
    return lines
