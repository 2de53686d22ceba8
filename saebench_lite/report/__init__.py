"""From records to text: leaderboard, comparison, regression check, quiver.

May import: errors, files, stats, records. Never: torch.
"""
