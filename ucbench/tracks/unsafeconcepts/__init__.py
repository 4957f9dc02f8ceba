"""The track `unsafeconcepts`: the official benchmark, 1,567 pictures of 75 unsafe concepts.

metadata.py   rows of metadata.jsonl and perception_metadata.jsonl
pictures.py   a folder, Parquet files or the Hub -> pictures by name
joined.py     pictures and rows put together, and compared with the published counts
options.py    the four options of a perception question: the official ones, or our own
track.py      what is asked
"""
