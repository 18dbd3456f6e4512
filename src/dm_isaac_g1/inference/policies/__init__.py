"""Policies that our server serves: bc checkpoints, TorchScript, ONNX, the replay of a dataset; and GR00T's own server
behind a proxy. `loading.load` picks one by what a folder holds."""
