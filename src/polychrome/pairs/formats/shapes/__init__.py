"""Which replies a file's records hold: a file per shape, with ``fits(record)`` and ``rows(files)``.

``rows`` takes every file of the shape with its records, so that a reply finds its post in another file, too.
"""
