"""Pages and cards about training runs, made from their folders without torch."""

from restore_hub.report.comparison import read_runs, result_rows, spec_rows, write_comparison
from restore_hub.report.run_page import write_report
from restore_hub.report.zoo_entry import card_of, write_entry

__all__ = ["card_of", "read_runs", "result_rows", "spec_rows", "write_comparison", "write_entry", "write_report"]
