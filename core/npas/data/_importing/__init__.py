"""Images as people have them, made into the one file of arrays that trainings read.

The way of an import: `opening` finds what a source is; `folder`, `archive` and `parquet` list and
read it, `layout` and `tables` say which class and split a file has; `gathering` decodes
(`pictures`, `fitting`), `splitting` makes what splits are missing, `canonical` writes.
"""
