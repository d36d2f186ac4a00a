"""The hub: which repositories and commits are used, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HubPart:
    """A repository on the hub, and the commit of it that is used."""

    location: str
    revision: str | None  # a commit hash; None follows the repository's main branch
    licence: str


# Each commit is the one that public code pins and that public caches of main hold. For the tiny
# autoencoder no such place was found, so it follows main. The scorer's licence is that of its
# source, github.com/openai/CLIP, and the tiny autoencoder's that of github.com/madebyollin/taesd.
HUB_PARTS: dict[str, HubPart] = {
    "sd15": HubPart(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "CreativeML OpenRAIL-M",
    ),
    "sd14": HubPart(
        "CompVis/stable-diffusion-v1-4",
        "133a221b8aa7292a167afc5127cb63fb5005638b",
        "CreativeML OpenRAIL-M",
    ),
    "distilled": HubPart(
        "nota-ai/bk-sdm-small",
        "572238db7ed3a10858900803f3fc8cca53e893e0",
        "CreativeML OpenRAIL-M",
    ),
    "tiny": HubPart("sayakpaul/taesd-diffusers", None, "MIT"),
    "scorer": HubPart(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        "MIT",
    ),
}
