"""How good is an image? CLIP score against its prompt, SSIM against a reference image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from latentcy.errors import LatentcyError


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

    def _score(self, image: np.ndarray, prompt: str) -> float:
        if not np.isfinite(image).all():  # a cast to uint8 would turn NaN into a black pixel
            return float("nan")
        pixels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(self.device)
        self._metric.reset()
        self._metric.update(tensor, prompt)
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
    from torchmetrics.functional.image import structural_similarity_index_measure

    images, reference = np.asarray(images), np.asarray(reference)
    if images.shape != reference.shape or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            "images and reference must both have the shape [n, h, w, 3], not "
            f"{list(images.shape)} and {list(reference.shape)}"
        )
    if min(images.shape[1:3]) < 11:
        raise ValueError(f"SSIM needs 11x11 pixels, these are {images.shape[1]}x{images.shape[2]}")
    values = np.full(len(images), np.nan)
    for index, (one, other) in enumerate(zip(images, reference, strict=True)):
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            continue
        value = structural_similarity_index_measure(
            _channels_first(one), _channels_first(other), reduction="none", data_range=1.0
        )
        values[index] = float(value)
    return values


def _channels_first(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float64).transpose(2, 0, 1)[None].copy())


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
