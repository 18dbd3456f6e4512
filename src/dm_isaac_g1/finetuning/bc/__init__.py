"""Trainer `bc`: an action-chunking behaviour-cloning policy, trained by Hugging Face's own `Trainer`.

Run it with `python -m dm_isaac_g1.finetuning.bc --dataset DIR --output DIR`. It needs the `train` extra and nothing of
the console: it is what runs on a host, in a job.
"""
