"""RAW data sets: pairs on disk, SID, and photographs turned into RAW."""
