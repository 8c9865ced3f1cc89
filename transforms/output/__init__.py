"""The output folder: its ledger of runs, its Parquet tables, and the checks before a commit."""
