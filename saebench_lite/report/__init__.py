"""From records to text: leaderboard, comparison, regression check, quiver.

May import: errors, names, files, stats, data, records. Never: torch.
"""
