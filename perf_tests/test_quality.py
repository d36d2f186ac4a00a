"""Promise: precision changes and distillation keep quality within the variant's tolerance."""


def test_no_prompt_is_cut(case, run, promise):
    """Every prompt is read to its end, or what is lost is said."""
    promise(run.quality.tokens(case))


def test_ssim(case, run, promise):
    """Structural similarity to the reference's image from the same noise."""
    promise(run.quality.ssim(case))


def test_local_ssim(case, run, promise):
    """The same window by window, so that no seam or damaged corner is averaged away."""
    promise(run.quality.profiled(case, "local SSIM"))


def test_tone(case, run, promise):
    """Brightness, contrast and colour, paired with the reference's."""
    promise(run.quality.profiled(case, "tone"))


def test_sharpness(case, run, promise):
    """Neither blurred nor noisy, paired with the reference's."""
    promise(run.quality.profiled(case, "sharpness"))


def test_clip(case, run, promise):
    """CLIP score, prompt by prompt, paired with the reference's."""
    promise(run.quality.clip(case))


def test_image_distance(case, run, promise):
    """Distance of the scorer's image embeddings to the reference's."""
    promise(run.quality.profiled(case, "image distance"))


def test_distribution(case, run, promise):
    """FID and KID to the reference's set, from 500 images on."""
    promise(run.quality.profiled(case, "distribution"))


def test_stored_images(case, run, promise):
    """The images that are stored with the model."""
    promise(run.stored_images(case))
