"""Read benchmark files of any origin into `perfdb.batch.Batch`es: one format = one file with one `Importer` entry.

Start at `folder.import_paths`. Nothing is imported here, so that naming the package costs nothing.
"""
