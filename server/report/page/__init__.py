"""The report itself: sections made of blocks, and the forms that they take.

blocks        what a section is made of
story         the sections, in the order in which a reader asks
reached       the section on the test set, by class
promises      sections on privacy
records       what is drawn or guessed of records and persons
devices       sections on devices
federations   the section on the federation
tiles         the few numbers beside the verdict
html          one file, without a network
markdown      the same as Markdown
data          the same as JSON
"""
