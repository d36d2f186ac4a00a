"""Promise: no variant's image is black, flat or born of non-finite values."""


def test_no_image_is_black(case, run, promise):
    """Latents and raw decoder output are looked at, not only pixels."""
    promise(run.likeness.images(case))


def test_an_overflow_would_be_seen(control):
    """The detector's positive control: fp32 output unchanged, fp16 black, and the cause named."""
    assert control.fp32_difference < 0.02
    assert control.fp32_verdict.status == "passed"
    assert control.fp16_verdict.status == "failed"
    assert control.module in control.fp16_verdict.reason
