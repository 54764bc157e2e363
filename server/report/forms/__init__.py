"""The forms that a report takes.

html      one file, without a network
pdf       the same, printed
markdown  the same facts as Markdown
data      the same as JSON
"""
