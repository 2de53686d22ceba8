"""Commands: they parse, report progress and print; the rest is a call of the library. The only room that imports typer.

May import: every room.
"""
