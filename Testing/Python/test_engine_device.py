"""The device is the one asked for, or a sentence says which there are."""

from __future__ import annotations

import pytest
import torch

from CovidLesionSegLogic.engine import choose_device, default_batch_size, describe_device
from CovidLesionSegLogic.engine import device as device_module
from CovidLesionSegLogic.engine.device import fault_of, unused_gpu_notice
from CovidLesionSegLogic.errors import RequestError


@pytest.fixture
def gpus(monkeypatch):
    """Pretend there are two CUDA devices that work."""
    monkeypatch.setattr(device_module, "_proven", set())
    monkeypatch.setattr(device_module, "_try_convolution", lambda name: None)
    monkeypatch.setattr(device_module, "available_devices", lambda: ["cpu", "cuda:0", "cuda:1"])


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(device_module, "available_devices", lambda: ["cpu"])


def test_auto_takes_the_gpu_if_there_is_one(gpus):
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_falls_to_the_cpu(cpu_only):
    assert choose_device("auto") == torch.device("cpu")
    assert default_batch_size(choose_device("auto")) >= 1
    assert "thread" in describe_device(torch.device("cpu"))


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_device_names_what_is_there(cpu_only, name):
    with pytest.raises(RequestError, match=r"available here: cpu\..*--device auto"):
        choose_device(name)


def test_absent_second_gpu(gpus):
    with pytest.raises(RequestError, match="cuda:0, cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CPU", "", "cuda:0; ls"])
def test_nonsense_is_refused(cpu_only, name):
    with pytest.raises(RequestError, match="is not a device"):
        choose_device(name)


@pytest.fixture
def first_gpu_too_old(gpus, monkeypatch):
    def fail(name):
        if name == "cuda:0":
            raise RuntimeError("CUDA error: no kernel image is available for execution.\nMore")

    monkeypatch.setattr(device_module, "_try_convolution", fail)


def test_a_gpu_without_kernels_is_passed_over(first_gpu_too_old):
    assert choose_device("auto") == torch.device("cuda:1")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(RequestError, match=r"'cuda' does not work.*no kernel image.*cpu"):
        choose_device("cuda")


def test_the_cpu_instead_of_a_gpu_without_kernels_is_said(first_gpu_too_old, monkeypatch):
    monkeypatch.setattr(device_module, "available_devices", lambda: ["cpu", "cuda:0"])
    chosen = choose_device("auto")
    assert chosen == torch.device("cpu")
    notice = unused_gpu_notice(chosen)
    assert "cuda:0" in notice
    assert "no kernel image is available for execution." in notice
    assert unused_gpu_notice(chosen, "cpu") == ""


def test_a_working_device_is_tried_once(gpus, monkeypatch):
    tried = []
    monkeypatch.setattr(device_module, "_try_convolution", tried.append)
    assert [fault_of("cuda:0"), fault_of("cuda:0"), fault_of("cpu")] == ["", "", ""]
    assert tried == ["cuda:0"]


def test_the_trial_computes():
    device_module._try_convolution("cpu")
    with pytest.raises(RuntimeError):
        device_module._try_convolution("meta")
