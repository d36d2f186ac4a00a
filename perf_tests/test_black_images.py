"""Promise: no variant's image is black, flat or born of non-finite values."""


def test_no_image_is_black(case, run, promise):
    """Latents and raw decoder output are looked at, not only pixels."""
    promise(run.quality.images(case))


def test_an_overflow_would_be_seen(control):
    """The detector's positive control: fp32 output unchanged, fp16 black, and the cause named.

    The verdict names the very module that was rescaled, the stage, the dtype and the magnitudes.
    """
    assert control.fp32_difference < 0.02
    assert control.fp32_verdict.status == "passed"
    assert control.fp16_verdict.status == "failed"
    reason = control.fp16_verdict.reason
    assert f"in {control.module}, in float16, on call 1 while decoding" in reason
    assert "float16 ends at 65504" in reason
    assert "the largest magnitude before it: " in reason
