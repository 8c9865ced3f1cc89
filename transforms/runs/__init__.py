"""How a corpus is divided into work, and how finished work is committed."""
