"""Statistics of datasets, as LeRobot and GR00T read them: an episode's, the whole set's, and of relative actions.

| file | its job |
| --- | --- |
| `episode` | one episode's row of meta/episodes_stats.jsonl: a pure function |
| `pictures` | the part of that row that is about a video |
| `whole` | meta/stats.json |
| `relative` | meta/relative_stats.json |
| `groups` | which action groups are relative, and to what |
| `spool` | a column of the whole set at a time, though episodes are read one after another |
| `column`, `quantiles` | the numbers of one column, exactly |
| `compute` | all of them for a dataset's folder, written when everything is known |
| `episodes_v3` | one episode's statistics where v3.0 keeps them |
| `stale` | whether statistics still speak of the data that lies there |
| `digest`, `sidecar` | of which data they speak, and meta/dm_g1.json, where that is noted |
"""
