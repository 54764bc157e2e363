"""Many experiments, one table.

axes         what is varied
document     sweep.json
sweep        the folder of cells
grid         the cells of a grid
stages       what is done with each cell
search       which cell comes next
charged      a search that epsilon counts
law          how many trials that one has
objectives   what a search looks at
board        the table while it goes on
events       the same for programs
"""
