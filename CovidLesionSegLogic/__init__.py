"""COVID-19 lesion segmentation on chest CT: everything that computes.

The package runs inside 3D Slicer and in plain Python alike. Importing it loads nothing heavy:
torch, scikit-image, pydicom and the MRML libraries are imported by the rooms that need them.

Research software, not for clinical use.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
