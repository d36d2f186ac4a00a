"""Devices, their conditions, memory and switches."""
