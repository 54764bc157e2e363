"""Records in the form in which people hold them.

raw        what any source gives
rows       CSV, TSV, Parquet: text by column, some rows at a time
tables     such rows as records
windows    long recordings in a table, cut
members    files in a folder, a tar or a zip, and what their paths tell
pictures   PNG and JPEG
sounds     WAV and FLAC
hub        data sets of the Hugging Face Hub, rows or files
arrays     npz, or npy files in a folder, of any shape
piles      records that come in blocks, in memory or in a file
drawn      records at random, of a file's form
drafts     a first draft of a schema, by looking at the records
"""
