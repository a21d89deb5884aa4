"""Inspecting a data set reads samples that have no files in the same way as training does."""

from types import SimpleNamespace

from relattn.errors import InputError
from relattn.inference.inspection import inspect_images
from relattn.tasks.samplers import SampleIndex


def test_a_set_of_one_s_own_is_read_as_in_training() -> None:
    class Photos:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, request: SampleIndex) -> dict[str, int]:
            if request.index == 1:
                raise InputError("photo 1 is not in focus")
            return {"index": request.index}

    findings = inspect_images(SimpleNamespace(sets={"train": Photos()}), workers=0)
    assert findings.faults == ["image 1: photo 1 is not in focus"]
    assert not findings.shared
