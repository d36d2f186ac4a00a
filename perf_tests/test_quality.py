"""Promise: precision changes and distillation keep quality within the variant's tolerance."""


def test_ssim(case, run, promise):
    """Structural similarity to the reference's image from the same noise."""
    promise(run.likeness.ssim(case))


def test_clip(case, run, promise):
    """CLIP score, prompt by prompt, paired with the reference's."""
    promise(run.likeness.clip(case))
