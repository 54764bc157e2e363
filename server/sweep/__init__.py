"""Many experiments, one table.

axes         what is varied
document     sweep.json
sweep        the folder of cells
ready        sweeps with axes of their own
grid         the cells of a grid
cluster      cells on other machines
stages       what is done with each cell
search       which cell comes next
proposals/   how that is chosen
charged      a search that epsilon counts
law          how many trials that one has
objectives   what a search looks at
board        the table while it goes on
events       the same for programs
"""
