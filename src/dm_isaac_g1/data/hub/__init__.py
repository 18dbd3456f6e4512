"""Datasets from the Hugging Face Hub.

Whatever speaks with the Hub does so in a process of its own (`worker`): a transfer that waits, for a rate limit or a
dead connection, cannot be stopped from within, and a process can. `download` is what others call.
"""
