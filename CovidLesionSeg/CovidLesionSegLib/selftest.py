"""What the module's self-test does, on a made-up CT with known lungs and lesions.

Each function takes the module's logic and ``say``, which shows a line; AssertionError where the
result is wrong.
"""

from __future__ import annotations


def segmentHere(logic, say):
    """In this process: segments and labels in the node are the computed ones, the lungs right."""
    from CovidLesionSegLogic import mrml

    phantom, volume = _makeVolume(say)
    segmentation = logic.createSegmentation(volume)
    say("Segmenting it")
    result = logic.processHere(volume, segmentation, device="cpu")
    segments = segmentation.GetSegmentation()
    assert segments.GetNumberOfSegments() == len(result.classes) + 2
    assert segments.GetNumberOfLayers("Binary labelmap") == 2
    labels, lungs = mrml.segmentation_to_labels(segmentation, phantom.ct)
    assert (labels == result.labels).all()
    # The lungs of the phantom are easy: both must be found, on their own side.
    for side in (1, 2):
        found, true = lungs == side, phantom.lungs == side
        overlap = 2 * (found & true).sum() / (found.sum() + true.sum())
        assert overlap > 0.8
    say("Test passed")


def segmentInWorker(logic, say):
    """In the child process: a run, a measurement of it, and a run that is cancelled."""
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.errors import CancelledError

    volume = _makeVolume(say)[1]
    segmentation = logic.createSegmentation(volume)
    say("Segmenting it in the worker")
    result = logic.process(volume, segmentation, device="cpu")
    assert segmentation.GetSegmentation().GetNumberOfSegments() >= 3
    measured = logic.measure(volume, segmentation)
    assert abs(measured.total.volume_ml - result.quantification.total.volume_ml) < 0.01
    cancel = Cancel()
    cancel.cancel()
    try:
        logic.process(volume, segmentation, device="cpu", cancel=cancel)
    except CancelledError:
        pass
    else:
        raise AssertionError("a cancelled run came to its end")
    logic.close()
    say("Test passed")


def _makeVolume(say):
    from CovidLesionSegLogic import mrml
    from CovidLesionSegLogic.phantom import make_phantom

    say("Making a CT with known lesions")
    phantom = make_phantom((32, 128, 128), (2.8, 2.8, 9.0))
    return phantom, mrml.volume_to_node(phantom.ct, name="Phantom")
