"""A dataset, and an episode of one, as people look at them.

`view` reads (where the dataset lies) and returns plain JSON; `text` draws that, wherever the terminal is. `summary`,
`plot` and `pictures` are the pure pieces of it.
"""
