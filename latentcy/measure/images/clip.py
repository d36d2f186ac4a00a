"""How good is an image? CLIP score against its prompt, SSIM against a reference image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from latentcy.core.errors import LatentcyError
from latentcy.measure.images.ssim import structure

EMBEDDED_AT_ONCE = 16


class ClipScorer:
    """CLIP score of images against prompts, by torchmetrics' `CLIPScore`.

    Formula: max(100 * cos(E_image, E_text), 0), Hessel et al. 2021, without their factor 2.5.
    It is a tripwire: a black frame can out-score a healthy image (sglang#39714), so it is no
    detector of broken images. Prompts longer than the scorer's positions are cut, with their
    end-of-text token kept.

    Args:
        weights: where a CLIPModel lies (`location`, `revision`, `subfolder`); safetensors only.
        device: a latentcy Device, a torch.device or its name. The arithmetic is fp32.

    Raises:
        LatentcyError: the weights cannot be loaded.
    """

    higher_is_better = True
    lowest, highest = 0.0, 100.0

    def __init__(self, weights: Any, device: Any = "cpu") -> None:
        from torchmetrics.multimodal.clip_score import CLIPScore

        self.device = _torch_device(device)
        model, processor = _load_clip(weights)
        self._metric = CLIPScore(model_name_or_path=lambda: (model, processor))

    @torch.no_grad()
    def scores(self, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        """Score each image against its own prompt.

        Args:
            images: [n, h, w, 3] float, 0..1.
            prompts: n texts.

        Returns:
            [n] float64, 0..100; NaN for an image that holds a non-finite value.

        Raises:
            ValueError: as many prompts as images are needed.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        self._metric.to(self.device)
        scores = [self._score(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        self._metric.to("cpu")  # else it would count as memory of the next case
        return np.asarray(scores, dtype=np.float64)

    @torch.no_grad()
    def embeddings(self, images: np.ndarray) -> np.ndarray:
        """The vision tower's unit embedding of each image, as the score uses it.

        Args:
            images: [n, h, w, 3] float, 0..1.

        Returns:
            [n, d] float64; a row of NaN for an image that holds a non-finite value.
        """
        model, processor = self._metric.model, self._metric.processor
        rows = np.full((len(images), model.config.projection_dim), np.nan)
        sound = np.flatnonzero([np.isfinite(image).all() for image in images])
        model.to(self.device)
        for start in range(0, len(sound), EMBEDDED_AT_ONCE):
            part = sound[start : start + EMBEDDED_AT_ONCE]
            pixels = processor(images=[_bytes(images[index]) for index in part])["pixel_values"]
            features = model.get_image_features(torch.as_tensor(pixels).to(self.device)).double()
            rows[part] = (features / features.norm(dim=-1, keepdim=True)).cpu().numpy()
        model.to("cpu")
        return rows

    def _score(self, image: np.ndarray, prompt: str) -> float:
        if not np.isfinite(image).all():  # a cast to uint8 would turn NaN into a black pixel
            return float("nan")
        self._metric.reset()
        self._metric.update(_bytes(image).to(self.device), prompt)
        return float(self._metric.compute())


def ssim(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity of each image to its reference, Wang et al. 2004, by torchmetrics.

    Gaussian kernel of 11x11 pixels (sigma 1.5), data range 1, in fp64. Higher is better, at most 1;
    1 only for equal images. It means something only between images of identical starting noise.

    Args:
        images: [n, h, w, 3] float, 0..1, at least 11 pixels on each side.
        reference: the same shape.

    Returns:
        [n] float64; NaN where an image or its reference holds a non-finite value.

    Raises:
        ValueError: the shapes differ, or are no images of at least 11x11 pixels.
    """
    return structure(images, reference).ssim


def _bytes(image: np.ndarray) -> torch.Tensor:
    """A finite image [h, w, 3], 0..1, as uint8 [3, h, w]."""
    pixels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _torch_device(device: Any) -> torch.device:
    place = getattr(device, "torch", device)  # a latentcy Device knows its torch.device
    return place if isinstance(place, torch.device) else torch.device(place)


def _load_clip(weights: Any) -> tuple[_PooledClip, _ClipProcessor]:
    """Load model, tokenizer and image processor; say what to do where that fails."""
    import transformers

    # The PIL processor under its own name from transformers 5; before, it has the plain name.
    if hasattr(transformers, "CLIPImageProcessorPil"):
        processor_class = transformers.CLIPImageProcessorPil
    else:
        processor_class = transformers.CLIPImageProcessor
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    dtype = {"dtype" if version >= (4, 56) else "torch_dtype": torch.float32}
    where = {"revision": weights.revision, "subfolder": weights.subfolder or ""}
    try:
        model, loading = transformers.CLIPModel.from_pretrained(
            weights.location, use_safetensors=True, output_loading_info=True, **dtype, **where
        )
        if loading["missing_keys"]:  # transformers would draw them at random
            raise ValueError(f"weights are missing: {sorted(loading['missing_keys'])[:3]}")
        tokenizer = transformers.CLIPTokenizer.from_pretrained(weights.location, **where)
        image_processor = processor_class.from_pretrained(weights.location, **where)
    except Exception as error:  # hub, file and format errors share no class
        raise LatentcyError(
            found=f"the CLIP scorer {weights.location} did not load: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            expected="a folder or hub id with a CLIPModel (safetensors), its tokenizer and its "
            "image processor",
            do="restore or download the scorer's files, or check the connection to the hub",
        ) from error
    return _PooledClip(model.eval()), _ClipProcessor(tokenizer, image_processor, model.config)


class _PooledClip(nn.Module):
    """A CLIPModel whose features are plain tensors on every transformers (torchmetrics#3407)."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip
        self.config = clip.config

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return _pooled(self.clip.get_image_features(pixel_values=pixel_values))

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        return _pooled(
            self.clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        )


def _pooled(features: Any) -> torch.Tensor:
    return features if isinstance(features, torch.Tensor) else features.pooler_output


class _ClipProcessor:
    """What torchmetrics calls: text to token ids, uint8 [3, h, w] images to pixel values."""

    def __init__(self, tokenizer: Any, image_processor: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.positions = config.text_config.max_position_embeddings

    def __call__(self, text: Any = None, images: Any = None, **_: Any) -> Any:
        if images is not None:
            arrays = [image.permute(1, 2, 0).numpy() for image in images]
            return self.image_processor(
                arrays, return_tensors="pt", input_data_format="channels_last"
            )
        return self.tokenizer(
            text, return_tensors="pt", padding=True, truncation=True, max_length=self.positions
        )
