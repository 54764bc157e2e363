"""Runs as they go, on a page of this machine: `privet watch`.

Reads run directories and nothing else, so that runs of any engine show alike, and a watcher that
lags or dies is no run's affair. The directories are hostile input: regular files of bounded size,
no links, and every word of theirs is shown as text. Nothing here loads torch: the page is there at
once, and takes no memory from what trains.

locks      which directories are being written, as the kernel tells
track      rounds.jsonl as it grows
rows       a run as a row, and its curves
headlines  a run as a line of `privet list`
sweeps     a sweep as a row, and its cells
folder     all of a folder, and what is new since a look
token      the word that opens the page
page       one HTML file and its policy
service    the page, its events, and who is let in
listen     a port of the loopback interface
"""
