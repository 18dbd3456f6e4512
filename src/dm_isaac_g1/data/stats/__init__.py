"""Statistics of datasets, as LeRobot and GR00T read them: an episode's, the whole set's, and of relative actions.

| file | its job |
| --- | --- |
| `episode` | one episode's row of meta/episodes_stats.jsonl: a pure function |
| `images` | the part of that row that is about a video |
| `quantiles` | exact order statistics of large columns |
| `columns` | a column of the whole set at a time, though episodes are read one after another |
| `whole` | meta/stats.json |
| `relative` | meta/relative_stats.json |
| `compute` | all of them for a dataset's folder, written when everything is known |
| `stale` | whether they still speak of the data that lies there |
| `sidecar` | meta/dm_g1.json, where it is noted of which data they speak |
"""
