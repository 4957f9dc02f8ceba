"""Verdicts to scores: pure functions on tables, nothing but numpy and pandas.

`scores.score_run` and `scores.counts` make a record's numbers, `compare.difference` and
`compare.rank_intervals` set entries side by side, `keys.KEYS` names the scores.
"""
