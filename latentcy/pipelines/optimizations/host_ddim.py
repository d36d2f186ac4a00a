"""DDIM whose step needs nothing from the device."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput

from latentcy.core.errors import UnsuitableError


class HostDDIM(DDIMScheduler):
    """DDIM at eta 0 (Song et al. 2021, formula 12), the noise predicted and nothing clipped.

    Formula 12 is linear in the sample and the noise, so a step is `sample * a + noise * b` with
    two numbers that depend on the timestep alone. They are taken from float64, in the order of
    the timesteps.
    """

    @classmethod
    def of(cls, scheduler: Any) -> HostDDIM:
        """The same schedule. Raises UnsuitableError where its step is not the one above."""
        if not isinstance(scheduler, DDIMScheduler):
            raise UnsuitableError(f"{type(scheduler).__name__} in the place of DDIM")
        config = scheduler.config
        if config.prediction_type != "epsilon" or config.clip_sample or config.thresholding:
            raise UnsuitableError("a DDIM that clips, or whose UNet does not predict the noise")
        return cls.from_config(config)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """As DDIM's; the coefficients of all steps are made here, and kept for the next call."""
        wanted = (num_inference_steps, str(device))
        if getattr(self, "_wanted", None) != wanted:
            super().set_timesteps(num_inference_steps, device="cpu")
            self._coefficients = self._all_coefficients()
            steps: torch.Tensor = self.timesteps  # type: ignore[has-type]
            self._on_device = steps.to(device)
            self._wanted = wanted
        self.timesteps = self._on_device
        self._next = 0

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Any = None,
        variance_noise: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """The next step's sample; steps are taken in order, whatever `timestep` says.

        The predicted original image is not made: its place is None. Raises ValueError for noise.
        """
        if eta != 0.0:
            raise ValueError(f"eta {eta}: this scheduler adds no noise")
        keep, add = self._coefficients[self._next]
        self._next += 1
        previous = torch.add(sample * keep, model_output, alpha=add)
        return DDIMSchedulerOutput(previous, None) if return_dict else (previous, None)

    def _all_coefficients(self) -> list[tuple[float, float]]:
        stride = self.config.num_train_timesteps // self.num_inference_steps
        alphas, last = self.alphas_cumprod.double(), float(self.final_alpha_cumprod)
        found = []
        for timestep in self.timesteps.tolist():
            now = float(alphas[timestep])
            then = float(alphas[timestep - stride]) if timestep >= stride else last
            keep = (then / now) ** 0.5
            found.append((keep, (1 - then) ** 0.5 - keep * (1 - now) ** 0.5))
        return found
