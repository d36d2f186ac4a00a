"""Latentcy: is a diffusion pipeline still as fast, and as good, as it was?"""
