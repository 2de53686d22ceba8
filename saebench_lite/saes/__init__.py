"""What an SAE is: the protocol, its check, and the SAEs that published formats reduce to.

May import: errors.
"""
