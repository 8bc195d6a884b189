"""A host for a Slicer panel without Slicer: real Qt widgets, real MRML nodes, no application.

Slicer gives a scripted module its widgets through PythonQt, which turns Qt's properties into
attributes and connects signals by their C++ signature. This package gives PySide6 that dialect and
puts the names ``qt``, ``ctk``, ``slicer.app`` and so on in place while :func:`running` is active:

>>> with running() as host:
...     panel = host.open(module_file)
...     panel.ui.applyButton.click()
...     host.wait_for(lambda: panel.ui.applyButton.enabled)
...     host.save_picture(panel, picture, theme="dark")

A name the host does not have raises instead of passing by pretence, and so does, at the end, every
error that a slot or observer raised and Qt or VTK only printed. Not shown by it: Slicer's own node
selector, PythonQt's conversions of unusual types, module discovery and the build.
"""

from .host import Host, running
from .qt_names import strict_module

__all__ = ["Host", "running", "strict_module"]
