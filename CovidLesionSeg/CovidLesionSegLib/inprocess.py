"""A run in this process and thread, for scripts and tests that want no child process."""

from __future__ import annotations


def segmentHere(
    inputVolume,
    outputSegmentation,
    *,
    showLungs=True,
    surfaces=False,
    progressCallback=None,
    cancel=None,
    **options,
):
    """Segment the CT of a volume node into a segmentation node; blocks, nothing is drawn meanwhile.

    :param options: of CovidLesionSegLogic.pipeline.SegmentOptions.
    :return: CovidLesionSegLogic.pipeline.SegmentationResult.
    :raises: CovidLesionSegLogic.errors.CovidLesionSegError.
    """
    from CovidLesionSegLogic import mrml, pipeline
    from CovidLesionSegLogic.errors import InputError

    ct = mrml.node_to_volume(inputVolume)
    nodes = (inputVolume, outputSegmentation)
    scenes = [node.GetScene() for node in nodes]
    result = pipeline.segment_ct(
        ct, pipeline.SegmentOptions(**options), progress=progressCallback, cancel=cancel
    )
    # The callback may process events, in which the user can cancel, close or edit the scene.
    if cancel is not None:
        cancel.check()
    if [node.GetScene() for node in nodes] != scenes:
        raise InputError(
            "The CT or the segmentation was removed from the scene during the run; "
            "choose them again and repeat it."
        )
    mrml.result_to_segmentation(
        result,
        node=outputSegmentation,
        reference=inputVolume,
        lungs=showLungs,
        surfaces=surfaces,
    )
    return result
