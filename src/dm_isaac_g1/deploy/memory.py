"""What memory a policy server needs, from its weights. Pure.

For GR00T-size models the rule is the field's: 1.5 times the weights, and 8 GB for the CUDA context, the interpreter and
the activations of a diffusion head (GB10: CPU and GPU share it). A small model has small activations: beside 1.5
times the weights we reckon what an interpreter with PyTorch holds (0.5 GB) and three times the weights, up to those
same 8 GB. So a policy of 100 KB is reckoned at 0.5 GB, one of 1 GB at 5 GB, and from 2.5 GB on it is the field's rule.
"""

from __future__ import annotations

#: Copies of the weights while loading: the file's pages, and the tensors as they are converted.
COPIES = 1.5
#: An interpreter that has imported PyTorch and pyzmq.
INTERPRETER = 512_000_000
#: Working memory for each byte of weights, up to WORKING.
PER_WEIGHT = 3.0
WORKING = 8_000_000_000


def needed(weights: int) -> int:
    """Bytes that must be available for a server to load and answer."""
    working = min(WORKING, INTERPRETER + round(PER_WEIGHT * weights))
    return round(COPIES * weights) + working


def held(weights: int) -> int:
    """Bytes that come free at least when a server of that size ends: its weights."""
    return weights
