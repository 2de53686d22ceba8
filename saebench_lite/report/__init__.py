"""From records to text and pages: leaderboard, comparison, regression check, quiver.

May import: errors, names, version, files, stats, data, records. Never: torch.
"""
