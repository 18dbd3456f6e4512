"""From one LeRobot version to another, with nothing of the numbers changed.

| file | its job |
| --- | --- |
| `rows` | one episode's rows, checked and in the types that info.json says |
| `grouping` | which episodes share a file in v3.0: pure |
| `meta_v30` | the meta files of v3.0 |
| `kept` | what is carried along: other files of meta/, statistics of pictures |
| `result` | what a change did |
| `v30` | v2.0 and v2.1 to v3.0 |
| `v21` | v3.0 and v2.0 to v2.1 |
"""
